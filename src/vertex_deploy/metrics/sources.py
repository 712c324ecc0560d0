"""Which sources a spec's gates are read from, put together. Left out: reading (one module a backend)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.metrics.cloud_monitoring import LAG, CloudMonitoringSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.metrics.types import MetricSource
    from vertex_deploy.spec.models import Spec


def source_for(spec: Spec) -> Callable[[str], MetricSource]:
    """Gives the metric source of an endpoint's resource name."""
    private = spec.target.endpoint.access in {"psc", "psa"}
    queries = {gate.metric: gate.query.cloud_monitoring for gate in spec.rollout.gates if gate.query}
    gauges = {name: text for name, text in queries.items() if text}
    return lambda endpoint: CloudMonitoringSource(
        endpoint=endpoint, project=spec.gcp.project, private=private, gauges=gauges
    )


def lag_of(spec: Spec) -> float:
    """Seconds after which nothing more is expected for a period, in any of a spec's sources."""
    return LAG[spec.target.endpoint.access in {"psc", "psa"}]

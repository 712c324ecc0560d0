"""Which sources a spec's gates are read from, put together. Left out: reading (one module a backend)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.metrics.cloud_gauges import CloudGauge
from vertex_deploy.metrics.cloud_monitoring import LAG, CloudMonitoringSource, SeriesReader
from vertex_deploy.metrics.gauges import JoinedSource
from vertex_deploy.metrics.prometheus import PrometheusGauge, PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.metrics.gauges import Gauge
    from vertex_deploy.metrics.types import MetricSource
    from vertex_deploy.spec.models import Spec


def source_for(spec: Spec) -> Callable[[str], MetricSource]:
    """Gives the metric source of an endpoint's resource name."""
    private = spec.target.endpoint.access in {"psc", "psa"}

    def made(endpoint: str) -> MetricSource:
        reader = SeriesReader(spec.gcp.project)
        base = CloudMonitoringSource(endpoint=endpoint, private=private, reader=reader)
        found = gauges_of(spec, reader)
        return JoinedSource(base, found) if found else base

    return made


def gauges_of(spec: Spec, reader: SeriesReader) -> list[Gauge]:
    """The custom metrics of a spec's gates, each once, in their order.

    Args:
        spec: valid, so that a Prometheus query has an address.
        reader: lists Cloud Monitoring's series.
    """
    found: dict[str, Gauge] = {}
    prometheus = spec.monitoring.prometheus
    server = PrometheusServer(prometheus.url, token=prometheus.token) if prometheus else None
    for gate in spec.rollout.gates:
        if gate.query is None or gate.metric in found:
            continue
        if gate.query.cloud_monitoring is not None:
            found[gate.metric] = CloudGauge(name=gate.metric, query=gate.query.cloud_monitoring, reader=reader)
        elif gate.query.prometheus is not None and server is not None:
            found[gate.metric] = PrometheusGauge(name=gate.metric, query=gate.query.prometheus, server=server)
    return list(found.values())


def lag_of(spec: Spec) -> float:
    """Seconds after which nothing more is expected for a period, in any of a spec's sources."""
    # Those of Cloud Monitoring's own metrics are the longest.
    return LAG[spec.target.endpoint.access in {"psc", "psa"}]

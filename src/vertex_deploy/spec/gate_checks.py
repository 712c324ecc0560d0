"""What the gates of a rollout and the rest of the spec must agree on, where custom metrics are read. Pure.

A gate that a rollout judges must say which version it measures, and look back no further than the interval that is
judged. What Cloud Monitoring is asked with must name a metric, and a resource type too where an alert policy is made of
the gate (``ListTimeSeries`` and ``MetricThreshold`` in the discovery document of monitoring v3).

Left out: whether a filter can be parsed, and whether its metric exists, which only the API knows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vertex_deploy.spec import promql
from vertex_deploy.spec.problems import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vertex_deploy.spec.gates import Gate, Query
    from vertex_deploy.spec.models import Monitoring, Rollout
    from vertex_deploy.spec.problems import Path

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_METRIC_TYPE = re.compile(r"\bmetric\.type\s*=")
_RESOURCE_TYPE = re.compile(r"\bresource\.type\s*[=!:]")


def queries(rollout: Rollout, monitoring: Monitoring) -> Iterator[Finding]:
    """Each custom metric has one meaning, and each Prometheus query can be asked and is judged fairly."""
    meant: dict[str, Query] = {}
    for index, gate in enumerate(rollout.gates):
        if gate.query is None:
            continue
        path = ("rollout", "gates", index, "query")
        if meant.setdefault(gate.metric, gate.query) != gate.query:
            fix = "give each query a metric name of its own"
            yield Finding(path, f"{gate.metric} has another query in an earlier gate", fix)
        expression = gate.query.prometheus
        if expression is None:
            continue
        where = (*path, "prometheus")
        if monitoring.prometheus is None:
            fix = "add monitoring: {prometheus: {url: https://HOST}}"
            yield Finding(where, "nothing says where Prometheus is", fix)
        if not promql.by_version(expression):
            fix = f'select the version with a label, such as deployed_model_id="{promql.VERSION}"'
            yield Finding(where, "the query is the same for both versions", fix)
        window = promql.longest_window(expression)
        if window > promql.LONGEST:
            fix = f"write [{promql.INTERVAL}]: an interval is {promql.LONGEST:g}s"
            yield Finding(where, f"a window of {window:g}s would weigh the same minutes more than once", fix)


def filters(rollout: Rollout, monitoring: Monitoring) -> Iterator[Finding]:
    """Each Cloud Monitoring filter names what the API wants named: it would be refused only when it is used."""
    for index, gate in enumerate(rollout.gates):
        policy = rollout.alerts.from_gates and gate.critical
        yield from _filter(("rollout", "gates", index), gate, policy=policy, way_out=_NO_POLICIES)
    for index, gate in enumerate(monitoring.alerts):
        # One that names a version makes no policy that stays.
        policy = not promql.by_version((gate.query and gate.query.cloud_monitoring) or "")
        yield from _filter(("monitoring", "alerts", index), gate, policy=policy)


_NO_POLICIES = ", or rollout.alerts: {from_gates: false}"


def _filter(path: Path, gate: Gate, *, policy: bool, way_out: str = "") -> Iterator[Finding]:
    text = gate.query.cloud_monitoring if gate.query is not None else None
    if text is None:
        return
    where, bare = (*path, "query", "cloud_monitoring"), _QUOTED.sub("", text)
    if not _METRIC_TYPE.search(bare):
        yield Finding(where, "the filter names no metric", 'write metric.type="custom.googleapis.com/NAME"')
    limited = gate.max is not None or gate.min is not None
    if policy and limited and not gate.dry_run and not _RESOURCE_TYPE.search(bare):
        fix = f'add AND resource.type="TYPE", what the metric is written on (such as generic_task or global){way_out}'
        yield Finding(where, "an alert policy is made of this limit, and its filter must name a resource type", fix)

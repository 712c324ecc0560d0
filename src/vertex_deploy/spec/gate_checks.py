"""What the gates of a rollout and the rest of the spec must agree on, where custom metrics are read. Pure.

A gate that a rollout judges must say which version it measures, and look back no further than the interval that is
judged. Alert policies that stay (``monitoring.alerts``) are about all versions, and are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_deploy.spec import promql
from vertex_deploy.spec.problems import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vertex_deploy.spec.gates import Query
    from vertex_deploy.spec.models import Monitoring, Rollout


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

"""From a gate to the condition of a Cloud Monitoring alert policy: a threshold is written once.

Pure: the result is an ``AlertPolicy.Condition`` as the REST API writes it, which both Pulumi (policies that stay) and a
rollout (policies for its own time, narrowed to one deployed model) turn into their client's types.

What an alert policy cannot say is left out, and ``conditions`` is empty: a comparison with stable, a gate without an
absolute limit, for a policy that stays a query that names one deployed model, and (``promql=False``) an expression over
a Prometheus that Cloud Monitoring cannot ask. ``min_requests`` is left out on purpose: it counts the requests of a
rollout's step, and a policy that waited for as many in a few minutes might never fire. Metric names and labels:
resource type aiplatform.googleapis.com/Endpoint in Google's list of metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertex_deploy.spec import promql as expressions
from vertex_deploy.spec.units import format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vertex_deploy.spec.gates import Gate, Query
    from vertex_deploy.spec.models import Monitoring

PREFIX = "aiplatform.googleapis.com/prediction/online/"
RESOURCE = "aiplatform.googleapis.com/Endpoint"
WINDOW = 300
"""Seconds that are looked at together: five of the cloud's sampling periods."""
_REDUCERS = {0.5: "REDUCE_PERCENTILE_50", 0.95: "REDUCE_PERCENTILE_95", 0.99: "REDUCE_PERCENTILE_99"}
"""Percentiles that a threshold condition can take across series; the others need PromQL."""
_VERSION = "metric.label.deployed_model_id"
DISTRIBUTIONS = tuple(
    f"custom.googleapis.com/{name}" for name in ("vision_encoding_ms", "language_generation_ms", "total_inference_ms")
)
"""What the project's model server writes (docs/guides/serving.md); of others the query says what they are."""


def endpoint_filter(
    metric: str, endpoint_id: str, *, private: bool, deployed_model_id: str | None = None, extra: str = ""
) -> str:
    """The monitoring filter of one metric of one endpoint.

    Args:
        metric: name below ``PREFIX``, such as response_count.
        endpoint_id: the endpoint's numeric id.
        private: the endpoint is reached by Private Service Connect or VPC peering and writes ``private/*``.
        deployed_model_id: only this version; all of them where None.
        extra: another term.
    """
    terms = [
        f'metric.type="{metric_type(metric, private=private)}"',
        f'resource.type="{RESOURCE}"',
        f'resource.label.endpoint_id="{endpoint_id}"',
    ]
    if deployed_model_id is not None:
        terms.append(f'{_VERSION}="{deployed_model_id}"')
    return " AND ".join([*terms, *([extra] if extra else [])])


def metric_type(metric: str, *, private: bool) -> str:
    """The full type of response_count or prediction_latencies."""
    return f"{PREFIX}{'private/' if private else ''}{metric}"


def server_errors(*, private: bool) -> str:
    """The filter's term for answers that are the server's failure; of private metrics the label is a number."""
    return "metric.label.response_code>=500" if private else 'metric.label.response_code="5xx"'


def rejections(*, private: bool) -> str:
    """The filter's term for answers that blame the client (4xx)."""
    if private:
        return "metric.label.response_code>=400 AND metric.label.response_code<500"
    return 'metric.label.response_code="4xx"'


def total_latency(*, private: bool) -> str:
    """The filter's term for what the client waits for; private metrics have no other latency."""
    return "" if private else 'metric.label.latency_type="total"'


def conditions(
    gate: Gate,
    *,
    endpoint_id: str,
    private: bool,
    deployed_model_id: str | None = None,
    window: int = WINDOW,
    promql: bool = True,
) -> tuple[dict[str, Any], ...]:
    """The alert conditions of a gate, to be combined by OR: one is true while an absolute limit is broken.

    Args:
        gate: of the spec.
        endpoint_id: the endpoint's numeric id.
        private: the endpoint's metrics are ``private/*`` (psc, psa).
        deployed_model_id: one version, for a rollout's own policy; each version by itself where None.
        window: seconds that are looked at together, a multiple of 60.
        promql: Cloud Monitoring can evaluate the spec's Prometheus queries (see ``evaluates_promql``).

    Returns:
        ``AlertPolicy.Condition`` in the REST API's JSON; none if an alert policy cannot say the gate.
    """
    if gate.dry_run:
        return ()
    if gate.custom:
        elsewhere = gate.query is not None and gate.query.prometheus is not None and not promql
        return () if elsewhere else tuple(_custom(gate, deployed_model_id, window))
    if gate.max is None:
        return ()
    where: dict[str, Any] = {"private": private, "deployed_model_id": deployed_model_id}
    if gate.rate:
        return (_rate(gate, gate.max, endpoint_id, where, window),)
    return (_latency(gate, gate.max, endpoint_id, where, window),)


def evaluates_promql(monitoring: Monitoring) -> bool:
    """Whether the spec's Prometheus queries mean the same in a Cloud Monitoring alert policy.

    Its PromQL conditions ask Managed Service for Prometheus; another Prometheus has its own alerting rules.
    """
    return monitoring.prometheus is None or monitoring.prometheus.managed


def expressible(
    gates: Iterable[Gate],
    *,
    endpoint_id: str,
    private: bool,
    deployed_model_id: str | None = None,
    promql: bool = True,
) -> Iterator[tuple[Gate, tuple[dict[str, Any], ...]]]:
    """Each gate that an alert policy can say, with its conditions; the same limit written twice is given once."""
    seen: set[tuple[Any, ...]] = set()
    for gate in gates:
        identity = (gate.metric, gate.max, gate.min, gate.query)
        found = conditions(
            gate, endpoint_id=endpoint_id, private=private, deployed_model_id=deployed_model_id, promql=promql
        )
        if found and identity not in seen:
            seen.add(identity)
            yield gate, found


def _rate(gate: Gate, limit: float, endpoint_id: str, where: dict[str, Any], window: int) -> dict[str, Any]:
    aggregation = [_aggregation(window, "ALIGN_DELTA", "REDUCE_SUM")]
    bad = server_errors if gate.metric == "error_rate" else rejections
    return {
        "displayName": f"{gate.label} above {format_share(limit)}",
        "conditionThreshold": {
            "filter": endpoint_filter("response_count", endpoint_id, extra=bad(private=where["private"]), **where),
            "aggregations": aggregation,
            "denominatorFilter": endpoint_filter("response_count", endpoint_id, **where),
            "denominatorAggregations": aggregation,
            "comparison": "COMPARISON_GT",
            "thresholdValue": limit,
            "duration": "0s",
            "trigger": {"count": 1},
        },
    }


def _latency(gate: Gate, limit: float, endpoint_id: str, where: dict[str, Any], window: int) -> dict[str, Any]:
    name = f"{gate.label} above {format_duration(limit)}"
    milliseconds, quantile = limit * 1000, gate.quantile or 0.0
    extra = total_latency(private=where["private"])
    if quantile not in _REDUCERS:
        query = _latency_promql(quantile, endpoint_id, window, **where)
        return _promql(name, f"{query} > {milliseconds:g}")
    return {
        "displayName": name,
        "conditionThreshold": {
            "filter": endpoint_filter("prediction_latencies", endpoint_id, extra=extra, **where),
            "aggregations": [_aggregation(window, "ALIGN_DELTA", _REDUCERS[quantile])],
            "comparison": "COMPARISON_GT",
            "thresholdValue": milliseconds,
            "duration": "0s",
            "trigger": {"count": 1},
        },
    }


def _latency_promql(
    quantile: float, endpoint_id: str, window: int, *, private: bool, deployed_model_id: str | None
) -> str:
    """Cloud Monitoring's PromQL name of a metric: the first slash a colon, other signs underscores."""
    domain, _, path = metric_type("prediction_latencies", private=private).partition("/")
    name = f"{domain.replace('.', '_')}:{path.replace('/', '_')}_bucket"
    labels = [f'monitored_resource="{RESOURCE}"', f'endpoint_id="{endpoint_id}"']
    labels += [] if private else ['latency_type="total"']
    labels += [] if deployed_model_id is None else [f'deployed_model_id="{deployed_model_id}"']
    rate = f"rate({name}{{{','.join(labels)}}}[{window}s])"
    return f"histogram_quantile({quantile:g}, sum by (le, deployed_model_id) ({rate}))"


def _custom(gate: Gate, deployed_model_id: str | None, window: int) -> Iterator[dict[str, Any]]:
    query = gate.query
    text = (query.cloud_monitoring or query.prometheus or "") if query else ""
    if expressions.by_version(text) and deployed_model_id is None:
        return
    if query is not None and query.prometheus:
        text = expressions.fill(text, deployed_model_id=deployed_model_id or "", seconds=window)
    else:
        text = text.replace(expressions.VERSION, deployed_model_id or "")
    sides = ((gate.max, "above", ">", "COMPARISON_GT"), (gate.min, "below", "<", "COMPARISON_LT"))
    for limit, word, sign, comparison in sides:
        if limit is None:
            continue
        name = f"{gate.label} {word} {limit:g}"
        if query is not None and query.prometheus:
            yield _promql(name, f"({text}) {sign} {limit:g}")
            continue
        aggregation = {"alignmentPeriod": f"{window}s", "perSeriesAligner": "ALIGN_MEAN"}
        if _of_distributions(query, text):
            # ALIGN_MEAN is for numeric values alone (Aggregation.Aligner in the reference of Cloud Monitoring's API).
            aggregation = _aggregation(window, "ALIGN_SUM", "REDUCE_MEAN")
        threshold = {
            "filter": text,
            "aggregations": [aggregation],
            "comparison": comparison,
            "thresholdValue": limit,
            "duration": "0s",
            "trigger": {"count": 1},
        }
        yield {"displayName": name, "conditionThreshold": threshold}


def _of_distributions(query: Query | None, text: str) -> bool:
    if query is not None and query.values == "distribution":
        return True
    return any(f'"{metric}"' in text for metric in DISTRIBUTIONS)


def _promql(name: str, query: str) -> dict[str, Any]:
    # evaluationInterval must be a positive multiple of 30 s.
    body = {"query": query, "duration": "0s", "evaluationInterval": "60s"}
    return {"displayName": name, "conditionPrometheusQueryLanguage": body}


def _aggregation(window: int, aligner: str, reducer: str) -> dict[str, Any]:
    """Each version by itself: a bad canary must not hide in the average of both."""
    return {
        "alignmentPeriod": f"{window}s",
        "perSeriesAligner": aligner,
        "crossSeriesReducer": reducer,
        "groupByFields": [_VERSION],
    }

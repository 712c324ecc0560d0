"""A Cloud Monitoring dashboard of the endpoint, from the metric catalogue and the spec's gates.

Every chart is split by deployed model, so that stable and canary are two lines; the gates' limits are drawn as
thresholds. ``dashboard`` is pure and gives the API's JSON.

Deliberately not created: charts of the infrastructure (GKE and Cloud Run have their own), logs, and a dashboard a team.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pulumi_gcp import monitoring

from infra.components.alerts import PRIVATE
from infra.components.base import Component
from vertex_deploy.spec import names
from vertex_deploy.spec.alerts import endpoint_filter, server_errors, total_latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pulumi

    from vertex_deploy.spec import Gate, Spec

COLUMNS, WIDTH, HEIGHT = 48, 24, 16
"""Of a mosaic layout: its columns, and the size of a tile."""
VERSION = "metric.label.deployed_model_id"
LEGEND = "${metric.labels.deployed_model_id}"
"""What a line is called, as the console writes it: in a legend labels are plural."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart: a line a deployed model.

    Args:
        title: above the chart.
        metric: below aiplatform.googleapis.com/prediction/online/.
        aligner: per series.
        reducer: across the series of one deployed model.
        private: the metric exists as ``private/*``.
        gate: gates' metric whose limit is drawn.
        scale: from the gate's unit to the metric's.
    """

    title: str
    metric: str
    aligner: str
    reducer: str
    private: bool = False
    gate: str = ""
    scale: float = 1.0


def _latency(percentile: int) -> Chart:
    return Chart(
        title=f"Latency, {percentile}th percentile (ms)",
        metric="prediction_latencies",
        aligner="ALIGN_DELTA",
        reducer=f"REDUCE_PERCENTILE_{percentile:02}",
        private=True,
        gate=f"latency_p{percentile}",
        scale=1000,
    )


CHARTS: tuple[Chart, ...] = (
    Chart(title="Requests a second", metric="response_count", aligner="ALIGN_RATE", reducer="REDUCE_SUM", private=True),
    *(_latency(percentile) for percentile in (50, 95, 99)),
    Chart(title="Replicas", metric="replicas", aligner="ALIGN_MEAN", reducer="REDUCE_SUM"),
    Chart(title="Replicas wanted", metric="target_replicas", aligner="ALIGN_MEAN", reducer="REDUCE_SUM"),
    Chart(title="CPU, share in use", metric="cpu/utilization", aligner="ALIGN_MEAN", reducer="REDUCE_MEAN"),
    Chart(
        title="GPU, share of time busy", metric="accelerator/duty_cycle", aligner="ALIGN_MEAN", reducer="REDUCE_MEAN"
    ),
    Chart(title="Memory (bytes)", metric="memory/bytes_used", aligner="ALIGN_MEAN", reducer="REDUCE_MAX"),
    Chart(
        title="GPU memory (bytes)", metric="accelerator/memory/bytes_used", aligner="ALIGN_MEAN", reducer="REDUCE_MAX"
    ),
)
"""Charts beside the share of server errors, which is a ratio of two series."""


def dashboard(title: str, gates: Iterable[Gate], *, endpoint_id: str, private: bool, gpu: bool) -> dict[str, Any]:
    """The dashboard, in the JSON of the API's ``Dashboard``.

    Args:
        title: display name.
        gates: whose limits are drawn.
        endpoint_id: the endpoint's numeric id.
        private: its metrics are ``private/*``.
        gpu: whether charts of GPUs are of use.
    """
    limits = {gate.metric: gate.max for gate in reversed(list(gates)) if gate.max is not None}
    widgets = [_errors(endpoint_id, limits.get("error_rate"), private=private)]
    for chart in CHARTS:
        if chart.metric.startswith("accelerator/") and not gpu:
            continue
        where = private and chart.private
        extra = total_latency(private=where) if chart.metric == "prediction_latencies" else ""
        query = {
            "timeSeriesFilter": {
                "filter": endpoint_filter(chart.metric, endpoint_id, private=where, extra=extra),
                "aggregation": _aggregation(chart.aligner, chart.reducer),
            }
        }
        limit = limits.get(chart.gate)
        widgets.append(_chart(chart.title, query, None if limit is None else limit * chart.scale))
    tiles = [
        {**_place(index), "width": WIDTH, "height": HEIGHT, "widget": widget} for index, widget in enumerate(widgets)
    ]
    return {"displayName": title, "mosaicLayout": {"columns": COLUMNS, "tiles": tiles}}


def _place(index: int) -> dict[str, int]:
    """Where a tile is. The API does not tell a position of 0: written down, it would differ at each refresh."""
    position = {"xPos": (index * WIDTH) % COLUMNS, "yPos": index * WIDTH // COLUMNS * HEIGHT}
    return {key: value for key, value in position.items() if value}


def _errors(endpoint_id: str, limit: float | None, *, private: bool) -> dict[str, Any]:
    aggregation = _aggregation("ALIGN_RATE", "REDUCE_SUM")
    bad = endpoint_filter("response_count", endpoint_id, private=private, extra=server_errors(private=private))
    every = endpoint_filter("response_count", endpoint_id, private=private)
    ratio = {
        "numerator": {"filter": bad, "aggregation": aggregation},
        "denominator": {"filter": every, "aggregation": aggregation},
    }
    return _chart("Share of server errors", {"timeSeriesFilterRatio": ratio}, limit)


def _chart(title: str, query: dict[str, Any], limit: float | None) -> dict[str, Any]:
    chart: dict[str, Any] = {"dataSets": [{"timeSeriesQuery": query, "plotType": "LINE", "legendTemplate": LEGEND}]}
    if limit is not None:
        chart["thresholds"] = [{"label": "gate", "value": limit}]
    return {"title": title, "xyChart": chart}


def _aggregation(aligner: str, reducer: str) -> dict[str, Any]:
    return {
        "alignmentPeriod": "60s",
        "perSeriesAligner": aligner,
        "crossSeriesReducer": reducer,
        "groupByFields": [VERSION],
    }


@dataclass(frozen=True, kw_only=True)
class DashboardArgs:
    """Arguments of ``Dashboard``.

    Args:
        project: project id.
        title: display name.
        gates: whose limits are drawn.
        endpoint_id: the endpoint's numeric id.
        private: its metrics are ``private/*``.
        gpu: whether the machines have GPUs.
    """

    project: str
    title: str
    gates: Sequence[Gate] = ()
    endpoint_id: str
    private: bool = False
    gpu: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From the endpoint, its machine and all gates."""
        return cls(
            project=spec.gcp.project,
            title=spec.name,
            gates=(*spec.rollout.gates, *spec.monitoring.alerts),
            endpoint_id=names.endpoint_id(spec),
            private=spec.target.endpoint.access in PRIVATE,
            # A pool's machines that another spec made may have GPUs: an empty chart says less wrong than none.
            gpu=spec.target.machine is None or spec.target.machine.accelerator is not None,
        )


class Dashboard(Component):
    """A dashboard. Outputs: ``dashboard`` (its id)."""

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        made = monitoring.Dashboard(
            name,
            project=args.project,
            # Sorted, so that the same spec gives the same text and no difference.
            dashboard_json=json.dumps(
                dashboard(args.title, args.gates, endpoint_id=args.endpoint_id, private=args.private, gpu=args.gpu),
                sort_keys=True,
            ),
            opts=self.child(),
        )
        self.dashboard: pulumi.Output[str] = made.id
        self.register_outputs({"dashboard": made.id})

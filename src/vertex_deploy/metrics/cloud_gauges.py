"""Custom metrics from Cloud Monitoring: the mean of what was written for one version in each interval.

A point counts in the interval that its end lies in. GAUGE points have no start; several series of a version (one a
replica, one a label) are taken together, distributions by their counts and plain numbers alike. What is no mean is
refused, because it would be weighed as one: running totals (CUMULATIVE), counts (DELTA numbers), texts and booleans.

Source: https://cloud.google.com/monitoring/api/v3/kinds-and-types and google.api.MetricDescriptor.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.cloud_monitoring import LAG, SeriesReader
from vertex_deploy.metrics.gauges import GaugePoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vertex_deploy.metrics.types import Interval

PLACEHOLDER = "{deployed_model_id}"
_KINDS = {0: "GAUGE", 1: "GAUGE", 2: "DELTA", 3: "CUMULATIVE"}
"""google.api.MetricDescriptor.MetricKind; a series that does not say is taken for a gauge."""


class CloudGauge:
    """A ``Gauge`` over ListTimeSeries.

    Args:
        name: the gate's metric.
        query: filter of the spec; ``{deployed_model_id}`` in it is replaced, or the label is added.
        reader: lists series.
    """

    lag = LAG[False]

    def __init__(self, *, name: str, query: str, reader: SeriesReader) -> None:
        self.name = name
        self._query = query
        self._reader = reader

    def points(self, ids: Sequence[str], intervals: Sequence[Interval]) -> list[GaugePoint]:
        """See ``Gauge``."""
        since = intervals[0].end - timedelta(seconds=intervals[0].seconds)
        found = []
        for deployed_id in ids:
            text = gauge_filter(self._query, deployed_id)
            for series in self._listed(text, since, intervals[-1].end):
                for point in series.points:
                    value, weight = self._mean(series, point.value)
                    end = point.interval.end_time.timestamp()
                    found.append(
                        GaugePoint(deployed_id=deployed_id, name=self.name, end=end, value=value, weight=weight)
                    )
        return found

    def _listed(self, text: str, since: datetime, until: datetime) -> list[Any]:
        try:
            return self._reader.listed(text, f"of {self.name}", since, until)
        except CloudError as error:
            # The API knows no such metric: it exists once somebody has written it.
            if error.code == "NOT_FOUND":
                return []
            raise

    def _mean(self, series: Any, value: Any) -> tuple[float, float]:
        """A point's mean and how many values it is of; an empty distribution is of none."""
        held = value._pb.WhichOneof("value")  # noqa: SLF001 - proto-plus has no public way to ask which member is set
        kind = _KINDS.get(int(series.metric_kind), "GAUGE")
        what = f"ListTimeSeries of {self.name}: {series.metric.type or 'the metric'} is"
        if kind == "CUMULATIVE":
            raise CloudError(
                f"{what} CUMULATIVE, a running total and no mean; write a GAUGE of each minute's mean",
                code="INVALID_ARGUMENT",
            )
        if held == "distribution_value":
            return float(value.distribution_value.mean), float(value.distribution_value.count)
        if held not in {"int64_value", "double_value"}:
            kind_of = (held or "empty").removesuffix("_value")
            raise CloudError(f"{what} {kind_of}; a gate needs numbers or distributions", code="INVALID_ARGUMENT")
        if kind == "DELTA":
            raise CloudError(
                f"{what} a count (DELTA), not a mean; write a GAUGE of each minute's mean, or a distribution",
                code="INVALID_ARGUMENT",
            )
        return float(getattr(value, held)), 1.0


def gauge_filter(query: str, deployed_id: str) -> str:
    """The filter of a custom metric for one version."""
    if PLACEHOLDER in query:
        return query.replace(PLACEHOLDER, deployed_id)
    return f'({query}) AND metric.labels.deployed_model_id="{deployed_id}"'

"""Evidence from Cloud Monitoring: requests, errors and latencies of two deployed models of one endpoint.

Reads raw points with ListTimeSeries, without server-side alignment: an aligner would fill in zeros for periods that are
only late. Metric names are those of the ``aiplatform.googleapis.com/Endpoint`` resource; endpoints that are reached
privately write ``private/*`` names instead.

Left out: custom metrics (``cloud_gauges``), writing metrics, and alert policies.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vertex_deploy import gcp
from vertex_deploy.metrics.points import CountPoint, LatencyPoint, explicit_bounds, histogram, intervals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vertex_deploy.errors import CloudError
    from vertex_deploy.metrics.types import Histogram, Interval

PREFIX = "aiplatform.googleapis.com/prediction/online/"
RESOURCE = "aiplatform.googleapis.com/Endpoint"

# Seconds after which a point is no longer expected. Google states 60 s + up to 360 s for private metrics, and for the
# public gauges 60 s + up to 120 s; for public counts it states nothing, so those of the gauges are assumed.
LAG = {False: 180.0, True: 420.0}


class SeriesReader:
    """Lists raw series of one project.

    Args:
        project: project id that is asked.
        caller: makes the calls, with retries; tests pass their own.
        client: a ``MetricServiceClient``; made on first use where absent.
    """

    def __init__(self, project: str, *, caller: gcp.Caller | None = None, client: Any = None) -> None:
        self._project = project
        self._call = caller or gcp.Caller()
        self._client = client

    def listed(self, text: str, of: str, since: datetime, until: datetime) -> list[Any]:
        """The ``TimeSeries`` of a filter with points in ``(since, until]``.

        Args:
            text: filter.
            of: completes "ListTimeSeries" in messages.
            since: start, exclusive.
            until: end, inclusive.

        Raises:
            CloudError: refused, or not answered.
        """
        from google.cloud import monitoring_v3  # noqa: PLC0415 - heavy: only when a call is made

        if self._client is None:
            self._client = gcp.metric_client()
        request = {
            "name": f"projects/{self._project}",
            "filter": text,
            # The API takes (start, end] by the points' ends; a point may begin before `since`.
            "interval": {"start_time": since - timedelta(milliseconds=1), "end_time": until},
            "view": monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        }
        what = f"ListTimeSeries {of}"
        pager = self._call(self._client.list_time_series, request, what=what)
        return list(self._call(lambda **_: list(pager), None, what=what))


class CloudMonitoringSource:
    """A ``MetricSource`` over ``monitoring_v3.MetricServiceClient``.

    Args:
        endpoint: projects/P/locations/L/endpoints/E.
        private: the endpoint is reached through Private Service Connect or VPC peering.
        reader: lists series.
    """

    problem: CloudError | None = None

    def __init__(self, *, endpoint: str, private: bool, reader: SeriesReader) -> None:
        self._endpoint_id = endpoint.rpartition("/")[2]
        self._private = private
        self._reader = reader

    @property
    def lag(self) -> float:
        """Seconds after which nothing more is expected for a period."""
        return LAG[self._private]

    def read(self, *, stable: str, canary: str, since: datetime, until: datetime) -> Sequence[Interval]:
        """See ``MetricSource``."""
        ids = [name for name in (stable, canary) if name]
        counts: list[CountPoint] = []
        latencies: list[LatencyPoint] = []
        for series in self._series("response_count", ids, since, until):
            code = series.metric.labels.get("response_code", "")
            for point in series.points:
                count = number(point.value)
                if count is not None:
                    error, rejected = is_server_error(code), is_rejection(code)
                    where = _where(series, point)
                    counts.append(CountPoint(**where, count=round(count), error=error, rejected=rejected))
        for series in self._series("prediction_latencies", ids, since, until, extra=_TOTAL):
            for point in series.points:
                shape = distribution(point.value.distribution_value)
                if shape is not None:
                    latencies.append(LatencyPoint(**_where(series, point), histogram=shape))
        return intervals(
            counts,
            latencies,
            stable=stable,
            canary=canary,
            since=since.timestamp(),
            until=until.timestamp(),
            settle=self.lag,
        )

    def _series(
        self, metric: str, ids: Sequence[str], since: datetime, until: datetime, *, extra: str = ""
    ) -> list[Any]:
        name = metric_name(metric, private=self._private)
        text = series_filter(name, self._endpoint_id, ids) + ("" if self._private else extra)
        return self._reader.listed(text, f"{name} of endpoint {self._endpoint_id}", since, until)


# Of the three latencies (overhead, model, total), what the client waits for.
_TOTAL = ' AND metric.labels.latency_type="total"'


def metric_name(name: str, *, private: bool) -> str:
    """The full metric type of ``response_count`` or ``prediction_latencies``."""
    return f"{PREFIX}{'private/' if private else ''}{name}"


def series_filter(metric: str, endpoint_id: str, deployed_ids: Sequence[str]) -> str:
    """The filter of ListTimeSeries for these deployed models of one endpoint."""
    ids = ",".join(f'"{name}"' for name in deployed_ids)
    return (
        f'metric.type="{metric}" AND resource.type="{RESOURCE}" AND resource.labels.endpoint_id="{endpoint_id}" '
        f"AND metric.labels.deployed_model_id=one_of({ids})"
    )


def is_server_error(response_code: str) -> bool:
    """Whether a ``response_code`` label is a server's failure: "5xx", or a number from 500 up (private metrics)."""
    return response_code[:1] == "5" and len(response_code) == len("5xx")


def is_rejection(response_code: str) -> bool:
    """Whether it is an answer that blames the client: "4xx", or a number from 400 to 499 (private metrics)."""
    return response_code[:1] == "4" and len(response_code) == len("4xx")


def number(value: Any) -> float | None:
    """An int64 or double ``TypedValue``; None for any other kind."""
    kind = value._pb.WhichOneof("value")  # noqa: SLF001 - proto-plus has no public way to ask which member is set
    return float(getattr(value, kind)) if kind in {"int64_value", "double_value"} else None


def distribution(value: Any) -> Histogram | None:
    """A ``google.api.Distribution`` in ms; None where it has no buckets and so no percentiles."""
    options = value.bucket_options
    kind = options.WhichOneof("options")
    if kind == "explicit_buckets":
        bounds = tuple(options.explicit_buckets.bounds)
    elif kind == "exponential_buckets":
        shape = options.exponential_buckets
        bounds = explicit_bounds(finite=shape.num_finite_buckets, growth=shape.growth_factor, scale=shape.scale)
    elif kind == "linear_buckets":
        shape = options.linear_buckets
        bounds = explicit_bounds(finite=shape.num_finite_buckets, width=shape.width, offset=shape.offset)
    else:
        return None
    return histogram(bounds, list(value.bucket_counts)) if bounds and value.bucket_counts else None


def _where(series: Any, point: Any) -> dict[str, Any]:
    return {
        "deployed_id": series.metric.labels.get("deployed_model_id", ""),
        "start": point.interval.start_time.timestamp(),
        "end": point.interval.end_time.timestamp(),
    }

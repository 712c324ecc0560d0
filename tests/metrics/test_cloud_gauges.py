from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api import distribution_pb2, metric_pb2
from google.api_core import exceptions
from google.cloud import monitoring_v3

from vertex_deploy.errors import CloudError
from vertex_deploy.gcp import Caller
from vertex_deploy.metrics.cloud_gauges import CloudGauge, gauge_filter
from vertex_deploy.metrics.cloud_monitoring import SeriesReader
from vertex_deploy.metrics.types import Interval

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
QUERY = 'metric.type="custom.googleapis.com/rating" AND metric.labels.model="{deployed_model_id}"'
MINUTES = [Interval(NOW - timedelta(seconds=60), 60.0, None, None), Interval(NOW, 60.0, None, None)]


class Client:
    """Answers with the series of the version that is asked for."""

    def __init__(self, **series: list[Any]) -> None:
        self.series, self.requests = series, []

    def list_time_series(self, *, request: Any, retry: Any, timeout: float) -> list[Any]:
        self.requests.append(request)
        return next(found for name, found in self.series.items() if f'="{name[1:]}"' in request["filter"])


def series(*values: dict[str, Any], kind: int = 1) -> Any:
    """One point a minute, oldest first, each with an end and no start: what GAUGE points have."""
    points = [
        monitoring_v3.Point(
            interval=monitoring_v3.TimeInterval(end_time=NOW - timedelta(minutes=len(values) - 1 - n)),
            value=monitoring_v3.TypedValue(**value),
        )
        for n, value in enumerate(values)
    ]
    metric = metric_pb2.Metric(type="custom.googleapis.com/rating")
    return monitoring_v3.TimeSeries(metric=metric, metric_kind=kind, points=points)


def of(count: int, mean: float) -> dict[str, Any]:
    return {"distribution_value": distribution_pb2.Distribution(count=count, mean=mean)}


def gauge(client: Any) -> CloudGauge:
    reader = SeriesReader("p", client=client, caller=Caller(sleep=lambda _s: None))
    return CloudGauge(name="rating", query=QUERY, reader=reader)


def test_each_version_is_asked_for_by_its_own_filter_over_all_intervals() -> None:
    client = Client(v1=[], v2=[])
    assert gauge(client).points(["1", "2"], MINUTES) == []
    assert [request["filter"] for request in client.requests] == [
        QUERY.replace("{deployed_model_id}", "1"),
        QUERY.replace("{deployed_model_id}", "2"),
    ]
    asked = client.requests[0]["interval"]
    assert timedelta(0) < NOW - timedelta(seconds=120) - asked["start_time"] < timedelta(seconds=1)
    assert asked["end_time"] == NOW


def test_points_have_an_end_and_no_start_and_one_version_may_have_none() -> None:
    client = Client(v1=[], v2=[series({"int64_value": 4}, {"double_value": 4.5})])
    found = gauge(client).points(["1", "2"], MINUTES)
    assert [(p.deployed_id, p.end - NOW.timestamp(), p.value, p.weight) for p in found] == [
        ("2", -60.0, 4.0, 1.0),
        ("2", 0.0, 4.5, 1.0),
    ]


def test_distributions_weigh_by_their_counts_and_empty_ones_nothing() -> None:
    client = Client(v1=[series(of(30, 4.0)), series(of(10, 2.0)), series(of(0, 0.0))])
    found = gauge(client).points(["1"], MINUTES)
    assert [(p.value, p.weight) for p in found] == [(4.0, 30.0), (2.0, 10.0), (0.0, 0.0)]


def test_a_delta_distribution_is_a_mean_too() -> None:
    (found,) = gauge(Client(v1=[series(of(3, 7.0), kind=2)])).points(["1"], MINUTES)
    assert (found.value, found.weight) == (7.0, 3.0)


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ({"double_value": 9.0}, 3, "CUMULATIVE, a running total and no mean; write a GAUGE"),
        (of(9, 1.0), 3, "CUMULATIVE"),
        ({"int64_value": 9}, 2, r"a count \(DELTA\), not a mean; write a GAUGE"),
        ({"string_value": "good"}, 1, "string; a gate needs numbers"),
        ({"bool_value": True}, 1, "bool; a gate needs numbers"),
        ({}, 1, "empty; a gate needs numbers"),
    ],
)
def test_what_is_no_mean_is_refused_with_the_fix(value: dict[str, Any], kind: int, why: str) -> None:
    with pytest.raises(CloudError, match=f"custom.googleapis.com/rating is {why}") as caught:
        gauge(Client(v1=[series(value, kind=kind)])).points(["1"], MINUTES)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_metric_that_nobody_has_written_yet_was_not_measured() -> None:
    class Unknown:
        def list_time_series(self, **_: Any) -> None:
            raise exceptions.NotFound("Cannot find metric(s) that match type")

    assert gauge(Unknown()).points(["1"], MINUTES) == []


def test_any_other_refusal_is_an_error() -> None:
    class Refusing:
        def list_time_series(self, **_: Any) -> None:
            raise exceptions.PermissionDenied("no")

    with pytest.raises(CloudError, match="ListTimeSeries of rating: PERMISSION_DENIED"):
        gauge(Refusing()).points(["1"], MINUTES)


def test_a_query_without_a_placeholder_is_narrowed_by_label() -> None:
    assert gauge_filter('metric.type="m"', "2") == '(metric.type="m") AND metric.labels.deployed_model_id="2"'

"""Quotas are read from Google's own series, and what is not there is not made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api import metric_pb2
from google.api_core import exceptions
from google.cloud import monitoring_v3

from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.quota import LIMIT, USAGE, QuotaLevel, QuotaSource
from vertex_deploy.spec.quotas import by_metric

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
L4, CPUS = by_metric("custom_model_serving_nvidia_l4_gpus"), by_metric("custom_model_serving_cpus")


class Client:
    def __init__(self, **series: list[Any]) -> None:
        self.series, self.requests = series, []

    def list_time_series(self, *, request: Any, retry: Any, timeout: float) -> list[Any]:
        self.requests.append(request)
        return self.series.get("limit" if LIMIT in request["filter"] else "usage", [])


def series(quota: Any, *values: int, limit_name: str = "") -> Any:
    points = [
        monitoring_v3.Point(
            interval=monitoring_v3.TimeInterval(end_time=NOW - timedelta(hours=hours)),
            value=monitoring_v3.TypedValue(int64_value=value),
        )
        for hours, value in enumerate(values)
    ]
    labels = {"quota_metric": quota.full_metric, "limit_name": limit_name}
    return monitoring_v3.TimeSeries(metric=metric_pb2.Metric(labels=labels), points=points)


def levels(client: Client, *quotas: Any) -> Any:
    source = QuotaSource("my-project", "us-central1", client=client)
    return source.levels(quotas, NOW.timestamp())


def test_the_newest_point_counts_and_the_lowest_limit_binds() -> None:
    limits = [series(L4, 4, 99, limit_name="a"), series(L4, 8, limit_name="b"), series(CPUS, 100)]
    found = levels(Client(limit=limits, usage=[series(L4, 3, 1)]), L4, CPUS)
    assert found == {L4.metric: QuotaLevel(limit=4, used=3), CPUS.metric: QuotaLevel(limit=100, used=0)}


def test_a_quota_without_a_limit_or_with_one_below_zero_is_not_known() -> None:
    found = levels(Client(limit=[series(CPUS, -1)], usage=[series(L4, 3)]), L4, CPUS)
    assert [level.limit for level in found.values()] == [None, None]


def test_both_series_of_this_project_region_and_service_are_asked_a_day_back() -> None:
    client = Client()
    levels(client, L4, CPUS)
    assert [request["filter"].split('"')[1] for request in client.requests] == [LIMIT, USAGE]
    asked = client.requests[0]
    assert 'resource.labels.location="us-central1"' in asked["filter"]
    assert 'resource.labels.project_id="my-project"' in asked["filter"]
    assert 'resource.labels.service="aiplatform.googleapis.com"' in asked["filter"]
    assert f'one_of("{L4.full_metric}","{CPUS.full_metric}")' in asked["filter"]
    assert asked["interval"]["end_time"] - asked["interval"]["start_time"] == timedelta(hours=25)


def test_nothing_is_asked_where_no_quota_is_known() -> None:
    client = Client()
    assert levels(client) == {}
    assert client.requests == []


def test_a_metric_that_a_project_has_no_data_of_is_no_error() -> None:
    class Without(Client):
        def list_time_series(self, *, request: Any, retry: Any, timeout: float) -> list[Any]:
            raise exceptions.NotFound("Cannot find metric(s) that match type", errors=())

    assert levels(Without(), L4) == {L4.metric: QuotaLevel(limit=None, used=0)}


def test_a_refusal_is_no_absence() -> None:
    class Denied(Client):
        def list_time_series(self, *, request: Any, retry: Any, timeout: float) -> list[Any]:
            raise exceptions.PermissionDenied("no")

    with pytest.raises(CloudError, match="PERMISSION_DENIED"):
        levels(Denied(), L4)

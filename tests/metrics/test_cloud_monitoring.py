from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api import distribution_pb2, metric_pb2
from google.cloud import monitoring_v3

from vertex_deploy.errors import CloudError
from vertex_deploy.gcp import Caller
from vertex_deploy.metrics.cloud_monitoring import (
    CloudMonitoringSource,
    SeriesReader,
    distribution,
    is_rejection,
    is_server_error,
    metric_name,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Client:
    """Answers ListTimeSeries with what it holds, and keeps the requests."""

    def __init__(self, series: dict[str, list[Any]]) -> None:
        self.series, self.requests = series, []

    def list_time_series(self, *, request: Any, retry: Any, timeout: float) -> list[Any]:
        self.requests.append(request)
        return next((found for name, found in self.series.items() if f'/{name}"' in request["filter"]), [])


def series(labels: dict[str, str], **value: Any) -> Any:
    interval = monitoring_v3.TimeInterval(start_time=NOW - timedelta(seconds=60), end_time=NOW)
    point = monitoring_v3.Point(interval=interval, value=monitoring_v3.TypedValue(**value))
    return monitoring_v3.TimeSeries(metric=metric_pb2.Metric(labels=labels), points=[point])


def latencies(who: str, counts: list[int]) -> Any:
    buckets = distribution_pb2.Distribution.BucketOptions(
        exponential_buckets=distribution_pb2.Distribution.BucketOptions.Exponential(
            num_finite_buckets=2, growth_factor=10, scale=1
        )
    )
    shape = distribution_pb2.Distribution(count=sum(counts), bucket_options=buckets, bucket_counts=counts)
    return series({"deployed_model_id": who, "latency_type": "total"}, distribution_value=shape)


def counted(who: str, code: str, **value: Any) -> Any:
    return series({"deployed_model_id": who, "response_code": code}, **value)


def test_int64_and_double_values_count_alike() -> None:
    client = Client(
        {
            "response_count": [
                counted("1", "2xx", int64_value=95),
                counted("1", "5xx", int64_value=5),
                counted("1", "4xx", int64_value=7),
                counted("2", "2xx", double_value=10.0),
            ],
            "prediction_latencies": [latencies("1", [0, 100]), latencies("2", [0, 9, 1])],
        }
    )
    source = CloudMonitoringSource(
        endpoint="projects/p/locations/l/endpoints/7", private=False, reader=SeriesReader("p", client=client)
    )
    (found,) = source.read(stable="1", canary="2", since=NOW - timedelta(minutes=5), until=NOW)
    assert found.stable is not None
    assert (found.stable.requests, found.stable.errors, found.stable.rejected) == (107, 5, 7)
    assert found.canary is not None
    assert found.canary.latency_ms is not None
    assert found.canary.latency_ms.bounds == (1.0, 10.0, 100.0)
    assert found.canary.latency_ms.counts == (0, 9, 1, 0)


def test_only_total_latency_of_the_two_versions_of_this_endpoint_is_asked() -> None:
    client = Client({})
    source = CloudMonitoringSource(
        endpoint="projects/p/locations/l/endpoints/7", private=False, reader=SeriesReader("p", client=client)
    )
    assert source.read(stable="1", canary="2", since=NOW - timedelta(minutes=5), until=NOW) == []
    asked = client.requests[1]["filter"]
    assert 'metric.labels.latency_type="total"' in asked
    assert 'resource.labels.endpoint_id="7"' in asked
    assert 'metric.labels.deployed_model_id=one_of("1","2")' in asked


def test_private_endpoints_have_names_of_their_own_and_numeric_codes() -> None:
    assert metric_name("response_count", private=True).endswith("/prediction/online/private/response_count")
    assert [is_server_error(code) for code in ("503", "5xx", "200", "2xx", "")] == [True, True, False, False, False]
    assert [is_rejection(code) for code in ("404", "4xx", "503", "2xx", "")] == [True, True, False, False, False]


def test_a_distribution_without_buckets_says_nothing() -> None:
    assert distribution(distribution_pb2.Distribution(count=3, mean=2.0)) is None


def test_a_refusal_becomes_one_line_with_call_code_and_fix() -> None:
    from google.api_core import exceptions  # noqa: PLC0415 - heavy, and only here

    class Refusing:
        def list_time_series(self, **_: Any) -> None:
            raise exceptions.PermissionDenied("no")

    reader = SeriesReader("p", client=Refusing(), caller=Caller(sleep=lambda _s: None))
    source = CloudMonitoringSource(endpoint="e/7", private=False, reader=reader)
    with pytest.raises(CloudError, match=r"ListTimeSeries .* PERMISSION_DENIED: no; grant") as caught:
        source.read(stable="1", canary="2", since=NOW, until=NOW)
    assert "\n" not in str(caught.value)

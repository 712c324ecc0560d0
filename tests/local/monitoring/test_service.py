"""MetricService: what it lists, what may be written, and what it refuses."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.api import metric_pb2
from google.cloud import monitoring_v3 as m
from google.protobuf import json_format

from vertex_deploy.local.monitoring import MetricRecorder, MetricService, SeriesStore
from vertex_deploy.local.monitoring.catalogue import METRICS, PREFIX
from vertex_deploy.local.seams import ApiError, Served

from .clock import FakeClock

NAME = "projects/p"
T0 = 1_800_000_000
COUNT = f'metric.type = "{PREFIX}response_count"'
FULL, HEADERS = m.ListTimeSeriesRequest.TimeSeriesView.FULL, m.ListTimeSeriesRequest.TimeSeriesView.HEADERS
ALIGN, REDUCE = m.Aggregation.Aligner, m.Aggregation.Reducer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> SeriesStore:
    return SeriesStore()


@pytest.fixture
def service(store: SeriesStore, clock: FakeClock) -> MetricService:
    return MetricService(store, clock)


@pytest.fixture
def traffic(store: SeriesStore, clock: FakeClock) -> None:
    """Three minutes: 90 requests a minute to model 1 (1 error), 10 to model 2 (2 errors, slower)."""
    recorder = MetricRecorder(store, clock)
    for _ in range(3):
        for model, good, bad, ms in (("1", 89, 1, 40.0), ("2", 8, 2, 200.0)):
            for code in (200,) * good + (500,) * bad:
                recorder.served(
                    Served(
                        endpoint="projects/p/locations/us-central1/endpoints/77",
                        deployed_model_id=model,
                        code=code,
                        total_ms=ms,
                        model_ms=ms / 2,
                    )
                )
        clock.time += 60
        recorder.flush()


def request(filter_: str = COUNT, *, end: int = T0 + 180, seconds: int = 180, **more: Any) -> m.ListTimeSeriesRequest:
    return m.ListTimeSeriesRequest(
        name=NAME,
        filter=filter_,
        interval={"start_time": {"seconds": end - seconds}, "end_time": {"seconds": end}},
        view=more.pop("view", FULL),
        **more,
    )


def aggregation(aligner: str, reducer: str = "REDUCE_NONE", *group: str, seconds: int = 180) -> dict[str, Any]:
    return {
        "alignment_period": {"seconds": seconds},
        "per_series_aligner": ALIGN[aligner],
        "cross_series_reducer": REDUCE[reducer],
        "group_by_fields": group,
    }


@pytest.mark.usefixtures("traffic")
async def test_raw_points_come_newest_first_with_their_labels(service: MetricService) -> None:
    text = f'{COUNT} AND metric.labels.deployed_model_id = "2" AND metric.labels.response_code = "5xx"'
    found = await service.list_time_series(request(text))
    (series,) = found.time_series
    assert dict(series.resource.labels) == {
        "resource_container": "p",
        "location": "us-central1",
        "endpoint_id": "77",
    }
    assert dict(series.metric.labels) == {"deployed_model_id": "2", "response_code": "5xx", "spot": "false"}
    assert [(p.interval.end_time.timestamp() - T0, p.value.int64_value) for p in series.points] == [
        (180, 2),
        (120, 2),
        (60, 2),
    ]
    assert found.unit == "1"


@pytest.mark.usefixtures("traffic")
async def test_the_interval_excludes_its_start_and_includes_its_end(service: MetricService) -> None:
    found = await service.list_time_series(request(seconds=120))
    assert {len(s.points) for s in found.time_series} == {2}


@pytest.mark.usefixtures("traffic")
async def test_error_rates_and_percentiles_by_model(service: MetricService) -> None:
    step = aggregation("ALIGN_DELTA", "REDUCE_SUM", "metric.labels.deployed_model_id")
    found = await service.list_time_series(request(f'{COUNT} metric.labels.response_code = "5xx"', aggregation=step))
    assert {s.metric.labels["deployed_model_id"]: s.points[0].value.int64_value for s in found.time_series} == {
        "1": 3,
        "2": 6,
    }
    latencies = f'metric.type="{PREFIX}prediction_latencies" AND metric.labels.latency_type="total"'
    found = await service.list_time_series(request(latencies, aggregation=aggregation("ALIGN_PERCENTILE_95")))
    p95 = {s.metric.labels["deployed_model_id"]: s.points[0].value.double_value for s in found.time_series}
    assert p95 == {"1": pytest.approx(40, rel=0.05), "2": pytest.approx(200, rel=0.05)}


@pytest.mark.usefixtures("traffic")
async def test_pages_give_every_point_once(service: MetricService) -> None:
    ends: list[tuple[str, float]] = []
    token = ""
    pages = 0
    while True:
        found = await service.list_time_series(request(page_size=5, page_token=token))
        for series in found.time_series:
            ends += [(str(dict(series.metric.labels)), p.interval.end_time.timestamp()) for p in series.points]
        pages += 1
        token = found.next_page_token
        if not token:
            break
    assert (len(ends), len(set(ends)), pages) == (12, 12, 3)
    with pytest.raises(ApiError, match="page token"):
        await service.list_time_series(request(seconds=60, page_size=5, page_token="bm90IG91cnM="))


@pytest.mark.usefixtures("traffic")
async def test_headers_carry_no_points(service: MetricService) -> None:
    found = await service.list_time_series(request(view=HEADERS, page_size=3))
    assert [len(s.points) for s in found.time_series] == [0, 0, 0]
    assert found.next_page_token


@pytest.mark.usefixtures("traffic")
async def test_points_hide_until_the_ingestion_delay_has_passed(store: SeriesStore, clock: FakeClock) -> None:
    late = MetricService(store, clock, ingest_delay=60)
    assert {len(s.points) for s in (await late.list_time_series(request())).time_series} == {2}
    clock.time += 60
    assert {len(s.points) for s in (await late.list_time_series(request())).time_series} == {3}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"filter_": 'resource.type = "x"'}, "INVALID_ARGUMENT", 'must specify a restriction on "metric.type"'),
        ({"filter_": 'metric.type = starts_with("a")'}, "INVALID_ARGUMENT", "exactly one metric type"),
        ({"filter_": 'metric.type = "a.googleapis.com/b"'}, "NOT_FOUND", "Cannot find metric"),
        ({"filter_": f'{COUNT} AND metric.labels.nope = "x"'}, "INVALID_ARGUMENT", "valid combination of metric"),
        ({"filter_": f'{COUNT} AND resource.type = "global"'}, "INVALID_ARGUMENT", "valid combination of metric"),
        ({"filter_": f'{COUNT} AND group.id = "x"'}, "INVALID_ARGUMENT", "group.id"),
        ({"filter_": ""}, "INVALID_ARGUMENT", "Field filter"),
        ({"order_by": "x"}, "INVALID_ARGUMENT", "orderBy"),
        ({"seconds": -60}, "INVALID_ARGUMENT", "interval.startTime"),
        ({"aggregation": aggregation("ALIGN_RATE", seconds=10)}, "INVALID_ARGUMENT", "1 minute"),
        ({"aggregation": aggregation("ALIGN_NEXT_OLDER")}, "INVALID_ARGUMENT", "kind DELTA and value type INT64"),
        ({"aggregation": aggregation("ALIGN_PERCENT_CHANGE")}, "INVALID_ARGUMENT", "not implemented"),
        ({"aggregation": {"per_series_aligner": 99}}, "INVALID_ARGUMENT", "perSeriesAligner|alignmentPeriod"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    service: MetricService, change: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        await service.list_time_series(request(**change))
    assert caught.value.code is grpc.StatusCode[code]


@pytest.mark.parametrize("name", ["", "p", "projects/", "organizations/1", "projects/p/timeSeries"])
async def test_a_name_of_another_form_is_refused(service: MetricService, name: str) -> None:
    with pytest.raises(ApiError, match="Field name had an invalid value"):
        await service.list_time_series(m.ListTimeSeriesRequest(name=name, filter=COUNT))


async def test_a_project_number_names_the_same_project(store: SeriesStore, clock: FakeClock) -> None:
    service = MetricService(store, clock, project_id={"123": "p", "p": "p"}.__getitem__)
    found = await service.list_metric_descriptors(m.ListMetricDescriptorsRequest(name="projects/123"))
    assert found.metric_descriptors[0].name.startswith("projects/p/metricDescriptors/")


async def test_the_catalogue_is_listed_filtered_and_got(service: MetricService) -> None:
    text = 'metric.type = starts_with("aiplatform.googleapis.com/prediction/online/p")'
    found = await service.list_metric_descriptors(m.ListMetricDescriptorsRequest(name=NAME, filter=text))
    assert [d.type.removeprefix(PREFIX) for d in found.metric_descriptors] == [
        "prediction_count",
        "prediction_latencies",
        "private/prediction_latencies",
        "private/response_count",
    ]
    everything = await service.list_metric_descriptors(m.ListMetricDescriptorsRequest(name=NAME))
    assert len(everything.metric_descriptors) == len(METRICS)
    name = f"{NAME}/metricDescriptors/{PREFIX}prediction_latencies"
    one = await service.get_metric_descriptor(m.GetMetricDescriptorRequest(name=name))
    assert json_format.MessageToDict(one)["metricKind"] == "DELTA"
    assert (one.unit, [x.key for x in one.labels]) == ("ms", ["latency_type", "deployed_model_id", "spot"])


async def test_monitored_resources_are_listed_and_got(service: MetricService) -> None:
    name = f"{NAME}/monitoredResourceDescriptors/aiplatform.googleapis.com/Endpoint"
    one = await service.get_monitored_resource_descriptor(m.GetMonitoredResourceDescriptorRequest(name=name))
    assert [x.key for x in one.labels] == ["resource_container", "location", "endpoint_id"]
    found = await service.list_monitored_resource_descriptors(
        m.ListMonitoredResourceDescriptorsRequest(name=NAME, filter='resource.type = "global"')
    )
    assert [r.type for r in found.resource_descriptors] == ["global"]


def custom(
    value: dict[str, Any], *, at: float = T0, kind: str = "", metric: str = "queue", **labels: str
) -> m.TimeSeries:
    out = m.TimeSeries(
        metric={"type": metric if "/" in metric else f"custom.googleapis.com/{metric}", "labels": labels},
        resource={"type": "global"},
        points=[{"interval": {"end_time": {"seconds": int(at)}}, "value": value}],
    )
    if kind:
        out.metric_kind = metric_pb2.MetricDescriptor.MetricKind.Value(kind)
    return out


async def write(service: MetricService, *series: m.TimeSeries) -> None:
    await service.create_time_series(m.CreateTimeSeriesRequest(name=NAME, time_series=series))


async def test_a_first_write_creates_the_descriptor_and_reads_back(service: MetricService, clock: FakeClock) -> None:
    await write(service, custom({"double_value": 1.5}, model="a"))
    clock.time += 10
    await write(service, custom({"double_value": 2.5}, at=T0 + 10, model="a"))
    text = 'metric.type = "custom.googleapis.com/queue" AND metric.labels.model = "a"'
    found = await service.list_time_series(request(text, end=T0 + 10))
    assert [p.value.double_value for p in found.time_series[0].points] == [2.5, 1.5]
    name = f"{NAME}/metricDescriptors/custom.googleapis.com/queue"
    one = await service.get_metric_descriptor(m.GetMetricDescriptorRequest(name=name))
    assert (one.value_type, [x.key for x in one.labels]) == (metric_pb2.MetricDescriptor.DOUBLE, ["model"])
    await service.delete_metric_descriptor(m.DeleteMetricDescriptorRequest(name=name))
    with pytest.raises(ApiError, match="Cannot find metric"):
        await service.list_time_series(request(text))


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (custom({"int64_value": 1}), "must be DOUBLE, but is INT64"),
        (custom({"double_value": 1}, at=T0), "older end time"),
        (custom({"double_value": 1}, at=T0 + 2), "more frequently"),
        (custom({"double_value": 1}, at=T0 + 9, kind="CUMULATIVE"), "must be GAUGE, but is CUMULATIVE"),
        (custom({"double_value": 1}, at=T0 + 9, extra="x"), "Unrecognized metric labels"),
        (custom({"double_value": 1}, at=T0 + 4000), "in the future"),
        (custom({"double_value": 1}, at=T0 - 26 * 3600, metric="other"), "in the past"),
        (custom({"double_value": 1}, metric="other", kind="CUMULATIVE"), "start time must be before the end time"),
        (custom({"double_value": 1}, metric="other", kind="DELTA"), "cannot be DELTA"),
        (custom({}, metric="other"), "A value must be specified"),
        (custom({"string_value": "x"}, metric="other"), "cannot be DELTA or STRING"),
        (custom({"double_value": 1}, metric="other", a="x" * 1025), "more than 1024"),
        (custom({"int64_value": 1}, metric=PREFIX + "response_count"), "cannot be written by projects"),
        (custom({"double_value": 1}, metric="nodomain/x"), "URL-formatted"),
        (custom({"distribution_value": {"count": 1}}, metric="other"), "bucket options"),
        (
            custom(
                {
                    "distribution_value": {
                        "bucket_options": {
                            "exponential_buckets": {"num_finite_buckets": 100, "growth_factor": 1e300, "scale": 1e300}
                        }
                    }
                },
                metric="other",
            ),
            "too large for numbers",
        ),
        (
            custom(
                {
                    "distribution_value": {
                        "mean": float("nan"),
                        "bucket_options": {"explicit_buckets": {"bounds": [1.0]}},
                    }
                },
                metric="other",
            ),
            "must be finite",
        ),
    ],
)
async def test_a_write_that_breaks_a_rule_is_refused(
    service: MetricService, series: m.TimeSeries, message: str
) -> None:
    await write(service, custom({"double_value": 1}))
    with pytest.raises(ApiError, match=message) as caught:
        await write(service, series)
    assert caught.value.message.startswith("One or more TimeSeries could not be written: ")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_good_series_of_a_request_are_written_and_the_others_counted(service: MetricService) -> None:
    twice = custom({"double_value": 1}, metric="b")
    with pytest.raises(ApiError, match="Duplicate TimeSeries") as caught:
        await write(service, custom({"double_value": 1}, metric="a"), twice, twice)
    (summary,) = caught.value.details
    assert json_format.MessageToDict(summary)["successPointCount"] == 2  # type: ignore[arg-type]
    found = await service.list_time_series(request('metric.type = "custom.googleapis.com/a"', end=T0))
    assert len(found.time_series) == 1


async def test_more_than_200_series_are_refused_whole(service: MetricService) -> None:
    with pytest.raises(ApiError, match="200"):
        await write(service, *(custom({"double_value": 1}, metric=f"m{i}") for i in range(201)))


async def test_a_service_metric_is_written_only_as_a_service(service: MetricService) -> None:
    series = m.TimeSeries(
        metric={"type": PREFIX + "replicas", "labels": {"deployed_model_id": "1"}},
        resource={"type": "aiplatform.googleapis.com/Endpoint", "labels": {"endpoint_id": "7"}},
        points=[{"interval": {"end_time": {"seconds": T0}}, "value": {"int64_value": 2}}],
    )
    await service.create_service_time_series(m.CreateTimeSeriesRequest(name=NAME, time_series=[series]))
    found = await service.list_time_series(request(f'metric.type = "{PREFIX}replicas"', end=T0))
    assert found.time_series[0].points[0].value.int64_value == 2
    with pytest.raises(ApiError, match="not a service metric"):
        await service.create_service_time_series(
            m.CreateTimeSeriesRequest(name=NAME, time_series=[custom({"double_value": 1})])
        )


def descriptor(**changes: Any) -> m.CreateMetricDescriptorRequest:
    fields: dict[str, Any] = {
        "type": "custom.googleapis.com/queue",
        "metric_kind": "GAUGE",
        "value_type": "INT64",
        "labels": [{"key": "model"}],
    } | changes
    return m.CreateMetricDescriptorRequest(name=NAME, metric_descriptor=metric_pb2.MetricDescriptor(**fields))


async def test_creating_a_descriptor_again_adds_labels_and_never_removes_them(service: MetricService) -> None:
    await service.create_metric_descriptor(descriptor())
    again = await service.create_metric_descriptor(descriptor(labels=[{"key": "zone"}], description="new"))
    assert ([x.key for x in again.labels], again.description) == (["zone", "model"], "new")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": PREFIX + "x"}, "metricDescriptor.type"),
        ({"metric_kind": "DELTA"}, "GAUGE or CUMULATIVE"),
        ({"value_type": "STRING"}, "BOOL, INT64, DOUBLE or DISTRIBUTION"),
        ({"value_type": "DOUBLE"}, "neither can be changed"),
        ({"labels": [{"key": "1bad"}]}, "label key is not valid"),
        ({"labels": [{"key": f"k{i}"} for i in range(31)]}, "At most 30"),
    ],
)
async def test_a_descriptor_that_breaks_a_rule_is_refused(
    service: MetricService, changes: dict[str, Any], message: str
) -> None:
    await service.create_metric_descriptor(descriptor())
    with pytest.raises(ApiError, match=message):
        await service.create_metric_descriptor(descriptor(**changes))


async def test_a_service_metric_cannot_be_deleted(service: MetricService) -> None:
    name = f"{NAME}/metricDescriptors/{PREFIX}replicas"
    with pytest.raises(ApiError, match="Only user-created"):
        await service.delete_metric_descriptor(m.DeleteMetricDescriptorRequest(name=name))

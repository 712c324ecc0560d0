"""Google's own Cloud Monitoring client against the service, over real sockets and through the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import grpc.aio
import pytest
from aiohttp import web
from google.api_core import exceptions
from google.cloud import monitoring_v3 as m
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport

from vertex_deploy.local.monitoring import MetricRecorder, MetricService, SeriesStore
from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.seams import Served
from vertex_deploy.local.wire import Wire
from vertex_deploy.local.wire.rest import rest_handler
from vertex_deploy.local.wire.rpc import grpc_server

from .clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.e2e
T0 = 1_800_000_000


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A service with a minute of requests."""
    clock, store = FakeClock(), SeriesStore()
    recorder = MetricRecorder(store, clock)
    for code in (200, 200, 500):
        recorder.served(
            Served(
                endpoint="projects/p/locations/us-central1/endpoints/77",
                deployed_model_id="1",
                code=code,
                total_ms=50,
                model_ms=40,
            )
        )
    clock.time += 60
    recorder.flush()
    wire = Wire()
    wire.add("google.cloud.monitoring", "MetricService", MetricService(store, clock), versions=("v3",))
    yield wire
    store.close()


@pytest.fixture
async def client(wire: Wire) -> AsyncIterator[m.MetricServiceAsyncClient]:
    server = grpc_server(wire)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield m.MetricServiceAsyncClient(transport=MetricServiceGrpcAsyncIOTransport(channel=channel))
    await server.stop(None)


async def test_the_client_reads_counts_and_percentiles(client: m.MetricServiceAsyncClient) -> None:
    interval = m.TimeInterval(start_time={"seconds": T0}, end_time={"seconds": T0 + 60})
    pager = await client.list_time_series(
        request={
            "name": "projects/p",
            "filter": f'metric.type = "{PREFIX}response_count"',
            "interval": interval,
            "view": m.ListTimeSeriesRequest.TimeSeriesView.FULL,
            "page_size": 1,
        }
    )
    found = {s.metric.labels["response_code"]: s.points[0].value.int64_value async for s in pager}
    assert found == {"2xx": 2, "5xx": 1}
    pager = await client.list_time_series(
        request={
            "name": "projects/p",
            "filter": f'metric.type = "{PREFIX}prediction_latencies" AND metric.labels.latency_type = "total"',
            "interval": interval,
            "aggregation": {
                "alignment_period": {"seconds": 60},
                "per_series_aligner": m.Aggregation.Aligner.ALIGN_PERCENTILE_95,
            },
        }
    )
    (series,) = [s async for s in pager]
    assert series.points[0].value.double_value == pytest.approx(50, rel=0.05)


async def test_the_client_writes_a_custom_metric_and_sees_errors_as_its_own(
    client: m.MetricServiceAsyncClient,
) -> None:
    series = m.TimeSeries(
        metric={"type": "custom.googleapis.com/queue"},
        resource={"type": "global"},
        points=[{"interval": {"end_time": {"seconds": T0}}, "value": {"double_value": 3}}],
    )
    await client.create_time_series(name="projects/p", time_series=[series])
    with pytest.raises(exceptions.InvalidArgument, match="Points must be written in order") as caught:
        await client.create_time_series(name="projects/p", time_series=[series])
    summary = m.CreateTimeSeriesSummary.deserialize(caught.value.details[0].value)
    assert (summary.total_point_count, summary.success_point_count) == (1, 0)
    with pytest.raises(exceptions.NotFound, match="Cannot find metric"):
        await client.list_time_series(
            name="projects/p",
            filter='metric.type = "custom.googleapis.com/none"',
            interval=m.TimeInterval(end_time={"seconds": T0}),
            view=m.ListTimeSeriesRequest.TimeSeriesView.FULL,
        )
    name = "projects/p/metricDescriptors/custom.googleapis.com/queue"
    assert (await client.get_metric_descriptor(name=name)).type == "custom.googleapis.com/queue"
    await client.delete_metric_descriptor(name=name)
    types = [d.type async for d in await client.list_metric_descriptors(name="projects/p")]
    assert "custom.googleapis.com/queue" not in types


async def test_rest_serves_the_same_series(wire: Wire) -> None:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", rest_handler(wire))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v3/projects/p/timeSeries"
    query = {
        "filter": f'metric.type = "{PREFIX}response_count" AND metric.labels.response_code = "5xx"',
        "interval.startTime": "2027-01-15T08:00:00Z",
        "interval.endTime": "2027-01-15T08:01:00Z",
        "aggregation.alignmentPeriod": "60s",
        "aggregation.perSeriesAligner": "ALIGN_RATE",
    }
    async with aiohttp.ClientSession() as session:
        async with session.get(url, params=query) as answer:
            body = await answer.json()
            assert body["timeSeries"][0]["points"][0]["value"] == {"doubleValue": pytest.approx(1 / 60)}
            assert body["timeSeries"][0]["metricKind"] == "GAUGE"
        async with session.get(url, params=query | {"aggregation.alignmentPeriod": "10s"}) as answer:
            assert answer.status == 400
            assert "greater than or equal to 1 minute" in (await answer.json())["error"]["message"]
    await runner.cleanup()

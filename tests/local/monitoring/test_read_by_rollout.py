"""What was recorded is what a rollout's metric source reads: the two sides share nothing but the API."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.monitoring import MetricRecorder, MetricService, SeriesStore
from vertex_deploy.local.seams import Served
from vertex_deploy.metrics.cloud_monitoring import CloudMonitoringSource, SeriesReader

from .clock import FakeClock

ENDPOINT = "projects/p/locations/us-central1/endpoints/77"
T0 = 1_800_000_000


class DirectClient:
    """MetricServiceClient without the wire."""

    def __init__(self, service: MetricService) -> None:
        self._service = service

    def list_time_series(self, request: dict[str, Any], **_: object) -> list[m.TimeSeries]:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(asyncio.run, self._service.list_time_series(m.ListTimeSeriesRequest(request))).result()
        return list(answer.time_series)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("period", [1, 60])
def test_requests_errors_and_latencies_arrive(*, private: bool, period: int) -> None:
    clock, store = FakeClock(), SeriesStore()
    recorder = MetricRecorder(store, clock, sample_period=period, private=lambda _: private)
    for _ in range(600 // period):
        for model, codes, ms in (("1", (200,) * 9, 40.0), ("2", (200, 503, 404), 90.0)):
            for code in codes:
                recorder.served(Served(endpoint=ENDPOINT, deployed_model_id=model, code=code, total_ms=ms, model_ms=ms))
        clock.time += period
        recorder.flush()
    reader = SeriesReader("p", client=DirectClient(MetricService(store, clock)))
    source = CloudMonitoringSource(endpoint=ENDPOINT, private=private, reader=reader)
    intervals = source.read(
        stable="1", canary="2", since=datetime.fromtimestamp(T0, UTC), until=datetime.fromtimestamp(T0 + 600, UTC)
    )
    assert intervals
    for interval in intervals:
        periods = round(interval.seconds / period)
        assert interval.stable is not None
        assert interval.canary is not None
        assert (interval.stable.requests, interval.stable.errors) == (9 * periods, 0)
        assert (interval.canary.requests, interval.canary.errors) == (3 * periods, periods)
        assert interval.canary.latency_ms is not None
        assert interval.canary.latency_ms.total == 3 * periods

"""Requests and gauges become the points that Cloud Monitoring would hold."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.monitoring.recorder import MAX_WAITING, MetricRecorder
from vertex_deploy.local.monitoring.store import SeriesStore
from vertex_deploy.local.monitoring.values import NS, Dist, Point, percentile
from vertex_deploy.local.seams import Recorder, Served

from .clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "projects/p/locations/us-central1/endpoints/77"


def served(code: int = 200, total: float = 30.0, model: float = 20.0, predictions: int = 1) -> Served:
    return Served(
        endpoint=ENDPOINT, deployed_model_id="1", code=code, total_ms=total, model_ms=model, predictions=predictions
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> SeriesStore:
    return SeriesStore()


def points(store: SeriesStore, metric: str) -> dict[tuple[tuple[str, str], ...], tuple[Point, ...]]:
    """Points by metric labels, without those that every series has."""
    return {
        tuple(kv for kv in key.metric_labels if kv[0] not in ("deployed_model_id", "spot")): store.points(key, 0, 2**62)
        for key in store.keys("p", PREFIX + metric)
    }


def test_it_is_the_recorder_of_the_seams(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    seen: Recorder = recorder
    seen.served(served())
    clock.time += 60
    assert recorder.flush() > 0


def test_requests_of_a_period_become_one_point_on_its_grid(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    start = int(clock.time) * NS
    for code in (200, 200, 404, 503):
        recorder.served(served(code, predictions=1 if code == 200 else 0))
    clock.time += 60
    recorder.flush()
    end = start + 60 * NS
    assert points(store, "response_count") == {
        (("response_code", "2xx"),): (Point(start, end, 2),),
        (("response_code", "4xx"),): (Point(start, end, 1),),
        (("response_code", "5xx"),): (Point(start, end, 1),),
    }
    assert points(store, "error_count") == {(): (Point(start, end, 2),)}
    assert points(store, "prediction_count") == {(): (Point(start, end, 2),)}


def test_the_three_latencies_are_distributions(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    for _ in range(100):
        recorder.served(served(total=130, model=100))
    clock.time += 60
    recorder.flush()
    found = {labels[0][1]: p[0].value for labels, p in points(store, "prediction_latencies").items()}
    medians = {kind: percentile(d, 50) for kind, d in found.items() if isinstance(d, Dist)}
    assert medians == {
        "total": pytest.approx(130, rel=0.05),
        "model": pytest.approx(100, rel=0.05),
        "overhead": pytest.approx(30, rel=0.05),
    }


def test_a_private_endpoint_is_counted_under_private_metrics_with_the_code_itself(
    clock: FakeClock, store: SeriesStore
) -> None:
    recorder = MetricRecorder(store, clock, private=lambda endpoint: endpoint == ENDPOINT)
    for code in (200, 503, 502):
        recorder.served(served(code))
    clock.time += 60
    recorder.flush()
    counts = points(store, "private/response_count")
    assert {labels[0][1]: p[0].value for labels, p in counts.items()} == {"200": 1, "503": 1, "502": 1}
    assert list(points(store, "private/prediction_latencies")) == [()]
    assert points(store, "response_count") == {}


def test_a_period_without_requests_has_no_point(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    clock.time += 60
    assert recorder.flush() == 0
    assert store.keys("p", PREFIX + "response_count") == []


def test_a_late_flush_still_puts_requests_into_their_own_period(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock, sample_period=1)
    start = int(clock.time) * NS
    recorder.served(served())
    clock.time += 2.5
    recorder.served(served())
    clock.time += 7
    recorder.flush()
    assert points(store, "response_count") == {
        (("response_code", "2xx"),): (Point(start, start + NS, 1), Point(start + 2 * NS, start + 3 * NS, 1))
    }


def test_the_period_that_has_not_ended_waits_unless_the_flush_is_final(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    clock.time += 20
    recorder.served(served())
    assert recorder.flush() == 0
    recorder.flush(final=True)
    (only,) = points(store, "response_count").values()
    assert only == (Point(1_800_000_000 * NS, 1_800_000_020 * NS, 1),)


def test_a_gauge_is_written_every_period_until_forgotten(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    recorder.gauge("replicas", 2, endpoint=ENDPOINT, deployed_model_id="1")
    recorder.gauge("cpu/utilization", 0.25, endpoint=ENDPOINT, deployed_model_id="1", labels={"replica_id": "r0"})
    for _ in range(2):
        clock.time += 60
        recorder.flush()
    recorder.forget(endpoint=ENDPOINT, deployed_model_id="1")
    clock.time += 60
    recorder.flush()
    (replicas,) = points(store, "replicas").values()
    assert [(p.end // NS - 1_800_000_000, p.value) for p in replicas] == [(60, 2), (120, 2)]
    assert all(p.start == p.end for p in replicas)
    ((labels, cpu),) = points(store, "cpu/utilization").items()
    assert (labels, cpu[0].value) == ((("replica_id", "r0"),), 0.25)


def test_an_unknown_gauge_is_dropped_with_a_warning(
    clock: FakeClock, store: SeriesStore, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = MetricRecorder(store, clock)
    recorder.gauge("temperature", 1, endpoint=ENDPOINT, deployed_model_id="1")
    clock.time += 60
    assert recorder.flush() == 0
    assert "temperature" in caplog.text


def test_counts_survive_a_store_that_fails_once(
    clock: FakeClock, store: SeriesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = MetricRecorder(store, clock)
    recorder.served(served())
    clock.time += 60

    def fail(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", fail)
        with pytest.raises(sqlite3.OperationalError):
            recorder.flush()
    recorder.flush()
    assert points(store, "response_count")


async def test_a_store_that_stays_broken_costs_old_counts_not_memory(
    clock: FakeClock, store: SeriesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = MetricRecorder(store, clock)

    def fail(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(store, "append", fail)
    for _ in range(MAX_WAITING + 5):
        recorder.served(served())
        clock.time += 60
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    recorder.flush()
    (kept,) = points(store, "response_count").values()
    assert len(kept) == MAX_WAITING


async def test_run_writes_what_is_left_when_it_is_cancelled(clock: FakeClock, store: SeriesStore) -> None:
    recorder = MetricRecorder(store, clock)
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    clock.time += 5
    recorder.served(served())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert points(store, "response_count")


def test_points_and_descriptors_survive_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    first = SeriesStore(tmp_path)
    recorder = MetricRecorder(first, clock)
    recorder.served(served())
    clock.time += 60
    recorder.flush()
    before = {m: points(first, m) for m in ("response_count", "prediction_latencies")}
    # not closed: what was flushed must be there even after a kill
    second = SeriesStore(tmp_path)
    assert {m: points(second, m) for m in before} == before
    first.close()
    second.close()


def test_old_and_surplus_points_are_dropped_from_memory_and_disk(tmp_path: Path, clock: FakeClock) -> None:
    store = SeriesStore(tmp_path, retention=600, max_points=5)
    recorder = MetricRecorder(store, clock)
    recorder.gauge("replicas", 1, endpoint=ENDPOINT, deployed_model_id="1")
    for _ in range(8):
        clock.time += 60
        recorder.flush()
    (kept,) = points(store, "replicas").values()
    assert [p.end // NS - 1_800_000_000 for p in kept] == [240, 300, 360, 420, 480]
    clock.time += 500
    recorder.flush()
    (kept,) = points(store, "replicas").values()
    store.close()
    again = SeriesStore(tmp_path)
    assert points(again, "replicas") == {(): kept}
    assert [p.end // NS - 1_800_000_000 for p in kept] == [420, 480, 960]
    again.close()


def test_a_clock_set_back_costs_points_but_never_raises(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = SeriesStore(tmp_path)
    first = MetricRecorder(store, clock)
    first.gauge("replicas", 1, endpoint=ENDPOINT, deployed_model_id="1")
    clock.time += 60
    first.flush()
    clock.time -= 120
    second = MetricRecorder(store, clock)
    second.gauge("replicas", 1, endpoint=ENDPOINT, deployed_model_id="1")
    clock.time += 60
    assert second.flush() == 0
    assert "clock" in caplog.text
    store.close()

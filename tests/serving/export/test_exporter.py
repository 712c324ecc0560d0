from __future__ import annotations

import logging
import threading
import time

import pytest

from serving.export.exporter import MIN_SPACING_S, Exporter, ExportFailed

START = 1_800_000_000.0


class Sink:
    """Remembers writes; ``outcomes`` are raised one by one, None is a success."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.tried = []
        self.written = []
        self.threads = set()

    def connect(self):
        self.threads.add(threading.get_ident())

    def write(self, samples, *, timeout):
        self.threads.add(threading.get_ident())
        self.tried.append(list(samples))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        self.written += samples


class Time:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def rig(*outcomes):
    sink, clock = Sink(*outcomes), Time()
    return Exporter(sink, period=60, clock=clock, monotonic=clock), sink, clock


def down():
    return ExportFailed("CreateTimeSeries: UNAVAILABLE: down", again=True)


def refused():
    return ExportFailed("CreateTimeSeries: PERMISSION_DENIED: no", again=False)


def seen(samples):
    return [(s.metric, s.end - START, s.values.count, round(s.values.mean, 6)) for s in samples]


def test_a_flush_writes_what_was_recorded_since_the_last_one():
    exporter, sink, clock = rig()
    exporter.request(0.030)
    exporter.request(0.050)
    exporter.stages({"vision_encoding": 0.020})
    exporter.flush()
    clock.now += 60
    exporter.request(0.010)
    exporter.flush()
    assert seen(sink.written) == [
        ("vision_encoding_ms", 0, 1, 20.0),
        ("total_inference_ms", 0, 2, 40.0),
        ("total_inference_ms", 60, 1, 10.0),
    ]


def test_a_stage_that_did_not_run_is_never_written_and_a_quiet_period_writes_nothing():
    exporter, sink, _ = rig()
    exporter.flush()
    assert sink.tried == []
    exporter.stages({"vision_encoding": 0.0, "language_generation": 1.5})
    exporter.flush()
    assert seen(sink.written) == [("vision_encoding_ms", 0, 1, 0.0), ("language_generation_ms", 0, 1, 1500.0)]


def test_a_write_that_may_have_happened_is_tried_again_as_it_was_and_nothing_is_counted_twice():
    exporter, sink, clock = rig(down(), down())
    exporter.request(0.1)
    exporter.flush()
    exporter.request(0.2)
    clock.now += 60
    exporter.flush()
    clock.now += 60
    exporter.flush()
    assert sink.tried[0] == sink.tried[1] == sink.tried[2]
    assert seen(sink.written) == [("total_inference_ms", 0, 1, 100.0), ("total_inference_ms", 120, 1, 200.0)]


def test_a_second_try_that_is_refused_was_written_at_the_first_and_the_exporter_goes_on(caplog):
    exporter, sink, clock = rig(down(), refused())
    exporter.request(0.1)
    exporter.flush()
    exporter.request(0.2)
    clock.now += 60
    exporter.flush()
    assert seen(sink.written) == [("total_inference_ms", 60, 1, 200.0)]
    assert "lost unless the first try had written them" in caplog.messages[-1]


def test_what_is_refused_outright_is_given_up(caplog):
    exporter, sink, clock = rig(refused(), ValueError("a bug of the client"))
    for _ in range(3):
        exporter.request(0.1)
        exporter.flush()
        clock.now += 60
    assert seen(sink.written) == [("total_inference_ms", 120, 1, 100.0)]
    assert [m.split(";")[0] for m in caplog.messages] == [
        "metrics were not written: CreateTimeSeries: PERMISSION_DENIED: no",
        "metrics were not written: ValueError: a bug of the client",
    ]


def test_errors_are_logged_once_a_minute_with_how_many_there_were(caplog):
    exporter, _, clock = rig(*(down() for _ in range(13)))
    exporter.request(0.1)
    for _ in range(13):
        exporter.flush()
        clock.now += 5
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("will be tried again (11 more failures since the last line)")


def test_points_of_a_series_are_never_nearer_than_the_api_allows():
    exporter, sink, clock = rig()
    for moved in (0, 1, -3600):
        clock.now += moved
        exporter.request(0.1)
        exporter.flush()
    assert [s.end - START for s in sink.written] == [0, MIN_SPACING_S, 2 * MIN_SPACING_S]


def test_closing_writes_what_is_left_from_the_exporters_own_thread():
    exporter, sink, _ = rig()
    exporter.start()
    exporter.request(0.1)
    exporter.close(60)
    assert seen(sink.written) == [("total_inference_ms", 0, 1, 100.0)]
    assert threading.get_ident() not in sink.threads


class Hung(Sink):
    """A Cloud Monitoring that never answers."""

    def __init__(self):
        super().__init__()
        self.asked, self.release = threading.Event(), threading.Event()

    def write(self, samples, *, timeout):
        self.asked.set()
        self.release.wait(120)


@pytest.fixture
def hung():
    sink = Hung()
    yield sink
    sink.release.set()


def test_recording_goes_on_while_a_write_hangs_and_closing_does_not_wait_for_it(hung, caplog):
    exporter = Exporter(hung, period=0.001)
    exporter.request(0.1)
    exporter.start()
    assert hung.asked.wait(60)
    started = time.perf_counter()
    for _ in range(1000):
        exporter.request(0.1)
        exporter.stages({"vision_encoding": 0.1})
    exporter.close(0.01)
    assert time.perf_counter() - started < 60  # the write hangs for 120 s
    assert not hung.release.is_set()
    assert exporter._filling["total_inference_ms"].snapshot().count == 1000
    assert "were not written within 0.01 s" in caplog.messages[-1]


def test_a_failed_connection_is_tried_again_with_the_first_points(caplog):
    class NoCredentials(Sink):
        def connect(self):
            self.outcomes.pop(0)()

    def fail():
        raise ExportFailed("no credentials", again=True)

    sink = NoCredentials(fail, lambda: None)
    exporter = Exporter(sink, period=60)
    exporter.start()
    exporter.request(0.1)
    exporter.close(60)
    assert len(sink.written) == 1
    assert caplog.record_tuples[0][1] == logging.ERROR

from __future__ import annotations

import pytest

from vertex_deploy.metrics.points import CountPoint, LatencyPoint, explicit_bounds, histogram, intervals
from vertex_deploy.metrics.types import Histogram, Interval

NOW = 1_800_000_000.0


def count(who: str, end: float, requests: int, *, error: bool = False, seconds: float = 60.0) -> CountPoint:
    return CountPoint(deployed_id=who, start=NOW + end - seconds, end=NOW + end, count=requests, error=error)


def latency(who: str, end: float, requests: int, seconds: float = 60.0) -> LatencyPoint:
    shape = Histogram((10.0, 20.0), (requests, 0, 0))
    return LatencyPoint(deployed_id=who, start=NOW + end - seconds, end=NOW + end, histogram=shape)


def read(
    counts: list[CountPoint], latencies: list[LatencyPoint], *, until: float = 200.0, stable: str = "s"
) -> list[Interval]:
    return intervals(counts, latencies, stable=stable, canary="c", since=NOW, until=NOW + until, settle=180.0)


def test_codes_of_one_period_are_added_and_errors_counted() -> None:
    counts = [count("s", 60, 90), count("s", 60, 10, error=True), count("c", 60, 9)]
    (found,) = read(counts, [latency("s", 60, 100), latency("c", 60, 9)])
    assert found.seconds == 60.0
    assert found.stable is not None
    assert (found.stable.requests, found.stable.errors) == (100, 10)
    assert found.canary is not None
    assert (found.canary.requests, found.canary.errors) == (9, 0)


def test_series_that_do_not_tick_in_step_share_a_period() -> None:
    counts = [count("s", 60, 1), count("c", 63.5, 1), count("s", 120, 1), count("c", 123.5, 1)]
    latencies = [latency("s", 60, 1), latency("c", 63.5, 1), latency("s", 120, 1), latency("c", 123.5, 1)]
    assert [i.end.timestamp() - NOW for i in read(counts, latencies)] == [63.5, 123.5]


def test_a_period_whose_canary_is_late_is_held_back_not_filled_with_zeros() -> None:
    counts = [count("s", 60, 100), count("c", 60, 10), count("s", 120, 100)]
    latencies = [latency("s", 60, 100), latency("c", 60, 10), latency("s", 120, 100)]
    assert len(read(counts, latencies, until=130)) == 1


def test_after_the_settling_time_what_is_missing_is_none() -> None:
    counts = [count("s", 60, 100)]
    (found,) = read(counts, [latency("s", 60, 100)], until=60 + 181)
    assert found.canary is None


def test_a_silent_period_between_two_points_does_not_wait() -> None:
    counts = [count("s", t, 10) for t in (60, 120, 180)] + [count("c", 60, 1), count("c", 180, 1)]
    latencies = [latency("s", t, 10) for t in (60, 120, 180)] + [latency("c", 60, 1), latency("c", 180, 1)]
    assert [i.canary is None for i in read(counts, latencies, until=181)] == [False, True, False]


def test_requests_without_latencies_wait_for_them() -> None:
    counts = [count("s", 60, 100), count("c", 60, 10)]
    assert read(counts, [latency("s", 60, 100)], until=70) == []
    (late,) = read(counts, [latency("s", 60, 100)], until=60 + 181)
    assert late.canary is not None
    assert late.canary.latency_ms is None


def test_errors_whose_series_is_late_are_waited_for_and_not_taken_for_none() -> None:
    counts = [count("s", 60, 100), count("c", 60, 7)]
    latencies = [latency("s", 60, 100), latency("c", 60, 10)]
    assert read(counts, latencies, until=70) == []
    (whole,) = read([*counts, count("c", 60, 3, error=True)], latencies, until=80)
    assert whole.canary is not None
    assert (whole.canary.requests, whole.canary.errors) == (10, 3)
    assert len(read(counts, latencies, until=60 + 181)) == 1, "not for ever"
    later = ([count("s", 120, 100), count("c", 120, 10)], [latency("s", 120, 100), latency("c", 120, 10)])
    assert len(read([*counts, *later[0]], [*latencies, *later[1]], until=121)) == 2, "nor when the next period is there"


def test_nothing_is_expected_of_a_version_without_a_name() -> None:
    (found,) = read([count("c", 60, 10)], [latency("c", 60, 10)], until=61, stable="")
    assert found.stable is None


def test_the_period_is_read_off_the_points() -> None:
    counts = [count(v, float(t), 5, seconds=1.0) for v in "sc" for t in (1, 2, 3)]
    latencies = [latency(v, float(t), 5, seconds=1.0) for v in "sc" for t in (1, 2, 3)]
    found = read(counts, latencies, until=4)
    assert [i.seconds for i in found] == [1.0, 1.0, 1.0]


def test_no_points_are_no_intervals() -> None:
    assert read([], []) == []


def test_bounds_of_exponential_and_linear_buckets() -> None:
    assert explicit_bounds(finite=3, growth=2.0, scale=1.0) == (1.0, 2.0, 4.0, 8.0)
    assert explicit_bounds(finite=2, width=10.0, offset=5.0) == (5.0, 15.0, 25.0)


def test_trailing_buckets_may_be_left_out() -> None:
    assert histogram((1.0, 2.0), [3]).counts == (3, 0, 0)
    with pytest.raises(ValueError, match="bounds need"):
        histogram((1.0,), [1, 2, 3])

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan
from typing import TYPE_CHECKING

import pytest

from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.gauges import PROBE, GaugePoint, JoinedSource, with_gauges
from vertex_deploy.metrics.memory import MemorySource
from vertex_deploy.metrics.types import Interval, VersionSample

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000.0


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


def minute(end: float, stable: int = 9, canary: int = 9) -> Interval:
    return Interval(moment(end), 60.0, VersionSample(stable, 0), VersionSample(canary, 0))


def point(who: str, end: float, value: float, weight: float = 1.0, name: str = "rating") -> GaugePoint:
    return GaugePoint(deployed_id=who, name=name, end=NOW + end, value=value, weight=weight)


def join(found: list[Interval], points: list[GaugePoint], until: float, settle: float = 60.0) -> list[Interval]:
    return with_gauges(found, points, settle={"rating": settle}, ids=("s", "c"), until=NOW + until)


def both(interval: Interval) -> tuple[dict[str, float], dict[str, float]]:
    assert interval.stable is not None
    assert interval.canary is not None
    return dict(interval.stable.gauges), dict(interval.canary.gauges)


def test_means_are_weighted_by_how_many_values_they_are_of() -> None:
    points = [point("s", 30, 1.0, weight=3), point("s", 60, 5.0, weight=1), point("c", 60, 4.0)]
    (found,) = join([minute(60)], points, until=60)
    assert both(found) == ({"rating": 2.0}, {"rating": 4.0})


def test_a_point_on_the_boundary_belongs_to_the_interval_that_ends_there() -> None:
    points = [point("s", 60, 1.0), point("s", 120, 2.0), point("c", 60, 1.0), point("c", 120, 2.0)]
    assert [both(i)[0]["rating"] for i in join([minute(60), minute(120)], points, until=120)] == [1.0, 2.0]


@pytest.mark.parametrize("odd", [point("c", 60, nan), point("c", 60, inf), point("c", 60, 0.0, weight=0)])
def test_what_is_no_number_or_a_mean_of_nothing_is_not_measured(odd: GaugePoint) -> None:
    (found,) = join([minute(60)], [point("s", 60, 4.0), odd], until=200)
    assert both(found) == ({"rating": 4.0}, {})


def test_a_young_interval_waits_for_a_mean_that_may_still_come_and_an_old_one_goes_without() -> None:
    assert join([minute(60)], [point("s", 60, 4.0)], until=119) == []
    (found,) = join([minute(60)], [point("s", 60, 4.0)], until=120)
    assert both(found) == ({"rating": 4.0}, {})


def test_what_comes_after_an_interval_that_waits_waits_too() -> None:
    points = [point("s", 60, 4.0), point("s", 120, 4.0)]
    assert join([minute(60), minute(120)], points, until=119) == []


def test_a_later_point_of_the_version_says_that_nothing_more_comes() -> None:
    points = [point("s", 60, 4.0), point("s", 120, 4.0), point("c", 120, 4.0)]
    first, second = join([minute(60), minute(120)], points, until=120)
    assert both(first)[1] == {}
    assert both(second)[1] == {"rating": 4.0}


def test_a_version_without_requests_is_not_waited_for() -> None:
    (found,) = join([minute(60, canary=0)], [point("s", 60, 4.0)], until=60)
    assert both(found) == ({"rating": 4.0}, {})


class Fixed:
    """A gauge that gives what it holds."""

    def __init__(self, name: str, answer: Sequence[GaugePoint] | CloudError, lag: float = 60.0) -> None:
        self.name, self.lag, self._answer = name, lag, answer
        self.asked: list[tuple[Sequence[str], Sequence[Interval]]] = []

    def points(self, ids: Sequence[str], intervals: Sequence[Interval]) -> Sequence[GaugePoint]:
        self.asked.append((ids, intervals))
        if isinstance(self._answer, CloudError):
            raise self._answer
        return self._answer


def read(source: JoinedSource, until: float, stable: str = "s") -> Sequence[Interval]:
    return source.read(stable=stable, canary="c", since=moment(0), until=moment(until))


def test_metrics_of_several_sources_meet_in_one_interval() -> None:
    rating = Fixed("rating", [point("s", 60, 4.0), point("c", 60, 5.0)])
    cost = Fixed("cost", [point("s", 60, 0.1, name="cost"), point("c", 60, 0.2, name="cost")])
    source = JoinedSource(MemorySource([minute(60)]), [rating, cost])
    (found,) = read(source, 60)
    assert both(found) == ({"rating": 4.0, "cost": 0.1}, {"rating": 5.0, "cost": 0.2})
    assert source.problem is None


def test_a_source_that_is_gone_takes_nothing_from_the_others_and_is_told() -> None:
    gone = Fixed("cost", CloudError("refused", code="UNAVAILABLE", transient=True))
    source = JoinedSource(MemorySource([minute(60)]), [Fixed("rating", [point("s", 60, 4), point("c", 60, 5)]), gone])
    assert read(source, 119) == [], "what may still be read is waited for"
    (found,) = read(source, 120)
    assert both(found) == ({"rating": 4.0}, {"rating": 5.0})
    assert str(source.problem) == "cost: refused"
    assert source.problem is not None
    assert source.problem.transient


def test_of_several_problems_a_lasting_one_is_not_waited_out() -> None:
    passing = Fixed("a", CloudError("later", code="UNAVAILABLE", transient=True))
    lasting = Fixed("b", CloudError("never", code="INVALID_ARGUMENT"))
    source = JoinedSource(MemorySource(), [passing, lasting])
    read(source, 60)
    assert source.problem is not None
    assert (source.problem.code, source.problem.transient) == ("INVALID_ARGUMENT", False)
    assert str(source.problem) == "a: later; b: never"


def test_a_problem_is_forgotten_once_the_source_can_be_read() -> None:
    gauge = Fixed("rating", CloudError("refused"))
    source = JoinedSource(MemorySource(), [gauge])
    read(source, 60)
    gauge._answer = []
    read(source, 120)
    assert source.problem is None


def test_without_any_interval_a_source_is_asked_all_the_same_so_that_its_absence_is_noticed() -> None:
    gauge = Fixed("rating", [])
    assert read(JoinedSource(MemorySource(), [gauge]), 60, stable="") == []
    ((ids, (probe,)),) = gauge.asked
    assert (ids, probe.end, probe.seconds) == (["c"], moment(60), PROBE)


def test_the_slowest_source_says_how_long_is_waited() -> None:
    source = JoinedSource(MemorySource(lag=180.0), [Fixed("a", [], lag=60.0), Fixed("b", [], lag=200.0)])
    assert source.lag == 200.0


def test_requests_that_cannot_be_read_are_an_error_as_ever() -> None:
    source = JoinedSource(MemorySource(failure=CloudError("no")), [Fixed("rating", [])])
    with pytest.raises(CloudError, match="no"):
        read(source, 60)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from vertex_deploy.rollout.bands import Count, rates, wilson


@given(st.integers(1, 100_000), st.data())
def test_the_band_is_wilsons(requests: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, requests))
    assert wilson(bad, requests) == pytest.approx(proportion_confint(bad, requests, method="wilson"), abs=1e-12)


def test_no_requests_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def counts(*numbers: tuple[int, int]) -> list[Count]:
    return [Count(start=i, end=i + 1, requests=n, bad=k) for i, (n, k) in enumerate(numbers)]


def test_few_requests_are_taken_together_until_they_say_something() -> None:
    found = rates(counts(*[(20, 1)] * 10), span=400)
    assert [(rate.start, rate.end, rate.requests, rate.rate) for rate in found] == [
        (0, 5, 100, 0.05),
        (5, 10, 100, 0.05),
    ]


def test_a_stretch_is_never_longer_than_a_part_of_the_plot() -> None:
    found = rates(counts(*[(1, 0)] * 10), span=48)
    assert {rate.end - rate.start for rate in found} == {2}


def test_many_intervals_become_no_more_stretches_than_can_be_seen() -> None:
    found = rates(counts(*[(1000, 1)] * 8000), span=8000)
    assert len(found) == 80
    assert sum(rate.requests for rate in found) == 8_000_000


def test_a_stretch_does_not_go_over_an_interval_without_requests() -> None:
    found = rates(counts((10, 1), (0, 0), (10, 0)), span=400)
    assert [(rate.start, rate.end, rate.rate) for rate in found] == [(0, 1, 0.1), (2, 3, 0.0)]


def test_a_stretch_does_not_go_over_missing_time() -> None:
    early, late = Count(start=0, end=1, requests=10, bad=0), Count(start=60, end=61, requests=10, bad=0)
    assert [(rate.start, rate.end) for rate in rates([early, late], span=4000)] == [(0, 1), (60, 61)]

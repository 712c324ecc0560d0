from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertex_deploy.metrics.types import Histogram
from vertex_deploy.rollout.judge import histograms as h

some = st.lists(st.integers(0, 50), min_size=5, max_size=5).map(lambda c: Histogram((10.0, 20.0, 40.0, 80.0), tuple(c)))


def test_quantile_interpolates_inside_the_bucket():
    assert h.quantile(Histogram((100.0, 200.0), (50, 50, 0)), 0.75) == pytest.approx(150)
    assert h.quantile(Histogram((100.0, 200.0), (0, 0, 9)), 0.5) == 200
    assert h.quantile(Histogram((100.0, 200.0), (0, 0, 0)), 0.5) is None
    assert h.quantile(Histogram((), (9,)), 0.5) is None


@settings(deadline=None)
@given(some, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_rise(histogram, a, b):
    if histogram.total:
        low, high = (h.quantile(histogram, q) for q in sorted((a, b)))
        assert low <= high


@settings(deadline=None)
@given(some, st.floats(1, 200))
def test_what_is_certainly_above_never_exceeds_what_may_be(histogram, limit):
    assert h.certainly_above(histogram, limit) <= h.above(histogram, limit) + 1e-9 <= histogram.total + 1e-6


@settings(deadline=None)
@given(some, some)
def test_adding_keeps_every_request(a, b):
    assert h.add(a, b).total == a.total + b.total
    assert h.add(a, None) == a
    assert h.add(None, None) is None


def test_other_buckets_are_joined_to_those_in_common():
    a = Histogram((10.0, 20.0, 40.0), (1, 2, 3, 4))
    b = Histogram((10.0, 40.0, 80.0), (5, 6, 7, 8))
    assert h.common(a, b) == (Histogram((10.0, 40.0), (1, 5, 4)), Histogram((10.0, 40.0), (5, 6, 15)))


def test_limit_on_a_bound_and_above_all_bounds():
    histogram = Histogram((100.0, 200.0), (1, 2, 4))
    assert h.certainly_above(histogram, 100.0) == 6
    assert h.above(histogram, 100.0) == 6
    assert h.above(histogram, 150.0) == 5
    assert h.certainly_above(histogram, 500.0) == 0
    assert h.above(histogram, 500.0) == 4, "what lies in the open bucket may be above any limit"


def test_cut_is_the_bound_with_the_share_nearest_to_the_wanted_one():
    assert h.cut((10.0, 20.0, 40.0), (80, 14, 5, 1), 0.05) == 20.0
    assert h.cut((10.0, 20.0), (9, 0, 0), 0.05) is None


def test_the_bound_beyond_is_one_that_no_request_slowed_by_the_factor_would_pass():
    bounds = (100.0, 140.0, 200.0)
    assert h.beyond(bounds, (0, 5, 0, 0), 1.0) == 140
    assert h.beyond(bounds, (3, 5, 0, 0), 1.1) == 200
    assert h.beyond(bounds, (0, 5, 0, 0), 1.5) is None, "140 times 1.5 is above all bounds"
    assert h.beyond(bounds, (0, 0, 0, 1), 1.0) is None, "the last bucket has no end"
    assert h.beyond(bounds, (0, 0, 0, 0), 1.0) is None


def test_the_bound_within_counts_from_the_lower_end_of_the_quantiles_bucket():
    bounds = (100.0, 120.0, 150.0)
    assert h.within(Histogram(bounds, (0, 9, 0, 0)), 0.95, 1.25) == 120
    assert h.within(Histogram(bounds, (0, 9, 0, 0)), 0.95, 1.1) == 100
    assert h.within(Histogram(bounds, (0, 9, 0, 0)), 0.95, 0.9) is None
    assert h.within(Histogram(bounds, (9, 0, 0, 0)), 0.95, 10.0) is None, "it begins at 0"
    assert h.within(Histogram(bounds, (0, 0, 0, 0)), 0.95, 1.25) is None

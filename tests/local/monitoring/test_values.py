"""Distributions: percentiles by interpolation, merging, and splitting without loss."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.recorder import LATENCY_BUCKETS
from vertex_deploy.local.monitoring.values import (
    BucketMismatchError,
    Buckets,
    Dist,
    merge,
    part,
    percentile,
    sample_percentile,
)

TENS = Buckets.explicit([10, 20, 30])
_millis = st.floats(min_value=1, max_value=100_000)


def test_values_fall_into_buckets_closed_below_and_open_above() -> None:
    dist = Dist.of([9.9, 10, 19.9, 20, 35], TENS)
    assert dist.counts == (1, 2, 1, 1)
    assert (dist.count, dist.mean) == (5, pytest.approx(18.96))


@pytest.mark.parametrize(
    ("counts", "percent", "value"),
    [
        ((0, 10, 0, 0), 50, 15.0),
        ((0, 10, 0, 0), 100, 20.0),
        ((0, 10, 0, 0), 0, 10.0),
        ((0, 5, 5, 0), 50, 20.0),
        ((0, 5, 5, 0), 75, 25.0),
        ((4, 0, 0, 0), 50, 5.0),
        ((0, 0, 0, 4), 99, 30.0),
    ],
)
def test_a_percentile_is_interpolated_inside_its_bucket(counts: tuple[int, ...], percent: float, value: float) -> None:
    assert percentile(Dist(sum(counts), 0, 0, TENS, counts), percent) == pytest.approx(value)


@given(st.lists(_millis, min_size=1, max_size=60))
def test_percentiles_never_fall_as_the_percent_rises(values: list[float]) -> None:
    dist = Dist.of(values, LATENCY_BUCKETS)
    found = [percentile(dist, p) for p in (0, 5, 50, 95, 99, 100)]
    assert found == sorted(found)


@given(st.lists(st.floats(min_value=20, max_value=500), min_size=1, max_size=200))
def test_the_latency_buckets_give_a_p95_within_five_percent(values: list[float]) -> None:
    # The value whose rank the percentile falls on, without interpolation between samples.
    exact = sorted(values)[max(-(-len(values) * 95 // 100) - 1, 0)]
    assert percentile(Dist.of(values, LATENCY_BUCKETS), 95) == pytest.approx(exact, rel=0.05 + 1e-9)


@given(st.lists(st.lists(_millis, max_size=20), min_size=1, max_size=5))
def test_merging_is_the_distribution_of_all_values(groups: list[list[float]]) -> None:
    merged = merge([Dist.of(g, LATENCY_BUCKETS) for g in groups])
    whole = [v for g in groups for v in g]
    direct = Dist.of(whole, LATENCY_BUCKETS)
    assert (merged.count, merged.counts) == (direct.count, direct.counts)
    assert merged.mean == pytest.approx(direct.mean)
    assert merged.ssd == pytest.approx(direct.ssd, rel=1e-6, abs=1e-3)


def test_the_spread_is_the_sum_of_squared_deviations() -> None:
    values = [3.0, 5.0, 13.0]
    assert Dist.of(values, TENS).ssd == pytest.approx(statistics.pvariance(values) * 3)


def test_different_buckets_are_not_merged() -> None:
    with pytest.raises(BucketMismatchError):
        merge([Dist.of([1], TENS), Dist.of([1], LATENCY_BUCKETS)])


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1), max_size=5))
def test_parts_of_a_count_add_up_to_it(count: int, cuts: list[float]) -> None:
    edges = [0.0, *sorted(cuts), 1.0]
    assert sum(part(count, a, b) for a, b in itertools.pairwise(edges)) == count


def test_a_percentile_of_numbers_lies_between_ranks() -> None:
    assert sample_percentile([4, 1, 3, 2], 50) == 2.5
    assert sample_percentile([7], 99) == 7


@pytest.mark.parametrize(
    ("buckets", "bounds"),
    [
        (Buckets.exponential(3, 2.0, 1.0), (1, 2, 4, 8)),
        (Buckets("linear", (2, 5.0, 10.0)), (10, 15, 20)),
    ],
)
def test_bounds_follow_from_the_bucket_options(buckets: Buckets, bounds: tuple[float, ...]) -> None:
    assert buckets.bounds == bounds

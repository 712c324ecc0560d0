from __future__ import annotations

import statistics

import pytest

from serving.export.distribution import BOUNDS_MS, FINITE_BUCKETS, GROWTH, SCALE_MS, Distribution


def filled(*values):
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    return distribution.snapshot()


def test_count_mean_and_deviation_are_those_of_the_values():
    values = [3.0, 12.5, 12.5, 900.0, 0.01]
    got = filled(*values)
    assert got.count == sum(got.buckets) == 5
    assert got.mean == pytest.approx(statistics.fmean(values))
    assert got.squares == pytest.approx(statistics.pvariance(values) * 5)


def test_deviation_keeps_its_digits_where_values_are_large_and_alike():
    got = filled(1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16)
    assert got.squares == pytest.approx(90)


def test_buckets_are_those_that_the_api_derives_from_the_three_numbers():
    # google.api.Distribution: bucket i (from 1) begins at scale * growth^(i-1), its lower bound included.
    assert len(BOUNDS_MS) == FINITE_BUCKETS + 1
    assert BOUNDS_MS[8] == SCALE_MS * GROWTH**8
    first, ninth, last = filled(0.1), filled(BOUNDS_MS[8]), filled(1e9)
    assert (first.buckets[0], ninth.buckets[9], last.buckets[FINITE_BUCKETS + 1]) == (1, 1, 1)


def test_nothing_recorded_is_absent_and_not_zero():
    assert Distribution().snapshot() is None

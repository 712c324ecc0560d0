"""Factors of the e-processes, against scipy and by exact enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, nchypergeom_fisher

from vertex_deploy.rollout.judge.likelihood import (
    betting_log_ratios,
    binomial_log_ratios,
    hypergeometric_log_ratios,
    log_normaliser,
    log_sum,
    with_odds,
)

counts = st.integers(0, 400)
odds = st.sampled_from([0.05, 0.5, 0.9, 1.0, 1.25, 1.5, 3.0, 20.0])


def support(canary: int, stable: int, bad: int) -> range:
    return range(max(0, bad - stable), min(canary, bad) + 1)


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.data(), odds, odds)
@example(60, 540, None, 1.25, 4.0)
def test_ratio_is_that_of_scipys_noncentral_hypergeometric(canary, stable, data, null, other):
    bad = 30 if data is None else data.draw(st.integers(1, canary + stable - 1))
    span = support(canary, stable, bad)
    seen = span[len(span) // 3] if data is None else data.draw(st.sampled_from(span))
    expected = [nchypergeom_fisher.logpmf(seen, canary + stable, bad, canary, r) for r in (other, null)]
    assume(all(value > -250 for value in expected))  # scipy's own tail underflows below
    (ratio,) = hypergeometric_log_ratios(
        canary=canary, canary_bad=seen, stable=stable, stable_bad=bad - seen, null=null, alternatives=[other]
    )
    assert ratio == pytest.approx(expected[0] - expected[1], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("canary", "stable", "bad"), [(3, 7, 4), (10, 10, 10), (60, 540, 12), (500, 20, 30), (1, 1, 1)]
)
@pytest.mark.parametrize("null", [1.0, 1.25, 3.0])
def test_mean_factor_is_at_most_one_for_every_tolerated_odds_ratio(canary, stable, bad, null):
    for true in (0.1 * null, 0.5 * null, 0.99 * null, null):
        base = log_normaliser(canary, stable, bad, true)
        mean = 0.0
        for seen in support(canary, stable, bad):
            chance = math.exp(
                math.lgamma(canary + 1)
                - math.lgamma(seen + 1)
                - math.lgamma(canary - seen + 1)
                + math.lgamma(stable + 1)
                - math.lgamma(bad - seen + 1)
                - math.lgamma(stable - bad + seen + 1)
                + seen * math.log(true)
                - base
            )
            (ratio,) = hypergeometric_log_ratios(
                canary=canary,
                canary_bad=seen,
                stable=stable,
                stable_bad=bad - seen,
                null=null,
                alternatives=[null * 3],
            )
            mean += chance * math.exp(ratio)
        assert mean <= 1 + 1e-9
        if true == null:
            assert mean == pytest.approx(1)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.data())
def test_more_bad_requests_of_the_canary_never_weaken_the_evidence(canary, stable, data):
    bad = data.draw(st.integers(0, canary + stable))
    ratios = [
        hypergeometric_log_ratios(
            canary=canary, canary_bad=seen, stable=stable, stable_bad=bad - seen, null=1.25, alternatives=[2.0]
        )[0]
        for seen in support(canary, stable, bad)
    ]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(ratios))


@pytest.mark.parametrize(
    ("canary", "canary_bad", "stable", "stable_bad"),
    [(0, 0, 100, 3), (100, 3, 0, 0), (100, 0, 900, 0), (5, 5, 7, 7), (0, 0, 0, 0)],
)
def test_a_table_without_information_leaves_the_wealth_alone(canary, canary_bad, stable, stable_bad):
    assert hypergeometric_log_ratios(
        canary=canary, canary_bad=canary_bad, stable=stable, stable_bad=stable_bad, null=1.25, alternatives=[2, 9]
    ) == (0.0, 0.0)


def test_millions_of_requests_stay_finite_and_exact():
    (ratio,) = hypergeometric_log_ratios(
        canary=1_000_000, canary_bad=5_000, stable=9_000_000, stable_bad=45_000, null=1.0, alternatives=[1.05]
    )
    expected = [nchypergeom_fisher.logpmf(5_000, 10_000_000, 50_000, 1_000_000, r) for r in (1.05, 1.0)]
    assert ratio == pytest.approx(expected[0] - expected[1], rel=1e-4)


@settings(deadline=None)
@given(st.integers(0, 300), st.data(), st.floats(0.001, 0.5), st.floats(0.001, 0.9))
def test_binomial_ratio_is_scipys(requests, data, null, other):
    bad = data.draw(st.integers(0, requests))
    (ratio,) = binomial_log_ratios(requests=requests, bad=bad, null=null, alternatives=[other])
    assert ratio == pytest.approx(binom.logpmf(bad, requests, other) - binom.logpmf(bad, requests, null), abs=1e-6)


@pytest.mark.parametrize("true", [0.0, 0.002, 0.005])
def test_mean_binomial_factor_is_at_most_one_within_the_limit(true):
    mean = sum(
        binom.pmf(bad, 80, true)
        * math.exp(binomial_log_ratios(requests=80, bad=bad, null=0.005, alternatives=[0.02])[0])
        for bad in range(81)
    )
    assert mean <= 1 + 1e-9


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0.01, 0.99))
def test_a_wager_loses_at_most_its_stake(excess, stake):
    (growth,) = betting_log_ratios(excess=excess, lowest=-1.0, stakes=[stake])
    assert math.exp(growth) == pytest.approx(1 + stake * excess)


def test_log_sum_does_not_overflow():
    assert log_sum([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2))
    assert log_sum([]) == -math.inf
    assert log_sum([-math.inf, 0.0]) == 0


def test_with_odds_multiplies_odds():
    assert with_odds(0.5, 3) == pytest.approx(0.75)

"""Wagers that win no more than needed: still fair under the null, never slower."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
from scipy.stats import binom, nchypergeom_fisher

from vertex_deploy.rollout.judge.likelihood import (
    binomial_chances,
    binomial_log_ratios,
    hypergeometric_chances,
    hypergeometric_log_ratios,
)
from vertex_deploy.rollout.judge.overshoot import log_boost, of_limit, of_table
from vertex_deploy.rollout.judge.process import Process

CANARY, STABLE, BAD, NULL = 6, 9, 5, 1.25
WORSE = (2.0, 6.0, 20.0)


def weigh(process: Process, seen: int, *, boosted: bool = True) -> None:
    ratios = hypergeometric_log_ratios(
        canary=CANARY, canary_bad=seen, stable=STABLE, stable_bad=BAD - seen, null=NULL, alternatives=WORSE
    )
    could = partial(of_table, canary=CANARY, stable=STABLE, bad=BAD, null=NULL, alternatives=WORSE)
    process.multiply(ratios, 1.0, could if boosted else None)


@pytest.mark.parametrize("true", [0.3, 0.9, NULL])
@pytest.mark.parametrize("needed", [4.0, 20.0])
def test_the_chance_of_ever_reaching_what_is_needed_is_at_most_one_over_it(true, needed):
    """Exact, over every path: the whole of the null, not only its edge."""
    chance = [nchypergeom_fisher.pmf(k, CANARY + STABLE, BAD, CANARY, true) for k in range(BAD + 1)]
    reached = {False: 0.0, True: 0.0}
    for path in itertools.product(range(BAD + 1), repeat=4):
        for boosted in reached:
            process = Process(len(WORSE), needed)
            for seen in path:
                weigh(process, seen, boosted=boosted)
            if process.crossed:
                reached[boosted] += math.prod(chance[seen] for seen in path)
    assert reached[False] <= reached[True] <= 1 / needed


@pytest.mark.parametrize("needed", [1.5, 5.0, 19.0])
def test_the_mean_payment_is_exactly_what_was_invested(needed):
    could = of_table(canary=CANARY, stable=STABLE, bad=BAD, null=NULL, alternatives=WORSE)
    invested = [math.log(part) for part in (0.3, 0.4, 0.2)]
    boost = math.exp(log_boost(lambda: could, invested, needed))
    mean = 0.0
    for offset, chance in enumerate(could.chances):
        paid = sum(
            math.exp(wealth + slope * (could.lowest + offset) + start)
            for wealth, slope, start in zip(invested, could.slopes, could.intercepts, strict=True)
        )
        mean += chance * min(boost * paid, needed)
    assert mean == pytest.approx(0.9)


def test_against_a_limit_the_mean_is_kept_as_well():
    could = of_limit(requests=80, null=0.05, alternatives=(0.1, 0.4))
    boost = math.exp(log_boost(lambda: could, [math.log(0.4)] * 2, 19.0))
    ratios = [binomial_log_ratios(requests=80, bad=k, null=0.05, alternatives=(0.1, 0.4)) for k in range(81)]
    paid = [min(boost * sum(0.4 * math.exp(ratio) for ratio in pair), 19.0) for pair in ratios]
    assert sum(binom.pmf(k, 80, 0.05) * pay for k, pay in enumerate(paid)) == pytest.approx(0.8)
    assert boost > 1


def test_nothing_is_raised_where_nothing_could_be_too_much():
    could = of_table(canary=1, stable=1, bad=1, null=1.0, alternatives=(1.5,))
    assert log_boost(lambda: could, [0.0], 20.0) == 0
    assert log_boost(lambda: could, [-100.0], 20.0) == 0
    assert log_boost(lambda: could, [5.0], 20.0) == 0


def test_overdispersed_counts_have_no_known_distribution_and_are_not_raised():
    process, plain = Process(len(WORSE), 20.0), Process(len(WORSE), 20.0)
    ratios = (0.4, 1.5, 2.0)
    process.multiply(ratios, 4.0, lambda: pytest.fail("asked for chances"))
    plain.multiply(ratios, 4.0)
    assert process.log_value == plain.log_value


@pytest.mark.parametrize(("canary", "stable", "bad", "odds"), [(60, 540, 12, 1.25), (3, 400, 9, 3.0), (50, 5, 30, 0.7)])
def test_chances_of_a_table_are_scipys(canary, stable, bad, odds):
    lowest, chances = hypergeometric_chances(canary, stable, bad, odds)
    span = range(lowest, lowest + len(chances))
    expected = [nchypergeom_fisher.pmf(k, canary + stable, bad, canary, odds) for k in span]
    assert chances == pytest.approx(expected, abs=1e-12)
    assert sum(chances) == pytest.approx(1)


@pytest.mark.parametrize(("requests", "share"), [(0, 0.05), (1, 0.5), (80, 0.005), (3000, 0.05)])
def test_chances_against_a_limit_are_scipys(requests, share):
    lowest, chances = binomial_chances(requests, share)
    assert chances == pytest.approx([binom.pmf(lowest + i, requests, share) for i in range(len(chances))], abs=1e-12)
    assert sum(chances) == pytest.approx(1)

"""Where a latency counts as slow: known before the minute it judges, learned from stable alone."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import expon, gamma, lognorm, norm, pareto, uniform, weibull_min

from tests.rollout.judge.samples import BOUNDS, drawn, gate, interval, lognormal, sample
from vertex_deploy.metrics.types import Histogram
from vertex_deploy.rollout.judge import Judge, histograms
from vertex_deploy.rollout.judge.cuts import Placing, Recent

FOUR = (10.0, 20.0, 40.0, 80.0)
P95 = gate(metric="latency_p95", worse_than_stable="0%")
counted = st.lists(st.integers(0, 40), min_size=5, max_size=5).map(lambda c: Histogram(FOUR, tuple(c)))


def hist(*counts: int) -> Histogram:
    return Histogram(FOUR, counts)


@settings(deadline=None)
@given(counted, counted, counted, counted)
def test_with_a_past_no_minute_has_a_say_in_its_own_cut(canary, stable, other_canary, other_stable):
    recent = Recent(0.95)
    recent.learn(hist(80, 14, 5, 1, 0))
    assert recent.place(canary, stable, 1.1) == recent.place(other_canary, other_stable, 1.1)
    assert recent.place(canary, stable, None) == Placing(20.0, None, one_bucket=False)


def test_without_a_past_the_cut_is_that_of_both_versions_together():
    one, other = hist(10, 10, 10, 20, 0), hist(40, 9, 1, 0, 0)
    recent = Recent(0.95)
    assert recent.place(one, other, None).limit == recent.place(other, one, None).limit == 40.0
    recent.learn(other)
    assert recent.place(one, other, None).limit == 20.0


def test_what_is_long_past_counts_less_once_there_is_enough():
    recent, few = Recent(0.95), Recent(0.95)
    for _ in range(20):
        recent.learn(hist(9000, 900, 100, 0, 0))
        few.learn(hist(9, 1, 0, 0, 0))
    assert sum(recent.counts) == pytest.approx(10_000 * (1 - 0.8**20) / 0.2, rel=1e-6)
    assert sum(few.counts) == 200, "with little traffic nothing is forgotten"


def test_an_empty_minute_teaches_nothing_and_other_buckets_start_anew():
    recent = Recent(0.95)
    recent.learn(hist(80, 14, 5, 1, 0))
    recent.learn(None)
    recent.learn(hist(0, 0, 0, 0, 0))
    assert sum(recent.counts) == 100
    recent.learn(Histogram((10.0, 40.0), (1, 2, 3)))
    assert (recent.bounds, recent.counts) == ((10.0, 40.0), (1.0, 2.0, 3.0))


def test_the_past_is_read_in_the_buckets_that_both_versions_share():
    recent = Recent(0.95)
    recent.learn(hist(80, 14, 5, 1, 0))
    shared = Histogram((20.0, 80.0), (1, 1, 1))
    assert recent.place(shared, shared, None).limit == 20.0


def test_where_stables_requests_lie_in_one_bucket_only_what_is_beyond_it_and_the_margin_is_slow():
    placed = Recent(0.95).place(hist(5, 0, 0, 0, 0), hist(5, 0, 0, 0, 0), 1.1)
    assert (placed.limit, placed.one_bucket) == (20.0, True)
    assert Recent(0.95).place(hist(0, 0, 0, 0, 5), hist(0, 0, 0, 0, 5), 1.1).limit is None


@pytest.mark.parametrize("factor", [1.1, 0.9])
def test_accepted_odds_are_those_of_latencies_longer_by_the_margin(factor):
    rng = random.Random(1)
    fine = tuple(float(bound) for bound in range(5, 1000, 5))
    latencies = [math.exp(rng.gauss(math.log(200), 0.35)) for _ in range(50_000)]

    def counts(times: float) -> tuple[float, ...]:
        found = [0.0] * (len(fine) + 1)
        for latency in latencies:
            found[min(int(latency * times // 5), len(fine))] += 1
        return tuple(found)

    def odds(times: float) -> float:
        above = sum(counts(times)[71:])
        return above / (len(latencies) - above)

    assert histograms.tail_odds(fine, counts(1.0), 355.0, factor) == pytest.approx(odds(factor) / odds(1.0), rel=0.05)


SHAPES = {
    "normal": norm(200, 60),
    "lognormal": lognorm(0.35, scale=200),
    "gamma": gamma(4, scale=50),
    "exponential": expon(100, 60),
    "pareto": pareto(3, scale=100),
    "uniform": uniform(100, 200),
    "weibull": weibull_min(4, scale=200),
}


@pytest.mark.parametrize("grows", [1.2, 1.4])
@pytest.mark.parametrize("factor", [1.1, 1.25])
@pytest.mark.parametrize("shape", SHAPES)
def test_wide_buckets_accept_no_less_than_the_margin_says_whatever_the_shape(shape, factor, grows):
    one, found = SHAPES[shape], []
    for moved in (1.0, 1.05, 1.1, 1.15):
        bounds = tuple(50 * moved * grows**n for n in range(20))
        above = [1.0, *one.sf(bounds), 0.0]
        counts = tuple(1e4 * (a - b) for a, b in itertools.pairwise(above))
        limit = histograms.cut(bounds, counts, 0.05)
        share, shifted = one.sf(limit), one.sf(limit / factor)
        true = shifted / (1 - shifted) * (1 - share) / share
        found.append(histograms.tail_odds(bounds, counts, limit, factor) / true)
    assert min(found) > 0.99
    # The wider the buckets, the more; most of a tail that falls and then ends, as Weibull's here.
    assert max(found) < (1.4 if grows < 1.3 else 2.8)


def test_what_is_left_of_requests_long_past_places_no_margin():
    bounds = (10.0, 20.0, 30.0, 40.0)
    for counts in ((1e-140, 0.0, 90.0, 10.0, 0.0), (1e-140, 90.0, 10.0, 1e-300, 0.0), (0.0, 0.0, 90.0, 10.0, 1e-12)):
        assert histograms.tail_odds(bounds, counts, 30.0, 1.1) >= 1
        assert histograms.tail_odds(bounds, counts, 30.0, 0.9) <= 1


def test_stable_before_the_split_shows_a_slow_canary_in_the_first_minute():
    """With half of all requests slow, the cut of both together is among the canary's own latencies."""
    rng = random.Random(3)
    first = drawn(1, rng, requests=(30, 30), medians=(200.0, 400.0))
    alone, shown = Judge([P95]), Judge([P95])
    for n in range(-29, 1):
        shown.update(interval(n, sample(60, 0, lognormal(60, 200.0, rng)), None))
    for judge in (alone, shown):
        judge.begin_step("50%", interval(0, None, None).end)
    assert shown.look().readings[0].evidence == 1, "stable alone is no evidence"
    assert shown.update(first).outcome == "fail"
    assert alone.update(first).outcome != "fail"


def test_stable_before_the_split_is_neither_window_nor_measurement():
    rng = random.Random(3)
    judge = Judge([P95])
    judge.begin_step("50%", interval(0, None, None).end)
    for n in range(-5, 1):
        verdict = judge.update(interval(n, sample(60, 0, lognormal(60, 200.0, rng)), None))
    (reading,) = verdict.readings
    assert (reading.samples, reading.stable_samples, reading.outcome) == (0, 0, "insufficient")
    assert verdict.notes == ()


def test_new_buckets_of_the_canary_are_judged_by_stables_past():
    rng = random.Random(4)
    judge, coarse = Judge([P95]), BOUNDS[::2]
    for n in range(-29, 1):
        judge.take(interval(n, sample(60, 0, lognormal(60, 200.0, rng)), None))
    slow = Histogram(coarse, tuple(30 if bound == len(coarse) - 3 else 0 for bound in range(len(coarse) + 1)))
    assert judge.update(interval(1, sample(30, 0, lognormal(30, 200.0, rng)), sample(30, 0, slow))).outcome == "fail"

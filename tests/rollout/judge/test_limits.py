"""What no test can beat: the bounds against scipy and simulation, and what the benchmark makes of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, entropy

from bench.judge import __main__ as command
from bench.judge import limits, measure, scenarios
from bench.judge.limits import Hardest

DOUBLED = scenarios.Scenario("errors 0.5% to 1%", "errors", 0.005, factor=2.0, null=False, volume=600, weight=0.5)
SLOWER = scenarios.Scenario("latency x 1.25", "latency", 200.0, factor=1.25, null=False, volume=60, weight=0.5)


def test_relative_entropy_of_coins_is_scipys():
    assert limits.coin_entropy(0.3, 0.1) == pytest.approx(entropy([0.3, 0.7], [0.1, 0.9]))
    assert limits.coin_entropy(1.0, 0.05) == pytest.approx(math.log(20))


def test_power_against_a_known_rate_is_that_of_the_most_powerful_binomial_test():
    alone = Hardest(0.01, 0.02, 0.01, 0.01, 0.0, 40.0)
    sure = int(binom.isf(0.05, 400, 0.01))
    lots = (0.05 - binom.sf(sure, 400, 0.01)) / binom.pmf(sure, 400, 0.01)
    expected = binom.sf(sure, 400, 0.02) + lots * binom.pmf(sure, 400, 0.02)
    assert limits.power(alone, 10, 0.05) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scenario", [DOUBLED, SLOWER])
def test_power_is_that_of_a_simulated_likelihood_ratio_test_with_random_traffic(scenario):
    pair, minutes, rng = limits.hardest(scenario, margin=True), 8, np.random.default_rng(1)

    def ratios(stable, canary):
        total = np.zeros(20_000)
        for requests, share, worse, accepted in (
            (pair.stable_requests, stable, pair.stable, pair.accepted_stable),
            (pair.canary_requests, canary, pair.canary, pair.accepted_canary),
        ):
            seen = rng.poisson(minutes * requests, total.size)
            bad = rng.binomial(seen, share)
            total += bad * math.log(worse / accepted) + (seen - bad) * math.log((1 - worse) / (1 - accepted))
        return total

    line = np.quantile(ratios(pair.accepted_stable, pair.accepted_canary), 0.95)
    simulated = float((ratios(pair.stable, pair.canary) > line).mean())
    assert limits.power(pair, minutes, 0.05) == pytest.approx(simulated, abs=0.03)


def test_least_median_is_the_first_minute_with_the_power_of_half_the_detections():
    pair = limits.hardest(DOUBLED, margin=True)
    first = next(minute for minute in range(1, 61) if limits.power(pair, minute, 0.05) >= 0.45)
    assert limits.least_median(pair, 0.9, 0.05) == first


def test_walds_bound_holds_for_his_own_test_and_is_nearly_reached():
    pair, rng, runs = Hardest(0.01, 0.02, 0.0125, 0.0125, 50.0, 50.0), np.random.default_rng(2), 4000
    high, low = math.log(0.9 / 0.05), math.log(0.1 / 0.95)

    def walk(stable, canary):
        bad = np.stack([rng.binomial(50, share, (2000, runs)) for share in (stable, canary)])
        total = np.zeros((2000, runs))
        for seen, worse, accepted in zip(
            bad, (pair.stable, pair.canary), (pair.accepted_stable, pair.accepted_canary), strict=True
        ):
            total += seen * math.log(worse / accepted) + (50 - seen) * math.log((1 - worse) / (1 - accepted))
        path = total.cumsum(axis=0)
        end = ((path >= high) | (path <= low)).argmax(axis=0)
        return end + 1, path[end, np.arange(runs)] >= high

    _, alarms = walk(pair.accepted_stable, pair.accepted_canary)
    ended, detected = walk(pair.stable, pair.canary)
    bound = limits.least_mean(pair, float(detected.mean()), float(alarms.mean()))
    # The rest of d(b, a) / I is what the test that may also end early for the accepted one gains: nothing.
    assert 0.97 * bound <= ended.mean() <= 1.15 * bound


@pytest.mark.parametrize("margin", [True, False])
def test_no_accepted_pair_of_error_rates_is_harder_to_tell(margin):
    pair, factor = limits.hardest(DOUBLED, margin=margin), 1.25 if margin else 1.0

    def information(rate):
        return replace(pair, accepted_stable=rate, accepted_canary=rate * factor).information

    oracle = minimize_scalar(information, bounds=(0.004, 0.012), method="bounded")
    assert pair.information == pytest.approx(oracle.fun, rel=1e-4)
    assert pair.accepted_canary == pytest.approx(pair.accepted_stable * factor)


def test_latencies_are_told_by_the_bound_that_the_judge_counts_above():
    assert limits.cut_ms(200.0) in scenarios.BOUNDS
    assert limits.slower(200.0, limits.cut_ms(200.0)) == pytest.approx(0.05, abs=0.02)
    pair = limits.hardest(SLOWER, margin=True)
    odds = [share / (1 - share) for share in (pair.accepted_stable, pair.accepted_canary)]
    slowed = limits.slower(220.0, limits.cut_ms(200.0))
    assert odds[1] / odds[0] == pytest.approx(slowed / (1 - slowed) * (1 - pair.stable) / pair.stable)


@pytest.mark.parametrize("scenario", [DOUBLED, SLOWER])
def test_bad_requests_a_minute_are_those_that_the_benchmark_counts(scenario):
    drawn = scenarios.draw(scenario, 200, np.random.default_rng(3))
    assert measure.bad_requests(drawn).mean() == pytest.approx(limits.bad_a_minute(scenario), rel=0.05)


def test_a_canary_with_nothing_wrong_has_no_limit():
    with pytest.raises(ValueError, match="'A/A' is not a canary that is worse"):
        limits.hardest(scenarios.Scenario("A/A", "errors", 0.005), margin=True)


def row(scenario, ours, rival, runs=100):
    cells = [
        measure.Cell(name, failed, *measure.wilson(failed, runs), minutes, bad)
        for name, (failed, minutes, bad) in {measure.OURS: ours, measure.RIVAL: rival}.items()
    ]
    return measure.Row(scenario, runs, tuple(cells))


def test_what_no_test_can_do_is_listed_apart_and_never_counted_as_met():
    lucky = row(SLOWER, (1.0, 2.0, 3.0), (1.0, 10.0, 45.0))
    _, time, bad = measure.targets([lucky])
    for target in (time, bad):
        assert (target.met, target.of, target.misses) == (0, 0, ())
        assert "at least" in target.impossible[0]


def test_what_a_test_can_do_is_met_or_missed():
    rows = [row(DOUBLED, (1.0, minutes, 100.0), (1.0, 60.0, 600.0)) for minutes in (30.0, 31.0)]
    _, time, bad = measure.targets(rows)
    assert (time.met, time.of, len(time.misses), time.impossible) == (1, 2, 1, ())
    assert (bad.met, bad.of) == (2, 2)


@pytest.mark.parametrize(("runs", "met"), [(100, 1), (1000, 0)])
def test_false_alarms_break_the_promise_once_chance_cannot_explain_them(runs, met):
    equal = scenarios.Scenario("A/A", "errors", 0.005)
    alarms = measure.targets([row(equal, (0.08, 9.0, 1.0), (0.0, None, 1.0), runs)])[0]
    assert (alarms.met, alarms.of) == (met, 1)


def test_runs_are_added_to_the_first_ones_where_they_alarmed_too_often(monkeypatch):
    equal = scenarios.Scenario("A/A", "errors", 0.005)

    def first_ones_alarm(scenario, drawn):
        del scenario
        runs = drawn.requests.shape[1]
        return np.full(runs, 1 if runs == 5 else 0)

    monkeypatch.setitem(measure.PEERS, measure.OURS, first_ones_alarm)
    both = measure.measure(equal, 5, 1, [measure.OURS], more=20)
    assert (both.runs, both.cell(measure.OURS).failed) == (25, 0.2)


def test_no_judge_of_ours_is_faster_than_is_possible_in_the_committed_results():
    rows = [measure.Row.from_json(item) for item in json.loads(command.RESULTS.read_text())["rows"]]
    compared = 0
    for each in rows:
        for judge in (measure.OURS, measure.BARE):
            cell = each.cell(judge)
            if each.scenario.null or cell.failed < measure.DETECTS:
                continue
            pair = limits.hardest(each.scenario, margin=judge == measure.OURS)
            least = limits.least_mean(pair, cell.failed, measure.ALPHA) * limits.bad_a_minute(each.scenario)
            # The mean of a hundred runs scatters.
            assert cell.bad >= 0.85 * least, f"{judge}: {measure.title(each)}"
            compared += 1
    assert compared > 60

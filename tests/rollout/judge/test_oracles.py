"""Our arithmetic against libraries that were written by others, and a fast seed of the benchmark."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import ville
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu, norm
from statsmodels.stats.proportion import proportion_confint, proportions_ztest
from ville.evalues import combine

from bench.judge import __main__ as command
from bench.judge import measure, peers, scenarios
from tests.rollout.judge.samples import gate, interval, sample
from vertex_deploy.metrics.types import Histogram
from vertex_deploy.rollout.judge import Judge, histograms
from vertex_deploy.rollout.judge.likelihood import betting_log_ratios, binomial_log_ratios
from vertex_deploy.rollout.judge.process import Process


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.3, 0.5]))
def test_a_fine_mixture_of_binomials_is_villes_bernoulli_test(bits, null):
    grid = [(i + 0.5) / 2000 for i in range(2000)]
    process = Process(len(grid), 20.0, all_at_once=True)
    for bit in bits:
        process.multiply(binomial_log_ratios(requests=1, bad=bit, null=null, alternatives=grid))
    oracle = ville.BernoulliTest(null, prior=(1.0, 1.0)).fit(np.array(bits))
    assert process.log_value == pytest.approx(float(oracle.log_e_values_[-1]), abs=1e-3)


def test_wagers_agree_with_villes_betting_test_on_what_is_proved():
    rng = np.random.default_rng(3)
    for mean, proved in ((0.5, False), (0.45, False), (0.7, True)):
        seen = rng.beta(20 * mean, 20 * (1 - mean), size=300)
        oracle = ville.BettingTest(0.5, alternative="greater", alpha=0.05).fit(seen)
        process = Process(3, 20.0)
        for value in seen:
            process.multiply(betting_log_ratios(excess=float(value) - 0.5, lowest=-0.5, stakes=(0.1, 0.3, 0.8)))
        assert process.crossed is bool(oracle.rejected_) is proved


def test_the_mixture_is_the_mean_of_e_values():
    factors = [1.5, 0.2, 4.0]
    process = Process(3, 20.0, all_at_once=True)
    process.multiply([math.log(factor) for factor in factors])
    assert math.exp(process.log_value) == pytest.approx(float(combine(factors)))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=5, max_size=40, unique=True), st.floats(0, 0.5))
def test_mann_whitney_rejects_when_scipy_does(values, shift):
    half = len(values) // 2
    canary, stable = np.array(values[:half]) + shift, np.array(values[half : 2 * half])
    if len(np.unique(np.concatenate([canary, stable]))) < 2 * half:
        return
    p = mannwhitneyu(canary, stable, alternative="greater", method="asymptotic", use_continuity=False).pvalue
    if abs(norm.isf(p) - norm.isf(0.01)) * math.sqrt(half * half * (2 * half + 1) / 12) > 1:
        assert peers.is_high(canary, stable, tolerance=0.0) is bool(p < 0.01)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 400))
def test_z_statistic_is_statsmodels(canary, stable):
    bad, total = np.array([[stable], [canary]]), np.array([[4000], [400]])
    z, _ = proportions_ztest([canary, stable], [400, 4000])
    assert peers.z_statistic(bad, total)[0] == pytest.approx(z)


@pytest.mark.parametrize("failed", [0, 1, 7, 100])
def test_wilson_interval_is_statsmodels(failed):
    oracle = proportion_confint(failed, 100, method="wilson")
    assert measure.wilson(failed / 100, 100) == pytest.approx(oracle, abs=1e-12)


def test_simulated_latencies_have_the_quantiles_they_should():
    drawn = scenarios.draw(scenarios.Scenario("A/A", "latency", 200.0, volume=60_000), 2, np.random.default_rng(1))
    seen = peers.quantiles(drawn.counts[0].sum(axis=(0, 1)), 0.95)
    assert float(seen) == pytest.approx(200 * math.exp(norm.ppf(0.95) * 0.35), rel=0.03)
    ours = histograms.quantile(
        Histogram(tuple(scenarios.BOUNDS), tuple(drawn.counts[0].sum(axis=(0, 1)).tolist())), 0.95
    )
    assert float(seen) == pytest.approx(ours)


def test_simulated_canaries_get_their_share_and_their_errors():
    bad = scenarios.Scenario("x", "errors", 0.005, factor=4.0)
    drawn = scenarios.draw(bad, 50, np.random.default_rng(1))
    requests, errors = drawn.requests.sum(axis=(1, 2)), drawn.errors.sum(axis=(1, 2))
    assert requests[1] / requests.sum() == pytest.approx(0.1, rel=0.02)
    assert errors / requests == pytest.approx([0.005, 0.02], rel=0.06)


def test_reading_at_every_minute_keeps_false_alarms_within_alpha():
    """A/A with errors at 5%, where chance has the most to say, at every look of an hour."""
    scenario = scenarios.Scenario("A/A", "errors", 0.05, volume=600)
    failed = peers.ours(lambda s: gate(metric="error_rate", evidence={"odds": 1.0}))(
        scenario, scenarios.draw(scenario, 60, np.random.default_rng(5))
    )
    low, _ = measure.wilson(float((failed > 0).mean()), 60)
    assert low <= 0.05


def test_evidence_of_one_minute_is_the_ratio_of_hypergeometric_chances_without_overshoot():
    judge = Judge([gate(metric="error_rate", evidence={"odds": 1.25})])
    reading = judge.update(interval(1, sample(540, 3), sample(60, 4))).readings[0]
    from scipy.stats import nchypergeom_fisher  # noqa: PLC0415 - slow to import, used here alone

    from vertex_deploy.rollout.judge.process import FIRST  # noqa: PLC0415
    from vertex_deploy.rollout.judge.tails import WORSE  # noqa: PLC0415

    odds = [1.25 * factor for factor in (1, *WORSE)]
    chances = np.array([[nchypergeom_fisher.pmf(k, 600, 7, 60, ratio) for k in range(8)] for ratio in odds])
    payments = FIRST * (chances[1:] / chances[0]).mean(axis=0)
    most = reading.evidence_needed - (1 - FIRST)

    def surplus(boost: float) -> float:
        return float((chances[0] * np.minimum(boost * payments, most)).sum()) - FIRST

    boost = brentq(surplus, 1.0, 1e6)
    assert boost > 1.1
    assert reading.evidence == pytest.approx(boost * payments[4] + 1 - FIRST, rel=1e-6)


@pytest.mark.slow
def test_a_fast_seed_of_the_benchmark_meets_what_it_must(tmp_path, capsys):
    out = tmp_path / "results.json"
    assert command.main(["--fast", "--runs", "12", "--json", str(out)]) == 0
    assert "## Targets" in capsys.readouterr().out
    data = json.loads(out.read_text())
    rows = [measure.Row.from_json(item) for item in data["rows"]]
    grid = [row for row in rows if not row.scenario.canary_noise]
    assert {row.scenario.null for row in grid} == {True, False}
    for row in grid:
        cell = row.cell("ours")
        if row.scenario.null:
            assert cell.low <= measure.ALPHA, measure.title(row)
        elif row.scenario.factor >= 4 or row.scenario.metric == "latency":
            assert cell.failed == 1.0, measure.title(row)
    incident = next(row for row in grid if row.scenario.shape == "incident")
    assert incident.cell("argo threshold").failed > 0.8, "the naive gate blames the canary for what hits both"
    assert incident.cell("ours, limit only").failed <= 0.1


@pytest.mark.slow
def test_the_documented_command_gives_the_same_figures_with_one_process_and_with_two(tmp_path):
    given = []
    for jobs in ("1", "2"):
        path = tmp_path / f"{jobs}.json"
        command_line = [
            sys.executable,
            "-m",
            "bench.judge",
            "--runs",
            "1",
            "--fast",
            "--jobs",
            jobs,
            "--json",
            str(path),
        ]
        done = subprocess.run(command_line, cwd=command.ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        given.append(path.read_text())
    assert given[0] == given[1]


def test_the_committed_page_follows_from_the_committed_results():
    assert command.main(["--check"]) == 0

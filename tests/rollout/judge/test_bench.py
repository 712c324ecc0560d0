"""What the benchmark shows its judges, and the test that is told what ours must find."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.judge import __main__ as command
from bench.judge import limits, measure, peers, scenarios
from bench.judge.told import TOLD
from vertex_deploy.rollout.judge import Judge

SLOW = scenarios.Scenario("latency x 2", "latency", 200.0, factor=2.0, null=False, volume=60, weight=0.5)
BAD = scenarios.Scenario("errors 0.5% to 2%", "errors", 0.005, factor=4.0, null=False, volume=600, weight=0.5)


@pytest.mark.parametrize("scenario", [SLOW, BAD, replace(BAD, shape="shared noise"), replace(SLOW, shape="diurnal")])
def test_before_the_split_stable_has_all_traffic_and_its_own_behaviour(scenario):
    drawn = scenarios.draw(scenario, 300, np.random.default_rng(1))
    requests, errors, counts = drawn.before
    assert requests.shape == (300, scenarios.LEAD)
    load = scenarios._load(scenario, -scenarios.LEAD, 0).mean()
    assert requests.mean() == pytest.approx(scenario.volume * load, rel=0.02)
    if counts is None:
        expected = scenario.base * (np.exp(0.5**2 / 2) if scenario.shape == "shared noise" else 1)
        assert errors.sum() / requests.sum() == pytest.approx(expected, rel=0.06)
    else:
        assert (counts.sum(axis=-1) == requests).all()
        assert peers.quantiles(counts.sum(axis=(0, 1)), 0.95) == pytest.approx(356, rel=0.03)


def test_shared_noise_goes_on_through_the_split():
    scenario = replace(BAD, base=0.05, factor=1.0, shape="shared noise", volume=60_000)
    drawn = scenarios.draw(scenario, 400, np.random.default_rng(1))
    last, first = drawn.before[1][:, -1] / drawn.before[0][:, -1], drawn.errors[0, :, 0] / drawn.requests[0, :, 0]
    assert np.corrcoef(np.log(last), np.log(first))[0, 1] == pytest.approx(0.8, abs=0.05)


def test_ours_is_shown_stable_before_the_split_for_gates_on_latency_alone(monkeypatch):
    shown: list[tuple[bool, bool]] = []
    monkeypatch.setattr(Judge, "take", lambda _self, each: shown.append((each.stable is None, each.canary is None)))
    for scenario in (SLOW, BAD):
        shown.clear()
        peers.PEERS["ours"](scenario, scenarios.draw(scenario, 1, np.random.default_rng(1)))
        alone = [scenarios.LEAD * (scenario is SLOW), scenarios.MINUTES]
        assert [shown.count((False, True)), shown.count((False, False))] == alone


def test_mann_whitney_with_the_lead_in_takes_it_for_stables_values():
    hour = np.concatenate([np.full(4, 2.0), np.full(56, 1.0)])
    flat = np.linspace(1.0, 1.1, scenarios.MINUTES)
    assert peers._first_high(hour, flat, np.linspace(1.0, 1.1, scenarios.LEAD), 4) == 4
    assert peers._first_high(flat, flat, np.empty(0), 5) == 0
    assert peers._first_high(flat, flat, np.linspace(0.1, 0.2, scenarios.LEAD), 5) > 0, "what moves on is blamed"


@pytest.mark.parametrize("judge", [measure.OURS, measure.BARE])
@pytest.mark.parametrize("scenario", [SLOW, BAD])
def test_a_judge_that_is_told_lies_between_the_bound_and_ours(judge, scenario):
    row = measure.measure(scenario, 150, 1, [judge])
    pair = limits.hardest(scenario, margin=judge == measure.OURS)
    (told,) = row.told
    least = limits.least_mean(pair, told.failed, measure.ALPHA) * limits.bad_a_minute(scenario)
    assert 0.9 * least <= told.bad <= 1.05 * row.cell(judge).bad


@pytest.mark.parametrize("margin", [True, False])
def test_a_judge_that_is_told_keeps_alpha(margin):
    """Its odds are those of the worse canary, what it sees is a canary that is accepted."""
    pair = limits.hardest(BAD, margin=margin)
    rng, runs = np.random.default_rng(4), 200
    share = np.array([pair.accepted_stable, pair.accepted_canary])[:, None, None]
    requests = rng.poisson(300, (2, runs, scenarios.MINUTES))
    nothing = np.zeros((runs, scenarios.LEAD), dtype=np.int64)
    drawn = scenarios.Draw(requests, rng.binomial(requests, share), None, (nothing, nothing, None))
    failed = float((TOLD[measure.OURS if margin else measure.BARE](BAD, drawn) > 0).mean())
    assert measure.wilson(failed, runs)[0] <= measure.ALPHA


def test_hours_are_added_where_the_canary_is_worse():
    assert measure.measure(BAD, 5, 1, ["z-test at the end"], more=20).runs == 25


def test_a_miss_says_what_the_test_that_is_told_takes():
    cells = [
        measure.Cell(name, 1.0, 0.9, 1.0, minutes, bad)
        for name, minutes, bad in ((measure.BARE, 9.0, 60.0), (measure.RIVAL, 10.0, 90.0))
    ]
    told = (measure.Cell(measure.BARE, 1.0, 0.9, 1.0, 4.0, 25.04),)
    _, time, bad = measure.targets([measure.Row(BAD, 100, tuple(cells), told)], measure.BARE)
    assert "; 4 min if told how much worse; at least" in time.misses[0]
    assert "; 25 if told how much worse; at least" in bad.misses[0]


def test_rows_survive_json():
    row = measure.measure(BAD, 5, 1, [measure.BARE, "z-test at the end"])
    assert row.told
    assert measure.Row.from_json(json.loads(json.dumps(row.to_json()))) == row
    assert "told" not in "".join(command.table([row]))

"""Every option of every kind of gate: a table of combinations."""

from __future__ import annotations

import random
from functools import cache
from itertools import product

import pytest

from tests.rollout.judge.samples import drawn, gate, interval, minute, sample
from vertex_deploy.metrics.types import Interval, VersionSample
from vertex_deploy.rollout.judge import Judge, Outcome, Verdict, replay

RATING = {"query": {"prometheus": "avg(rating)"}, "range": [1, 5], "better": "higher"}
KINDS = {
    "errors, limit": {"metric": "error_rate", "max": "1%"},
    "errors, against stable": {"metric": "error_rate", "worse_than_stable": "10%"},
    "errors, evidence": {"metric": "error_rate", "evidence": {"odds": 1.25}},
    "errors, both": {"metric": "error_rate", "max": "1%", "worse_than_stable": "10%"},
    "rejections, against stable": {"metric": "rejection_rate", "worse_than_stable": "10%"},
    "latency, limit": {"metric": "latency_p95", "max": "500ms"},
    "latency, against stable": {"metric": "latency_p95", "worse_than_stable": "10%"},
    "latency, better than stable": {"metric": "latency_p95", "better_than_stable": "10%"},
    "latency, both": {"metric": "latency_p95", "max": "500ms", "worse_than_stable": "10%"},
    "custom, floor": {"metric": "rating", "min": 3, **RATING},
    "custom, floor and ceiling": {"metric": "rating", "min": 3, "max": 4.9, **RATING},
    "custom, against stable": {"metric": "rating", "worse_than_stable": "10%", **RATING},
    "custom, better than stable": {"metric": "rating", "better_than_stable": "5%", **RATING},
}
FINE = {"metric": "error_rate", "max": "20%", "min_requests": 1, "name": "fine"}
ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@cache
def history(minutes: int = 60, *, bad: bool = False) -> list[Interval]:
    """A canary that is better than stable in everything, or far worse, at 600 requests a minute."""
    rng, made = random.Random(7), []
    for n in range(1, minutes + 1):
        drawn_ = drawn(n, rng, rates=(0.004, 0.3 if bad else 0.001), medians=(200.0, 700.0 if bad else 120.0))
        versions = []
        for version, stars in ((drawn_.stable, 3.5), (drawn_.canary, 1.5 if bad else 4.2)):
            assert version is not None
            rejected = version.requests // 2 if bad and version is drawn_.canary else version.requests // 60
            errors = min(version.errors, version.requests - rejected)
            rating = {"rating": stars + rng.uniform(-0.05, 0.05)}
            versions.append(VersionSample(version.requests, errors, version.latency_ms, rating, rejected))
        made.append(interval(n, *versions))
    return made


def last(fields, *, bad=False) -> Verdict:
    return replay([gate(**one) for one in fields], history(40 if bad else 60, bad=bad))[-1]


def silent(fields) -> Verdict:
    """Ten minutes into a step in which nothing was measured."""
    judge = Judge([gate(**one) for one in fields])
    judge.begin_step("10%", minute(0))
    return judge.look(minute(10))


@ALL
def test_a_good_canary_passes_and_a_bad_one_fails(kind):
    assert last([kind]).outcome is Outcome.PASS
    assert last([kind], bad=True).outcome is Outcome.FAIL


@ALL
def test_fewer_requests_than_min_requests_never_pass_but_do_not_hide_a_bad_canary(kind):
    needy = {**kind, "min_requests": 1_000_000}
    assert last([needy]).outcome is Outcome.INSUFFICIENT
    assert "1000000 are needed" in last([needy]).explanation
    assert last([needy], bad=True).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("no_data", "inconclusive", "critical", "dry_run"),
    list(product(("wait", "fail"), ("hold", "ignore", "fail"), (True, False), (True, False))),
)
@ALL
def test_silence_comes_to_what_the_options_say_and_never_passes_by_itself(
    kind, no_data, inconclusive, critical, dry_run
):
    options = {"no_data": no_data, "inconclusive": inconclusive, "critical": critical, "dry_run": dry_run}
    verdict = silent([{**kind, **options}])
    assert verdict.outcome is not Outcome.PASS
    failed = no_data == "fail"
    assert {reading.outcome for reading in verdict.readings} == {Outcome.FAIL if failed else Outcome.INSUFFICIENT}
    if dry_run:
        assert (verdict.outcome, verdict.if_hold_ended) == (Outcome.INSUFFICIENT, Outcome.INSUFFICIENT)
    elif failed:
        # Alone it weighs more than half of all, so it needs no veto.
        assert (verdict.outcome, verdict.if_hold_ended) == (Outcome.FAIL, Outcome.FAIL)
    else:
        ended = {"hold": Outcome.INSUFFICIENT, "ignore": Outcome.PASS, "fail": Outcome.FAIL}[inconclusive]
        assert (verdict.outcome, verdict.if_hold_ended) == (Outcome.INSUFFICIENT, ended)


@pytest.mark.parametrize(
    ("critical", "weight", "dry_run", "outcome"),
    [
        (True, 0.1, False, Outcome.FAIL),
        (True, 10, False, Outcome.FAIL),
        (False, 0.1, False, Outcome.PASS),
        (False, 10, False, Outcome.FAIL),
        (True, 10, True, Outcome.PASS),
        (False, 10, True, Outcome.PASS),
    ],
)
@ALL
def test_beside_a_gate_that_passes_a_failing_one_counts_by_veto_weight_and_dry_run(
    kind, critical, weight, dry_run, outcome
):
    # The other gate tolerates what this history does, so that the one that is looked at decides alone.
    fine = {**FINE, "max": "90%"}
    failing = {**kind, "critical": critical, "weight": weight, "dry_run": dry_run}
    verdict = last([fine, failing], bad=True)
    assert verdict.outcome is outcome
    assert verdict.readings[0].outcome is Outcome.PASS
    assert Outcome.FAIL in {reading.outcome for reading in verdict.readings[1:]}, "reported, whatever it decides"


@ALL
def test_a_gates_part_of_alpha_is_its_weights_and_a_dry_run_takes_none(kind):
    def needed(**options):
        readings = Judge([gate(**FINE), gate(**{**kind, **options})]).look().readings
        return readings[0].evidence_needed, [reading.evidence_needed for reading in readings[1:]]

    fine, readings = needed(weight=3)
    assert fine == pytest.approx(4 * 2 / 0.05), "a quarter of alpha, for two processes"
    processes = round(readings[0] / (4 / 3 / 0.05))
    assert processes in {1, 2}
    assert readings == pytest.approx([4 / 3 * processes / 0.05] * len(readings))
    assert needed(weight=3, dry_run=True)[0] == pytest.approx(2 / 0.05)


@ALL
def test_initial_delay_looks_away_from_a_bad_beginning(kind):
    judge = Judge([gate(**{**kind, "initial_delay": "5m"})])
    judge.begin_step("10%", minute(0))
    bad, good = history(5, bad=True), history(60)[5:]
    verdict = [judge.update(one) for one in (*bad, *good)][-1]
    assert verdict.outcome is Outcome.PASS


@ALL
def test_the_same_intervals_give_the_same_verdicts_in_another_judge_and_after_json(kind):
    seen = [replay([gate(**kind)], history(20, bad=bad)) for bad in (False, True) for _ in range(2)]
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert [Verdict.from_json(one.to_json()) for one in seen[2]] == seen[2]


BURSTS = [interval(n, sample(5400, 27), sample(600, 30 if n % 10 == 0 else 0)) for n in range(1, 61)]
"""Errors of the canary come in bursts of 30, once in ten minutes: 0.5% like stable's, but clustered."""


@pytest.mark.parametrize(
    "conditions",
    [{"evidence": {}}, {"max": "1%", "evidence": {}}, {"worse_than_stable": "10%", "evidence": {}}],
    ids=["evidence", "limit", "against stable"],
)
def test_overdispersion_forgives_bursts_of_one_version_and_still_finds_a_bad_one(conditions):
    def judged(overdispersion, history):
        fields = {**conditions, "evidence": {"overdispersion": overdispersion}}
        return replay([gate(metric="error_rate", **fields)], history)[-1].outcome

    assert judged(1, BURSTS) is Outcome.FAIL, "independent requests do not come like this"
    assert judged(30, BURSTS) is not Outcome.FAIL
    assert judged(30, history(15, bad=True)) is Outcome.FAIL

"""Which measurements count: every odd arrival is defined behaviour."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rollout.judge.samples import drawn, gate, interval, minute, sample
from vertex_deploy.metrics.types import Histogram, VersionSample
from vertex_deploy.rollout.judge import Judge, Outcome, Verdict

ERRORS = gate(metric="error_rate", max="0.5%", min_requests=200)
GOOD, CANARY = sample(5400, 10), sample(600, 1)
BROKEN = sample(600, 120)


def judged(*intervals, gates=(ERRORS,), step_at=0):
    judge = Judge(gates)
    judge.begin_step("10%", minute(step_at))
    verdict = judge.look()
    for item in intervals:
        verdict = judge.update(item)
    return verdict


def test_good_minutes_pass():
    verdict = judged(interval(1, GOOD, CANARY), interval(2, GOOD, CANARY))
    assert verdict.outcome is Outcome.PASS
    assert verdict.readings[0].samples == 1200
    assert verdict.notes == ()


def test_a_duplicate_is_counted_once():
    once = judged(interval(1, GOOD, CANARY), interval(2, GOOD, CANARY))
    twice = judged(interval(1, GOOD, CANARY), interval(1, GOOD, CANARY), interval(2, GOOD, CANARY))
    assert twice.readings == once.readings
    assert twice.notes == ("1 interval came twice and was counted once",)


def test_a_revised_interval_does_not_replace_the_first():
    verdict = judged(interval(1, GOOD, BROKEN), interval(1, GOOD, CANARY))
    assert verdict.outcome is Outcome.FAIL
    assert "other numbers" in verdict.notes[0]


def test_an_overlapping_interval_is_not_counted():
    verdict = judged(interval(1, GOOD, CANARY), interval(2, GOOD, CANARY, seconds=90))
    assert verdict.readings[0].samples == 600
    assert "overlapped" in verdict.notes[0]


@pytest.mark.parametrize("seconds", [10, 60, 300])
def test_intervals_may_be_of_any_length_and_lengths_may_mix(seconds):
    pieces = [
        interval(n * seconds / 60, sample(9 * seconds), sample(seconds), seconds) for n in range(1, 1800 // seconds)
    ]
    rest = interval(30, sample(9 * seconds), sample(seconds), seconds)
    last_ten = interval(40, sample(5400), sample(600), 600)
    (reading,) = judged(*pieces, rest, last_ten).readings
    assert (reading.samples, reading.window.seconds, reading.outcome) == (2400, 2400, Outcome.PASS)


@pytest.mark.parametrize(("first", "second"), [((10, 600), (5, 60)), ((5, 60), (10, 600))])
def test_an_interval_inside_another_is_not_counted_whichever_came_first(first, second):
    one, other = (interval(n, GOOD, CANARY, seconds) for n, seconds in (first, second))
    verdict = judged(one, other)
    assert verdict.readings[0].samples == 600
    assert "overlapped" in verdict.notes[0]


def test_a_late_point_is_evidence_and_cannot_turn_a_fail_into_a_pass():
    late_bad = judged(interval(1, GOOD, CANARY), interval(3, GOOD, CANARY), interval(2, GOOD, BROKEN))
    assert late_bad.outcome is Outcome.FAIL
    late_good = judged(interval(1, GOOD, BROKEN), interval(3, GOOD, CANARY), interval(2, GOOD, CANARY))
    assert late_good.outcome is Outcome.FAIL
    assert "late" in late_good.notes[0]


def test_a_late_point_of_an_earlier_step_is_evidence_but_not_in_the_window():
    judge = Judge((ERRORS,))
    judge.begin_step("10%", minute(0))
    judge.update(interval(1, GOOD, CANARY))
    judge.begin_step("50%", minute(2))
    judge.update(interval(3, GOOD, CANARY))
    verdict = judge.update(interval(2, GOOD, BROKEN))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.readings[0].samples == 600


@pytest.mark.parametrize(
    "reset",
    [
        VersionSample(-600, 1),
        VersionSample(600, -1),
        VersionSample(600, 601),
        VersionSample(600, 1, Histogram((10.0,), (-5, 9))),
    ],
)
def test_a_counter_that_was_reset_is_not_measured(reset):
    verdict = judged(interval(1, GOOD, reset))
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert verdict.readings[0].samples == 0
    assert "backwards" in verdict.notes[0]


def test_missing_minutes_keep_a_step_from_passing_until_enough_was_measured():
    before = interval(1, GOOD, CANARY)
    gap = judged(before, interval(6, GOOD, CANARY))
    assert gap.outcome is Outcome.INSUFFICIENT
    assert "67% of this step's time has no measurements" in gap.explanation
    rest = [interval(n, GOOD, CANARY) for n in range(7, 50)]
    assert judged(before, interval(6, GOOD, CANARY), *rest).outcome is Outcome.PASS


def test_minutes_missing_at_the_start_of_a_step_count_as_missing():
    assert judged(interval(10, GOOD, CANARY)).outcome is Outcome.INSUFFICIENT


def test_seconds_without_requests_of_a_canary_with_little_traffic_are_no_gap():
    patient = gate(metric="error_rate", max="5%", min_requests=20)
    trickle = [interval(n, sample(15), None if n % 3 == 0 else sample(2), seconds=60) for n in range(1, 31)]
    assert judged(*trickle, gates=(patient,)).outcome is Outcome.PASS
    nobody = [interval(n, None if n % 3 == 0 else sample(15), None if n % 3 == 0 else sample(2)) for n in range(1, 31)]
    assert judged(*nobody, gates=(patient,)).outcome is Outcome.INSUFFICIENT


def test_a_busy_canary_that_was_not_measured_while_stable_was_is_a_gap():
    history = [interval(n, GOOD, None if n % 3 == 0 else CANARY) for n in range(1, 31)]
    verdict = judged(*history)
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "has no measurements" in verdict.explanation


@pytest.mark.parametrize("canary", [None, sample(0)])
def test_a_canary_without_traffic_never_passes(canary):
    verdict = judged(*[interval(n, GOOD, canary) for n in range(1, 31)])
    assert verdict.outcome is Outcome.INSUFFICIENT


@pytest.mark.parametrize("stable", [None, sample(0)])
def test_without_stable_nothing_relative_passes(stable):
    relative = gate(metric="error_rate", worse_than_stable="10%")
    verdict = judged(*[interval(n, stable, CANARY) for n in range(1, 31)], gates=(relative,))
    assert verdict.outcome is Outcome.INSUFFICIENT


@pytest.mark.parametrize("stable", [None, sample(0)])
def test_without_stable_an_absolute_limit_still_fails_a_broken_canary(stable):
    assert judged(interval(1, stable, BROKEN)).outcome is Outcome.FAIL


def test_a_single_request_decides_nothing():
    for errors in (0, 1):
        verdict = judged(interval(1, sample(1), sample(1, errors)))
        assert verdict.outcome is Outcome.INSUFFICIENT
        assert verdict.readings[0].evidence < verdict.readings[0].evidence_needed


def test_zero_errors_in_stable_neither_fail_nor_block_the_canary():
    clean, one = sample(5400, 0), sample(600, 1)
    relative = gate(metric="error_rate", worse_than_stable="10%")
    assert (
        judged(interval(1, clean, sample(600, 0)), interval(2, clean, one), gates=(relative,)).outcome is Outcome.PASS
    )
    bad = judged(*[interval(n, clean, sample(600, 4)) for n in range(1, 4)], gates=(relative,))
    assert bad.outcome is Outcome.FAIL


def test_a_split_that_changes_inside_an_interval_does_not_compare_the_versions():
    # Half a minute at 90/10 without errors, half a minute at 50/50 with an incident that hits both: seen as one
    # interval, the canary's rate is far above stable's.
    mixed = interval(2, sample(5400 // 2 + 1500, 300), sample(300 + 1500, 300))
    relative = gate(metric="error_rate", worse_than_stable="10%")
    judge = Judge((relative,))
    judge.begin_step("10%", minute(0))
    judge.update(interval(1, GOOD, CANARY))
    judge.begin_step("50%", minute(1.5))
    verdict = judge.update(mixed)
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "change of split" in verdict.notes[0]
    unaware = Judge((relative,))
    unaware.update(interval(1, GOOD, CANARY))
    assert unaware.update(mixed).outcome is Outcome.FAIL, "the interval would mislead if it were used"


def test_a_split_that_changes_inside_an_interval_does_not_hide_a_broken_canary():
    judge = Judge((ERRORS,))
    judge.begin_step("10%", minute(0.5))
    assert judge.update(interval(1, GOOD, BROKEN)).outcome is Outcome.FAIL


def test_buckets_may_change_with_the_new_version():
    latency = gate(metric="latency_p95", max="500ms", worse_than_stable="50%")
    fine = Histogram((100.0, 200.0, 400.0, 800.0), (100, 400, 95, 4, 1))
    coarse = Histogram((100.0, 400.0, 800.0), (100, 495, 4, 1))
    minutes = [interval(n, sample(600, 0, fine), sample(600, 0, coarse)) for n in range(1, 6)]
    assert judged(*minutes, gates=(latency,)).outcome is Outcome.PASS


def test_replaying_the_same_intervals_gives_the_same_verdicts():
    rng = random.Random(7)
    gates = (ERRORS, gate(metric="latency_p95", max="500ms", worse_than_stable="10%"))
    minutes = [drawn(n, rng) for n in range(1, 8)]
    assert judged(*minutes, gates=gates) == judged(*minutes, gates=gates)


def test_a_cold_start_within_the_initial_delay_is_not_held_against_the_canary():
    patient = gate(metric="error_rate", max="0.5%", initial_delay="2m")
    history = [interval(1, GOOD, BROKEN), interval(2, GOOD, BROKEN), interval(3, GOOD, CANARY)]
    assert judged(*history).outcome is Outcome.FAIL
    assert judged(*history, gates=(patient,)).outcome is Outcome.PASS
    assert judged(*history[:2], gates=(patient,)).outcome is Outcome.INSUFFICIENT


def test_a_number_that_is_none_is_not_measured():
    stars = gate(metric="rating", min=3, range=[1, 5], query={"prometheus": "avg(rating)"})
    broken = [interval(n, None, sample(600, 0, rating=math.nan)) for n in range(1, 90)]
    assert judged(*broken, gates=(stars,)).outcome is Outcome.INSUFFICIENT


@pytest.mark.parametrize("seconds", [0, -60, math.nan, math.inf])
def test_an_interval_without_length_is_ignored(seconds):
    verdict = judged(interval(1, GOOD, BROKEN, seconds=seconds))
    assert verdict.outcome is Outcome.INSUFFICIENT
    assert "no length" in verdict.notes[0]


counts = st.integers(-5, 400)
samples = st.none() | st.builds(
    lambda requests, errors, low, high, stars: VersionSample(
        requests, errors, Histogram((100.0, 500.0), (low, high, 1)), {"rating": stars}
    ),
    counts,
    counts,
    counts,
    counts,
    st.floats(allow_nan=True, allow_infinity=True),
)
arrivals = st.lists(
    st.builds(interval, st.integers(1, 20), samples, samples, st.sampled_from([60.0, 30.0, 90.0])), max_size=25
)


@settings(deadline=None)
@given(arrivals, st.integers(0, 25), st.booleans())
def test_whatever_arrives_a_pass_rests_on_measured_requests(history, step_at, bake):
    gates = (
        ERRORS,
        gate(metric="latency_p95", max="400ms", worse_than_stable="10%"),
        gate(metric="rating", better="higher", better_than_stable="5%", min=2, range=[1, 5], query={"prometheus": "x"}),
    )
    judge, failed = Judge(gates), False
    for n, item in enumerate(history):
        if n == step_at:
            judge.begin_bake(item.end) if bake else judge.begin_step("50%", item.end)
        verdict = judge.update(item)
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict
        for reading in verdict.readings:
            if reading.outcome is Outcome.PASS:
                assert reading.samples >= 1
                assert reading.window.seconds > 0
                assert reading.value is not None
        if failed and not bake and n != step_at:
            assert verdict.outcome is Outcome.FAIL, "a fail is final"
        failed = verdict.outcome is Outcome.FAIL

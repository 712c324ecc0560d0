"""A controller that starts again has its judge see the whole rollout again: that must take seconds, not minutes."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from tests.pace import slower
from tests.rollout.judge.samples import drawn, gate, interval, minute, sample
from vertex_deploy.rollout.judge import Judge, Outcome
from vertex_deploy.rollout.judge.intake import Ledger

WEEK = 7 * 24 * 60
GATES = (
    gate(metric="error_rate", max="0.5%", min_requests=200),
    gate(metric="error_rate", worse_than_stable="25%"),
    gate(metric="rejection_rate", worse_than_stable="50%"),
    gate(metric="latency_p50", worse_than_stable="10%"),
    gate(metric="latency_p95", max="500ms", worse_than_stable="10%"),
    gate(metric="latency_p99", max="1s"),
)


@pytest.mark.slow
def test_a_week_of_minutes_is_judged_again_in_seconds():
    rng = random.Random(1)
    pool = [drawn(n, rng) for n in range(1, 301)]
    week = [replace(rng.choice(pool), end=minute(n)) for n in range(1, WEEK + 1)]
    pace = slower(time.process_time)
    judge, begin = Judge(GATES), time.process_time()
    for item in week:
        verdict = judge.update(item)
    assert verdict.outcome is Outcome.PASS
    assert time.process_time() - begin < 40 * max(pace, slower(time.process_time))


@pytest.mark.parametrize(("begin", "measured", "missing"), [(2.5, 420.0, 0.0), (2.5, 195.0, 0.5), (2.0, 480.0, 0.0)])
def test_the_rest_of_the_interval_that_a_step_begins_in_is_not_missing(begin, measured, missing):
    ledger = Ledger()
    for n in range(1, 11):
        ledger.take(interval(n, sample(10), sample(10)))
    assert ledger.missing(minute(begin), measured) == pytest.approx(missing)


def test_what_is_taken_in_without_a_look_is_judged_alike():
    rng = random.Random(2)
    hour = [drawn(n, rng) for n in range(1, 31)]
    looked, taken = Judge(GATES), Judge(GATES)
    for item in hour:
        verdict = looked.update(item)
        taken.take(item)
    assert taken.look() == verdict

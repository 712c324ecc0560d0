"""Which of the canary's intervals a limit counts, above all with so little traffic that stable is silent in some."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.rollout.judge.samples import gate, interval, minute, sample
from vertex_deploy.rollout.judge import Judge, Outcome
from vertex_deploy.rollout.judge.shared import ALONE, Shared

if TYPE_CHECKING:
    from vertex_deploy.metrics.types import VersionSample

GATE = gate(metric="error_rate", max="1%", min_requests=100)
MINUTES = 8
RUNS = 20
FINE = (1000, 0)
"""Stable, known to be within 1%."""


def test_what_the_canary_answered_alone_waits_for_stable_and_is_dropped_where_stable_is_over_too() -> None:
    shared = Shared(0.01)
    assert shared.left((3, 3), (0, 0)) == []
    assert shared.left((2, 2), (0, 0)) == []
    assert shared.left((4, 4), (1, 1)) == []
    assert shared.left((5, 5), FINE) == [(5, 5)], "and none of those before it"


def test_what_the_canary_answered_alone_counts_where_stable_is_fine() -> None:
    shared = Shared(0.01)
    assert shared.left((9, 0), FINE) == [(9, 0)]
    assert shared.left((3, 3), (0, 0)) == []
    assert shared.left((4, 4), (1, 0)) == [(3, 3), (4, 4)]


def test_stable_that_broke_the_limit_lately_explains_what_the_canary_answers_alone() -> None:
    shared = Shared(0.01)
    assert shared.left((9, 9), (9, 9)) == []
    assert [shared.left((ALONE, ALONE), (0, 0)) for _ in range(3)] == [[], [], []]


def test_stable_that_never_answers_explains_nothing() -> None:
    shared = Shared(0.01)
    assert shared.left((ALONE - 1, 9), (0, 0)) == []
    assert shared.left((1, 1), (0, 0)) == [(ALONE - 1, 9), (1, 1)]
    assert shared.left((ALONE, 5), (0, 0)) == [(ALONE, 5)]


def blamed(seed: int, *, requests: int, share: float, known: bool, none: bool) -> bool:
    """Whether a canary is ever failed in an incident that fails every request, whoever answers it.

    Args:
        seed: of the draws.
        requests: an interval, of which each is the canary's with the chance ``share``.
        share: see ``requests``.
        known: stable is known to have been within the limit before.
        none: a version without a request was not measured, instead of measured with none.
    """
    rng, judge = random.Random(seed), Judge((GATE,))
    judge.begin_step("", minute(0))
    if known:
        judge.take(interval(1, sample(*FINE), sample(1)))
    for n in range(2, MINUTES + 2):
        canary = sum(rng.random() < share for _ in range(requests))
        counts = (requests - canary, canary)
        stable, tried = (sample(count, count) if count or not none else None for count in counts)
        judge.take(interval(n, stable, tried))
    return judge.look().outcome is Outcome.FAIL


@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize(("requests", "share"), [(3, 0.5), (3, 0.9), (10, 0.9)])
@pytest.mark.parametrize("known", [True, False])
def test_a_shared_incident_is_not_blamed_on_a_canary_that_answers_alone_by_chance(
    requests: int, share: float, known: bool, none: bool
) -> None:
    runs = [blamed(seed, requests=requests, share=share, known=known, none=none) for seed in range(RUNS)]
    assert sum(runs) == 0


@pytest.mark.parametrize("silent", [None, sample(0)])
def test_a_broken_canary_fails_though_stable_is_silent_and_traffic_little(silent: VersionSample | None) -> None:
    judge = Judge((GATE,))
    judge.begin_step("", minute(0))
    outcomes = [judge.update(interval(n, silent, sample(2, 1))).outcome for n in range(1, ALONE // 2 + 1)]
    assert outcomes.index(Outcome.FAIL) == ALONE // 2 - 1

"""A judge that is told how much worse the canary is: what not knowing it costs ours.

It is Wald's sequential test of the accepted odds against the true ones, with the wealth of one e-process, all of it
invested in the first minute and nothing won that is not needed. No judge of a rollout can be this one: it knows the
simulated odds, and is lost where they are others. It shows how much of a missed target is the price of finding
regressions of every size, at any time. It leaves out everything else that ours does.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.judge.limits import cut_ms, hardest
from bench.judge.scenarios import BOUNDS, MINUTES
from vertex_deploy.rollout.judge.likelihood import hypergeometric_log_ratios
from vertex_deploy.rollout.judge.overshoot import of_table
from vertex_deploy.rollout.judge.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.judge.scenarios import Draw, Ints, Scenario

_NEEDED = 20.0


def told(*, margin: bool) -> Callable[[Scenario, Draw], Ints]:
    """The judge, minute by minute; only for a canary that is worse from the first one on.

    Args:
        margin: whether the accepted odds are those of our gate with a margin, or even ones.
    """

    def judge(scenario: Scenario, drawn: Draw) -> Ints:
        pair = hardest(scenario, margin=margin)
        accepted = _odds(pair.accepted_canary) / _odds(pair.accepted_stable)
        true = _odds(pair.canary) / _odds(pair.stable)
        if drawn.counts is None:
            bad = drawn.errors
        else:
            bad = drawn.counts[..., int(np.searchsorted(BOUNDS, cut_ms(scenario.base))) + 1 :].sum(axis=-1)
        runs = range(drawn.requests.shape[1])
        return np.array([_one(drawn.requests[:, run], bad[:, run], accepted, true) for run in runs])

    return judge


def _odds(share: float) -> float:
    return share / (1 - share)


def _one(requests: Ints, bad: Ints, accepted: float, true: float) -> int:
    process = Process(1, _NEEDED, all_at_once=True)
    for minute in range(MINUTES):
        stable, canary = requests[:, minute].tolist()
        stable_bad, canary_bad = bad[:, minute].tolist()
        ratios = hypergeometric_log_ratios(
            canary=canary,
            canary_bad=canary_bad,
            stable=stable,
            stable_bad=stable_bad,
            null=accepted,
            alternatives=(true,),
        )
        both, could = canary_bad + stable_bad, None
        if canary and stable and 0 < both < canary + stable:
            could = partial(of_table, canary=canary, stable=stable, bad=both, null=accepted, alternatives=(true,))
        process.multiply(ratios, 1.0, could)
        if process.crossed:
            return minute + 1
    return 0


TOLD: dict[str, Callable[[Scenario, Draw], Ints]] = {
    "ours": told(margin=True),
    "ours, no margin": told(margin=False),
}
"""Per judge of ours that is held against the targets, what it would be if it were told."""

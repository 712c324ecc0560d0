"""The decision criteria of examples/judge, judged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rollout.judge.samples import interval, lognormal, sample
from vertex_deploy.rollout.judge import Outcome, replay, run_history
from vertex_deploy.spec import load

if TYPE_CHECKING:
    from vertex_deploy.spec.gates import Gate

EXAMPLE = Path(__file__).parents[3] / "examples" / "judge"


def gates() -> tuple[Gate, ...]:
    return load(EXAMPLE / "deploy.yaml").rollout.gates


def history(*, median=140.0, rating=4.5, cost=0.0105, errors=0.001):
    rng, made = random.Random(5), []
    for n in range(1, 121):
        versions = (
            (540, 200.0, 4.0, 0.010, 0.001),
            (60, median, rating, cost, errors),
        )
        made.append(
            interval(
                n,
                *[
                    sample(
                        requests,
                        sum(rng.random() < rate for _ in range(requests)),
                        lognormal(requests, middle, rng),
                        rating=stars + rng.gauss(0, 0.02),
                        cost_per_request=price * rng.uniform(0.95, 1.05),
                    )
                    for requests, middle, stars, price, rate in versions
                ],
            )
        )
    return made


def test_a_version_that_meets_all_four_criteria_passes():
    assert replay(gates(), history())[-1].outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("miss", "metric"),
    [
        ({"median": 200.0}, "latency_p95"),
        ({"rating": 3.4}, "rating"),
        ({"cost": 0.018}, "cost_per_request"),
        ({"errors": 0.04}, "error_rate"),
    ],
)
def test_a_version_that_misses_one_fails_by_it(miss, metric):
    verdict = replay(gates(), history(**miss))[-1]
    assert verdict.outcome is Outcome.FAIL
    assert {reading.metric for reading in verdict.readings if reading.outcome is Outcome.FAIL} == {metric}


def test_the_recorded_history_beside_the_example_passes():
    assert run_history(EXAMPLE / "history.json", gates())[-1].outcome is Outcome.PASS

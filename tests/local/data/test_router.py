from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from random import Random

import pytest

from vertex_deploy.local.data.router import Split, least_outstanding
from vertex_deploy.local.seams import ApiError


@dataclass(eq=False)
class Worker:
    outstanding: int = 0
    ready: bool = True


def test_traffic_follows_the_weights_within_three_sigma():
    split, random, n = Split({"stable": 90, "canary": 10}), Random(3), 20_000
    canary = sum(split.choose(random) == "canary" for _ in range(n))
    assert abs(canary - 0.1 * n) < 3 * sqrt(n * 0.1 * 0.9)


def test_a_weight_of_zero_gets_nothing():
    split = Split({"0": 0, "1": 100})
    assert {split.choose(Random(seed)) for seed in range(50)} == {"1"}
    assert split.weights == {"0": 0, "1": 100}


@pytest.mark.parametrize("draw", [0.0, 0.0999999, 0.1, 0.999999999])
def test_the_edges_of_the_draw_choose_someone(draw):
    class Fixed(Random):
        def random(self):
            return draw

    assert Split({"a": 10, "b": 90}).choose(Fixed()) == ("a" if draw < 0.1 else "b")


@pytest.mark.parametrize("weights", [{"a": 99}, {"a": 50, "b": 60}, {"a": 110, "b": -10}, {"a": 0}])
def test_weights_that_do_not_make_a_hundred_are_refused(weights):
    with pytest.raises(ApiError, match="must sum to 100"):
        Split(weights)


def test_no_weights_are_no_traffic():
    assert not Split({})


def test_the_replica_with_the_least_to_do_is_chosen_among_the_ready():
    idle_but_unready, busy, less_busy = Worker(0, ready=False), Worker(5), Worker(2)
    assert least_outstanding([idle_but_unready, busy, less_busy], Random(1)) is less_busy
    assert least_outstanding([idle_but_unready, busy, less_busy], Random(1), exclude=less_busy) is busy
    assert least_outstanding([idle_but_unready], Random(1)) is None


def test_idle_replicas_share_the_work():
    workers = [Worker(), Worker(), Worker()]
    random = Random(5)
    chosen = [workers.index(least_outstanding(workers, random)) for _ in range(300)]
    assert min(chosen.count(index) for index in range(3)) > 70

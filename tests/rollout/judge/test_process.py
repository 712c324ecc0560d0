"""The wealth of an e-process: a supermartingale under the null, whatever starting times are mixed."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from vertex_deploy.rollout.judge.likelihood import binomial_log_ratios
from vertex_deploy.rollout.judge.process import Process

ALTERNATIVES = (0.1, 0.3, 0.6)


def factors(bad: int, requests: int = 3) -> tuple[float, ...]:
    return binomial_log_ratios(requests=requests, bad=bad, null=0.05, alternatives=ALTERNATIVES)


@pytest.mark.parametrize("true", [0.01, 0.05])
@pytest.mark.parametrize("step_after", [None, 1, 2])
def test_mean_wealth_is_at_most_one_at_every_look(true, step_after):
    means = [0.0] * 4
    for path in itertools.product(range(4), repeat=4):
        process, chance = Process(3, 20.0), 1.0
        for look, bad in enumerate(path):
            if look == step_after:
                process.new_step()
            process.multiply(factors(bad))
            chance *= binom.pmf(bad, 3, true)
            # Each prefix is reached by several paths: divide its mass among them.
            rest = math.prod(binom.pmf(later, 3, true) for later in path[look + 1 :])
            means[look] += chance * rest * math.exp(process.log_value)
    assert all(mean <= 1 + 1e-9 for mean in means)
    if true == 0.05:
        assert means == pytest.approx([1.0] * 4)


def test_chance_of_ever_crossing_is_at_most_one_over_the_threshold():
    crossed = 0.0
    for path in itertools.product(range(4), repeat=6):
        process = Process(3, 10.0)
        for bad in path:
            process.multiply(factors(bad))
        if process.crossed:
            crossed += math.prod(binom.pmf(bad, 3, 0.05) for bad in path)
    assert 0 < crossed <= 0.1


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.floats(1, 50))
def test_overdispersion_only_ever_shrinks_the_investments(path, spread):
    plain, tempered = Process(3, 20.0, all_at_once=True), Process(3, 20.0, all_at_once=True)
    for bad in path:
        plain.multiply(factors(bad))
        tempered.multiply(factors(bad), spread)
    top = max(sum(factors(bad)[i] for bad in path) for i in range(3))
    assert tempered.log_value <= max(top, 0.0) / spread + 1e-9
    assert plain.log_value <= max(top, 0.0) + 1e-9


def test_wealth_held_back_finds_a_canary_that_turns_bad_late():
    held, spent = Process(3, 20.0), Process(3, 20.0, all_at_once=True)
    for bad in [0] * 200 + [2] * 4:
        held.multiply(factors(bad))
        spent.multiply(factors(bad))
    assert held.crossed
    assert not spent.crossed


def test_a_canary_that_turns_bad_after_a_day_is_found_in_minutes():
    process = Process(3, 20.0)
    for _ in range(24 * 60):
        process.multiply((-0.5, -1.0, -2.0))
    minutes = 0
    while not process.crossed and minutes < 60:
        process.multiply((0.5, 1.0, 2.0))
        minutes += 1
    assert minutes <= 10


def test_crossing_is_kept():
    process = Process(3, 20.0)
    for bad in (3, 3, 3):
        process.multiply(factors(bad))
    assert process.crossed
    for _ in range(500):
        process.multiply(factors(0))
    assert process.log_value < math.log(20)
    assert process.crossed


@settings(deadline=None)
@given(st.permutations([0, 0, 1, 2, 3]))
def test_order_does_not_matter_where_all_is_invested_at_once(order):
    process = Process(3, 20.0, all_at_once=True)
    for bad in order:
        process.multiply(factors(bad))
    expected = sum(math.exp(sum(factors(bad)[i] for bad in order)) for i in range(3)) / 3
    assert math.exp(process.log_value) == pytest.approx(expected)

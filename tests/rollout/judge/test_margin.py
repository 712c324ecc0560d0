"""The figures that the judge's guide gives for a canary that is slower by exactly the margin."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench.judge import margin
from bench.judge.scenarios import BOUNDS

GUIDE = Path(__file__).parents[3] / "docs/guides/judge.md"


@pytest.mark.parametrize("shape", margin.SHAPES)
def test_shapes_are_shares_that_rise_from_none_to_all(shape):
    shares = margin.SHAPES[shape](np.concatenate([[1e-9], BOUNDS]))
    assert (shares[0], shares[-1]) == pytest.approx((0, 1), abs=1e-3)
    assert (np.diff(shares) >= 0).all()


@pytest.mark.parametrize("shape", margin.SHAPES)
def test_equal_canaries_pass_and_much_slower_ones_fail(shape):
    share = {factor: margin.alarms(shape, factor, 1.0, runs=10, seed=1, volume=600) for factor in (1.0, 1.5)}
    assert share == {1.0: 0.0, 1.5: 1.0}


def test_a_line_is_printed_for_every_shape(capsys):
    assert margin.main(["--runs", "1", "--volume", "60"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["latencies", "equal", "worst", "slower", "by", "the", "margin", "worst"]
    assert [line.split()[0] for line in lines] == list(margin.SHAPES)
    assert all(re.fullmatch(r"\w+( +\d+\.\d%){4}", line) for line in lines)


def test_the_guide_tells_the_worst_that_is_measured():
    rows = re.findall(r"^\| (\w+) \| ([\d.]+)% \| ([\d.]+)% \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {shape: float(worst) / 100 for shape, _, worst in rows}
    assert list(told) == list(margin.SHAPES)
    # Alpha, and what chance adds in 300 hours.
    assert max(told.values()) <= 0.07
    found = margin.alarms("uniform", 1.1, 1.05, runs=20, seed=1, volume=600)
    assert found == pytest.approx(told["uniform"], abs=0.05)

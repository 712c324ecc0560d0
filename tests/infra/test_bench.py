from __future__ import annotations

import pytest

pytest.importorskip("pulumi")

from bench.infra import __main__ as bench
from bench.infra.programs import run


def test_both_programs_ask_for_the_same_resources_with_the_same_properties():
    ours, bare = run("components", 3), run("bare", 3)
    assert ours == bare
    assert len(ours) == 6


def test_runs_are_compared_in_pairs():
    figures = {
        "bare": [{"program": 2.0, "process": 3.0}, {"program": 1.0, "process": 4.0}, {"program": 9.0, "process": 1.0}],
        "components": [
            {"program": 2.2, "process": 6.0},
            {"program": 5.0, "process": 4.0},
            {"program": 9.0, "process": 9.0},
        ],
    }
    assert bench.ratios(figures) == pytest.approx({"program": 1.1, "process": 2.0})


@pytest.mark.slow
def test_components_cost_no_more_than_the_limit():
    """Over the limit on a busy machine is measured again; what costs too much costs it three times."""
    assert any(bench.ratios(bench.measure(count=100, runs=9))["program"] <= bench.LIMIT for _ in range(3))

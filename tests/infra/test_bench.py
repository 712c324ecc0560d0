from __future__ import annotations

import pytest

pytest.importorskip("pulumi")

from bench.infra.programs import run


def test_both_programs_ask_for_the_same_resources_with_the_same_properties():
    ours, bare = run("components", 3), run("bare", 3)
    assert ours == bare
    assert len(ours) == 6

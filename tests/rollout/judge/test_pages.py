"""The pages of docs/gates follow from the code."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_the_committed_pages_are_those_that_the_code_gives():
    generator = runpy.run_path(str(Path(__file__).parents[3] / "docs" / "gates" / "generate.py"))
    assert generator["main"](["--check"]) == 0

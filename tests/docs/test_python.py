"""Python in the documents runs, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples():
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for code, printed in EXAMPLE.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(code, printed, id=page.stem)


def test_there_are_examples():
    assert list(examples())


@pytest.mark.parametrize(("code", "printed"), list(examples()))
def test_an_example_prints_what_the_page_says(code, printed):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "example", "exec"), {})
    assert said.getvalue() == printed

"""The page that says which test holds which promise names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rollout" / "tested.md"
ROW = re.compile(r"^\| (?!---)(?P<noun>[^|]+) \|.*\| (?P<tests>[^|]*) \|$", re.MULTILINE)


def test_every_test_that_the_page_of_nouns_names_is_there():
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", written))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 100
    assert sorted(named - defined) == []


def test_every_row_names_a_test():
    rows = [row for row in ROW.finditer(PAGE.read_text(encoding="utf-8")) if row["tests"].strip() != "held by"]
    assert len(rows) > 60
    assert [row["noun"] for row in rows if "`test_" not in row["tests"]] == []

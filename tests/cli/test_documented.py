"""What the guides say about ``-o json`` is what the commands print."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge.verdict import Reading, Verdict, Window
from vertex_deploy.rollout.preview import Preview
from vertex_deploy.rollout.view import View

if TYPE_CHECKING:
    from tests.cli.desk import Desk

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def row(guide: str, begins: str) -> list[str]:
    """The names between backticks of a table's row, the first cell left out."""
    (line,) = [line for line in (GUIDES / guide).read_text().splitlines() if line.startswith(f"| {begins}")]
    return re.findall(r"`\"?([a-z_]+)\"?`", line.split("|", 2)[2].replace('", "', "` `").replace('"', "`"))


def names(kind: type) -> list[str]:
    return [item.name for item in fields(kind)]


def test_status_and_what_ends_a_rollout(desk: Desk) -> None:
    assert row("rollout.md", "`status`") == names(View)
    started = desk.run("start", "-o", "json").json
    assert list(started) == [*names(View), "report"]
    assert list(desk.run("status", "-o", "json").json) == names(View)
    assert list(desk.run("watch", "-o", "json").json) == [*names(View), "report"]
    assert [list(view) for view in desk.run("history", "-o", "json").json] == [names(View)]


def test_the_events_of_history_and_of_the_events_file_are_the_same(desk: Desk) -> None:
    said = desk.run("start", "--events", "-")
    events = [json.loads(line) for line in said.out.splitlines()]
    log = desk.run("history", "--id", desk.keeps().name, "-o", "json").json
    assert [{"rollout": desk.keeps().name, **entry} for entry in log] == events
    assert list(log[0]) == ["seq", "at", "kind", "text", "data"]
    assert {"seq", "at", "kind", "text", "data"} <= set(row("rollout.md", "`history`"))


def test_plan(desk: Desk) -> None:
    said = desk.run("plan", "-o", "json").json
    assert list(said) == names(Preview)
    assert set(row("rollout.md", "`plan`")) <= set(said)


def test_judge(desk: Desk) -> None:
    sample = {"requests": 60, "errors": 0}
    history = [{"end": "2026-11-21T10:01:00Z", "seconds": 60, "stable": sample, "canary": sample}]
    said = desk.run("judge", "--history", "-", "-o", "json", stdin=json.dumps(history).encode()).json
    assert list(said) == row("rollout.md", "`judge`") == ["outcome", "verdicts"]
    assert sorted(said["verdicts"][0]) == sorted(names(Verdict))
    reading = said["verdicts"][0]["readings"][0]
    assert sorted(reading) == sorted(names(Reading))
    window = names(Window)
    assert row("judge.md", "`readings`") == [
        name for field in names(Reading) for name in ([field, *window] if field == "window" else [field])
    ]
    assert list(reading["window"]) == window


def test_report_is_the_json_beside_it(desk: Desk) -> None:
    desk.run("start")
    assert desk.run("report", "-o", "json").json == json.loads((desk.keeps() / "report.json").read_text())

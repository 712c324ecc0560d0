from __future__ import annotations

import json
from datetime import UTC, datetime

from vertex_deploy.cli.output import OutputFormat, emit


def test_json_is_for_programs_and_text_is_not_even_made(capsys):
    emit({"at": datetime(2026, 11, 21, tzinfo=UTC)}, OutputFormat.JSON, lambda: 1 / 0)
    assert json.loads(capsys.readouterr().out) == {"at": "2026-11-21 00:00:00+00:00"}


def test_text_ends_with_one_line_break(capsys):
    emit({}, OutputFormat.TEXT, lambda: "a")
    emit({}, OutputFormat.TEXT, lambda: "b\n")
    assert capsys.readouterr().out == "a\nb\n"

"""``vertex-deploy rollout judge``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vertex_deploy.cli.rollout import app
from vertex_deploy.errors import UsageError
from vertex_deploy.rollout.judge import Verdict

EXAMPLE = Path(__file__).parents[3] / "examples" / "judge"
HISTORY = ["judge", "--history", str(EXAMPLE / "history.json")]


def test_the_example_is_judged_by_its_gates():
    result = CliRunner().invoke(app, [*HISTORY, "--gates", str(EXAMPLE / "deploy.yaml"), "-o", "json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["outcome"] == "pass"
    assert len(data["verdicts"]) == 90
    assert Verdict.from_json(data["verdicts"][-1]).outcome == "pass"


def test_text_says_where_the_outcome_changed_and_every_last_reading():
    result = CliRunner().invoke(app, [*HISTORY, "--gates", str(EXAMPLE / "deploy.yaml")])
    lines = result.stdout.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  insufficient  ", lines[0])
    assert any("after 90 intervals: pass" in line for line in lines)
    assert sum(line.startswith("  pass") for line in lines) == 4


def test_without_gates_the_canary_is_compared_with_stable():
    result = CliRunner().invoke(app, [*HISTORY, "-o", "json"])
    metrics = {reading["metric"] for reading in json.loads(result.stdout)["verdicts"][-1]["readings"]}
    assert metrics == {"error_rate", "latency_p95"}


@pytest.mark.parametrize(("errors", "code"), [(90, 10), (0, 12)])
def test_the_exit_code_says_fail_or_undecided(tmp_path, errors, code):
    file = tmp_path / "history.json"
    file.write_text(
        json.dumps(
            [
                {
                    "end": "2026-11-21T10:01:00Z",
                    "seconds": 60,
                    "stable": {"requests": 540, "errors": 0},
                    "canary": {"requests": 100, "errors": errors},
                }
            ]
        )
    )
    assert CliRunner().invoke(app, ["judge", "--history", str(file)]).exit_code == code


def test_an_empty_history_is_undecided(tmp_path):
    (tmp_path / "h.json").write_text("[]")
    result = CliRunner().invoke(app, ["judge", "--history", str(tmp_path / "h.json")])
    assert result.exit_code == 12
    assert "no interval" in result.stdout


def test_a_broken_history_is_a_usage_error(tmp_path):
    (tmp_path / "h.json").write_text('[\n{"end": 1}]')
    result = CliRunner().invoke(app, ["judge", "--history", str(tmp_path / "h.json")])
    assert isinstance(result.exception, UsageError)
    assert "h.json:2" in str(result.exception)

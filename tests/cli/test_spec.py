from __future__ import annotations

import json

import pytest

from tests.cli.test_main import run
from tests.spec.examples import GOOD, swap
from vertex_deploy.errors import ExitCode
from vertex_deploy.spec.schema import schema_text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(swap(("min: 2,", "min: two,"), ("on_failure:", "on_failur:")))
    return tmp_path


def test_check_sums_up_a_valid_spec(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "check", "--env", "local")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "deploy.yaml (local) is valid",
        "  name          lite0",
        "  where         my-project, us-central1, psc endpoint",
        "  machine       g2-standard-8 with L4:1, spot",
        "  replicas      2 to 10",
        "  rollout       10% for 15s -> 50% for 15s -> 100%",
        "  gates         error_rate, latency_p95",
        "  environments  local",
    ]


def test_check_prints_all_problems_and_exits_3(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "check", "bad.yaml")
    assert (code, out) == (ExitCode.SPEC, "")
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["error", "bad.yaml:12", "target.replicas.min"],
        ["error", "bad.yaml:18", "rollout.on_failur"],
    ]


def test_check_prints_problems_as_objects(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "check", "bad.yaml", "-o", "json")
    assert (code, err) == (ExitCode.SPEC, "")
    answer = json.loads(out)
    assert answer["ok"] is False
    assert answer["spec"] is None
    assert answer["problems"][0] == {
        "file": "bad.yaml",
        "line": 12,
        "column": 19,
        "field": "target.replicas.min",
        "message": "must be a whole number of at least 1, not 'two'",
        "fix": "",
    }
    assert answer["problems"][1]["fix"].startswith("did you mean on_failure? (allowed: ")


def test_check_prints_the_spec_with_its_environment_applied(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "check", "-e", "local", "-o", "json")
    answer = json.loads(out)
    assert (code, answer["ok"], answer["problems"]) == (0, True, [])
    assert answer["spec"]["rollout"]["keep_stable"] == "10s"


def test_check_of_a_file_that_is_not_there_is_a_wrong_command_line(folder, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "check", "nope.yaml")
    assert code == ExitCode.USAGE
    assert err == "error: nope.yaml: cannot be read: No such file or directory; give the path of a deploy.yaml\n"


def test_schema_prints_what_is_committed(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "schema") == (0, schema_text(), "")

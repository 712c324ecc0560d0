"""``vertex-deploy local``: options become requests, and what is wrong is said before anything starts."""

import json

import pytest
from typer.testing import CliRunner

from vertex_deploy.cli import local
from vertex_deploy.errors import LocalError, UsageError
from vertex_deploy.local import client, daemon, view

RUNNING = daemon.Running(pid=1, version="1", started=0.0, data="d", roots="/r.pem", ports=daemon.Ports(rest=1))


@pytest.fixture
def sent(monkeypatch):
    """Requests that would be sent; a Local Vertex seems to run."""
    calls = []

    def send(running, method, path, *, body=None, query=None):
        calls.append((method, path, body or query))
        return {
            "fail_share": 0,
            "code": 500,
            "delay_share": 0,
            "delay_ms": 0,
            "deployed": 1,
            **(body or {}),
            "faults": [],
        }

    monkeypatch.setattr(client, "send", send)
    monkeypatch.setattr(daemon.State, "require", lambda self: RUNNING)
    return calls


def run(*arguments):
    return CliRunner().invoke(local.app, arguments, catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["m@2", "--fail", "20%"], {"target": "m@2", "fail_share": 0.2, "code": 500}),
        (["m", "--fail", "1%", "--code", "429"], {"target": "m", "fail_share": 0.01, "code": 429}),
        (["7", "--delay", "300ms"], {"target": "7", "delay_ms": 300.0, "delay_share": 1.0}),
        (["7", "--delay", "1.5s:50%"], {"target": "7", "delay_ms": 1500.0, "delay_share": 0.5}),
        (["7", "--kill-replica"], {"target": "7", "act": "kill"}),
        (["7", "--preempt"], {"target": "7", "act": "preempt"}),
    ],
)
def test_faults_are_sent_as_numbers(sent, arguments, request_):
    result = run("fault", *arguments, "-o", "json")
    assert result.exit_code == 0
    assert sent == [("POST", "/local/v1/faults", request_)]
    assert json.loads(result.stdout)["done"]


def test_up_says_the_project_that_clients_list_by():
    assert "project local-project, region us-central1" in view.started(RUNNING, 1.0)


def test_a_fault_of_what_is_not_deployed_says_so():
    fault = {"target": "m", "fail_share": 0.2, "code": 503, "delay_share": 0, "delay_ms": 0}
    said = "m: 0.2 of requests fail with 503"
    assert view.faults_text({"faults": [{**fault, "deployed": 1}]}) == said
    assert view.faults_text({"faults": [{**fault, "deployed": 0}]}) == f"{said} (nothing of that name is deployed yet)"


def test_faults_are_listed_and_cleared(sent):
    assert run("fault").stdout == "no faults are set\n"
    run("fault", "--clear")
    run("fault", "m", "--clear")
    assert [call[0] for call in sent] == ["GET", "DELETE", "DELETE"]
    assert sent[2][2] == {"target": "m"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fail", "20%"],
        ["m"],
        ["m", "--fail", "20"],
        ["m", "--delay", "300"],
        ["m", "--delay", "300ms:half"],
        ["m", "--fail", "120%"],
        ["m", "--delay", "1s:0%"],
        ["m", "--clear", "--fail", "20%"],
        ["--clear", "--preempt"],
    ],
)
def test_a_fault_that_cannot_be_meant_is_a_usage_error(sent, arguments):
    with pytest.raises(UsageError):
        run("fault", *arguments)
    assert sent == []


@pytest.mark.parametrize("period", ["0s", "60", "2h", "soon"])
def test_a_sample_period_that_makes_no_sense_starts_nothing(monkeypatch, tmp_path, period):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--sample-period"):
        run("up", "--sample-period", period)
    assert list(tmp_path.iterdir()) == []


def test_env_is_lines_for_a_shell_or_json(sent):
    text = run("env").stdout
    assert "export VERTEX_DEPLOY_AIPLATFORM_ENDPOINT=http://127.0.0.1:0" in text
    assert all(line.startswith(("export ", "#")) for line in text.splitlines())
    assert json.loads(run("env", "-o", "json").stdout)["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"


@pytest.mark.parametrize("command", ["down", "status", "env", "fault"])
def test_without_a_running_one_the_error_says_how_to_start_it(monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LocalError, match="vertex-deploy local up"):
        run(command)


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "env", "fault"])
def test_every_help_has_an_example_and_fits_a_screen(command):
    text = run(command, "--help").stdout
    assert "vertex-deploy local" in text.partition("\nExample:\n  ")[2]
    assert len(text.splitlines()) <= 30

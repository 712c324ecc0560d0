"""The commands that need no cloud: what they print, and what they exit with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.rollout.group_world import Pair
from tests.rollout.world import World, spec_with, step_to
from vertex_deploy.cli.output import OutputFormat
from vertex_deploy.cli.rollout import app
from vertex_deploy.cli.screen import Screen
from vertex_deploy.errors import RolloutError
from vertex_deploy.rollout.blobs import DirectoryBlobs
from vertex_deploy.rollout.machine import Phase
from vertex_deploy.rollout.record import LogEntry

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
name: lite0
gcp: {project: my-project, region: us-central1}
container: {image: torch-aoti}
target: {type: vertex, machine: {type: n1-standard-4}}
"""


class Folder:
    """A working directory with a spec and a store that a world writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "deploy.yaml").write_text(SPEC)
        self.world = World(errors=0.3)
        self.world.blobs = DirectoryBlobs(path / "rollouts" / "lite0")

    def run(self, command: str, *arguments: str) -> Any:
        spec, store = str(self.path / "deploy.yaml"), str(self.path / "rollouts")
        return CliRunner().invoke(app, [command, spec, "--store", store, *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_help_imports_no_client() -> None:
    code = (
        "import sys, runpy; sys.argv = ['vertex-deploy', 'rollout', '--help']\n"
        "try: runpy.run_module('vertex_deploy', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'google.api_core', 'pydantic', 'rich.live'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    assert "start" in found.stdout


def test_without_a_rollout_the_fix_is_named(folder: Folder) -> None:
    found = folder.run("status")
    assert isinstance(found.exception, RolloutError)
    assert "rollout start" in str(found.exception)
    assert isinstance(folder.run("abort").exception, RolloutError)
    assert folder.run("history").stdout == "no rollouts yet\n"


def test_status_history_and_report_of_an_ended_rollout(folder: Folder) -> None:
    record = folder.world.run()
    status = folder.run("status", "-o", "json")
    assert status.exit_code == 0
    assert json.loads(status.stdout)["ending"] == "rolled_back"
    assert record.id in folder.run("history").stdout
    events = json.loads(folder.run("history", "--id", record.id, "-o", "json").stdout)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    first = folder.run("history", "--id", record.id).stdout.splitlines()[0]
    assert first == "2027-01-15T08:00:00Z  started    started by me@here"
    out = folder.path / "deep" / "report.html"
    assert folder.run("report", "--out", str(out)).exit_code == 0
    assert out.read_text().startswith("<!doctype html>")
    assert (folder.path / "rollouts" / "lite0" / record.id / "report.json").is_file()


def test_status_of_a_rollout_under_way_returns_at_once_and_writes_nothing(folder: Folder) -> None:
    controller = folder.world.start()
    step_to(controller, Phase.HOLDING)
    files = {path: path.stat().st_mtime_ns for path in (folder.path / "rollouts").rglob("*") if path.is_file()}
    began = time.monotonic()
    found = folder.run("status", "-o", "json")
    # The hold lasts a minute: a command that waited for it would take longer than this.
    assert time.monotonic() - began < 50
    assert (found.exit_code, json.loads(found.stdout)["phase"]) == (0, "holding")
    assert {p: p.stat().st_mtime_ns for p in (folder.path / "rollouts").rglob("*") if p.is_file()} == files


def test_a_request_that_means_nothing_here_is_refused(folder: Folder) -> None:
    controller = folder.world.start()
    step_to(controller, Phase.HOLDING)
    found = folder.run("resume")
    assert isinstance(found.exception, RolloutError)
    assert "resume has no meaning" in str(found.exception)


def test_status_wait_exits_with_the_rollouts_own_code(folder: Folder) -> None:
    folder.world.run()
    found = folder.run("status", "--wait", "-o", "json")
    assert (found.exit_code, json.loads(found.stdout)["ending"]) == (10, "rolled_back")


def test_promoting_past_an_approval_names_the_option(folder: Folder) -> None:
    folder.world.spec = spec_with(steps=[{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}])
    folder.world.errors = 0.0
    controller = folder.world.start()
    step_to(controller, Phase.AWAITING_APPROVAL)
    found = folder.run("promote")
    assert isinstance(found.exception, RolloutError)
    assert "promote --approver NAME" in str(found.exception)


def test_in_a_log_a_measurement_takes_a_line_when_it_says_something_new_or_once_in_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(spec=spec_with(poll="1s"))
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        controller = world.start()
        controller.journal.on_entry = screen.entry
        controller.run()
    lines = capsys.readouterr().out.splitlines()
    log = world.store().log(world.record().id)
    holds = [line for line in lines if "holding " in line and "pass:" in line]
    measured = [entry for entry in log if entry.kind == "measured"]
    assert len(measured) >= 20
    assert 6 <= len(holds) <= 20
    assert len([line for line in lines if "split set" in line]) == 3


def test_a_measurement_that_changes_the_outcome_is_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    record = World().start().record
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        for seq, (at, outcome) in enumerate([(0, "pass"), (3, "pass"), (4, "fail"), (6, "fail"), (14, "fail")]):
            data = {"verdict": {"outcome": outcome}}
            screen.entry(LogEntry(seq=seq, at=at, kind="measured", text=f"at {at}", data=data), record)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["0", "4", "14"]


def test_a_warning_is_marked_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    record = World().start().record
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        screen.entry(LogEntry(seq=1, at=0.0, kind="warning", text="no quota is known"), record)
    assert capsys.readouterr().out.endswith("  preflight         warning: no quota is known\n")


def test_who_reads_the_history_later_sees_each_entry_in_the_phase_that_it_belongs_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World()
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        controller = world.start()
        controller.journal.on_entry = screen.entry
        controller.run()
    driven = capsys.readouterr().out.splitlines()
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        for entry in world.store().log(world.record().id):
            screen.entry(entry, world.record())
    watched = capsys.readouterr().out.splitlines()
    assert watched[0].split()[1] == "preflight"
    assert watched[-1].split()[1] == "done"
    assert watched[-len(driven) :] == driven


def test_who_begins_to_watch_in_mid_phase_is_not_told_the_phase_that_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World()
    record = world.run()
    entries = world.store().log(record.id)
    later = entries[next(number for number, entry in enumerate(entries) if entry.kind == "measured") :]
    with Screen(lambda _record: [], OutputFormat.TEXT, None) as screen:
        screen.begins_with(later, record)
        screen.entry(later[0], record)
    assert capsys.readouterr().out.split()[1] == "holding"


GROUPED = (
    SPEC
    + """
environments:
  us: {gcp: {region: us-central1}}
  eu: {gcp: {region: europe-west4}}
lockstep: {prod: [us, eu]}
"""
)


def grouped(folder: Folder) -> Pair:
    (folder.path / "deploy.yaml").write_text(GROUPED)
    pair = Pair(World(), World(errors=0.3))
    for member, world in pair.worlds.items():
        world.blobs = DirectoryBlobs(folder.path / "rollouts" / f"lite0@{member}")
    return pair


def test_a_member_of_a_group_is_not_started_alone(folder: Folder) -> None:
    grouped(folder)
    found = folder.run("start", "--env", "us")
    assert isinstance(found.exception, RolloutError)
    assert "rollout start --env prod" in str(found.exception)


def test_a_group_is_shown_as_one_tree_and_exits_as_its_worst_member(folder: Folder) -> None:
    pair = grouped(folder)
    records = pair.run()
    assert folder.run("status", "--env", "prod").stdout.startswith("prod\n├─ us: lite0  rolled_back")
    found = folder.run("status", "--env", "prod", "--wait", "-o", "json")
    assert found.exit_code == 10
    data = json.loads(found.stdout)
    assert data["group"] == "prod"
    assert {member: view["ending"] for member, view in data["members"].items()} == {
        "us": "rolled_back",
        "eu": "rolled_back",
    }
    events = json.loads(folder.run("history", "--env", "prod", "--id", records["us"].id, "-o", "json").stdout)
    assert min(len(log) for log in events["members"].values()) > 10
    assert folder.run("report", "--env", "prod", "--out", str(folder.path / "r.html")).exit_code == 0
    assert (folder.path / "r-us.html").is_file()
    assert json.loads(folder.run("status", "--env", "eu", "-o", "json").stdout)["ending"] == "rolled_back"
    assert "no rollout is under way" in str(folder.run("abort", "--env", "prod").exception)


def test_what_a_rollout_measured_goes_from_history_into_judge(folder: Folder) -> None:
    record = folder.world.run()
    said = folder.run("history", "--measured")
    assert said.stdout == folder.run("history", "--measured", "--id", record.id).stdout
    file = folder.path / "history.json"
    file.write_text(said.stdout)
    spec = folder.path / "judge.yaml"
    spec.write_text(SPEC + "rollout: {gates: [{metric: error_rate, max: 1%, min_requests: 100}]}\n")
    judged = CliRunner().invoke(app, ["judge", "--history", str(file), "--gates", str(spec)])
    assert judged.exit_code == 10
    assert record.verdict is not None
    assert record.verdict["explanation"] in judged.stdout
    assert said.stdout.count("\n") == len(json.loads(said.stdout)) + 2

"""Rollouts of the command line against Local Vertex: real servers, real traffic, Google's gRPC clients."""

import json
import signal
import time
from pathlib import Path

import pytest
from google.cloud import storage

from .rollouts import Rollouts, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROLLOUT = {
    "steps": [{"weight": 20, "hold": "10s"}, {"weight": 50, "hold": "10s"}, {"weight": 100}],
    "gates": [
        {"metric": "error_rate", "max": "5%", "min_requests": 20},
        {"metric": "latency_p95", "max": "2s", "min_requests": 20},
    ],
    "keep_stable": "4s",
}


@pytest.fixture(scope="module")
def served(vertex):
    """The first version has all traffic, and requests come steadily."""
    rollouts = Rollouts(vertex, "tiny", ROLLOUT)
    rollouts.write("one")
    code, out = rollouts.run("start")
    assert code == 0, out
    with rollouts.traffic():
        yield rollouts


def test_a_rollout_killed_in_a_hold_goes_on_and_no_request_fails(served):
    served.write("two")
    served.answers.clear()
    first = served.begin("start")
    until(lambda: served.record()["phase"] == "holding")
    time.sleep(3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = served.status()
    code, out = served.run("start", "-o", "json")
    after = json.loads(out)
    assert (code, after["ending"], after["id"]) == (0, "promoted", before["id"])
    assert Path(served.cli.folder / after["report"]).stat().st_size > 10_000
    time.sleep(1)
    assert set(served.answers) == {"one", "two"}


def test_a_version_that_fails_requests_is_rolled_back_with_its_own_exit_code(served):
    served.write("three")
    first = served.begin("start", "--events", "events.ndjson", "-o", "json")
    until(lambda: served.record()["phase"] == "holding")
    served.cli.run("fault", "tiny@3", "--fail", "50%")
    out, err = first.communicate(timeout=300)
    served.cli.run("fault", "--clear")
    assert first.returncode == 10, err
    found = json.loads(out)
    assert found["ending"] == "rolled_back"
    assert "error_rate" in found["reason"]
    events = [json.loads(line) for line in (served.cli.folder / "events.ndjson").read_text().splitlines()]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["ending"] == "rolled_back"
    (share,) = [s for s in found["shares"] if s["actual"]]
    assert (share["role"], share["actual"]) == ("stable", 100)


def test_a_rollout_kept_in_a_bucket_is_planned_started_and_read_back_from_anywhere(served, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", served.env["STORAGE_EMULATOR_HOST"])
    storage.Client(project="my-project").create_bucket("rollouts")
    served.write("bucket")
    where = ("--store", "gs://rollouts/team")
    code, out = served.run("plan", *where, "-o", "json")
    planned = json.loads(out)
    assert (code, planned["outcome"]) == (0, "start")
    assert [list(step["split"].values()) for step in planned["steps"]] == [[80, 20], [50, 50], [100]]
    first = served.begin("start", *where)
    until(lambda: '"holding"' in served.run("status", *where, "-o", "json")[1])
    first.send_signal(signal.SIGKILL)
    first.communicate()
    code, out = served.run("start", *where, "-o", "json")
    found = json.loads(out)
    assert (code, found["ending"]) == (0, "promoted")
    assert found["report"].startswith("gs://rollouts/team/tiny/")
    assert served.run("status", *where, "--wait")[0] == 0
    assert json.loads(served.run("plan", *where, "-o", "json")[1])["outcome"] == "nothing"


def test_abort_from_another_terminal_ends_both_with_the_same_code(served):
    served.write("four")
    first = served.begin("start")
    until(lambda: served.record()["phase"] == "holding")
    code, out = served.run("abort")
    first.communicate(timeout=300)
    assert (code, first.returncode) == (11, 11), out
    assert served.status()["ending"] == "aborted"

"""Rollouts of the command line against Local Vertex: real servers, real traffic, Google's gRPC clients.

Where a rollout is to be killed, aborted or broken in a hold, it holds until that is done. Where it has to pass, its
gates ask for so few requests and so little of latencies that a machine ten times slower passes them too.
"""

import json
import signal
from pathlib import Path

import pytest
from google.cloud import storage

from .rollouts import HELD, Rollouts, as_json, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROLLOUT = {
    "steps": [{"weight": 20, "hold": "10s"}, {"weight": 50, "hold": "10s"}, {"weight": 100}],
    "gates": [
        {"metric": "error_rate", "max": "20%", "min_requests": 10},
        {"metric": "latency_p50", "max": "20s", "min_requests": 10},
    ],
    "keep_stable": "4s",
    "poll": "1s",
}


def holding(first, second="10s"):
    """The same, with other holds."""
    return ROLLOUT | {"steps": [{"weight": 20, "hold": first}, {"weight": 50, "hold": second}, {"weight": 100}]}


@pytest.fixture(scope="module")
def site(vertex):
    """The first version has all traffic, and requests come steadily."""
    rollouts = Rollouts(vertex, "tiny", ROLLOUT)
    rollouts.write("one")
    code, out = rollouts.run("start")
    assert code == 0, out
    with rollouts.traffic(threads=4, pause=0.1):
        yield rollouts


@pytest.fixture
def served(site):
    """The same, with no rollout under way, whatever became of the test before."""
    site.put_right()
    return site


def test_a_rollout_killed_in_a_hold_goes_on_and_no_request_fails(served):
    # Longer than it takes to notice that it has measured something, and to kill it.
    served.rollout = holding("20s")
    served.write("two")
    served.count_anew()
    first = served.begin("start")
    until(lambda: served.record()["phase"] == "holding" and served.record()["measured_until"] > 0, process=first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = served.status()
    code, after = served.through("start")
    assert (code, after["ending"], after["id"]) == (0, "promoted", before["id"])
    assert Path(served.cli.folder / after["report"]).stat().st_size > 10_000
    answered = served.answers["two"]
    until(lambda: served.answers["two"] > answered + 20)
    assert set(served.answers) == {"one", "two"}


def test_a_version_that_fails_requests_is_rolled_back_with_its_own_exit_code(served):
    served.rollout = holding(HELD)
    served.write("three")
    first = served.begin("start", "--events", "events.ndjson", "-o", "json")
    until(lambda: served.record()["phase"] == "holding", process=first)
    version = served.record()["model"].rpartition("@")[2]
    served.cli.run("fault", f"tiny@{version}", "--fail", "50%")
    code, found = as_json(served.finished(first))
    served.cli.run("fault", "--clear")
    assert (code, found["ending"]) == (10, "rolled_back"), found
    assert "error_rate" in found["reason"]
    events = [json.loads(line) for line in (served.cli.folder / "events.ndjson").read_text().splitlines()]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["ending"] == "rolled_back"
    (share,) = [s for s in found["shares"] if s["actual"]]
    assert (share["role"], share["actual"]) == ("stable", 100)


def test_a_rollout_kept_in_a_bucket_is_planned_started_and_read_back_from_anywhere(served, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", served.env["STORAGE_EMULATOR_HOST"])
    storage.Client(project="my-project").create_bucket("rollouts")
    served.rollout = holding(HELD)
    served.write("bucket")
    where = ("--store", "gs://rollouts/team")
    code, out = served.run("plan", *where, "-o", "json")
    planned = json.loads(out)
    assert (code, planned["outcome"]) == (0, "start")
    assert [list(step["split"].values()) for step in planned["steps"]] == [[80, 20], [50, 50], [100]]
    first = served.begin("start", *where)
    until(lambda: '"holding"' in served.run("status", *where, "-o", "json")[1], process=first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    again = served.begin("start", *where, "-o", "json")
    until(lambda: served.json("status", *where)[1]["controller"] != "", process=again)
    # To the next step, which is held and judged.
    code, out = served.run("promote", *where)
    assert code == 0, out
    code, found = served.resumed(*as_json(served.finished(again)), where=where)
    assert (code, found["ending"]) == (0, "promoted"), found
    assert found["report"].startswith("gs://rollouts/team/tiny/")
    assert served.run("status", *where, "--wait")[0] == 0
    assert json.loads(served.run("plan", *where, "-o", "json")[1])["outcome"] == "nothing"


def test_abort_from_another_terminal_ends_both_with_the_same_code(served):
    served.rollout = holding(HELD)
    served.write("four")
    first = served.begin("start")
    until(lambda: served.record()["phase"] == "holding", process=first)
    code, out = served.run("abort")
    served.finished(first)
    assert (code, first.returncode) == (11, 11), out
    assert served.status()["ending"] == "aborted"

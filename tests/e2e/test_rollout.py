"""Rollouts of the command line against Local Vertex: real servers, real traffic, Google's gRPC clients."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from .conftest import IMAGE, Cli

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SPEC = """
name: {name}
gcp: {{project: my-project, region: us-central1}}
container: {{image: {image}, env: {{WHO: {who}}}}}
target: {{type: vertex, machine: {{type: n1-standard-4}}}}
rollout:
  steps: [{{weight: 20, hold: 10s}}, {{weight: 50, hold: 10s}}, {{weight: 100}}]
  gates:
    - {{metric: error_rate, max: 5%, min_requests: 20}}
    - {{metric: latency_p95, max: 2s, min_requests: 20}}
  keep_stable: 4s
"""


class Rollouts:
    """`vertex-deploy rollout` of one spec, and the traffic on its endpoint."""

    def __init__(self, cli: Cli, name: str) -> None:
        self.cli, self.name = cli, name
        self.env = {**os.environ, **cli.json("env")}
        self.answers: Counter = Counter()

    def write(self, who: str) -> None:
        (self.cli.folder / f"{self.name}.yaml").write_text(SPEC.format(name=self.name, image=IMAGE, who=who))

    def begin(self, verb: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "vertex_deploy", "rollout", verb, f"{self.name}.yaml", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.cli.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def run(self, verb: str, *arguments: str) -> tuple[int, str]:
        process = self.begin(verb, *arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out or err

    def status(self) -> dict:
        return json.loads(self.run("status", "-o", "json")[1])

    def endpoint(self) -> str:
        (found,) = {
            json.loads(path.read_text())["endpoint"]
            for path in (self.cli.folder / f".vertex-deploy/rollouts/{self.name}").glob("*/record.json")
        }
        return found

    def traffic(self, stop: threading.Event) -> threading.Thread:
        """About 40 requests a second until ``stop`` is set."""
        server = self.cli.json("status")["server"]["rest"]
        url = f"{server}/v1/{self.endpoint()}:predict"

        def send() -> None:
            while not stop.is_set():
                request = urllib.request.Request(url, b'{"instances":[1]}', {"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        self.answers[json.load(answer)["predictions"][0]["who"]] += 1
                except urllib.error.HTTPError as error:
                    self.answers[error.code] += 1
                time.sleep(0.025)

        thread = threading.Thread(target=send)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def served(vertex):
    """The first version has all traffic, and requests come steadily."""
    rollouts = Rollouts(vertex, "tiny")
    rollouts.write("one")
    code, out = rollouts.run("start")
    assert code == 0, out
    stop = threading.Event()
    thread = rollouts.traffic(stop)
    yield rollouts
    stop.set()
    thread.join()


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)


def test_a_rollout_killed_in_a_hold_goes_on_and_no_request_fails(served):
    served.write("two")
    served.answers.clear()
    first = served.begin("start")
    until(lambda: served.status()["phase"] == "holding")
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
    until(lambda: served.status()["phase"] == "holding")
    served.cli.run("fault", "tiny@3", "--fail", "50%")
    out, err = first.communicate(timeout=120)
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


def test_abort_from_another_terminal_ends_both_with_the_same_code(served):
    served.write("four")
    first = served.begin("start")
    until(lambda: served.status()["phase"] == "holding")
    code, out = served.run("abort")
    first.communicate(timeout=60)
    assert (code, first.returncode) == (11, 11), out
    assert served.status()["ending"] == "aborted"

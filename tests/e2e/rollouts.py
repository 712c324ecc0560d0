"""`vertex-deploy rollout` of one spec against a Local Vertex, steady traffic on it, and what must hold afterwards."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import yaml
from google.cloud import aiplatform_v1, monitoring_v3

from tests.waiting import PATIENCE
from vertex_deploy.rollout.alert_clients import MonitoringAlerts
from vertex_deploy.rollout.machine import Ending

from .conftest import IMAGE, Cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Runs = Callable[..., tuple[int, dict[str, Any]]]

HELD = "1h"
"""A hold that an alert, a gate or a command ends, and never its own time: nothing is late for it."""
PAUSED = 12
# Why a gate cannot tell, where a machine that stood still left too few requests or seconds without measurements.
_TOO_LITTLE = re.compile(
    "was not measured|nothing was measured|are needed|answered no requests|has no measurements|too (few|little) "
)
_RESUMES = 10


class Rollouts:
    """The command line in the directory of a Local Vertex, for the spec ``NAME.yaml``.

    Args:
        cli: of the Local Vertex, which is up.
        name: of the spec, its endpoint and its model.
        rollout: the spec's ``rollout`` section.
        environment: as `local env` says; asked for where absent.
    """

    def __init__(
        self, cli: Cli, name: str, rollout: dict[str, Any], *, environment: dict[str, str] | None = None
    ) -> None:
        self.cli, self.name, self.rollout = cli, name, rollout
        self.env = {**os.environ, **(environment if environment is not None else cli.json("env"))}
        self.answers: Counter = Counter()
        self._lost: list[Exception] = []

    def write(self, who: str, **env: object) -> None:
        """The spec of the version ``who``, whose server has ``env``."""
        spec = {
            "name": self.name,
            "gcp": {"project": "my-project", "region": "us-central1"},
            "container": {"image": IMAGE, "env": {"WHO": who, **{key: str(value) for key, value in env.items()}}},
            "target": {"type": "vertex", "machine": {"type": "n1-standard-4"}},
            "rollout": self.rollout,
        }
        (self.cli.folder / f"{self.name}.yaml").write_text(yaml.safe_dump(spec))

    def begin(self, verb: str, *arguments: str) -> subprocess.Popen:
        """A command that goes on; ``finished`` waits for its end."""
        command = [sys.executable, "-m", "vertex_deploy", "rollout", verb, f"{self.name}.yaml", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=self.cli.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)
        self.cli.begun.append(process)
        return process

    def finished(self, process: subprocess.Popen) -> tuple[int, str]:
        """Exit code of a command that was begun, and what it printed; on standard error where on no other."""
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{process.args} does not end: {process.communicate()}") from None
        return process.returncode, out or err

    def run(self, verb: str, *arguments: str) -> tuple[int, str]:
        return self.finished(self.begin(verb, *arguments))

    def json(self, verb: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        return as_json(self.run(verb, "-o", "json", *arguments))

    def through(
        self, verb: str, *arguments: str, where: tuple[str, ...] = (), by: Runs | None = None
    ) -> tuple[int, dict[str, Any]]:
        """As ``json``, for a rollout that has to pass its gates on whatever machine; see ``resumed``.

        Args:
            verb: start or resume.
            arguments: of that command alone.
            where: arguments of the resuming ones, too.
            by: runs a command instead of ``json``.
        """
        return self.resumed(*(by or self.json)(verb, *arguments, *where), where=where, by=by)

    def resumed(
        self, code: int, view: dict[str, Any], *, where: tuple[str, ...] = (), by: Runs | None = None
    ) -> tuple[int, dict[str, Any]]:
        """What a command came to, or what resuming came to if too little was measured.

        Where the machine stood still for seconds of a hold, requests or metrics are missing, and a gate that cannot
        tell pauses the rollout, as it shall. Then it is resumed, as a person would, and the step is measured anew.
        Nothing but too little is forgiven: what a gate holds against a version stays.
        """
        for _ in range(_RESUMES):
            why = self.reasons(view)
            if code != PAUSED or not all(_TOO_LITTLE.search(reason) for reason in why):
                break
            warnings.warn(f"{self.name}: resumed, because too little was measured: {why}", stacklevel=2)
            code, view = (by or self.json)("resume", *where)
        return code, view

    @staticmethod
    def reasons(view: dict[str, Any]) -> list[str]:
        """Why it is paused: of a lockstep group, each member that is."""
        views = view["members"].values() if "members" in view else [view]
        return [found["reason"] for found in views if found["phase"] == "paused"]

    def put_right(self, *where: str) -> None:
        """After a test that failed half way: nobody drives on, and the next one may start a rollout."""
        for process in self.cli.begun:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if self.record()["phase"] != "done":
            self.run("abort", *where)

    def status(self) -> dict[str, Any]:
        return self.json("status")[1]

    def records(self) -> list[Path]:
        return sorted((self.cli.folder / f".vertex-deploy/rollouts/{self.name}").glob("*/record.json"))

    def record(self) -> dict[str, Any]:
        """Of the newest rollout; cheaper than `status`."""
        return json.loads(max(self.records(), key=lambda path: path.stat().st_ctime).read_text())

    def endpoint(self) -> str:
        (found,) = {json.loads(path.read_text())["endpoint"] for path in self.records()}
        return found

    # -- what Local Vertex has, read with Google's clients ----------------------------------------------------------

    def _client(self, kind: Any) -> Any:
        target = self.env["VERTEX_DEPLOY_MONITORING_ENDPOINT"].removeprefix("http://")
        channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
        return kind(transport=kind.get_transport_class("grpc")(channel=channel))

    def alert_policies(self) -> Any:
        """A client of AlertPolicyService."""
        return self._client(monitoring_v3.AlertPolicyServiceClient)

    def own_policies(self, rollout_id: str) -> dict[str, str]:
        """Names and display names of the policies that a rollout made."""
        return dict(MonitoringAlerts("my-project", client=self.alert_policies()).policies(rollout_id))

    def alerts(self) -> list[dict[str, Any]]:
        """Every incident of the project, open or not."""
        root = self.env["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"].rstrip("/")
        with urllib.request.urlopen(f"{root}/v3/projects/my-project/alerts?pageSize=1000", timeout=PATIENCE) as answer:
            return json.load(answer).get("alerts", [])

    def served(self) -> tuple[dict[str, int], list[str]]:
        """The endpoint's split, without zeros, and the ids of its deployed models."""
        found = self._client(aiplatform_v1.EndpointServiceClient).get_endpoint(name=self.endpoint())
        return {k: v for k, v in found.traffic_split.items() if v}, [d.id for d in found.deployed_models]

    def ended_as_told(self, code: int, view: dict[str, Any]) -> list[dict[str, Any]]:
        """Check that the newest rollout is what its last command said, everywhere; its history.

        Split and deployed models as its phase demands, alert policies gone if it is over and in place if not, exit
        code, history and report of one mind.
        """
        record = self.record()
        folder = max(self.records(), key=lambda path: path.stat().st_ctime).parent
        over, ending, why = record["phase"] == "done", record["ending"], record["reason"]
        split, deployed = self.served()
        assert (view["id"], view["phase"], view["ending"] or None) == (record["id"], record["phase"], ending), why
        assert split == record["actual"] == record["split"] or ending in {"rolled_back", "aborted"}, why
        if over:
            survivor = record["canary"] if ending == "promoted" else record["stable"]
            assert (split, deployed) == ({survivor: 100}, [survivor]), why
            assert self.own_policies(record["id"]) == {}, why
            assert code == int(Ending(ending).exit_code), why
        else:
            assert sorted(deployed) == sorted([record["stable"], record["canary"]]), why
            assert len(self.own_policies(record["id"])) == self.expected_policies(), why
            assert code == (12 if record["phase"] == "paused" else 0), why
        _, log = self.json("history", "--id", record["id"])
        moves = [entry["data"] for entry in log if entry["kind"] == "transition"]
        assert moves[-1]["to"] == record["phase"], why
        assert moves[-1].get("ending") == (ending if over else None), why
        report = json.loads((folder / "report.json").read_text())
        assert report["rollout"]["phase"] == record["phase"], why
        assert (report["rollout"]["ending"] or None) == ending, why
        assert [entry["seq"] for entry in report["log"]] == [entry["seq"] for entry in log], why
        return list(log)

    def expected_policies(self) -> int:
        """One for each critical gate with an absolute limit, unless the spec turns them off."""
        if not self.rollout.get("alerts", {}).get("from_gates", True):
            return 0
        return sum("max" in gate and gate.get("critical", True) for gate in self.rollout["gates"])

    @contextmanager
    def traffic(self, *, server: str | None = None, threads: int = 1, pause: float = 0.025) -> Iterator[None]:
        """Requests from ``threads`` clients, each ``pause`` seconds after the last one's answer.

        With several clients whose pauses are long beside an answer there are nearly as many requests on a machine that
        is ten times slower. They begin one after the other, and so come evenly.
        """
        address = urlsplit(server or self.cli.json("status")["server"]["rest"]).netloc
        path, stop = f"/v1/{self.endpoint()}:predict", threading.Event()
        delays = [pause * number / threads for number in range(threads)]
        clients = [threading.Thread(target=self._ask, args=(address, path, pause, stop, delay)) for delay in delays]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            stop.set()
            for client in clients:
                client.join()
        # A thread tells nobody of its end.
        assert not self._lost, self._lost

    def count_anew(self) -> None:
        """Count from nothing. What is answered now but was asked before counts no more, however late it is read."""
        self.answers = Counter()

    def _ask(self, address: str, path: str, pause: float, stop: threading.Event, delay: float) -> None:
        try:
            stop.wait(delay)
            self._send(address, path, pause, stop)
        except Exception as error:  # noqa: BLE001 - a thread's error is the test's to raise
            self._lost.append(error)

    def _send(self, address: str, path: str, pause: float, stop: threading.Event) -> None:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        while not stop.is_set():
            answers = self.answers
            connection.request("POST", path, b'{"instances":[1]}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            answers[json.loads(body)["predictions"][0]["who"] if answer.status == 200 else answer.status] += 1
            stop.wait(pause)
        connection.close()


def as_json(said: tuple[int, str]) -> tuple[int, dict[str, Any]]:
    """What ``finished`` gives of a command with ``-o json``."""
    code, out = said
    try:
        return code, json.loads(out)
    except ValueError:
        raise AssertionError(f"exit code {code}: {out}") from None


def until(condition: Callable[[], bool], seconds: float = PATIENCE, *, process: subprocess.Popen | None = None) -> None:
    """Wait for a condition; if it is the work of ``process``, no longer than that runs."""
    end = time.monotonic() + seconds
    while not condition():
        ended = process is not None and process.poll() is not None
        # Asked again: it may have come true just before the end.
        assert not ended or condition(), f"ended before: {process and process.communicate()}"
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)

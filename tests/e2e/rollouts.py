"""`vertex-deploy rollout` of one spec against a Local Vertex, and steady traffic on its endpoint."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from .conftest import IMAGE, Cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
        command = [sys.executable, "-m", "vertex_deploy", "rollout", verb, f"{self.name}.yaml", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.cli.folder, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def run(self, verb: str, *arguments: str) -> tuple[int, str]:
        process = self.begin(verb, *arguments)
        out, err = process.communicate(timeout=150)
        return process.returncode, out or err

    def json(self, verb: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out = self.run(verb, "-o", "json", *arguments)
        return code, json.loads(out)

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

    @contextmanager
    def traffic(self, *, server: str | None = None, threads: int = 1, pause: float = 0.025) -> Iterator[None]:
        """Requests from ``threads`` clients, each ``pause`` seconds after the last one's answer."""
        address = urlsplit(server or self.cli.json("status")["server"]["rest"]).netloc
        path, stop = f"/v1/{self.endpoint()}:predict", threading.Event()
        clients = [threading.Thread(target=self._send, args=(address, path, pause, stop)) for _ in range(threads)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            stop.set()
            for client in clients:
                client.join()

    def _send(self, address: str, path: str, pause: float, stop: threading.Event) -> None:
        connection = http.client.HTTPConnection(address, timeout=20)
        while not stop.is_set():
            connection.request("POST", path, b'{"instances":[1]}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            self.answers[json.loads(body)["predictions"][0]["who"] if answer.status == 200 else answer.status] += 1
            stop.wait(pause)
        connection.close()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)

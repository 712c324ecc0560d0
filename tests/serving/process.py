"""A real server process, driven as Vertex AI drives a container."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class ServerProcess:
    """``python -m serving`` on a free port; its output goes to files."""

    def __init__(self, uri: Path | str, folder: Path, environ: dict[str, str]) -> None:
        folder.mkdir()
        self.out, self.err = folder / "stdout", folder / "stderr"
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("AIP_", "SERVING_"))}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving"],
                cwd=ROOT,
                stdout=out,
                stderr=err,
                env={
                    **keep,
                    "AIP_HTTP_PORT": "0",
                    "AIP_STORAGE_URI": str(uri),
                    "AIP_HEALTH_ROUTE": "/h",
                    "AIP_PREDICT_ROUTE": "/p",
                    **environ,
                },
            )
        self._port = 0

    @property
    def port(self) -> int:
        """Once it listens."""
        end = time.monotonic() + PATIENCE
        while not self._port:
            found = re.search(r"listening on [^:]+:(\d+)", self.out.read_text())
            if found:
                self._port = int(found[1])
            elif self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"never listened: {self.err.read_text()}")
            else:
                time.sleep(0.02)
        return self._port

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, Any]:
        """Status and parsed answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            data = answer.read()
            parsed = json.loads(data) if answer.getheader("content-type") == "application/json" else data.decode()
            return answer.status, parsed
        finally:
            connection.close()

    def predict(self, body: Any, kind: str = "application/json") -> tuple[int, Any]:
        """Status and answer of a prediction."""
        return self.request("POST", "/p", body if isinstance(body, bytes) else json.dumps(body).encode(), kind)

    def until_healthy(self) -> list[int]:
        """The health check's answers on the way to its first 200."""
        end = time.monotonic() + PATIENCE
        seen = []
        while not seen or seen[-1] != 200:
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < end, "never healthy"
            seen.append(self.request("GET", "/h")[0])
            time.sleep(0.02)
        return seen

    def terminate(self) -> None:
        """SIGTERM, as a platform does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

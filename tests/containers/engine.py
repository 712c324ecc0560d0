"""Start one container of the project's store, talk to it, and end it: what the container tests share.

Left out: assertions. Everything started here is removed by name when its `with` block ends.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from containers.tools import base, gates, image
from containers.tools.store import ROOT
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from containers.tools.store import Store

REQUIRED = "VERTEX_DEPLOY_REQUIRE_CONTAINERS"  # set by `make container-test`: what is missing is then a failure
SETUP = "run: python3 -m containers.tools setup"


def why_not(store: Store) -> str | None:
    """Return what this machine lacks for building and running images, with the fix, or None."""
    missing = [name for name in ("buildah", "podman", "runc") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; {SETUP}"
    if os.geteuid() != 0:
        return "the project's container store needs root"
    store.write()
    return None if base.exists(store, base.NAME) else f"no base image in {store.folder}; {SETUP}"


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where containers are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


def packages_off_the_lock(store: Store, reference: str, folder: Path) -> tuple[dict[str, str], list[str]]:
    """What the build's own gate asks of an image: syft's SBOM of it, held to constraints.txt.

    Args:
        store: that has it.
        reference: its name.
        folder: empty, for archive and SBOM.

    Returns:
        Python packages that syft found, and what the gate has against them.
    """
    syft = shutil.which("syft", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if syft is None:
        lacking("syft is not installed (extra `dev`)")
    archive, sbom = folder / "image.tar", folder / "sbom.json"
    environment = {**store.environment(), "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    for argv in (
        ["skopeo", "copy", "--quiet", f"containers-storage:{reference}", f"oci-archive:{archive}:image"],
        [syft, "scan", f"oci-archive:{archive}", "--output", f"spdx-json={sbom}"],
    ):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    archive.unlink()
    pins = gates.locked((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    _, failed = gates.judge({}, {"image": sbom}, pins, severity="LOW")
    return gates.python_packages(gates.read(sbom), "image"), failed


def need(module: str) -> Any:
    """Return a module that only these tests need."""
    try:
        return importlib.import_module(module)
    except ImportError:
        lacking(f"{module} is not installed (extras `build` and `demo`)")


@dataclass
class Container:
    """A running container.

    Args:
        store: where podman keeps it.
        name: of the container.
        port: where its server listens on loopback.
        environment: the AIP_* variables that it was given.
        health: (seconds after `podman run` was called, status or None where nothing answered), as polled, changes only.
        unseen_s: the longest time between two polls, or before the first; what was so for less may have been missed.
    """

    store: Store
    name: str
    port: int
    environment: Mapping[str, str]
    health: list[tuple[float, int | None]] = field(default_factory=list)
    unseen_s: float = 0.0

    def podman(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run podman on the store."""
        env = self.store.environment()
        return subprocess.run(["podman", *words], env=env, capture_output=True, text=True, check=False)

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container, as its user."""
        return self.podman("exec", self.name, *words)

    def logs(self) -> str:
        """Return what the server wrote."""
        done = self.podman("logs", self.name)
        return done.stdout + done.stderr

    def request(
        self, method: str, route: str, body: bytes | None = None, content_type: str = "", wait_s: float = 300
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own and return status and body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait_s)) as connection:
            connection.request(method, route, body, {"Content-Type": content_type} if content_type else {})
            response = connection.getresponse()
            return response.status, response.read()

    def predict(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        """POST to the predict route."""
        return self.request("POST", self.environment["AIP_PREDICT_ROUTE"], body, content_type)

    def wait_healthy(self, started: float, limit_s: float = 300) -> None:
        """Poll the health route until it gives 200, keeping every change of what it gave in `health`."""
        polled = started
        while time.monotonic() < started + limit_s:
            try:
                status: int | None = self.request("GET", self.environment["AIP_HEALTH_ROUTE"], wait_s=10)[0]
            except OSError:
                status = None
            now = time.monotonic()
            self.unseen_s, polled = max(self.unseen_s, now - polled), now
            if not self.health or self.health[-1][1] != status:
                self.health.append((now - started, status))
            if status == http.HTTPStatus.OK:
                return
            if (
                status is None
                and self.podman("inspect", "--format", "{{.State.Running}}", self.name).stdout.strip() != "true"
            ):
                break
            time.sleep(0.1)  # the cores are the server's: polling harder makes its start look slower than it is
        raise AssertionError(f"not healthy: {self.health}\n{self.logs()}")


@contextlib.contextmanager
def running(
    store: Store, reference: str, artifact: Path, *, limits: image.Limits, more: Mapping[str, str] | None = None
) -> Iterator[Container]:
    """Start a server on an artifact, wait until it is healthy, and remove it at the end.

    Args:
        store: that has the image.
        reference: its name.
        artifact: a folder.
        limits: what the container may use.
        more: variables, beside Vertex AI's.
    """
    port = free_port()
    environment = {**image.aip_environment(port=port, storage_uri=image.ARTIFACT_MOUNT), **(more or {})}
    name = f"vertex-deploy-test-{os.getpid()}-{port}"
    container = Container(store, name, port, environment)
    wanted = image.Run(image=reference, name=name, environment=environment, artifact=artifact, limits=limits)
    started = time.monotonic()
    try:
        done = container.podman(*wanted.argv()[1:])
        assert done.returncode == 0, done.stderr
        container.wait_healthy(started)
        yield container
    finally:
        container.podman("rm", "--force", "--time", "0", name)

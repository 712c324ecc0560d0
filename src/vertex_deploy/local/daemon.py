"""Local Vertex as a background process: start it, find it, stop it. Imports nothing heavy.

``state.json`` says where a running one listens. It is written when requests are answered and removed on a clean stop;
one left by a crash is recognised by its process being gone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOME = Path(".vertex-deploy") / "local"
_SCRATCH = "data-"
_LOG_TAIL = 20
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports: REST and gRPC, each plain and with TLS."""

    rest: int = 0
    rest_tls: int = 0
    grpc: int = 0
    grpc_tls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A Local Vertex that answers requests.

    Args:
        pid: of its process.
        version: of vertex-deploy.
        started: seconds since the epoch.
        data: folder of all that it keeps.
        roots: file of roots for TLS clients.
        ports: where it listens.
        sample_period: seconds between points of a metric.
        project: what ``local env`` names; any project works.
        region: likewise.
    """

    pid: int
    version: str
    started: float
    data: str
    roots: str
    ports: Ports = field(default_factory=Ports)
    sample_period: float = 60.0
    project: str = "local-project"
    region: str = "us-central1"

    @property
    def rest(self) -> str:
        """http://127.0.0.1:PORT of the REST listener."""
        return f"http://127.0.0.1:{self.ports.rest}"

    @property
    def grpc(self) -> str:
        """http://127.0.0.1:PORT of the gRPC listener without TLS."""
        return f"http://127.0.0.1:{self.ports.grpc}"

    @property
    def scratch(self) -> bool:
        """Whether the data folder goes when it stops."""
        return Path(self.data).name.startswith(_SCRATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``local up`` was asked for; names and meanings as its options."""

    data: Path | None = None
    image: tuple[str, ...] = ()
    images: Path | None = None
    sample_period: float = 60.0
    probe_scale: float = 1.0
    webhook_host: tuple[str, ...] = ()
    quota: tuple[str, ...] = ()
    rest_port: int = 0
    grpc_port: int = 0
    project: str = "local-project"
    region: str = "us-central1"

    def arguments(self) -> list[str]:
        """The same as a command line."""
        found = [f"--sample-period={round(self.sample_period * 1000)}ms"]
        found += [f"--probe-scale={self.probe_scale!r}"]
        found += [f"--rest-port={self.rest_port}", f"--grpc-port={self.grpc_port}"]
        found += [f"--project={self.project}", f"--region={self.region}"]
        found += [f"--image={entry}" for entry in self.image]
        found += [f"--webhook-host={host}" for host in self.webhook_host]
        found += [f"--quota={entry}" for entry in self.quota]
        found += [f"--{name}={path}" for name, path in (("data", self.data), ("images", self.images)) if path]
        return found


class State:
    """The state files of one Local Vertex.

    Args:
        home: folder of the first; the one that commands of this directory look into.
        data: a data folder chosen by the user, which gets a copy, so that ``--data`` alone finds it.
    """

    def __init__(self, home: Path, data: Path | None = None) -> None:
        self.home = home
        self._files = [folder / "state.json" for folder in ([data] if data else []) + [home]]

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "local.log"

    def write(self, running: Running) -> None:
        """Write the files, each whole or not at all."""
        for file in self._files:
            file.parent.mkdir(parents=True, exist_ok=True)
            half = file.with_suffix(f".{os.getpid()}.tmp")
            half.write_text(json.dumps(asdict(running), indent=2) + "\n")
            half.replace(file)

    def remove(self) -> None:
        """Remove the files."""
        for file in self._files:
            file.unlink(missing_ok=True)

    def read(self) -> Running | None:
        """The Local Vertex that runs, or None; files of one that is dead are removed.

        Raises:
            LocalError: a file cannot be read.
        """
        for file in self._files:
            try:
                content: dict[str, Any] = json.loads(file.read_text())
                running = Running(**{**content, "ports": Ports(**content["ports"])})
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError) as error:
                raise LocalError(f"{file} is not a state file of Local Vertex ({error}); remove it") from None
            if alive(running.pid):
                return running
            file.unlink(missing_ok=True)
            _drop_scratch(running)
        return None

    def require(self) -> Running:
        """The Local Vertex that runs.

        Raises:
            LocalError: none does.
        """
        running = self.read()
        if running is None:
            raise LocalError(f"Local Vertex is not running here ({self.home}); start it with: vertex-deploy local up")
        return running


def alive(pid: int) -> bool:
    """Whether a process of this id runs (and is no zombie) and belongs to us."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        # Fields after the command's closing bracket: the first is the state.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def scratch_folder(home: Path) -> Path:
    """A new data folder that ``stop`` removes."""
    home.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=home))


def _drop_scratch(running: Running) -> None:
    if running.scratch:
        shutil.rmtree(running.data, ignore_errors=True)


def start(
    state: State, arguments: Sequence[str], *, timeout: float = 180, progress: Callable[[float], None] = lambda _: None
) -> Running:
    """Start Local Vertex in the background and wait until it answers requests.

    Args:
        state: its state files.
        arguments: of ``vertex-deploy local up`` without ``--foreground``.
        timeout: seconds to wait; one that ends is told of at once, so that only one that hangs takes them.
        progress: called now and then with the seconds waited.

    Returns:
        The running Local Vertex.

    Raises:
        LocalError: one runs already, it ended at once, or it was not ready in time; with the end of its log.
    """
    found = state.read()
    if found is not None:
        raise LocalError(f"Local Vertex is up already (pid {found.pid}, {found.rest}); see: vertex-deploy local status")
    state.home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vertex_deploy", "local", "up", "--foreground", *arguments]
    state.log.unlink(missing_ok=True)  # one of an earlier version may be everybody's to read
    with os.fdopen(os.open(state.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as log:
        child = subprocess.Popen(  # noqa: S603 - our own command line, no shell
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return _wait(state, child, timeout, progress)
    except BaseException:
        # Not ready in time, or the user gave up waiting: nothing may stay behind.
        child.terminate()
        child.wait()
        raise


def _wait(state: State, child: subprocess.Popen[bytes], timeout: float, progress: Callable[[float], None]) -> Running:
    began = time.monotonic()
    while True:
        running = state.read()
        if running is not None and running.pid == child.pid:
            return running
        waited = time.monotonic() - began
        if child.poll() is not None:
            raise LocalError(f"Local Vertex ended with code {child.returncode} before it was ready: {tail(state.log)}")
        if waited > timeout:
            raise LocalError(f"Local Vertex was not ready within {timeout:g}s; its log: {tail(state.log)}")
        progress(waited)
        time.sleep(_POLL_S)


def tail(path: Path, lines: int = _LOG_TAIL) -> str:
    """The last lines of a log, joined to one."""
    try:
        return " | ".join(path.read_text(errors="replace").splitlines()[-lines:]) or "(empty)"
    except OSError:
        return "(no log)"


def stop(state: State, *, timeout: float = 45.0) -> Running:
    """Stop Local Vertex: SIGTERM, and SIGKILL if it has not drained in time.

    Args:
        state: its state files.
        timeout: seconds for replicas to finish what they accepted.

    Returns:
        What ran.

    Raises:
        LocalError: nothing runs.
    """
    running = state.require()
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while alive(running.pid) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if alive(running.pid):
        os.kill(running.pid, signal.SIGKILL)
    state.remove()
    _drop_scratch(running)
    return running

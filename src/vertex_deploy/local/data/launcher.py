"""Starts the processes that stand for containers: a Protocol, and the implementation with real processes.

Each process leads a session and process group of its own, so that what it starts ends with it, as everything in a
container ends with the container. Where ``setpriv`` exists (util-linux) the kernel kills the process when Local Vertex
itself is killed, so that no server is left behind.

Output goes to a log file that is cut at a size: the file and one predecessor (``.1``) are kept.

Leaves out cgroups: nothing holds a process to the CPU and memory of its machine type.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vertex_deploy.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CHUNK = 65_536
_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """One process to start.

    Args:
        argv: program and arguments, no shell; for an image only the arguments.
        cwd: working directory.
        environment: all of it.
        log: file that stdout and stderr go to.
        port: the loopback port that the process will listen on.
        image: run this container image rather than a program; "" for a program.
        entrypoint: what replaces the image's ENTRYPOINT, if anything.
    """

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    log: Path
    port: int
    image: str = ""
    entrypoint: tuple[str, ...] = ()


class Running(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    @property
    def returncode(self) -> int | None:
        """The exit code, -N after signal N; None while it runs."""
        ...

    async def wait(self) -> int:
        """Return the exit code once it has ended and nothing of its group is left."""
        ...

    def terminate(self) -> None:
        """Ask it to finish (SIGTERM to the process itself, as a container's PID 1 gets it)."""
        ...

    def kill(self) -> None:
        """End it and all that it started (SIGKILL to the group)."""
        ...

    async def execute(self, command: Sequence[str]) -> int:
        """Run a command beside it, with its environment; the exit code. For exec probes."""
        ...


class Launcher(Protocol):
    """Starts processes."""

    async def launch(self, spec: LaunchSpec) -> Running:
        """Start one.

        Raises:
            LocalError: the program is not there or cannot be run.
        """
        ...


class BoundedLog:
    """A log file that keeps at most about twice ``max_bytes``: itself and its predecessor.

    Args:
        path: the file; its folder is made.
        max_bytes: size at which it becomes the predecessor.
    """

    def __init__(self, path: Path, *, max_bytes: int = 5_000_000) -> None:
        self.path = path
        self.max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = path.stat().st_size

    def write(self, data: bytes) -> None:
        """Append; starts a new file first if the present one is full."""
        if self._size and self._size + len(data) > self.max_bytes:
            self._file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self.path.open("ab", buffering=0)
            self._size = 0
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def log_tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, or "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


class _LogPipe(asyncio.Protocol):
    def __init__(self, log: BoundedLog) -> None:
        self._log = log
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        # A full disk must not stop the server: its output is lost, nothing else.
        with contextlib.suppress(OSError):
            self._log.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._log.close()
        if not self.closed.done():
            self.closed.set_result(None)


class _Process:
    """A real process; see ``Running``."""

    def __init__(
        self, process: asyncio.subprocess.Process, spec: LaunchSpec, pipe: _LogPipe, transport: asyncio.ReadTransport
    ) -> None:
        self._process = process
        self._spec = spec
        self._pipe = pipe
        self._transport = transport

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        code = await self._process.wait()
        self.kill()
        # With the group gone nobody but a process that left the group can hold the pipe open: do not wait for that one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(self._pipe.closed)
        self._transport.close()
        return code

    def terminate(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        # The process leads its group, so the group's id is its own pid and stays taken while a member lives.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def execute(self, command: Sequence[str]) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._spec.cwd,
                env=dict(self._spec.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return 127
        try:
            return await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


class ProcessLauncher:
    """Runs containers as processes of this machine.

    Args:
        max_log_bytes: see ``BoundedLog``.
    """

    def __init__(self, *, max_log_bytes: int = 5_000_000) -> None:
        self._max_log_bytes = max_log_bytes
        self._setpriv = shutil.which("setpriv")

    async def launch(self, spec: LaunchSpec) -> Running:
        """Start one; see ``Launcher.launch``."""
        program = spec.argv[0]
        if "/" in program:
            path = spec.cwd / program
            found = str(path) if os.access(path, os.X_OK) and path.is_file() else None
        else:
            found = shutil.which(program, path=spec.environment.get("PATH", os.defpath))
        if found is None:
            raise LocalError(
                f"{program}: no such program in {spec.cwd if '/' in program else 'PATH'}: "
                "correct the image's command (--image REF=COMMAND)"
            )
        # argv[0] stays as it was written where a symbolic link decides what the program does (python in a venv).
        argv = (found, *spec.argv[1:])
        if self._setpriv:
            argv = (self._setpriv, "--pdeathsig", "KILL", "--", *argv)
        log = BoundedLog(spec.log, max_bytes=self._max_log_bytes)
        read_end, write_end = os.pipe()
        try:
            pipe_transport, pipe = await asyncio.get_running_loop().connect_read_pipe(
                lambda: _LogPipe(log), os.fdopen(read_end, "rb", buffering=0)
            )
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    cwd=spec.cwd,
                    env=dict(spec.environment),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=write_end,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                pipe_transport.close()
                raise LocalError(f"{program}: cannot be started: {error.strerror}") from error
        finally:
            os.close(write_end)
        return _Process(process, spec, pipe, pipe_transport)

"""An engine in a process of its own, behind the same Protocol.

Left out: restarting it. An engine that died once is likely to die again; the server says why and exits, and the
platform starts a fresh container.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from serving.engines.base import Shape, Stage
from serving.errors import BatchFailed, EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.artifact.manifest import Manifest
    from serving.engines.base import Array, Batch

_CLOSE_TIMEOUT_S = 5.0
_STAGES: tuple[Stage, ...] = get_args(Stage)
# glibc returns every large buffer to the kernel and faults it in again for the next layer. Keeping them costs some
# memory and saves a third of the processor time of a batch of 8. Other allocators ignore these.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(512 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(1024**3)}


class ProcessEngine:
    """Starts ``serving.engines.worker`` and hands it batches through shared memory.

    Args:
        manifest: of the artifact.
        folder: its checked files.
        threads: for the engine; set in its environment before it starts, as OpenMP reads it only then.
        max_batch: largest batch, instances.
        work_dir: where a package is unpacked; "": the temporary folder.
        load_timeout: seconds for ``load``.
        run_timeout: seconds for a batch; then the engine counts as hung and is killed.
    """

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        *,
        threads: int,
        max_batch: int,
        work_dir: str = "",
        load_timeout: float = 600.0,
        run_timeout: float = 60.0,
    ) -> None:
        channels, height, width = manifest.input.shape
        self._shape = Shape((channels, height, width), manifest.classes, max_batch)
        self._request = {
            "manifest": manifest.model_dump_json(),
            "folder": str(folder),
            "threads": threads,
            "max_batch": max_batch,
        }
        self._work_dir = work_dir or None
        # Ours, not the engine's process's: that one may be killed and leave its files behind.
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._load_timeout, self._run_timeout = load_timeout, run_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._inputs: Array | None = None
        self._outputs: Array | None = None
        self.engine_seconds = 0.0  # of the last batch, measured in the engine's process
        self.stage_seconds: Mapping[Stage, float] = {}
        self.load_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Of the engine's process, while there is one."""
        return None if self._process is None else self._process.pid

    def load(self) -> None:
        """Start the process and wait until it has loaded and checked every batch size."""
        shape = self._shape
        floats = shape.max_batch * math.prod(shape.instance)
        self._scratch = tempfile.TemporaryDirectory(prefix="serving-engine-", dir=self._work_dir)
        memory_fd = _memory(4 * (floats + shape.max_batch * shape.classes))
        ours, theirs = Pipe()
        self._connection = ours
        try:
            memory = mmap.mmap(memory_fd, 0)
            self._inputs = np.frombuffer(memory, np.float32, floats).reshape(shape.max_batch, *shape.instance)
            self._outputs = np.frombuffer(memory, np.float32, offset=4 * floats).reshape(shape.max_batch, shape.classes)
            threads = str(self._request["threads"])
            root = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
            fds = (theirs.fileno(), memory_fd)
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "serving.engines.worker", *map(str, fds)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env={
                    # Waiting threads sleep instead of spinning: spinning starves the threads that decode the next
                    # requests, and on a machine shared with anything else it multiplies the time of a batch.
                    "OMP_WAIT_POLICY": "PASSIVE",
                    **_MALLOC,
                    **os.environ,
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "PYTHONPATH": path,
                },
            )
        finally:
            os.close(memory_fd)
            theirs.close()
        self._send({**self._request, "work_dir": self._scratch.name})
        self.load_seconds = self._receive(self._load_timeout)["seconds"]

    def run(self, batch: Batch) -> Array:
        """Logits of a batch; blocks with the GIL released."""
        if self._inputs is None or self._outputs is None:
            raise EngineError("the engine is not loaded")
        n = len(batch)
        if not 1 <= n <= self._shape.max_batch:
            raise EngineError(f"a batch of {n}: 1 to {self._shape.max_batch} are allowed")
        for i, row in enumerate(batch):
            if row.shape != self._shape.instance or row.dtype != np.float32:
                self._shape.guard([row])  # says what is wrong
            np.copyto(self._inputs[i], row)
        self._send({"run": n})
        answer = self._receive(self._run_timeout)
        self.engine_seconds = answer["seconds"]
        self.stage_seconds = {stage: answer["stages"][stage] for stage in _STAGES if stage in answer["stages"]}
        return self._outputs[:n].copy()

    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def ending(self) -> str:
        """How the process ended, in words."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "the engine's process is running"
        if code < 0:
            hints = {signal.SIGILL: " (compiled for another processor)", signal.SIGKILL: " (out of memory?)"}
            number = signal.Signals(-code)
            return f"the engine's process was ended by {number.name}{hints.get(number, '')}"
        return f"the engine's process ended with exit code {code}"

    def kill(self) -> None:
        """End the process at once; whoever waits in ``load`` or ``run`` gets an EngineError."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Close the connection, which ends the process; kill it if it does not end."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _send(self, message: dict[str, Any]) -> None:
        if self._connection is None:
            raise EngineError("the engine is closed")
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            raise EngineError(self._ended()) from None

    def _receive(self, timeout: float) -> dict[str, Any]:
        if self._connection is None or self._process is None:
            raise EngineError("the engine is closed")
        try:
            if not self._connection.poll(timeout):
                self._process.kill()
                self._process.wait()
                raise EngineError(f"the engine did not answer within {timeout:g} s and was ended")
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise EngineError(self._ended()) from None
        if "error" in message:
            raise EngineError(message["error"])
        if "failed" in message:
            raise BatchFailed(message["failed"])
        return message

    def _ended(self) -> str:
        if self._process is not None:
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self.ending()


def _memory(size: int) -> int:
    """A file descriptor of ``size`` bytes of shared memory.

    Not /dev/shm: container runtimes make that 64 MiB, and a batch of large images does not fit.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("serving-batch")
    else:  # not Linux
        fd, path = tempfile.mkstemp(prefix="serving-batch-")
        os.unlink(path)  # noqa: PTH108 - a descriptor is what is kept
    os.ftruncate(fd, size)
    return fd

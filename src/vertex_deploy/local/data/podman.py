"""Runs containers as containers: ``podman run`` in the foreground, supervised like any other process.

An image is mapped to ``container:IMAGE`` for this. The container gets the host's network, because its port must be the
free loopback port that AIP_HTTP_PORT names. The model's ``command`` and ``args`` replace the image's ENTRYPOINT and
CMD, as in the cloud. Nothing of Local Vertex's own environment reaches the container; podman itself gets all of it, so
that CONTAINERS_CONF and the like work. Its /tmp is memory that programs may run from: AOTInductor unpacks the shared
library of a model there and loads it, which a /tmp mounted noexec refuses.

Should Local Vertex itself be killed (SIGKILL), containers stay; they carry the label ``vertex-deploy.local``.

Leaves out docker, limits of CPU and memory, and GPUs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from vertex_deploy.errors import LocalError
from vertex_deploy.local.data.launcher import ProcessLauncher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vertex_deploy.local.data.launcher import LaunchSpec, Running

LABEL = "vertex-deploy.local"


def run_command(spec: LaunchSpec, *, name: str, pid_file: Path) -> tuple[str, ...]:
    """The podman command line of one replica.

    Args:
        spec: image, entrypoint, arguments and environment.
        name: the container's name.
        pid_file: where podman writes the process id of the container's first process.
    """
    return (
        *("podman", "run", "--rm", "--name", name, "--label", LABEL, "--network", "host"),
        *("--pidfile", str(pid_file), "--no-healthcheck", "--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777"),  # noqa: S108 - the container's
        *(word for key, value in spec.environment.items() for word in ("--env", f"{key}={value}")),
        *(("--entrypoint", json.dumps(list(spec.entrypoint))) if spec.entrypoint else ()),
        spec.image,
        *spec.argv,
    )


class _Container:
    """A running container; see ``launcher.Running``."""

    def __init__(self, client: Running, name: str, pid_file: Path, environment: Mapping[str, str]) -> None:
        self._client = client
        self._name = name
        self._pid_file = pid_file
        self._environment = environment

    @property
    def pid(self) -> int:
        """Of the container's first process once it runs, else of podman."""
        return self._inside() or self._client.pid

    @property
    def returncode(self) -> int | None:
        return self._client.returncode

    async def wait(self) -> int:
        code = await self._client.wait()
        # Nothing is left of it, even where only podman was killed. --rm has usually done this already.
        await self._podman("rm", "--force", "--ignore", "--time", "0", self._name)
        self._pid_file.unlink(missing_ok=True)
        return code

    def terminate(self) -> None:
        # podman hands the signal on (--sig-proxy is the default).
        self._client.terminate()

    def kill(self) -> None:
        inside = self._inside()
        if inside is None:
            self._client.kill()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(inside, signal.SIGKILL)

    async def execute(self, command: Sequence[str]) -> int:
        return await self._podman("exec", self._name, *command)

    def _inside(self) -> int | None:
        if self._client.returncode is not None:
            return None
        try:
            return int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None

    async def _podman(self, *words: str) -> int:
        process = await asyncio.create_subprocess_exec(
            "podman",
            *words,
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()


class LocalLauncher:
    """Starts processes, and containers where an image is mapped to one; the data plane's default.

    Args:
        environment: podman's own, usually Local Vertex's.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._processes = ProcessLauncher()
        self._environment = environment
        self._serial = itertools.count()

    async def launch(self, spec: LaunchSpec) -> Running:
        """Start one; see ``launcher.Launcher``."""
        if not spec.image:
            return await self._processes.launch(spec)
        if shutil.which("podman", path=self._environment.get("PATH", os.defpath)) is None:
            raise LocalError(
                f"image {spec.image} cannot be run: podman is not installed; install it or map the image to a command"
            )
        name = f"vertex-deploy-{os.getpid()}-{next(self._serial)}-{spec.log.stem}"
        pid_file = spec.log.with_suffix(".pid").absolute()
        pid_file.parent.mkdir(parents=True, exist_ok=True)
        pid_file.unlink(missing_ok=True)
        argv = run_command(spec, name=name, pid_file=pid_file)
        client = await self._processes.launch(replace(spec, argv=argv, environment=self._environment, image=""))
        return _Container(client, name, pid_file, self._environment)

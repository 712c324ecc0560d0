"""Stand-ins for tests: a launcher whose "containers" are web applications in this process, and a timer moved by hand.

Shipped rather than kept in the tests because every part of Local Vertex can be tested with them: requests still go over
real loopback sockets, but nothing is forked and nothing waits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

from aiohttp import web

from vertex_deploy.errors import LocalError
from vertex_deploy.local.data.prober import ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.local.data.launcher import LaunchSpec, Running
    from vertex_deploy.local.data.probes import Action


class MemoryProcess:
    """A web application that plays a process; see ``launcher.Running``."""

    def __init__(self, spec: LaunchSpec, pid: int, runner: web.AppRunner | None) -> None:
        self.spec = spec
        self.pid = pid
        self.terminated = False
        self.ignores_sigterm = False
        self._runner = runner
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        code = await asyncio.shield(self._exit)
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
        return code

    def terminate(self) -> None:
        """Exit with 0, unless it ignores SIGTERM."""
        self.terminated = True
        if not self.ignores_sigterm:
            self.exit(0)

    def kill(self) -> None:
        """Exit with -9."""
        self.exit(-9)

    def exit(self, code: int) -> None:
        """End: stop listening, cut every connection."""
        if self._exit.done():
            return
        self._exit.set_result(code)
        if self._runner is not None:
            for site in self._runner.sites:
                server = getattr(site, "_server", None)
                if server is not None:
                    server.close()
            for connection in self._runner.server.connections if self._runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()

    async def execute(self, command: Sequence[str]) -> int:
        """Exec probes: ``true`` gives 0, everything else 1."""
        return 0 if list(command) == ["true"] else 1


class MemoryLauncher:
    """Starts applications instead of processes.

    Args:
        application: makes the application of a process from its environment; None starts nothing that listens.

    Attributes:
        launched: every process so far.
        refuse: if set, the message that launching fails with.
    """

    def __init__(self, application: Callable[[Mapping[str, str]], web.Application] | None = None) -> None:
        self.launched: list[MemoryProcess] = []
        self.refuse = ""
        self._application = application
        self._pids = itertools.count(100_000)

    async def launch(self, spec: LaunchSpec) -> Running:
        """Start one; see ``launcher.Launcher``."""
        if self.refuse:
            raise LocalError(self.refuse)
        runner = None
        if self._application is not None:
            runner = web.AppRunner(self._application(spec.environment), access_log=None, shutdown_timeout=0.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", spec.port).start()
        process = MemoryProcess(spec, next(self._pids), runner)
        self.launched.append(process)
        return process


class ScriptedProber:
    """A prober that answers what it is told.

    Attributes:
        answers: action type -> whether its tries pass; all pass unless told otherwise.
        tries: every action tried so far.
    """

    def __init__(self) -> None:
        self.answers: dict[type, bool] = {}
        self.tries: list[Action] = []

    async def check(self, action: Action, *, port: int, running: Running, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - see prober.Prober
        """One try."""
        del port, running, timeout
        self.tries.append(action)
        ok = self.answers.get(type(action), True)
        return ProbeResult(ok, "" if ok else "told to fail")

    async def close(self) -> None:
        """Nothing to let go of."""


class ManualTimer:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds that have been advanced."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once time has been advanced so far; at once for nothing."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in order and letting each do what it wants to do next."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not future.done():
                future.set_result(None)
                await self.settle()
        self._now = end

    async def settle(self) -> None:
        """Let every task run until it waits for time (or for a socket)."""
        for _ in range(30):
            await asyncio.sleep(0)

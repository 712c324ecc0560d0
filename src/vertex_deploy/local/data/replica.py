"""One replica of a deployed model: its process, kept as the serving contract says.

A task supervises it: launch, probe, take it out of the traffic while it is unhealthy, launch it again when it has
exited. A process that exits before the replica was ever healthy is started a few times more and then given up, which
fails the deployment; one that was healthy is restarted for as long as it is deployed, with growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.errors import LocalError
from vertex_deploy.local.data.launcher import log_tail
from vertex_deploy.local.data.probes import Event, State, Streak, step

if TYPE_CHECKING:
    from pathlib import Path

    from vertex_deploy.local.data.launcher import Launcher, LaunchSpec, Running
    from vertex_deploy.local.data.prober import Prober
    from vertex_deploy.local.data.probes import ProbePlan, ProbeSet
    from vertex_deploy.local.data.timing import Timer, Timing

_TAKEN: set[int] = set()


class SpecForPort(Protocol):
    """Says what to launch."""

    def __call__(self, port: int, log: Path) -> LaunchSpec:
        """The process for a port and a log file."""
        ...


def free_port() -> int:
    """A loopback port that nobody listens on and that no other replica of this process was given.

    Another program may take it before the replica does. The replica then fails to start and is launched again, on
    another port.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _TAKEN:
            _TAKEN.add(port)
            return port


class Replica:
    """One replica.

    Args:
        name: its replica_id in metrics, status and log file name.
        spec_for_port: what to launch.
        probes: its probes.
        log: its log file.
        launcher: starts processes.
        prober: carries out probes.
        timer: time.
        timing: periods.

    Attributes:
        state: see ``probes.State``.
        outstanding: requests given to it and not answered yet.
        restarts: launches after the first.
        port: the port of the present launch; 0 before the first.
        was_healthy: it has been healthy at least once.
        detail: why it is not healthy, in a few words.
    """

    def __init__(
        self,
        *,
        name: str,
        spec_for_port: SpecForPort,
        probes: ProbeSet,
        log: Path,
        launcher: Launcher,
        prober: Prober,
        timer: Timer,
        timing: Timing,
    ) -> None:
        self.name = name
        self.state = State.PENDING
        self.outstanding = 0
        self.restarts = 0
        self.port = 0
        self.was_healthy = False
        self.detail = "not started"
        self.log = log
        self._spec_for_port = spec_for_port
        self._probes = probes
        self._launcher = launcher
        self._prober = prober
        self._timer = timer
        self._timing = timing
        self._running: Running | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        # True: healthy for the first time; False: given up. Waiting is for whoever deploys.
        self.settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """It may be given requests."""
        return self.state is State.HEALTHY

    @property
    def launched(self) -> bool:
        """A process was started at least once."""
        return self._running is not None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._running.pid if self._running and self._running.returncode is None else None

    def start(self) -> None:
        """Begin to supervise; ``settled`` tells the outcome."""
        self._task = asyncio.create_task(self._supervise(), name=f"replica {self.name}")
        self._task.add_done_callback(self._supervision_ended)

    def begin(self) -> None:
        """Count a request that it is given."""
        self.outstanding += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a request as answered."""
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()

    def kill(self) -> bool:
        """SIGKILL its process as a crash would; False if none runs."""
        if self.pid is None or self._running is None:
            return False
        self._running.kill()
        return True

    def drain(self) -> None:
        """Take no new requests."""
        self._event(Event.DRAIN)

    async def stop(self, *, wait_for_requests: bool = True) -> None:
        """Take no new requests, finish those accepted, then SIGTERM and, after the grace period, SIGKILL.

        Args:
            wait_for_requests: False ends the process while requests are in flight, as a preemption does.
        """
        self.drain()
        if wait_for_requests:
            await self._idle.wait()
        self._stopping = True
        running = self._running
        if running is not None and running.returncode is None:
            running.terminate()
            exited = asyncio.ensure_future(running.wait())
            grace = asyncio.ensure_future(self._timer.sleep(self._timing.drain_grace))
            await asyncio.wait({exited, grace}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                running.kill()
            await exited
            grace.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._release_port()
        self._event(Event.STOPPED)
        # Whoever waits for it to become healthy waits in vain.
        self._settle(ok=False)

    def failure(self) -> str:
        """The end of its log, for an error message."""
        tail = log_tail(self.log)
        return f"Last lines of {self.log}:\n{tail}" if tail else f"Its log {self.log} is empty."

    def _supervision_ended(self, task: asyncio.Task[None]) -> None:
        # An error of ours must fail the deployment, not leave it waiting.
        if not task.cancelled() and (error := task.exception()) is not None and not self.settled.done():
            self.settled.set_exception(error)

    def _event(self, event: Event) -> None:
        self.state = step(self.state, event)

    def _release_port(self) -> None:
        _TAKEN.discard(self.port)

    async def _supervise(self) -> None:
        unhealthy_starts = 0
        quick_restarts = 0
        while True:
            started = self._timer.now()
            healthy_before = self.was_healthy
            launched = await self._run_once()
            self._event(Event.EXITED)
            if self.state is State.DRAINING:
                return
            if not self.was_healthy:
                unhealthy_starts += 1
                if unhealthy_starts >= self._timing.start_attempts or not launched:
                    self._event(Event.GAVE_UP)
                    self._settle(ok=False)
                    return
                pause = self._timing.start_retry
            else:
                if not healthy_before or self._timer.now() - started >= self._timing.restart_reset * self._timing.scale:
                    quick_restarts = 0
                pause = self._timing.restart_delay(quick_restarts)
                quick_restarts += 1
            await self._timer.sleep(pause)
            self.restarts += 1

    async def _run_once(self) -> bool:
        """Launch, probe until it exits or must be restarted; nothing runs on return. False: it cannot be launched."""
        self._release_port()
        self.port = free_port()
        try:
            running = await self._launcher.launch(self._spec_for_port(self.port, self.log))
        except LocalError as error:
            self.detail = str(error)
            return False
        self._running = running
        self._event(Event.LAUNCHED)
        exited = asyncio.create_task(running.wait())
        probing = asyncio.create_task(self._probe(running))
        try:
            await asyncio.wait({exited, probing}, return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                self.detail = f"exited with {exit_words(exited.result())}"
            else:
                # Its probes gave it up: end it as the kubelet does, gently first.
                self.detail = probing.result()
                self._event(Event.EXITED)
                await self._end(running, exited)
        finally:
            probing.cancel()
            if not exited.done() and not self._stopping:
                running.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await exited
        return True

    async def _end(self, running: Running, exited: asyncio.Task[int]) -> None:
        running.terminate()
        grace = asyncio.ensure_future(self._timer.sleep(self._timing.drain_grace))
        await asyncio.wait({exited, grace}, return_when=asyncio.FIRST_COMPLETED)
        grace.cancel()
        if not exited.done():
            running.kill()

    async def _probe(self, running: Running) -> str:
        """Probe for as long as it runs; returns only when it must be restarted, with the reason."""
        probes = self._probes
        if probes.startup is not None:
            reason = await self._startup(probes.startup, running)
            if reason:
                return reason
        tasks = {
            asyncio.create_task(self._health(probes.health, running)),
            asyncio.create_task(self._liveness(probes.liveness, running)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()

    async def _startup(self, probe: ProbePlan, running: Running) -> str:
        """Gate the other probes: "" once it has passed, else why not."""
        began = self._timer.now()
        await self._timer.sleep(probe.delay)
        streak = Streak()
        while True:
            result = await self._prober.check(probe.action, port=self.port, running=running, timeout=probe.timeout)
            # Polled faster than its period, so what bounds it is the time that its failures would have taken.
            streak = Streak(False, 0, 0) if not result.ok else streak.after(True, probe)
            if streak.passing:
                return ""
            if not result.ok:
                self.detail = f"startup probe: {result.detail}"
                if self._timer.now() - began >= probe.budget:
                    return f"startup probe failed for {probe.budget:g} s: {result.detail}"
            await self._timer.sleep(min(self._timing.start_poll, probe.period))

    async def _health(self, probe: ProbePlan, running: Running) -> str:
        """Watch readiness for ever."""
        await self._timer.sleep(probe.delay)
        streak = Streak()
        healthy_now = False
        while True:
            result = await self._prober.check(probe.action, port=self.port, running=running, timeout=probe.timeout)
            streak = streak.after(result.ok, probe)
            if not result.ok:
                self.detail = f"health check: {result.detail}"
            if streak.passing:
                self._event(Event.HEALTH_PASSED)
            elif streak.passing is False:
                self._event(Event.HEALTH_FAILED)
            if result.ok and self.ready:
                self.detail, healthy_now, self.was_healthy = "", True, True
                self._settle(ok=True)
            steady = self._scaled(probe.period)
            await self._timer.sleep(steady if healthy_now else min(self._timing.start_poll, steady))

    async def _liveness(self, probe: ProbePlan, running: Running) -> str:
        """Watch liveness; returns when it has failed."""
        await self._timer.sleep(probe.delay)
        streak = Streak()
        while True:
            await self._timer.sleep(self._scaled(probe.period))
            result = await self._prober.check(probe.action, port=self.port, running=running, timeout=probe.timeout)
            streak = streak.after(result.ok, probe)
            if streak.passing is False:
                return f"liveness probe failed {streak.failures} times: {result.detail}"

    def _scaled(self, seconds: float) -> float:
        return seconds * self._timing.scale

    def _settle(self, *, ok: bool) -> None:
        if not self.settled.done():
            self.settled.set_result(ok)


def exit_words(code: int) -> str:
    """An exit code as people say it: ``code 3``, ``signal 9``."""
    return f"code {code}" if code >= 0 else f"signal {-code}"

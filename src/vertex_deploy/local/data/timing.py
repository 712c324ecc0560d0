"""Time as Local Vertex's data plane knows it: a timer that tests replace, and every period in one place.

Leaves out the time limit of a single request: that is real time, kept by ``forward``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol


class Timer(Protocol):
    """Monotonic time and waiting, so that tests need not wait."""

    def now(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when this many seconds have passed."""
        ...


class SystemTimer:
    """The machine's own monotonic clock."""

    def now(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Every period of the data plane, in seconds.

    Args:
        scale: probe periods, restart delays and the time a preempted replica stays away are multiplied by this: 1.0
            is the contract, 0.1 a rehearsal ten times as fast. Time limits (a probe's, a request's, a drain's) and
            the polling of a starting replica are not scaled: a slow server is as slow in a rehearsal.
        start_poll: how often a starting replica is asked whether it is healthy; the contract's 10 s would only make
            every local deployment 5 s slower on average.
        deployment_timeout: for models that name none; Vertex AI allows at most 7200.
        start_attempts: launches of a replica that was never healthy before its deployment fails.
        start_retry: pause between those launches.
        restart_delays: pauses before the first, second, ... restart of a replica that had been healthy; the last one
            repeats. Kubernetes' CrashLoopBackOff.
        restart_reset: a replica that stayed healthy this long starts again at the first of ``restart_delays``.
        drain_grace: from SIGTERM to SIGKILL. Vertex AI documents none; 30 s is Kubernetes' default.
        preempted_away: how long a preempted replica is gone before its replacement starts.
        gauge_period: how often replica counts, CPU and memory are measured.
    """

    scale: float = 1.0
    start_poll: float = 0.15
    deployment_timeout: float = 600.0
    start_attempts: int = 3
    start_retry: float = 0.5
    restart_delays: tuple[float, ...] = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
    restart_reset: float = 600.0
    drain_grace: float = 30.0
    preempted_away: float = 60.0
    gauge_period: float = 5.0

    def restart_delay(self, restarts: int) -> float:
        """Seconds to wait before restart number ``restarts`` (0 is the first)."""
        return self.restart_delays[min(restarts, len(self.restart_delays) - 1)] * self.scale

"""Replica counts, CPU and memory of deployed models, measured every few seconds for Cloud Monitoring.

CPU is the share of this machine that a replica's process tree used, not of the machine type's cores: nothing holds it
to those. Accelerators are not measured: local processes have none that Local Vertex gave them.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vertex_deploy.local.data.deployed import DeployedModel
    from vertex_deploy.local.data.timing import Timer
    from vertex_deploy.local.seams import Recorder


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process tree has used.

    Args:
        cpu_seconds: CPU time so far.
        memory_bytes: resident memory now.
    """

    cpu_seconds: float
    memory_bytes: int


def measure(pids: Iterable[int]) -> dict[int, Usage]:
    """Usage of these processes' trees; those that are gone are left out. Reads /proc: not on the event loop."""
    usage: dict[int, Usage] = {}
    for pid in pids:
        cpu, memory = 0.0, 0
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
        except psutil.Error:
            continue
        usage[pid] = Usage(cpu, memory)
    return usage


def cpu_share(before: Usage | None, now: Usage, *, seconds: float, cores: int) -> float | None:
    """Share of the machine's CPUs used between two measurements, 0 to 1; None if there are not two to compare.

    A tree that lost a process may seem to have used less than nothing: that is 0.
    """
    if before is None or seconds <= 0:
        return None
    return min(1.0, max(0.0, (now.cpu_seconds - before.cpu_seconds) / seconds / cores))


class Gauges:
    """Writes the gauges.

    Args:
        recorder: takes them.
        timer: time.
    """

    def __init__(self, recorder: Recorder, timer: Timer) -> None:
        self._recorder = recorder
        self._timer = timer
        self._cores = os.cpu_count() or 1
        self._last: dict[int, tuple[float, Usage]] = {}

    async def collect(self, models: Iterable[DeployedModel]) -> None:
        """Measure and write once."""
        models = list(models)
        pids = [replica.pid for model in models for replica in model.replicas if replica.pid is not None]
        usage = await asyncio.to_thread(measure, pids)
        now = self._timer.now()
        for model in models:
            self.counts(model)
            for replica in model.replicas:
                if replica.pid in usage:
                    self._replica(model, replica.name, usage[replica.pid], self._last.get(replica.pid), now)
        self._last = {pid: (now, used) for pid, used in usage.items()}

    def counts(self, model: DeployedModel) -> None:
        """Write how many replicas there are, and how many there should be."""
        ready = sum(replica.ready for replica in model.replicas)
        self._set(model, "replicas", ready)
        self._set(model, "target_replicas", model.target)
        # One machine a replica, whatever its health.
        self._set(model, "machine_count", len(model.replicas) + len(model.draining))

    def _replica(
        self, model: DeployedModel, name: str, used: Usage, last: tuple[float, Usage] | None, now: float
    ) -> None:
        self._set(model, "memory/bytes_used", used.memory_bytes, name)
        share = cpu_share(last[1], used, seconds=now - last[0], cores=self._cores) if last else None
        if share is not None:
            self._set(model, "cpu/utilization", share, name)

    def _set(self, model: DeployedModel, metric: str, value: float, replica: str | None = None) -> None:
        self._recorder.gauge(
            metric,
            value,
            endpoint=model.plan.endpoint,
            deployed_model_id=model.id,
            labels={"spot": str(model.plan.spot).lower(), **({"replica_id": replica} if replica else {})},
        )

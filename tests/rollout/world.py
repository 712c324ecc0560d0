"""A rollout's whole world in memory: target, metrics, clock, store; and ways to stop a controller anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from vertex_deploy.metrics.memory import MemorySource
from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.release import build_release
from vertex_deploy.rollout.actions import Wait
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.rollout.clock import ManualClock
from vertex_deploy.rollout.controller import Controller
from vertex_deploy.rollout.decide import decide
from vertex_deploy.rollout.driver import nap
from vertex_deploy.rollout.engine import begin
from vertex_deploy.rollout.lease import Lease
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.store import RolloutStore
from vertex_deploy.spec.models import Spec
from vertex_deploy.targets.memory import MemoryTarget, with_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.rollout.machine import Phase
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.requests import Verb

BOUNDS = (50.0, 100.0, 200.0, 400.0, 800.0)
STABLE = "111"


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


def spec_with(**rollout: Any) -> Spec:
    settings = {
        "steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}, {"weight": 100}],
        "gates": [{"metric": "error_rate", "max": "1%", "min_requests": 100}],
        "keep_stable": "30s",
        "poll": "5s",
        **rollout,
    }
    return Spec.model_validate(
        {
            "name": "lite0",
            "gcp": {"project": "p", "region": "us-central1"},
            "model": {"artifact": "gs://p-models/lite0/2"},
            "container": {"image": "torch-aoti"},
            "target": {"type": "vertex", "machine": {"type": "n1-standard-4"}},
            "rollout": settings,
        }
    )


@cache
def sample(requests: int, errors: int = 0, slow: int = 0) -> VersionSample:
    counts = (requests - slow, 0, 0, 0, slow, 0)
    return VersionSample(requests=requests, errors=errors, latency_ms=Histogram(BOUNDS, counts))


class HookedBlobs(MemoryBlobs):
    """Memory blobs that tell of every write, before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[], None] = lambda: None

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        self.hook()
        written = MemoryBlobs.write(self, name, data, generation=generation)
        self.hook()
        return written


@dataclass
class World:
    """Everything that outlives a controller.

    Args:
        spec: what is rolled out.
        errors: share of the canary's requests that fail.
        silent: the canary's metrics never arrive.
        first: nothing is deployed yet.
    """

    spec: Spec = field(default_factory=spec_with)
    errors: float = 0.0
    silent: bool = False
    first: bool = False
    errors_at_full: float | None = None

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.release = build_release(self.spec)
        self.target = MemoryTarget(release=self.release.hash)
        if not self.first:
            with_version(self.target, STABLE, "1", weight=100)
        self.source = MemorySource(produce=self._produce)
        self.blobs = HookedBlobs()
        self.controllers = 0

    def _produce(self, stable: str, canary: str, since: datetime, until: datetime) -> list[Interval]:
        """A point every 5 s; each version gets its share of 100 requests a second."""
        found, period = [], 5.0
        at = (since.timestamp() // period + 1) * period
        while at <= until.timestamp():
            weights = self.target.split
            whole = weights.get(canary, 0) == 100
            rate = self.errors_at_full if whole and self.errors_at_full is not None else self.errors
            served = 5 * weights.get(canary, 0)
            one = sample(served, errors=round(served * rate)) if canary and served and not self.silent else None
            other = sample(5 * weights.get(stable, 0)) if weights.get(stable, 0) else None
            if one or other:
                found.append(Interval(end=datetime.fromtimestamp(at, UTC), seconds=period, stable=other, canary=one))
            at += period
        return found

    def store(self) -> RolloutStore:
        # A killed controller's process is dead; so is every one of a test's.
        return RolloutStore(self.blobs, "memory", dead=lambda _lease: True)

    def start(self, spec: Spec | None = None) -> Controller:
        """A new controller, as `rollout start` makes one."""
        self.controllers += 1
        store, now = self.store(), self.clock.now()
        store.acquire(Lease(host="h", pid=self.controllers, born=0, token=str(self.controllers), expires=now + 60), now)
        spec = spec or self.spec
        record, _ = begin(store, spec, build_release(spec), now=now, who="me@here")
        return Controller(
            store=store,
            record=record,
            plan=plan_of(spec_of(record), lag=10.0),
            gates=spec_of(record).rollout.gates,
            target=self.target,
            source_for=lambda _endpoint: self.source,
            clock=self.clock,
        )

    def run(self) -> Record:
        return self.start().run()

    def ask(self, verb: Verb, approver: str = "") -> None:
        self.store().ask(verb, who="you@there", now=self.clock.now(), approver=approver)
        # Requests are ordered by their milliseconds; a person does not ask twice within one.
        self.clock.time += 0.01

    def record(self) -> Record:
        found = self.store().current()
        assert found is not None
        return found

    def phases(self) -> list[str]:
        """Every phase that was entered, in order, as the history tells it."""
        log = self.store().log(self.record().id)
        return [entry.data["to"] for entry in log if entry.kind == "transition"]

    def deployed(self) -> list[str]:
        return [d.id for d in self.target.deployed]


def step(controller: Controller) -> None:
    """One action, or one wait."""
    seen, etag = controller._look()
    action = decide(controller.record, controller._plan, seen)
    if isinstance(action, Wait):
        assert action.until is not None, "paused: nothing to step to"
        nap(controller, action.until, controller._clock)
    else:
        controller._perform(action, etag)


def step_to(controller: Controller, phase: Phase) -> None:
    """Steps until the rollout is there."""
    while controller.record.phase is not phase:
        step(controller)

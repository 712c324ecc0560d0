"""Health, startup and liveness of a replica: what is checked, how often, and what follows. Pure.

Defaults are those of Google's custom container requirements: health is a GET of the health route every 10 s that must
give exactly 200 within 10 s, four failures in a row take the replica out of the traffic without restarting it, one
success brings it back; liveness is a TCP connection, four failed attempts 10 s apart restart the container; a startup
probe, where the model has one, gates both. The model's own probes are honoured where they are httpGet, tcpSocket or
exec.

Leaves out grpc probes: Local Vertex sends no gRPC to containers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import grpc

from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import types as aip


@dataclass(frozen=True, slots=True)
class HttpGet:
    """GET a path of the container's port.

    Args:
        path: the path.
        headers: sent along.
        exactly_200: the contract's health check; otherwise 200 to 399 pass, as in Kubernetes.
    """

    path: str
    headers: tuple[tuple[str, str], ...] = ()
    exactly_200: bool = True


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """Connect to the container's port."""


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a command in the container; 0 passes."""

    command: tuple[str, ...]


Action = HttpGet | TcpSocket | Exec


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """One probe; times in seconds.

    Args:
        action: what is tried.
        period: from one try to the next.
        timeout: a try that takes longer has failed.
        failures: failures in a row that make it fail.
        successes: successes in a row that make it pass.
        delay: before the first try.
    """

    action: Action
    period: float = 10.0
    timeout: float = 10.0
    failures: int = 4
    successes: int = 1
    delay: float = 0.0

    @property
    def budget(self) -> float:
        """How long a startup probe may go on failing."""
        return self.delay + self.period * self.failures


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """The probes of a container; ``startup`` is None where the model has none."""

    health: ProbePlan
    liveness: ProbePlan
    startup: ProbePlan | None = None


def _action(probe: aip.Probe, *, name: str, port: int, exactly_200: bool) -> Action | None:
    if probe.exec_.command:
        return Exec(tuple(probe.exec_.command))
    if "grpc" in probe:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"containerSpec.{name}.grpc: Local Vertex runs httpGet, tcpSocket and exec probes only",
        )
    kind = "tcp_socket" if "tcp_socket" in probe else "http_get" if "http_get" in probe else None
    if kind is None:
        return None
    target = getattr(probe, kind)
    if target.host or target.port not in (0, port):
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"containerSpec.{name}: Local Vertex probes only the container's own first port ({port}), "
            f"not {target.host or 'port'} {target.port}",
        )
    if kind == "tcp_socket":
        return TcpSocket()
    if target.scheme.upper() not in ("", "HTTP"):
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT, f"containerSpec.{name}.httpGet.scheme: only HTTP works locally"
        )
    headers = tuple((header.name, header.value) for header in target.http_headers)
    return HttpGet(target.path or "/", headers, exactly_200)


def _plan(probe: aip.Probe, action: Action) -> ProbePlan:
    """A model's own probe, with the API's defaults (Probe in the discovery document)."""
    return ProbePlan(
        action=action,
        period=probe.period_seconds or 10,
        timeout=probe.timeout_seconds or 1,
        failures=probe.failure_threshold or 3,
        successes=probe.success_threshold or 1,
        delay=probe.initial_delay_seconds,
    )


def probe_set(container: aip.ModelContainerSpec, *, health_route: str) -> ProbeSet:
    """The probes of a container, its own or the contract's.

    Args:
        container: as uploaded.
        health_route: the path of the default health check.

    Raises:
        ApiError: INVALID_ARGUMENT: a probe that Local Vertex cannot run.
    """
    port = container.ports[0].container_port if container.ports else 8080
    health = _action(container.health_probe, name="healthProbe", port=port, exactly_200=True)
    liveness = _action(container.liveness_probe, name="livenessProbe", port=port, exactly_200=False)
    startup = _action(container.startup_probe, name="startupProbe", port=port, exactly_200=False)
    return ProbeSet(
        health=_plan(container.health_probe, health) if health else ProbePlan(action=HttpGet(health_route)),
        liveness=_plan(container.liveness_probe, liveness) if liveness else ProbePlan(action=TcpSocket()),
        startup=_plan(container.startup_probe, startup) if startup else None,
    )


@dataclass(frozen=True, slots=True)
class Streak:
    """Results of one probe so far; ``passing`` is None until a threshold has been reached."""

    passing: bool | None = None
    failures: int = 0
    successes: int = 0

    def after(self, ok: bool, probe: ProbePlan) -> Streak:
        """The streak with one more result."""
        if ok:
            successes = self.successes + 1
            return Streak(True if successes >= probe.successes else self.passing, 0, successes)
        failures = self.failures + 1
        return Streak(False if failures >= probe.failures else self.passing, failures, 0)


class State(Enum):
    """What a replica is doing; only HEALTHY gets requests."""

    PENDING = "pending"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    BACKOFF = "backoff"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(Enum):
    """What happens to a replica."""

    LAUNCHED = "launched"
    HEALTH_PASSED = "health passed"
    HEALTH_FAILED = "health failed"
    EXITED = "exited"
    GAVE_UP = "gave up"
    DRAIN = "drain"
    STOPPED = "stopped"


_LIVE = (State.PENDING, State.STARTING, State.HEALTHY, State.UNHEALTHY, State.BACKOFF)

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PENDING, Event.LAUNCHED): State.STARTING,
    (State.BACKOFF, Event.LAUNCHED): State.STARTING,
    (State.STARTING, Event.HEALTH_PASSED): State.HEALTHY,
    (State.UNHEALTHY, Event.HEALTH_PASSED): State.HEALTHY,
    (State.HEALTHY, Event.HEALTH_FAILED): State.UNHEALTHY,
    (State.STARTING, Event.EXITED): State.BACKOFF,
    (State.HEALTHY, Event.EXITED): State.BACKOFF,
    (State.UNHEALTHY, Event.EXITED): State.BACKOFF,
    (State.PENDING, Event.GAVE_UP): State.FAILED,
    (State.BACKOFF, Event.GAVE_UP): State.FAILED,
    **{(state, Event.DRAIN): State.DRAINING for state in (*_LIVE, State.FAILED)},
    (State.DRAINING, Event.STOPPED): State.STOPPED,
}
"""Every change there is. A pair not listed changes nothing: a draining replica stays so whatever its probes say."""


def step(state: State, event: Event) -> State:
    """The state after an event."""
    return TRANSITIONS.get((state, event), state)

"""Faults put into deployed models on purpose, so that a rollout's gates have something to find. Pure decisions.

A fault names its target by deployed model id, or by model with or without version (``MODEL`` or ``MODEL@VERSION``, the
model's id or display name), so that it can be set before the deployment it is meant for exists. A faulted request is
answered, timed and counted as the client saw it.

Killing and preempting replicas are acts, not settings: see ``LocalDataPlane.kill_replica`` and ``preempt_replica``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.errors import UsageError
from vertex_deploy.local.data.environment import resource_id

if TYPE_CHECKING:
    from random import Random

    from vertex_deploy.local.seams import DeployPlan

_LOWEST_ERROR, _HIGHEST_ERROR = 400, 599


def target_matches(target: str, plan: DeployPlan) -> bool:
    """Whether a target (deployed model id, MODEL or MODEL@VERSION) means this deployed model.

    MODEL is the model's id, resource name or display name.
    """
    if target == plan.deployed_model_id:
        return True
    name, _, version = target.partition("@")
    names = (resource_id(plan.model), plan.model, plan.model_display_name)
    return name in names and version in ("", plan.model_version_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to the requests of one target.

    Args:
        target: deployed model id, MODEL or MODEL@VERSION.
        fail_share: share of the requests that fail, 0 to 1.
        code: the HTTP status they fail with, 400 to 599.
        delay_share: share of the requests that are delayed, 0 to 1.
        delay_ms: by how much, milliseconds.
        delay_up_to_ms: if more than ``delay_ms``, the delay is drawn evenly between the two.

    Raises:
        UsageError: a value out of its range, or a fault that does nothing.
    """

    target: str
    fail_share: float = 0.0
    code: int = 500
    delay_share: float = 0.0
    delay_ms: float = 0.0
    delay_up_to_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.target:
            raise UsageError("fault: target is empty: name a deployed model id, MODEL or MODEL@VERSION")
        for name, share in (("fail_share", self.fail_share), ("delay_share", self.delay_share)):
            if not 0 <= share <= 1:
                raise UsageError(f"fault: {name} is {share:g}; a share lies between 0 and 1")
        if not _LOWEST_ERROR <= self.code <= _HIGHEST_ERROR:
            raise UsageError(f"fault: code is {self.code}; an error's HTTP status lies between 400 and 599")
        if self.delay_ms < 0 or self.delay_up_to_ms < 0:
            raise UsageError("fault: a delay cannot be negative")
        delays = self.delay_share > 0 and max(self.delay_ms, self.delay_up_to_ms) > 0
        if not delays and not self.fail_share:
            raise UsageError("fault: does nothing: give fail_share, or delay_share with delay_ms or delay_up_to_ms")

    def matches(self, plan: DeployPlan) -> bool:
        """Whether it is meant for this deployed model."""
        return target_matches(self.target, plan)


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to one request: a delay in seconds, then perhaps an HTTP status instead of the model's answer."""

    delay: float = 0.0
    code: int | None = None


NO_EFFECT = Effect()


def decide(faults: tuple[Fault, ...], random: Random) -> Effect:
    """Draw what happens to one request.

    Args:
        faults: those that match its deployed model.
        random: where chance comes from.

    Returns:
        The longest delay drawn, and the first failure drawn.
    """
    delay, code = 0.0, None
    for fault in faults:
        if fault.delay_share and random.random() < fault.delay_share:
            spread = max(0.0, fault.delay_up_to_ms - fault.delay_ms)
            delay = max(delay, (fault.delay_ms + spread * random.random()) / 1000)
        if code is None and fault.fail_share and random.random() < fault.fail_share:
            code = fault.code
    return Effect(delay, code) if delay or code is not None else NO_EFFECT


class FaultTable:
    """The faults that are set, at most one a target."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self.version = 0

    def put(self, fault: Fault) -> None:
        """Set a fault, in place of the target's present one."""
        self._faults[fault.target] = fault
        self.version += 1

    def clear(self, target: str | None = None) -> int:
        """Remove a target's fault, or all; how many were removed."""
        gone = list(self._faults) if target is None else [key for key in self._faults if key == target]
        for key in gone:
            del self._faults[key]
        self.version += 1
        return len(gone)

    def all(self) -> tuple[Fault, ...]:
        """Every fault, in the order in which their targets were first named."""
        return tuple(self._faults.values())

    def matching(self, plan: DeployPlan) -> tuple[Fault, ...]:
        """Those meant for a deployed model."""
        return tuple(fault for fault in self._faults.values() if fault.matches(plan))

"""What a rollout will do, read off its spec: the numbers that decisions need. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.rollout.alerting import watching

if TYPE_CHECKING:
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.spec.models import Spec

LONGEST_POLL = 60.0
SHORTEST_POLL = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decisions' numbers. Times in seconds, weights in percent.

    Args:
        weights: the canary's share at each step; rises, and ends with 100.
        holds: how long each step is held.
        gated: there are gates; without any, holds only take time.
        on_failure: rollback or pause.
        on_inconclusive: pause, rollback or proceed.
        on_foreign_split: stop or adopt.
        on_missing_metrics: warn or refuse.
        approvals: whether each step waits for somebody's approval.
        keep_stable: how long stable stays warm after promotion.
        timeout: how long an operation may take.
        poll: how often metrics are read.
        settle: how long the end of a hold waits for the last points.
        access: how the endpoint is reached.
        alerted: alert policies can end it, so incidents are read at every poll.
    """

    weights: tuple[int, ...]
    holds: tuple[float, ...]
    gated: bool
    on_failure: str
    on_inconclusive: str
    on_foreign_split: str
    on_missing_metrics: str
    approvals: tuple[bool, ...]
    keep_stable: float
    timeout: float
    poll: float
    settle: float
    access: str
    alerted: bool = False

    @property
    def last(self) -> int:
        """Index of the last step."""
        return len(self.weights) - 1

    def split(self, step: int, *, stable: str, canary: str) -> dict[str, int]:
        """The traffic split of a step, without zero entries."""
        weight = self.weights[step]
        return {key: value for key, value in ((stable, 100 - weight), (canary, weight)) if value}

    def unapproved(self, step: int, until: int) -> int | None:
        """The first step after ``step``, up to and with ``until``, that waits for an approval."""
        return next((i for i in range(step + 1, until + 1) if self.approvals[i]), None)


def plan_of(spec: Spec, *, lag: float = 180.0) -> Plan:
    """The plan of a spec.

    Args:
        spec: one deploy.yaml, with its environment applied.
        lag: seconds after which a metric point is no longer expected; a short hold waits no longer than itself.
    """
    rollout = spec.rollout
    holds = tuple(step.hold or 0.0 for step in rollout.steps)
    shortest = min((hold for hold in holds if hold), default=LONGEST_POLL)
    return Plan(
        weights=tuple(step.weight for step in rollout.steps),
        holds=holds,
        gated=bool(rollout.gates),
        on_failure=rollout.on_failure,
        on_inconclusive=rollout.on_inconclusive,
        on_foreign_split=rollout.on_foreign_split,
        on_missing_metrics=rollout.on_missing_metrics,
        approvals=tuple(step.approval for step in rollout.steps),
        keep_stable=rollout.keep_stable,
        timeout=rollout.deploy_timeout,
        poll=rollout.poll or min(LONGEST_POLL, max(SHORTEST_POLL, shortest / 20)),
        settle=min(lag, max(holds, default=0.0)),
        access=spec.target.endpoint.access,
        alerted=watching(spec),
    )


def spec_of(record: Record) -> Spec:
    """The spec that a record carries.

    Raises:
        StateError: this version of vertex-deploy cannot read it.
    """
    from vertex_deploy.spec import from_storage  # noqa: PLC0415 - pydantic's models take a while to build

    return from_storage(record.spec)

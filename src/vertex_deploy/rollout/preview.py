"""What a rollout would do, found out by reading alone: the endpoint, the model's versions, stable's metrics.

The same questions as preflight's, with the same answers, and nothing is stored or changed. Left out: predicting what
the gates will say, and whether the region has machines left (no API tells before a deployment is tried).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.rollout.machine import Event
from vertex_deploy.rollout.preflight import inspect
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from vertex_deploy.release import Release
    from vertex_deploy.rollout.evidence import Evidence
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.targets.types import Target

CANARY = "NEW"
"""Stands for the deployed model id that a rollout would choose when it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step.

    Args:
        split: deployed model id -> percent.
        hold: seconds; 0.0 for the last.
        approval: it waits for somebody's approval first.
    """

    split: dict[str, int]
    hold: float
    approval: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would happen.

    Args:
        outcome: start, resume, nothing or refuse.
        reason: why, one line.
        actions: what would be called before any traffic moves, in order.
        endpoint: resource name, or "" where it would be created.
        stable: deployed model id and model version of the old version, or "".
        model: this release's version if it is uploaded, else "".
        steps: the splits, in order; empty where none would be set.
        hold_seconds: all holds together, at least.
        keep_stable: seconds that stable stays warm after promotion.
        gates: names of the gates.
        warnings: what to know before starting.
    """

    outcome: str
    reason: str
    actions: tuple[str, ...] = ()
    endpoint: str = ""
    stable: str = ""
    model: str = ""
    steps: tuple[PlannedStep, ...] = ()
    hold_seconds: float = 0.0
    keep_stable: float = 0.0
    gates: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def starts(self) -> bool:
        """`rollout start` would not be refused."""
        return self.outcome != "refuse"

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        return asdict(self)


def preview(
    *,
    plan: Plan,
    gates: tuple[str, ...],
    release: Release,
    target: Target,
    evidence: Evidence,
    current: Record | None,
    now: float,
) -> Preview:
    """Read what preflight would read.

    Args:
        plan: the numbers of the spec.
        gates: the gates' names.
        release: what would be rolled out.
        target: read only: ``find_endpoint``, ``observe``, ``find_model`` and ``check`` are called.
        evidence: reads stable's metrics.
        current: the newest rollout of this name.
        now: seconds since the epoch.

    Raises:
        CloudError: an API may answer later.
    """
    if current is not None and not current.over:
        same = current.release.hash == release.hash
        reason = f"rollout {current.id} is under way ({current.phase})"
        return Preview(outcome="resume" if same else "refuse", reason=reason + ("" if same else " for another release"))
    try:
        endpoint = target.find_endpoint()
        observed = target.observe(endpoint) if endpoint else None
        model = target.find_model()
        target.check()
        found = inspect(plan, endpoint=observed, model=model, canary=CANARY)
        warnings = _warnings(plan, evidence, endpoint, found.stable.id if found.stable else "", now)
    except (RolloutError, CloudError) as error:
        if isinstance(error, CloudError) and error.transient:
            raise
        return Preview(outcome="refuse", reason=str(error))
    ready, stable = found.move.event is Event.READY, found.stable
    known = Preview(
        outcome="start" if ready else "nothing" if found.move.event is Event.NOTHING_TO_DO else "refuse",
        reason=found.move.reason,
        endpoint=endpoint or "",
        stable=f"{stable.id} ({stable.reference})" if stable else "",
        model=model or "",
    )
    if not ready:
        return known
    if plan.on_missing_metrics == "refuse" and plan.gated and warnings:
        return replace(known, outcome="refuse", reason=f"{warnings[0]} (rollout.on_missing_metrics is refuse)")
    actions = ["create the endpoint"] * (not endpoint) + ["upload the release as a model version"] * (not model)
    if stable is None:
        return replace(known, actions=(*actions, "deploy it, with all traffic, ungated"), warnings=warnings)
    return replace(
        known,
        actions=(*actions, "deploy it, without traffic"),
        steps=_steps(plan, stable.id),
        hold_seconds=sum(plan.holds),
        keep_stable=plan.keep_stable,
        gates=gates,
        warnings=warnings,
    )


def _warnings(plan: Plan, evidence: Evidence, endpoint: str | None, stable: str, now: float) -> tuple[str, ...]:
    if not plan.gated:
        return ("no gates are configured: steps only take time",)
    if not endpoint or not stable or evidence.measured_lately(endpoint, stable, now):
        return ()
    return ("stable has no metrics of the last hour: gates cannot pass until requests come",)


def _steps(plan: Plan, stable: str) -> tuple[PlannedStep, ...]:
    return tuple(
        PlannedStep(
            split=plan.split(step, stable=stable, canary=CANARY), hold=plan.holds[step], approval=plan.approvals[step]
        )
        for step in range(plan.last + 1)
    )


def preview_lines(found: Preview) -> list[str]:
    """The preview as lines of plain text."""
    verdict = {
        "start": "would start",
        "resume": "would go on",
        "nothing": "nothing to do",
        "refuse": "would be refused",
    }[found.outcome]
    lines = [f"{verdict}: {found.reason}", *(f"warning: {warning}" for warning in found.warnings)]
    todo = list(found.actions)
    for step in found.steps:
        split = ", ".join(f"{key} {value}%" for key, value in step.split.items())
        asks = "wait for `rollout promote --approver NAME`, then " if step.approval else ""
        hold = f", hold {format_duration(step.hold)}" if step.hold else ""
        todo.append(f"{asks}set the split to {split}{hold}")
    if found.steps:
        todo.append(f"keep stable warm for {format_duration(found.keep_stable)}, then undeploy it")
    lines += [f"{number}. {line}" for number, line in enumerate(todo, 1)]
    if found.steps:
        gates = ", ".join(found.gates) or "none"
        lines.append(f"gates: {gates}; at least {format_duration(found.hold_seconds)} of holds. Nothing was changed.")
    return lines

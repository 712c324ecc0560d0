"""What a rollout would do, found out by reading alone: endpoint, model versions, quota, metrics, alert policies.

The same questions as preflight's, with the same answers (``readiness``), and nothing is stored or changed. Left out:
predicting what the gates will say, whether the region has machines left (no API tells before a deployment is tried),
and whether creating alert policies is permitted (reading does not show it). As lines of text: ``preview_text``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError, StateError
from vertex_deploy.rollout.alert_preview import preview_alerts
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.machine import Event, Phase
from vertex_deploy.rollout.preflight import another, static_traffic
from vertex_deploy.rollout.quota import QuotaFinding, machine_line
from vertex_deploy.rollout.readiness import look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.release import Release
    from vertex_deploy.rollout.alerting import Alerts
    from vertex_deploy.rollout.evidence import Evidence
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.readiness import Quotas
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.models import Spec
    from vertex_deploy.targets.types import Target

CANARY = "NEW"
"""Stands for the deployed model id that a rollout would choose when it starts."""
_LOOKED_BACK = 5


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
        machine: what is known of the machine type, one line.
        quotas: what each quota means for the new version.
        policies: alert policies that would be made for the rollout's time.
        deployed_in: seconds from start to the first traffic, as the last rollout took; None without one.
        promoted: seconds since the epoch before which it is not promoted; None where no steps are planned.
        over: seconds since the epoch before which stable is not undeployed; likewise.
        commands: what each command would do while it runs, by its name.
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
    machine: str = ""
    quotas: tuple[QuotaFinding, ...] = ()
    policies: tuple[str, ...] = ()
    deployed_in: float | None = None
    promoted: float | None = None
    over: float | None = None
    commands: Mapping[str, str] | None = None

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
    spec: Spec,
    release: Release,
    target: Target,
    evidence: Evidence,
    current: Record | None,
    now: float,
    quotas: Quotas | None = None,
    alerts: Alerts | None = None,
    deployed_in: float | None = None,
) -> Preview:
    """Read what preflight would read, and whether alert policies could be deployed.

    Args:
        plan: the numbers of the spec.
        spec: machine, gates and alerts.
        release: what would be rolled out.
        target: read only; see ``readiness.look``.
        evidence: reads stable's metrics.
        current: the newest rollout of this name.
        now: seconds since the epoch.
        quotas: reads quotas; None where there are none to read.
        alerts: only listed; None where the rollout would have no alerts.
        deployed_in: seconds that the last rollout took until it moved traffic, if there was one.

    Raises:
        CloudError: an API may answer later.
    """
    if (known := _unread(current, spec, release)) is not None:
        return known
    try:
        seen = look(plan=plan, target=target, evidence=evidence, canary=CANARY, now=now, quotas=quotas)
        policies: tuple[str, ...] = ()
        problems: tuple[str, ...] = ()
        if alerts is not None and seen.ready and seen.endpoint and seen.found.stable:
            found = preview_alerts(spec, alerts, endpoint=seen.endpoint, canary=CANARY, now=now)
            policies, problems = found.policies, found.problems
    except (RolloutError, CloudError) as error:
        if isinstance(error, CloudError) and may_pass(error):
            raise
        return Preview(outcome="refuse", reason=str(error))
    move, stable = seen.found.move, seen.found.stable
    known = Preview(
        outcome="start" if seen.ready else "nothing" if move.event is Event.NOTHING_TO_DO else "refuse",
        reason=move.reason,
        endpoint=seen.endpoint or "",
        stable=f"{stable.id} ({stable.reference})" if stable else "",
        model=seen.model or "",
        machine=machine_line(spec) if move.event is not Event.NOTHING_TO_DO else "",
        quotas=seen.quotas,
        policies=policies,
    )
    if problems:
        return replace(known, outcome="refuse", reason=f"alerts cannot watch this rollout: {'; '.join(problems)}")
    if not seen.ready:
        return known
    actions = ["create the endpoint"] * (not seen.endpoint) + ["upload the release as a model version"] * (
        not seen.model
    )
    if stable is None:
        return replace(known, actions=(*actions, "deploy it, with all traffic, ungated"), warnings=seen.warnings)
    holds = sum(plan.holds)
    promoted = now + (deployed_in or 0.0) + holds
    return replace(
        known,
        actions=(*actions, "deploy it, without traffic"),
        steps=_steps(plan, stable.id),
        hold_seconds=holds,
        keep_stable=plan.keep_stable,
        gates=tuple(gate.name or gate.metric for gate in spec.rollout.gates),
        warnings=seen.warnings,
        deployed_in=deployed_in,
        promoted=promoted,
        over=promoted + plan.keep_stable,
        commands=commands(plan, stable.id),
    )


def _unread(current: Record | None, spec: Spec, release: Release) -> Preview | None:
    """What needs no API to be told; None: the rest has to be read."""
    if current is not None and not current.over:
        why = another(current, spec, release)
        going = f"rollout {current.id} is under way ({current.phase})"
        return Preview(outcome="refuse" if why else "resume", reason=why or going)
    why = static_traffic(spec)
    return Preview(outcome="refuse", reason=why) if why else None


def commands(plan: Plan, stable: str) -> dict[str, str]:
    """What each command would do to this rollout while it runs, by its name.

    Args:
        plan: the numbers of the spec.
        stable: deployed model id of the old version.
    """
    approver = " --approver NAME" if any(plan.approvals) else ""
    back = f"sets the split to {stable} 100% and undeploys {CANARY}"
    return {
        "pause": "stands still at the split of the step; `rollout resume` holds and measures the step anew",
        f"promote{approver}": "goes to the next step at once, with your name in the history",
        f"promote --full{approver}": f"sets the split to {CANARY} 100% at once, past all remaining steps and gates",
        "abort": f"{back}; ends as aborted",
        "rollback": f"{back}; ends as rolled_back; works while stable is kept, too",
    }


def last_deployment(store: RolloutStore) -> float | None:
    """Seconds from start to the first traffic of the newest rollout that got that far; None if none did.

    Args:
        store: the last few rollouts' histories are read; one that cannot be read is passed over.
    """
    for rollout_id in reversed(store.ids()[-_LOOKED_BACK:]):
        with suppress(StateError):
            started = store.load(rollout_id).started
            for entry in store.log(rollout_id):
                if entry.kind == "transition" and entry.data.get("to") == Phase.SHIFTING:
                    return entry.at - started
    return None


def _steps(plan: Plan, stable: str) -> tuple[PlannedStep, ...]:
    return tuple(
        PlannedStep(
            split=plan.split(step, stable=stable, canary=CANARY), hold=plan.holds[step], approval=plan.approvals[step]
        )
        for step in range(plan.last + 1)
    )

"""Before anything is changed: which version is stable, and whether a rollout can start at all. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.release.release import changed_fields, spec_hash
from vertex_deploy.rollout.actions import Move
from vertex_deploy.rollout.machine import Ending, Event
from vertex_deploy.rollout.operations import same_model
from vertex_deploy.spec import to_storage
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.release import Release
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.spec.gates import Gate
    from vertex_deploy.spec.models import Spec
    from vertex_deploy.targets.types import Deployed, Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What preflight came to.

    Args:
        move: ready, nothing to do, or refused, with the reason.
        stable: the version that has all traffic; None on an endpoint without deployed models.
    """

    move: Move
    stable: Deployed | None = None


def inspect(plan: Plan, *, endpoint: Observation | None, model: str | None, canary: str) -> Found:
    """Find stable, or say why the rollout cannot start.

    Args:
        plan: how the endpoint is reached, and what the steps are.
        endpoint: as read back; None if there is none yet.
        model: this release's model version, if it is uploaded already.
        canary: the deployed model id that was chosen.
    """
    if endpoint is None or not endpoint.deployed:
        return Found(
            move=Move(Event.READY, "first version: nothing is deployed yet, so it will get all traffic at once")
        )
    if endpoint.find(canary):
        return refused(f"deployed model id {canary} is taken on {endpoint.endpoint}; start again for another id")
    serving = [deployed for deployed in endpoint.deployed if endpoint.split.get(deployed.id)]
    if len(serving) != 1:
        shares = ", ".join(f"{d.id} ({d.reference}): {endpoint.split.get(d.id, 0)}%" for d in endpoint.deployed)
        return refused(
            f"{endpoint.endpoint} has no single stable version ({shares}); give one of them all the traffic first, for "
            "example with `gcloud ai endpoints update --traffic-split=ID=100`"
        )
    stable = serving[0]
    if model is not None and same_model(stable.reference, model):
        return Found(
            move=Move(Event.NOTHING_TO_DO, f"{model} has all the traffic already", Ending.PROMOTED), stable=stable
        )
    if plan.access == "psa":
        return refused(
            "target.endpoint.access is psa, and an endpoint reached over VPC peering cannot split traffic between "
            "versions; use psc or dedicated, which can"
        )
    return Found(move=Move(Event.READY, f"stable is {stable.id} ({stable.reference})"), stable=stable)


def refused(why: str) -> Found:
    """The rollout cannot start, and why."""
    return Found(move=Move(Event.REFUSED, why, Ending.FAILED))


def short_of_requests(plan: Plan, gates: Sequence[Gate], rate: float) -> str:
    """Why a hold cannot end in a pass at the traffic that there was, or "": gates need more requests than it gets.

    Args:
        plan: the steps.
        gates: what is judged.
        rate: requests a second of the whole endpoint.
    """
    counted = [gate for gate in gates if not gate.dry_run and gate.inconclusive != "ignore"]
    most = max(counted, key=lambda gate: gate.min_requests, default=None)
    if most is None:
        return ""
    held = [(hold, weight, rate * hold * weight / 100) for hold, weight in zip(plan.holds, plan.weights, strict=True)]
    few = [step for step in held if step[0] and step[2] < most.min_requests]
    if not few:
        return ""
    hold, weight, requests = few[0]
    ending = "failed" if most.inconclusive == "fail" else "inconclusive"
    return (
        f"at the traffic of stable's last hour, {weight}% held for {format_duration(hold)} gets about {requests:.0f} "
        f"requests, and {most.label} needs {most.min_requests}: the hold would end as {ending}; hold it longer, or "
        "lower min_requests"
    )


def static_traffic(spec: Spec) -> str:
    """Why no rollout of this spec can start, or ""."""
    if spec.target.traffic != "pulumi":
        return ""
    return (
        "target.traffic is pulumi: the split is static and the next `pulumi up` would undo a rollout; "
        "change target.split, or write traffic: rollout"
    )


def another(current: Record, spec: Spec, release: Release) -> str:
    """Why the rollout under way cannot be gone on with: it is of another spec or release. What differs, or ""."""
    if current.spec_hash == spec_hash(spec) and current.release.hash == release.hash:
        return ""
    differs = changed_fields(current.spec, to_storage(spec)) or ["the release"]
    return (
        f"rollout {current.id} is under way ({current.phase}) and deploy.yaml changed since: {', '.join(differs[:5])}; "
        "undo the change to go on with it, or `vertex-deploy rollout abort` it first"
    )

"""Long-running effects: begin once, poll, and believe only what is read back. Pure.

An effect is intended in the record before it is called, so a controller that was killed in between calls again; ids
that were chosen before make the second call harmless. Done is not success, and success is believed once observed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vertex_deploy.rollout.actions import Action, Begin, Look, Move, Poll, Wait
from vertex_deploy.rollout.machine import Ending, Event, Phase

if TYPE_CHECKING:
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Pending, Record
    from vertex_deploy.targets.types import Observation

# How long an upload whose name was lost is looked for, from the first look on, before it is begun again: a second one
# would be a second version.
UPLOAD_GRACE = 60.0

# How long an operation that the API may still be working on, but whose name was lost, is waited for before giving up.
GRACE = 300.0

_ALL = 100


def same_model(first: str, second: str) -> bool:
    """Whether two references are one model version; the API may write the project's number where we wrote its id."""
    return first.partition("/models/")[2] == second.partition("/models/")[2] != ""


def unresolved(record: Record) -> bool:
    """A deployment was about to be called when the controller stopped: whether it began is not known."""
    pending = record.pending
    in_deploying = record.phase is Phase.DEPLOYING and pending is not None and pending.kind == "deploy"
    return in_deploying and pending is not None and pending.name is None and not pending.done


def poll_at(pending: Pending, now: float) -> float:
    """When to read an operation next: often at first, every 10 s once it takes long."""
    return pending.polled + min(10.0, max(1.0, (now - pending.since) / 10))


def creating_endpoint(record: Record, plan: Plan, now: float) -> Action:
    """Until the endpoint is known."""
    if record.endpoint:
        return Move(Event.ENDPOINT_READY, record.endpoint)
    return _until_found(record, plan, now, kind="endpoint", failed=Event.ENDPOINT_FAILED)


def uploading(record: Record, plan: Plan, now: float) -> Action:
    """Until the model version is known."""
    if record.model:
        return Move(Event.UPLOADED, record.model)
    return _until_found(record, plan, now, kind="upload", failed=Event.UPLOAD_FAILED)


def _until_found(record: Record, plan: Plan, now: float, *, kind: str, failed: Event) -> Action:
    pending = record.pending
    if pending is None:
        return Begin(kind)
    if problem := _problem(pending, plan, now):
        return Move(failed, problem, Ending.FAILED)
    # Intended, and perhaps called: an endpoint's id makes a second call harmless, an upload is looked for first.
    looked = bool(pending.looked) and now - pending.looked > UPLOAD_GRACE
    if pending.name is None and (kind == "endpoint" or looked):
        return Begin(kind)
    if now < poll_at(pending, now):
        return Wait(poll_at(pending, now), f"{kind} is under way")
    return Poll() if pending.name and not pending.done else Look(kind)


def deploying(record: Record, plan: Plan, now: float, endpoint: Observation | None) -> Action:
    """Until the deployed model is observed and its operation has ended well."""
    pending = record.pending
    observed = endpoint is not None and endpoint.find(record.canary) is not None
    if pending is not None and (problem := _problem(pending, plan, now)):
        return Move(Event.DEPLOY_FAILED, problem, Ending.FAILED)
    if pending is None or pending.name is None:
        return Move(Event.DEPLOYED, "already deployed") if observed else Begin("deploy")
    if observed and (pending.done or not pending.name):
        return Move(Event.DEPLOYED, f"deployed as {record.canary}")
    if now < poll_at(pending, now):
        return Wait(poll_at(pending, now), f"deploying: {pending.stage or 'under way'}")
    # Taken (no name) or ended without a trace: asking again either starts it or says that it is under way.
    return Poll() if pending.name and not pending.done else Begin("deploy")


def removing_stable(record: Record, plan: Plan, now: float, endpoint: Observation | None) -> Action:
    """Until stable is gone from the endpoint; a model that somebody gave traffic is left alone."""
    if endpoint is not None and endpoint.find(record.canary) is None:
        why = f"deployed model {record.canary} was undeployed by somebody else"
        return Move(Event.CANARY_GONE, why, Ending.ROLLED_BACK)
    action = _removing(record, plan, now, endpoint, deployed_id=record.stable or "", removed=Event.STABLE_REMOVED)
    share = endpoint.split.get(record.canary, 0) if endpoint else 0
    if isinstance(action, Move) and share != _ALL:
        # Promoted it was; who reads the ending alone must not take it for what the endpoint serves now.
        return replace(action, reason=f"{action.reason}; since then somebody else left it {share}% of the traffic")
    return action


def removing_canary(record: Record, plan: Plan, now: float, endpoint: Observation | None) -> Action:
    """Until the canary is gone from the endpoint, waiting first for a deployment that is still in flight."""
    pending = record.pending
    if pending is not None and pending.kind == "deploy" and not pending.done:
        observed = endpoint is not None and endpoint.find(record.canary) is not None
        limit = plan.timeout if pending.name else GRACE
        if now - record.entered > limit:
            note = f"its deployment did not end; undeploy {record.canary} by hand once it has"
            return Move(Event.CANARY_REMOVED, f"{record.reason}; {note}")
        if pending.name or not observed:
            if now < poll_at(pending, now):
                return Wait(poll_at(pending, now), "waiting for the deployment in flight to end")
            return Poll()
    return _removing(record, plan, now, endpoint, deployed_id=record.canary, removed=Event.CANARY_REMOVED)


def _removing(  # noqa: PLR0911 - one answer a question, in order
    record: Record, plan: Plan, now: float, endpoint: Observation | None, *, deployed_id: str, removed: Event
) -> Action:
    found = endpoint.find(deployed_id) if endpoint else None
    if endpoint is None or found is None:
        return Move(removed, record.reason)
    if removed is Event.CANARY_REMOVED and not same_model(found.reference, record.model or ""):
        return Move(removed, record.reason)
    if endpoint.split.get(deployed_id):
        return Move(removed, f"{record.reason}; {deployed_id} has traffic and was left deployed")
    pending = record.pending if record.pending and record.pending.kind == "undeploy" else None
    if pending is None:
        return Begin("undeploy", deployed_id)
    if problem := _problem(pending, plan, now):
        return Move(removed, f"{record.reason}; {deployed_id} could not be undeployed ({problem}): do it by hand")
    if pending.name is None:
        return Begin("undeploy", deployed_id)
    if now < poll_at(pending, now):
        return Wait(poll_at(pending, now), f"undeploying {deployed_id}")
    return Poll() if pending.name and not pending.done else Begin("undeploy", deployed_id)


def _problem(pending: Pending, plan: Plan, now: float) -> str:
    if pending.done and pending.error:
        return f"{pending.kind} failed: {pending.error}"
    if now - pending.since > plan.timeout:
        return f"{pending.kind} was not done within {plan.timeout:g} s (rollout.deploy_timeout)"
    return ""

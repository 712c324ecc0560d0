"""What to do next: one pure function from the record and what was observed to one action. No I/O, no clock.

The order of the questions is the policy: is the endpoint still there, did an operator ask for something, is the split
still ours, is something in flight, has the phase done its work. Whatever is not clearly good is never a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.rollout import operations as ops
from vertex_deploy.rollout.actions import Action, Drop, Inspect, Measure, Move, SetSplit, Wait
from vertex_deploy.rollout.judge.verdict import Outcome, Verdict
from vertex_deploy.rollout.machine import Ending, Event, Phase, can
from vertex_deploy.rollout.requests import EVENTS, Request, Verb, possible
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.targets.types import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read before deciding.

    Args:
        now: seconds since the epoch.
        endpoint: the endpoint as read back, None if it is gone or not known yet.
        request: the oldest request that was not acted on.
    """

    now: float
    endpoint: Observation | None = None
    request: Request | None = None


def decide(record: Record, plan: Plan, seen: Seen) -> Action:
    """The next thing to do; ``Wait`` if nothing is due."""
    if seen.endpoint is None and record.endpoint and can(record.phase, Event.ENDPOINT_GONE):
        return Move(
            Event.ENDPOINT_GONE, f"{record.endpoint} was deleted while it was being rolled out to", Ending.FAILED
        )
    if seen.request is not None and (answer := _answer(record, plan, seen.request)) is not None:
        return answer
    return _PHASES[record.phase](record, plan, seen)


def describe(split: Mapping[str, int]) -> str:
    """``{"1": 90, "2": 10}`` as ``1: 90%, 2: 10%``."""
    return ", ".join(f"{key}: {value}%" for key, value in split.items()) or "no traffic"


def _answer(record: Record, plan: Plan, request: Request) -> Action | None:
    """What a request leads to; None: it has to wait, because a deployment may or may not have begun."""
    if not possible(request.verb, record.phase):
        return Drop(request, f"{request.verb} by {request.who} has no meaning while {record.phase}")
    if ops.unresolved(record):
        return None
    event, ending = EVENTS[request.verb]
    step = None
    if request.verb is Verb.PROMOTE:
        step = min(record.step + 1, plan.last)
    elif request.verb is Verb.PROMOTE_FULL:
        step = plan.last
    elif request.verb is Verb.RESUME:
        step = max(record.step, 0)
    return Move(event, f"{request.verb} by {request.who}", ending, step=step, request=request)


def _preflight(record: Record, plan: Plan, seen: Seen) -> Action:
    del record, plan, seen
    return Inspect()


def _warming_up(record: Record, plan: Plan, seen: Seen) -> Action:  # noqa: PLR0911 - one answer a question, in order
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    found = seen.endpoint.find(record.canary)
    if found is None:
        return Move(Event.DEPLOY_FAILED, f"deployed model {record.canary} vanished after deployment", Ending.FAILED)
    if not ops.same_model(found.reference, record.model or ""):
        return Move(
            Event.DEPLOY_FAILED,
            f"deployed model {record.canary} is {found.reference}, not {record.model}; it is left alone",
            Ending.FAILED,
        )
    if found.available == 0:
        if seen.now - record.entered > plan.timeout:
            return Move(Event.DEPLOY_FAILED, "no replica became available", Ending.FAILED)
        return Wait(seen.now + plan.poll, "waiting for a replica to become available")
    if record.stable is None:
        return _alone(record, seen)
    if dict(seen.endpoint.split) != dict(record.split):
        return _foreign(record, seen)
    return Move(Event.WARM, f"{found.reference} is deployed and healthy, without traffic", step=0)


def _alone(record: Record, seen: Seen) -> Action:
    """The first version of an endpoint: there is nothing to compare it with, so it gets all traffic at once."""
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    whole = {record.canary: 100}
    if not seen.endpoint.split:
        return SetSplit(whole)
    if dict(seen.endpoint.split) != whole:
        why = f"somebody else gave traffic away while the first version was deployed: {describe(seen.endpoint.split)}"
        return Move(Event.DEPLOY_FAILED, why, Ending.FAILED)
    reason = "first version of this endpoint: no stable version to compare it with, so it serves all traffic, ungated"
    return Move(Event.SERVES_ALONE, reason, Ending.PROMOTED, split=whole)


def _shifting(record: Record, plan: Plan, seen: Seen) -> Action:
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if seen.endpoint.find(record.canary) is None:
        return _gone(record)
    desired = plan.split(record.step, stable=record.stable or "", canary=record.canary)
    actual = dict(seen.endpoint.split)
    if actual != desired:
        if actual != dict(record.split):
            return _foreign(record, seen)
        return SetSplit(desired)
    if record.step == plan.last:
        why = f"the new version has all traffic; stable stays warm for {format_duration(plan.keep_stable)}"
        return Move(Event.PROMOTED, why, split=desired)
    why = f"split is {describe(desired)}; holding for {format_duration(plan.holds[record.step])}"
    return Move(Event.SHIFTED, why, split=desired)


def _holding(record: Record, plan: Plan, seen: Seen) -> Action:  # noqa: PLR0911 - one answer a question, in order
    watched = _watch(record, plan, seen)
    if watched is not None:
        return watched
    end = record.entered + plan.holds[record.step]
    if seen.now < end:
        due = record.measured + plan.poll if plan.gated else end
        return Wait(min(end, due), f"holding {plan.weights[record.step]}%")
    verdict = Verdict.from_json(dict(record.verdict)) if record.verdict else None
    if not plan.gated:
        return Move(Event.PASSED, "the hold is over; no gates are configured", step=record.step + 1)
    # The last points of the hold arrive after it; one poll short of its end is as good as its end.
    if record.measured_until < end - plan.poll and seen.now < end + plan.settle:
        return Wait(min(end + plan.settle, seen.now + plan.poll), "waiting for the last metrics of the hold")
    outcome = verdict.if_hold_ended if verdict else Outcome.INSUFFICIENT
    why = verdict.explanation if verdict else "nothing was measured"
    if outcome is Outcome.PASS:
        return Move(Event.PASSED, why, step=record.step + 1)
    if outcome is Outcome.FAIL:
        return _failed(plan, why)
    if plan.on_inconclusive == "proceed":
        return Move(Event.PASSED, f"inconclusive, and on_inconclusive is proceed: {why}", step=record.step + 1)
    if plan.on_inconclusive == "rollback":
        return Move(Event.INCONCLUSIVE, f"inconclusive: {why}", Ending.ROLLED_BACK)
    return Move(Event.PAUSE, f"inconclusive: {why}")


def _keeping_stable(record: Record, plan: Plan, seen: Seen) -> Action:
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if seen.endpoint.find(record.stable or "") is None:
        return Move(Event.KEPT, "stable was undeployed by somebody else", Ending.PROMOTED)
    watched = _watch(record, plan, seen)
    if watched is not None:
        return watched
    end = record.entered + plan.keep_stable
    if seen.now < end:
        due = record.measured + plan.poll if plan.gated else end
        return Wait(min(end, due), "keeping stable warm")
    return Move(Event.KEPT, "promoted; stable is no longer kept", Ending.PROMOTED)


def _watch(record: Record, plan: Plan, seen: Seen) -> Action | None:
    """What holding and keeping stable have in common: the canary, the split, fresh metrics, a failing gate."""
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if seen.endpoint.find(record.canary) is None:
        return _gone(record)
    if dict(seen.endpoint.split) != dict(record.split):
        return _foreign(record, seen)
    if plan.gated and seen.now >= record.measured + plan.poll:
        return Measure()
    verdict = Verdict.from_json(dict(record.verdict)) if record.verdict else None
    if verdict is not None and verdict.outcome is Outcome.FAIL:
        return _failed(plan, verdict.explanation)
    return None


def _failed(plan: Plan, why: str) -> Move:
    if plan.on_failure == "pause":
        return Move(Event.PAUSE, f"a gate failed, and on_failure is pause: {why}")
    return Move(Event.GATE_FAILED, why, Ending.ROLLED_BACK)


def _gone(record: Record) -> Move:
    return Move(
        Event.CANARY_GONE, f"deployed model {record.canary} was undeployed by somebody else", Ending.ROLLED_BACK
    )


def _foreign(record: Record, seen: Seen) -> Move:
    assert seen.endpoint is not None  # noqa: S101 - callers have looked at its split
    return Move(
        Event.PAUSE,
        f"somebody else changed the traffic split to {describe(seen.endpoint.split)} (expected "
        f"{describe(record.split)}); set it back and `rollout resume`, or `rollout abort`",
    )


def _paused(record: Record, plan: Plan, seen: Seen) -> Action:
    del plan, seen
    return Wait(None, record.reason)


def _rolling_back(record: Record, plan: Plan, seen: Seen) -> Action:
    del plan
    assert seen.endpoint is not None or record.endpoint is None  # noqa: S101 - see decide()
    split = dict(seen.endpoint.split) if seen.endpoint else {}
    share = split.pop(record.canary, 0)
    if seen.endpoint is None or not share:
        return Move(Event.RESTORED, record.reason)
    if record.stable is None:
        return Move(
            Event.STABLE_GONE, f"{record.reason}; there is no older version to go back to: this one keeps serving"
        )
    if seen.endpoint.find(record.stable) is None:
        return Move(
            Event.STABLE_GONE,
            f"{record.reason}; stable {record.stable} is no longer deployed, so the canary keeps its {share}%",
            Ending.FAILED,
        )
    # Only the canary's share moves: what somebody else gave to a third model stays there.
    return SetSplit(split | {record.stable: split.get(record.stable, 0) + share})


def _done(record: Record, plan: Plan, seen: Seen) -> Action:
    del plan, seen
    return Wait(None, record.reason)


_PHASES: Mapping[Phase, Callable[[Record, Plan, Seen], Action]] = {
    Phase.PREFLIGHT: _preflight,
    Phase.CREATING_ENDPOINT: lambda r, p, s: ops.creating_endpoint(r, p, s.now),
    Phase.UPLOADING: lambda r, p, s: ops.uploading(r, p, s.now),
    Phase.DEPLOYING: lambda r, p, s: ops.deploying(r, p, s.now, s.endpoint),
    Phase.WARMING_UP: _warming_up,
    Phase.SHIFTING: _shifting,
    Phase.HOLDING: _holding,
    Phase.PAUSED: _paused,
    Phase.KEEPING_STABLE: _keeping_stable,
    Phase.REMOVING_STABLE: lambda r, p, s: ops.removing_stable(r, p, s.now, s.endpoint),
    Phase.ROLLING_BACK: _rolling_back,
    Phase.REMOVING_CANARY: lambda r, p, s: ops.removing_canary(r, p, s.now, s.endpoint),
    Phase.DONE: _done,
}

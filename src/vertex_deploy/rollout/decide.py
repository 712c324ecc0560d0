"""What to do next: one pure function from the record and what was observed to one action. No I/O, no clock.

The order of the questions is the policy: is the endpoint still there, did an operator ask for something, is the split
still ours, is something in flight, has the phase done its work. Whatever is not clearly good is never a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.rollout import operations as ops
from vertex_deploy.rollout.actions import Action, Drop, Inspect, Measure, Move, SetSplit, Wait
from vertex_deploy.rollout.group import BEGIN, in_group, level, nothing_begun, together
from vertex_deploy.rollout.judge.verdict import Outcome, Verdict
from vertex_deploy.rollout.machine import Ending, Event, Phase, can
from vertex_deploy.rollout.requests import EVENTS, Request, Verb, event_of, lacks_approval, leads_to, possible
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.rollout.alerting import Alarm
    from vertex_deploy.rollout.group import Others
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
        alarm: what open incidents lead to.
        others: what the other members of its lockstep group say; None outside of one.
    """

    now: float
    endpoint: Observation | None = None
    request: Request | None = None
    alarm: Alarm | None = None
    others: Others | None = None


def decide(record: Record, plan: Plan, seen: Seen) -> Action:
    """The next thing to do; ``Wait`` if nothing is due."""
    if seen.endpoint is None and record.endpoint and can(record.phase, Event.ENDPOINT_GONE):
        return Move(
            Event.ENDPOINT_GONE, f"{record.endpoint} was deleted while it was being rolled out to", Ending.FAILED
        )
    if seen.others is not None and (move := together(record, plan.last, seen.others)) is not None:
        return move
    if seen.request is not None and (answer := _answer(record, plan, seen.request)) is not None:
        return answer
    return _PHASES[record.phase](record, plan, seen)


def describe(split: Mapping[str, int]) -> str:
    """``{"1": 90, "2": 10}`` as ``1: 90%, 2: 10%``."""
    return ", ".join(f"{key}: {value}%" for key, value in split.items()) or "no traffic"


def _answer(record: Record, plan: Plan, request: Request) -> Action | None:
    """What a request leads to; None: it has to wait, because a deployment may or may not have begun."""
    if request.verb is None:
        return Drop(request, f"request {request.id} cannot be read and was put aside; ask for it again")
    if not possible(request.verb, record.phase):
        return Drop(request, f"{request.verb} by {request.who} has no meaning while {record.phase}")
    if ops.unresolved(record):
        return None
    if missing := lacks_approval(request.verb, record.step, plan, request.approver):
        return Drop(request, f"{request.verb} by {request.who} was refused: {missing}")
    event, why = event_of(request.verb, record.phase), f"{request.verb} by {request.who}"
    if request.approver:
        why += f", approved by {request.approver}"
    overruled = record.phase is Phase.PAUSED and (record.verdict or {}).get("outcome") == "fail"
    if overruled and EVENTS[request.verb][1] is None:
        why += "; a gate had failed: a new judge starts here"
    if request.verb is Verb.RESUME and record.step < 0 and plan.approvals[0]:
        return Move(Event.NEEDS_APPROVAL, f"{why}; {_asks(plan, 0)}", request=request)
    ending, step = EVENTS[request.verb][1], leads_to(request.verb, record.step, plan)
    move = Move(event, why, ending, step=step, request=request)
    return in_group(record, move, request) if record.group else move


def _asks(plan: Plan, step: int) -> str:
    return f"the step to {plan.weights[step]}% waits for `rollout promote --approver NAME`"


def _onward(record: Record, plan: Plan, why: str, event: Event = Event.PASSED) -> Move:
    """To the next step, by way of somebody's approval if it needs one."""
    step = record.step + 1
    if plan.approvals[step]:
        return Move(Event.NEEDS_APPROVAL, f"{why}; {_asks(plan, step)}")
    if record.group:
        return Move(Event.ARRIVED, why, ready=level(step))
    return Move(event, why, step=step)


def _uploading(record: Record, plan: Plan, seen: Seen) -> Action:
    others = seen.others
    if others is not None and record.model is None and record.pending is None:
        # Both would make the version that neither has found.
        if others.model is not None:
            return Move(Event.UPLOADED, f"{others.model}, uploaded for the group", model=others.model)
        if others.uploading:
            return Wait(seen.now + plan.poll, f"{others.uploading} uploads the release first")
    return ops.uploading(record, plan, seen.now)


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
        return _foreign(record, plan, seen)
    return _onward(record, plan, f"{found.reference} is deployed and healthy, without traffic", Event.WARM)


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
            return _foreign(record, plan, seen)
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
        return Wait(_due(record, plan, seen, end), f"holding {plan.weights[record.step]}%")
    verdict = Verdict.from_json(dict(record.verdict)) if record.verdict else None
    blind = seen.alarm.reason if seen.alarm is not None and seen.alarm.action == "blind" else ""
    if not plan.gated and not blind:
        return _onward(record, plan, "the hold is over; no gates are configured")
    # The last points of the hold arrive after it; one poll short of its end is as good as its end.
    if record.measured_until < end - plan.poll and seen.now < end + plan.settle:
        return Wait(min(end + plan.settle, seen.now + plan.poll), "waiting for the last metrics of the hold")
    outcome = verdict.if_hold_ended if verdict else Outcome.INSUFFICIENT
    why = verdict.if_hold_ended_why if verdict else "nothing was measured"
    if blind and outcome is not Outcome.FAIL:
        outcome, why = Outcome.INSUFFICIENT, blind
    if outcome is Outcome.PASS:
        ignored = verdict.explanation if verdict and verdict.outcome is not Outcome.PASS else ""
        return _onward(
            record, plan, f"the hold is over; inconclusive, which its gate ignores: {ignored}" if ignored else why
        )
    if outcome is Outcome.FAIL:
        return _failed(plan, why)
    if plan.on_inconclusive == "proceed":
        return _onward(record, plan, f"inconclusive, and on_inconclusive is proceed: {why}")
    if plan.on_inconclusive == "rollback":
        return Move(Event.INCONCLUSIVE, f"inconclusive: {why}", Ending.ROLLED_BACK)
    return Move(Event.PAUSE, f"inconclusive: {why}")


def _awaiting_approval(record: Record, plan: Plan, seen: Seen) -> Action:
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    return _stand_by(record, plan, seen) or Wait(_next_look(record, plan, seen), record.reason)


def _awaiting_group(record: Record, plan: Plan, seen: Seen) -> Action:
    """At a barrier; ``together`` has asked about the last one already, before anything else."""
    if not nothing_begun(record) and (watched := _stand_by(record, plan, seen)) is not None:
        return watched
    if seen.others is None or seen.others.ready < record.ready:
        return Wait(_next_look(record, plan, seen), seen.others.waiting if seen.others else record.reason)
    if record.ready == BEGIN:
        return Move(Event.GROUP_BEGINS, "every member of the group has passed preflight")
    step = record.ready - level(0)
    return Move(Event.GROUP_ADVANCES, f"every member of the group is ready for {plan.weights[step]}%", step=step)


def _stand_by(record: Record, plan: Plan, seen: Seen) -> Action | None:
    """As ``_watch``; before the first step there is nothing to measure yet."""
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if record.step >= 0:
        return _watch(record, plan, seen)
    if seen.endpoint.find(record.canary) is None:
        return _gone(record)
    return _foreign(record, plan, seen) if dict(seen.endpoint.split) != dict(record.split) else None


def _next_look(record: Record, plan: Plan, seen: Seen) -> float:
    return (record.measured if plan.gated and record.step >= 0 else seen.now) + plan.poll


def _keeping_stable(record: Record, plan: Plan, seen: Seen) -> Action:
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if seen.endpoint.find(record.stable or "") is None:
        return Move(Event.KEPT, "stable was undeployed by somebody else", Ending.PROMOTED)
    watched = _watch(record, plan, seen)
    if watched is not None:
        return watched
    end = record.entered + plan.keep_stable
    if seen.now < end:
        return Wait(_due(record, plan, seen, end), "keeping stable warm")
    if record.group:
        return Move(Event.ARRIVED, "stable was kept for its time", ready=level(plan.last + 1))
    return Move(Event.KEPT, "promoted; stable is no longer kept", Ending.PROMOTED)


def _watch(record: Record, plan: Plan, seen: Seen) -> Action | None:
    """What holding and keeping stable have in common: the canary, the split, alerts, fresh metrics, a failing gate."""
    assert seen.endpoint is not None  # noqa: S101 - decide() has ended the rollout otherwise
    if seen.endpoint.find(record.canary) is None:
        return _gone(record)
    if dict(seen.endpoint.split) != dict(record.split):
        return _foreign(record, plan, seen)
    if seen.alarm is not None and seen.alarm.action != "blind":
        return _alarmed(plan, seen.alarm)
    if plan.gated and seen.now >= record.measured + plan.poll:
        return Measure()
    verdict = Verdict.from_json(dict(record.verdict)) if record.verdict else None
    if verdict is not None and verdict.outcome is Outcome.FAIL:
        return _failed(plan, verdict.explanation)
    return None


def _due(record: Record, plan: Plan, seen: Seen, end: float) -> float:
    """When to look again: at the next poll if there is anything to read, else at the end."""
    if plan.gated:
        return min(end, record.measured + plan.poll)
    return min(end, seen.now + plan.poll) if plan.alerted else end


def _alarmed(plan: Plan, alarm: Alarm) -> Move:
    if alarm.action == "pause" or plan.on_failure == "pause":
        also = "" if alarm.action == "pause" else ", and on_failure is pause"
        return Move(Event.PAUSE, f"{alarm.reason}{also}")
    return Move(Event.ALERT_FIRED, alarm.reason, Ending.ROLLED_BACK)


def _failed(plan: Plan, why: str) -> Move:
    if plan.on_failure == "pause":
        return Move(Event.PAUSE, f"a gate failed, and on_failure is pause: {why}")
    return Move(Event.GATE_FAILED, why, Ending.ROLLED_BACK)


def _gone(record: Record) -> Move:
    return Move(
        Event.CANARY_GONE, f"deployed model {record.canary} was undeployed by somebody else", Ending.ROLLED_BACK
    )


def _foreign(record: Record, plan: Plan, seen: Seen) -> Move:
    assert seen.endpoint is not None  # noqa: S101 - callers have looked at its split
    split = dict(seen.endpoint.split)
    what = f"somebody else changed the traffic split to {describe(split)} (expected {describe(record.split)})"
    if plan.on_foreign_split == "adopt" and (step := _adopted(record, plan, split, seen.others)) is not None:
        why = f"{what}; adopted, and held anew for {format_duration(plan.holds[step])}"
        return Move(Event.ADOPTED, why, step=step, split=split)
    return Move(Event.PAUSE, f"{what}; set it back and `rollout resume`, or `rollout abort`")


def _adopted(record: Record, plan: Plan, split: Mapping[str, int], others: Others | None) -> int | None:
    """The step whose hold a foreign split gets, or None where going on from it would overrule what somebody meant.

    That is so where another version has traffic, the canary has less than the first step gives it, an approval was
    passed by, or the group is not as far.
    """
    if not can(record.phase, Event.ADOPTED) or set(split) != {record.stable, record.canary}:
        return None
    reached = [i for i in range(plan.last) if plan.weights[i] <= split[record.canary]]
    if not reached or plan.unapproved(record.step, reached[-1]) is not None:
        return None
    if others is not None and reached[-1] > record.step and others.ready < level(reached[-1]):
        return None
    return reached[-1]


def _paused(record: Record, plan: Plan, seen: Seen) -> Action:
    """Still, but not blind: who paused it on purpose is not overruled, and nor is who wrote a split of their own.

    Requests still reach the canary: what paused for want of evidence must go back once there is some.
    """
    still = Wait(None, record.reason)
    ours = seen.endpoint is not None and dict(seen.endpoint.split) == dict(record.split)
    if record.held or record.step < 0 or plan.on_failure == "pause" or not ours:
        return still
    watched = _watch(record, plan, seen)
    return still if isinstance(watched, Move) and watched.event is Event.PAUSE else watched or still


def _rolling_back(record: Record, plan: Plan, seen: Seen) -> Action:
    del plan
    assert seen.endpoint is not None or record.endpoint is None  # noqa: S101 - see decide()
    split = dict(seen.endpoint.split) if seen.endpoint else {}
    share = split.pop(record.canary, 0)
    if seen.endpoint is None or not share:
        if seen.endpoint is None or record.stable is None or seen.endpoint.find(record.stable) is not None:
            return Move(Event.RESTORED, record.reason)
        gone = f"stable {record.stable} is no longer deployed, so it has no traffic either"
        return Move(Event.RESTORED, f"{record.reason}; {gone}", Ending.FAILED)
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
    Phase.UPLOADING: _uploading,
    Phase.DEPLOYING: lambda r, p, s: ops.deploying(r, p, s.now, s.endpoint),
    Phase.WARMING_UP: _warming_up,
    Phase.SHIFTING: _shifting,
    Phase.HOLDING: _holding,
    Phase.AWAITING_APPROVAL: _awaiting_approval,
    Phase.AWAITING_GROUP: _awaiting_group,
    Phase.PAUSED: _paused,
    Phase.KEEPING_STABLE: _keeping_stable,
    Phase.REMOVING_STABLE: lambda r, p, s: ops.removing_stable(r, p, s.now, s.endpoint),
    Phase.ROLLING_BACK: _rolling_back,
    Phase.REMOVING_CANARY: lambda r, p, s: ops.removing_canary(r, p, s.now, s.endpoint),
    Phase.DONE: _done,
}

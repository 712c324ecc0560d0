"""What an operator asks of a rollout, and which event that is in which phase. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vertex_deploy.rollout.machine import Ending, Event, Phase, can

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.plan import Plan


class Verb(StrEnum):
    """What can be asked."""

    ABORT = "abort"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    PROMOTE_FULL = "promote_full"


EVENTS: Mapping[Verb, tuple[Event, Ending | None]] = {
    Verb.ABORT: (Event.ABORT, Ending.ABORTED),
    Verb.ROLLBACK: (Event.ROLL_BACK, Ending.ROLLED_BACK),
    Verb.PAUSE: (Event.PAUSE, None),
    Verb.RESUME: (Event.RESUME, None),
    Verb.PROMOTE: (Event.SKIP, None),
    Verb.PROMOTE_FULL: (Event.SKIP, None),
}
"""Each verb's event, and the ending that it decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing asked, left in the store until a controller takes it.

    Args:
        id: begins with the time of who asked, so that what one person asks is in order; acted on once.
        verb: what; None: what was left cannot be read.
        who: user@host, recorded in the history.
        at: seconds since the epoch, by the clock of who asked.
        approver: who approves the step, as given; recorded with ``who``. Nothing proves a name: who may write to the
            store decides who may approve.
        rollout: id of the rollout that it is for; "": of the one that is under way.
    """

    id: str
    verb: Verb | None
    who: str
    at: float
    approver: str = ""
    rollout: str = ""

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def read(cls, raw: bytes, request_id: str) -> Request:
        """What was left in the store; one that cannot be read has no verb, so that it can be put aside and told of.

        Args:
            raw: ``to_json`` as JSON.
            request_id: of its name, whatever it says itself.
        """
        try:
            data = json.loads(raw)
            return cls(
                id=request_id,
                verb=Verb(data["verb"]),
                who=str(data["who"]),
                at=float(data["at"]),
                approver=str(data.get("approver", "")),
                rollout=str(data.get("rollout", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls(id=request_id, verb=None, who="", at=0.0)


def possible(verb: Verb, phase: Phase) -> bool:
    """Whether the request means anything in this phase."""
    return can(phase, event_of(verb, phase))


def event_of(verb: Verb, phase: Phase) -> Event:
    """What the request is in this phase: to promote what waits for an approval is to approve it."""
    event = EVENTS[verb][0]
    return Event.APPROVED if event is Event.SKIP and phase is Phase.AWAITING_APPROVAL else event


def leads_to(verb: Verb, step: int, plan: Plan) -> int | None:
    """The step that a request leads to from step ``step``; None where it names none."""
    if verb is Verb.PROMOTE:
        return min(step + 1, plan.last)
    if verb is Verb.PROMOTE_FULL:
        return plan.last
    return max(step, 0) if verb is Verb.RESUME else None


def lacks_approval(verb: Verb, step: int, plan: Plan, approver: str) -> str:
    """What is missing for a request to go past a step that waits for an approval, or ""."""
    until = leads_to(verb, step, plan)
    if approver or verb is Verb.RESUME or until is None:
        return ""
    waiting = plan.unapproved(step, until)
    if waiting is None:
        return ""
    return f"the step to {plan.weights[waiting]}% needs an approval; use `rollout promote --approver NAME`"

"""What an operator asks of a rollout, and which event that is in which phase. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vertex_deploy.rollout.machine import Ending, Event, can

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.machine import Phase


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
        id: sorts by time; acted on once.
        verb: what.
        who: user@host, recorded in the history.
        at: seconds since the epoch.
    """

    id: str
    verb: Verb
    who: str
    at: float

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """What ``to_json`` wrote."""
        return cls(id=data["id"], verb=Verb(data["verb"]), who=data["who"], at=data["at"])


def possible(verb: Verb, phase: Phase) -> bool:
    """Whether the request means anything in this phase."""
    return can(phase, EVENTS[verb][0])

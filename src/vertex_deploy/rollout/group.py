"""Lockstep groups: how far a member is, and what the records of the others mean for it. Pure.

A member passes a barrier once every other one's durable record says that it is ready: ``BEGIN`` after preflight,
``level(k)`` for step k, ``level(last + 1)`` before stable is removed. Readiness follows from phase and step; it is
stored (``Record.ready``) only while a member awaits its group, so that it cannot go stale. A paused member is ready for
the step that it is at, one that is done as promoted for everything, a fallen one for nothing.

Left out: reading the other records (``siblings``), and what follows (``decide``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vertex_deploy.rollout import operations as ops
from vertex_deploy.rollout.actions import Drop, Move
from vertex_deploy.rollout.machine import Ending, Event, Phase, can
from vertex_deploy.rollout.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.requests import Request

BEGIN = 1
"""Ready for the first change: preflight has passed."""
EVERYTHING = sys.maxsize
"""Ready for whatever comes: this member is done as promoted, and nothing of it can go back."""

_BEFORE_UPLOAD = frozenset({Phase.PREFLIGHT, Phase.AWAITING_GROUP, Phase.CREATING_ENDPOINT, Phase.UPLOADING})
_BEFORE_WARM = frozenset({Phase.CREATING_ENDPOINT, Phase.UPLOADING, Phase.DEPLOYING, Phase.WARMING_UP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What the records of the other members say.

    Args:
        ready: what the least ready of them is ready for.
        waiting: which one that is, and where it is.
        fell: which one goes back or failed, and why; "" if none does.
        aborted: it does so because somebody aborted it.
        uploading: an earlier member that has yet to upload this very release, or whose record cannot be read; or "".
        model: the model version that another member of this project and region made of this release, or None.
        unread: which records cannot be read, and why; "" if all can.
    """

    ready: int
    waiting: str
    fell: str = ""
    aborted: bool = False
    uploading: str = ""
    model: str | None = None
    unread: str = ""


def level(step: int) -> int:
    """What a member must be ready for before step ``step`` is set; of the step after the last: stable is removed."""
    return BEGIN + 1 + step


def ready_of(record: Record) -> int:
    """What a member is ready for."""
    if fallen(record) or record.phase is Phase.PREFLIGHT:
        return 0
    if record.over:
        return EVERYTHING
    if record.phase is Phase.AWAITING_GROUP:
        return record.ready
    if record.phase in _BEFORE_WARM:
        return BEGIN
    return level(record.step + 1 if record.phase is Phase.REMOVING_STABLE else record.step)


def fallen(record: Record) -> bool:
    """Whether it goes back, or ended otherwise than promoted."""
    return record.ending is not None and record.ending is not Ending.PROMOTED


def nothing_begun(record: Record) -> bool:
    """Whether this member has changed nothing yet."""
    at_first_barrier = record.phase is Phase.AWAITING_GROUP and record.ready == BEGIN
    return record.phase is Phase.PREFLIGHT or at_first_barrier


def arrival(record: Record, move: Move) -> Move:
    """What preflight's word is for a member of a group: it waits for the others before anything is created."""
    if record.group is None or move.event is not Event.READY:
        return move
    return replace(move, event=Event.ARRIVED, ready=BEGIN)


def together(record: Record, last: int, seen: Others) -> Move | None:
    """What the other members decide, before anything else is asked.

    Who said that it is ready to remove stable has promised it: another may have removed its own on that word.

    Args:
        record: of this member.
        last: index of the last step.
        seen: what the others say.
    """
    gone = level(last + 1)
    if record.phase is Phase.AWAITING_GROUP and record.ready == gone and seen.ready >= gone:
        return Move(Event.GROUP_KEPT, "promoted everywhere; stable is no longer kept", Ending.PROMOTED)
    if not seen.fell or not can(record.phase, Event.GROUP_FELL) or ops.unresolved(record):
        return None
    ending = Ending.ABORTED if seen.aborted else Ending.FAILED if nothing_begun(record) else Ending.ROLLED_BACK
    return Move(Event.GROUP_FELL, seen.fell, ending)


def in_group(record: Record, move: Move, request: Request) -> Move | Drop:
    """What a request's move is for a member: to a later step it goes together with the others.

    Args:
        record: of this member.
        move: what it is for a rollout of its own.
        request: what was asked.
    """
    if nothing_begun(record) and move.ending is None:
        # Resumed, it would go to a split without a deployed model.
        return Drop(request, f"{move.reason} has no meaning before the group has begun")
    waits = record.phase is Phase.AWAITING_GROUP
    if waits and move.step is not None and level(move.step) <= record.ready:
        return Drop(request, f"{move.reason}: ready for that step already, and waits for the group")
    if move.step is None or move.step <= record.step:
        return move
    return replace(move, event=move.event if waits else Event.ARRIVED, step=None, ready=level(move.step))


def others(record: Record, found: Mapping[str, Record | str | None]) -> Others:
    """What the other members mean for this one.

    Args:
        record: of this member.
        found: the other members' records in the group's order, by environment; why one cannot be read; None: it has
            not begun.
    """
    names = list(record.group.stores) if record.group else []
    known = {name: other for name, other in found.items() if isinstance(other, Record)}
    ready = {name: ready_of(known[name]) if name in known else 0 for name in found}
    least = min(ready, key=lambda name: ready[name], default="")
    fell = next((name for name, other in known.items() if fallen(other)), "")
    same = {name: other for name, other in known.items() if _one_upload(record, other)}
    earlier = names[: names.index(record.group.member)] if record.group else []
    blind = {name: why for name, why in found.items() if isinstance(why, str)}
    return Others(
        ready=ready.get(least, EVERYTHING),
        waiting=f"waits for {least} ({_where(found.get(least))})",
        fell=f"{fell} went back ({known[fell].ending}): {known[fell].reason}" if fell else "",
        aborted=bool(fell) and known[fell].ending is Ending.ABORTED,
        uploading=next((name for name in earlier if name in blind or (name in same and _to_upload(same[name]))), ""),
        model=next((other.model for other in same.values() if other.model), None),
        unread="; ".join(f"the record of {name} cannot be read: {why}" for name, why in blind.items()),
    )


def _where(other: Record | str | None) -> str:
    if other is None:
        return "not begun"
    return str(other.phase) if isinstance(other, Record) else "its record cannot be read"


def _one_upload(record: Record, other: Record) -> bool:
    """Whether both would make the same model version."""
    place = ("project", "region")
    here, there = record.spec["gcp"], other.spec["gcp"]
    return record.release.hash == other.release.hash and all(here[key] == there[key] for key in place)


def _to_upload(other: Record) -> bool:
    return other.model is None and other.phase in _BEFORE_UPLOAD

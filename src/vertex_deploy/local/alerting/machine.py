"""When incidents open and close: a pure state machine over the readings of one policy.

At every evaluation a series of a condition violates, does not, or has no data. It *meets* its condition once it has
violated without a break for the condition's duration; each evaluation stands for the time since the one before, so that
"two minutes" is two consecutive measurements a minute apart. The condition *fires* when as many series meet it as its
trigger wants, and the combiner says whether that opens incidents: one for each series that meets a condition.

Decisions where the documentation is silent: time without data neither resets nor adds to a duration; with AND, every
series that meets any of the conditions gets an incident while all conditions fire; the percentage of a trigger is of
the series with data; auto-close counts from the last data, for an absence from when it opened. A snooze keeps incidents
from opening and closes those that are open, says Snooze's reference.

Left out: acknowledging (the API cannot) and the limit of 1,000 open incidents a policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vertex_deploy.local.alerting.conditions import Combiner, Missing, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.local.alerting.conditions import Condition, Policy
    from vertex_deploy.local.monitoring.values import SeriesKey

NO_DATA = "Incident closed because the time series had no data for the auto-close duration."


SNOOZED = "Incident closed because it was snoozed."


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of one series of one condition.

    Args:
        violating: nanoseconds that it has violated without a break; 0: it does not.
        seen: when it last had data.
        incident: id of its open incident, or "".
    """

    violating: int = 0
    seen: int = 0
    incident: str = ""


_Key = tuple[int, "SeriesKey"]


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of a policy between two evaluations.

    Args:
        tracks: by index of the condition and series.
        at: time of the last evaluation, nanoseconds; 0: there was none.
    """

    tracks: Mapping[tuple[int, SeriesKey], Track] = field(default_factory=dict)
    at: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """An incident opens."""

    incident: str
    condition: Condition
    reading: Reading


@dataclass(frozen=True, slots=True)
class Closed:
    """An incident closes; ``why`` is "" when the series no longer meets the condition."""

    incident: str
    condition: Condition
    reading: Reading
    why: str = ""


Event = Opened | Closed


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One series in one evaluation: whether it meets its condition, and whether it counts for the trigger."""

    reading: Reading
    track: Track
    meets: bool
    counts: bool


def evaluate(
    policy: Policy,
    readings: Sequence[Sequence[Reading]],
    now: int,
    state: State,
    *,
    step: int,
    new_id: Callable[[], str],
    snoozed: Callable[[SeriesKey], bool] = lambda _: False,
) -> tuple[State, list[Event]]:
    """One evaluation.

    Args:
        policy: what is evaluated.
        readings: for each condition, those of its series; a series that has no reading has no data.
        now: nanoseconds; later than ``state.at``.
        state: from the evaluation before.
        step: nanoseconds that a first violation stands for: the time between two evaluations.
        new_id: gives ids of incidents.
        snoozed: whether no incident may be open for a series.

    Returns:
        The state for the next evaluation, and what happened: first what closed, then what opened.
    """
    passed = now - state.at if state.at else step
    verdicts: dict[_Key, _Verdict] = {}
    for index, condition in enumerate(policy.conditions):
        found = {reading.key: reading for reading in readings[index]}
        for (of, key), track in state.tracks.items():
            if of == index and key not in found:
                found[key] = Reading(key, None, None, track.seen)
        for key, reading in found.items():
            track = state.tracks.get((index, key), Track())
            verdicts[index, key] = _verdict(policy, condition, reading, track, now, passed if track.violating else step)
    holding = _holding(policy, verdicts)
    tracks: dict[_Key, Track] = {}
    closed: list[Event] = []
    opened: list[Event] = []
    for where, verdict in verdicts.items():
        track, condition = verdict.track, policy.conditions[where[0]]
        held, quiet = where in holding, snoozed(where[1])
        if track.incident and (quiet or not held):
            gone = now - verdict.reading.seen >= condition.forgotten(policy.auto_close)
            why = SNOOZED if held else NO_DATA if gone else ""
            closed.append(Closed(track.incident, condition, verdict.reading, why))
            track = replace(track, incident="")
        elif held and not track.incident and not quiet:
            track = replace(track, incident=new_id())
            opened.append(Opened(track.incident, condition, verdict.reading))
        if track.violating or track.incident:
            tracks[where] = track
    return State(tracks, now), closed + opened


def _verdict(  # noqa: PLR0917 - one row of facts
    policy: Policy, condition: Condition, reading: Reading, track: Track, now: int, passed: int
) -> _Verdict:
    seen = max(reading.seen, track.seen)
    if seen != reading.seen:
        reading = replace(reading, seen=seen)
    violated = reading.violated
    if now - seen >= condition.forgotten(policy.auto_close):
        return _Verdict(reading, Track(0, seen, track.incident), meets=False, counts=False)
    if violated is None:
        violated = {Missing.ACTIVE: True, Missing.INACTIVE: False, Missing.NO_OP: None}[condition.missing]
    if violated is None:
        # Not evaluated: an open incident stays, none opens.
        return _Verdict(reading, replace(track, seen=seen), bool(track.incident), bool(track.incident))
    violating = track.violating + passed if violated else 0
    return _Verdict(reading, Track(violating, seen, track.incident), violated and violating >= condition.retest, True)


def _holding(policy: Policy, verdicts: Mapping[_Key, _Verdict]) -> set[_Key]:
    """The series that shall have an incident now."""
    meeting: list[set[SeriesKey]] = []
    fires: list[bool] = []
    for index, condition in enumerate(policy.conditions):
        own = {key: v for (of, key), v in verdicts.items() if of == index}
        meets = {key for key, v in own.items() if v.meets}
        meeting.append(meets)
        fires.append(condition.trigger.fires(len(meets), sum(v.counts for v in own.values())))
    if policy.combiner is Combiner.OR:
        return {(i, key) for i, keys in enumerate(meeting) if fires[i] for key in keys}
    if not all(fires):
        return set()
    held = {(i, key) for i, keys in enumerate(meeting) for key in keys}
    if policy.combiner is Combiner.AND_WITH_MATCHING_RESOURCE:
        resources = [{_resource(key) for key in keys} for keys in meeting]
        shared = set.intersection(*resources)
        held = {(i, key) for i, key in held if _resource(key) in shared}
    return held


def _resource(key: SeriesKey) -> tuple[str, tuple[tuple[str, str], ...]]:
    return key.resource, key.resource_labels

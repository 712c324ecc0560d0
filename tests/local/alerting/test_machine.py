"""When incidents open and close, as tables: one letter a minute."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.alerting import machine
from vertex_deploy.local.alerting.conditions import (
    Absence,
    Combiner,
    Missing,
    Policy,
    Reading,
    Selection,
    Threshold,
    Trigger,
)
from vertex_deploy.local.alerting.machine import Closed, Opened, State, evaluate
from vertex_deploy.local.monitoring.catalogue import BY_TYPE
from vertex_deploy.local.monitoring.filters import parse

from .support import COUNT, MINUTE, T0, key, where

A, B, C = key("1"), key("2"), key("3")
OTHER = key("1", endpoint="88")
SERIES = Selection(BY_TYPE[COUNT], parse(where()))
ROW = st.text("x. ", min_size=12, max_size=12)
VIOLATED = {"x": True, ".": False, " ": None}


def threshold(minutes=0, name="c", **more):
    return Threshold(name=name, series=SERIES, duration=minutes * MINUTE, **more)


def run(policy, rows, **options):
    """Evaluate minute by minute: what is open after each, as text, and all events.

    ``rows``: condition -> series -> one letter a minute: x violated, . not, blank no data.
    """
    ids = (f"i{n}" for n in itertools.count(1))
    state, events, shown = State(), [], ""
    seen = {}
    for minute in range(max(len(text) for series in rows for text in series.values())):
        now = T0 * 10**9 + minute * MINUTE
        readings = []
        for index, series in enumerate(rows):
            readings.append([])
            for of, text in series.items():
                violated = VIOLATED[text[minute]]
                seen[index, of] = now if violated is not None else seen.get((index, of), 0)
                readings[-1].append(Reading(of, violated, None, seen[index, of]))
        state, new = evaluate(policy, readings, now, state, step=MINUTE, new_id=lambda: next(ids), **options)
        events += new
        shown += str(sum(bool(t.incident) for t in state.tracks.values()) or ".")
    return shown, events


@pytest.mark.parametrize(
    ("minutes", "missing", "series", "expected"),
    [
        (0, Missing.NO_OP, "..x.xx..", "..1.11.."),
        (1, Missing.NO_OP, "..x.xx..", "..1.11.."),
        (3, Missing.NO_OP, ".xx.xxxx.", "......11."),
        # No data: a violation is neither reset nor continued, an open incident stays.
        (3, Missing.NO_OP, "xx  x .", "....11."),
        (0, Missing.NO_OP, "x     .", "111111."),
        (2, Missing.INACTIVE, "xx x xx", ".1....1"),
        (2, Missing.ACTIVE, ".x  .", "..11."),
        (2, Missing.ACTIVE, ".   .", "..11."),
    ],
)
def test_an_incident_opens_when_a_series_has_violated_for_the_duration(minutes, missing, series, expected):
    policy = Policy(name="p", project="proj-a", conditions=(threshold(minutes, missing=missing),))
    assert run(policy, [{A: series}])[0] == expected


def test_each_series_has_its_own_duration_and_incident():
    policy = Policy(name="p", project="proj-a", conditions=(threshold(2),))
    shown, events = run(policy, [{A: "xxx..", B: ".xxx."}])
    assert shown == ".121."
    assert [(type(e), e.incident, e.reading.key) for e in events] == [
        (Opened, "i1", A),
        (Opened, "i2", B),
        (Closed, "i1", A),
        (Closed, "i2", B),
    ]


@pytest.mark.parametrize(
    ("trigger", "rows", "expected"),
    [
        (Trigger(count=2), {A: "xx.", B: ".xx", C: "..."}, ".2."),
        (Trigger(percent=50), {A: "xx.", B: ".x.", C: "..."}, ".2."),
        # The percentage is of series that have data.
        (Trigger(percent=50), {A: "xx.", B: " . ", C: " . "}, "1.."),
        (Trigger(percent=100), {A: "xx", B: ".x", C: "xx"}, ".3"),
    ],
)
def test_a_trigger_asks_for_several_series(trigger, rows, expected):
    policy = Policy(name="p", project="proj-a", conditions=(threshold(trigger=trigger),))
    assert run(policy, [rows])[0] == expected


@pytest.mark.parametrize(
    ("combiner", "first", "second", "expected"),
    [
        (Combiner.OR, {A: "x.x"}, {A: ".xx"}, "112"),
        (Combiner.AND, {A: "x.x"}, {A: ".xx"}, "..2"),
        (Combiner.AND, {A: "xx."}, {OTHER: ".xx"}, ".2."),
        (Combiner.AND_WITH_MATCHING_RESOURCE, {A: "xx."}, {OTHER: ".xx"}, "..."),
        # Only the series of the resource on which both conditions hold.
        (Combiner.AND_WITH_MATCHING_RESOURCE, {A: "xx.", OTHER: ".xx"}, {A: ".xx"}, ".2."),
    ],
)
def test_a_combiner_says_which_conditions_must_hold_together(combiner, first, second, expected):
    conditions = (threshold(name="c1"), threshold(name="c2"))
    policy = Policy(name="p", project="proj-a", conditions=conditions, combiner=combiner)
    assert run(policy, [first, second])[0] == expected


def test_an_incident_without_data_closes_after_auto_close_and_says_so():
    policy = Policy(name="p", project="proj-a", conditions=(threshold(),), auto_close=3 * MINUTE)
    shown, events = run(policy, [{A: "x       "}])
    assert shown == "111....."
    assert events[-1].why == machine.NO_DATA
    # Absence and missing data that count as violated end too, and do not open again.
    policy = Policy(name="p", project="proj-a", conditions=(threshold(missing=Missing.ACTIVE),), auto_close=3 * MINUTE)
    assert run(policy, [{A: "x       "}])[0] == "111....."


def test_a_series_that_is_not_read_any_more_keeps_its_incident_until_auto_close():
    policy = Policy(name="p", project="proj-a", conditions=(threshold(),), auto_close=3 * MINUTE)
    now = T0 * 10**9
    state, _ = evaluate(policy, [[Reading(A, True, 1.0, now)]], now, State(), step=MINUTE, new_id=lambda: "i")
    state, events = evaluate(policy, [[]], now + MINUTE, state, step=MINUTE, new_id=lambda: "i")
    assert not events
    _, events = evaluate(policy, [[]], now + 3 * MINUTE, state, step=MINUTE, new_id=lambda: "i")
    assert [type(e) for e in events] == [Closed]


def test_a_snooze_keeps_incidents_from_opening_and_closes_open_ones():
    policy = Policy(name="p", project="proj-a", conditions=(threshold(),))
    assert run(policy, [{A: "xx", B: "xx"}], snoozed=lambda of: of == A)[0] == "11"
    now = T0 * 10**9
    state, _ = evaluate(policy, [[Reading(A, True, 1.0, now)]], now, State(), step=MINUTE, new_id=lambda: "i")
    later = [[Reading(A, True, 1.0, now + MINUTE)]]
    state, events = evaluate(
        policy, later, now + MINUTE, state, step=MINUTE, new_id=lambda: "i", snoozed=lambda _: True
    )
    assert [(type(e), e.incident, e.why) for e in events] == [(Closed, "i", machine.SNOOZED)]
    # Its violation goes on: when the snooze ends, an incident opens at once.
    latest = [[Reading(A, True, 1.0, now + 2 * MINUTE)]]
    _, events = evaluate(policy, latest, now + 2 * MINUTE, state, step=MINUTE, new_id=lambda: "j")
    assert [(type(e), e.incident) for e in events] == [(Opened, "j")]


def test_an_absence_needs_no_further_time():
    policy = Policy(name="p", project="proj-a", conditions=(Absence(name="c", series=SERIES, duration=5 * MINUTE),))
    assert run(policy, [{A: "..xx."}])[0] == "..11."


def test_evaluating_changes_no_earlier_state():
    policy = Policy(name="p", project="proj-a", conditions=(threshold(2),))
    now = T0 * 10**9
    first, _ = evaluate(policy, [[Reading(A, True, 1.0, now)]], now, State(), step=MINUTE, new_id=lambda: "i")
    again = [
        evaluate(policy, [[Reading(A, True, 1.0, now)]], now + MINUTE, first, step=MINUTE, new_id=lambda: "i")
        for _ in range(2)
    ]
    assert again[0] == again[1]


@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from([A, B, C, OTHER]), st.text("x. ", min_size=12, max_size=12)), max_size=3
    ),
    combiner=st.sampled_from(list(Combiner)),
    minutes=st.integers(0, 3),
    missing=st.sampled_from(list(Missing)),
    count=st.integers(1, 2),
)
def test_a_series_of_a_condition_has_at_most_one_incident_at_a_time(rows, combiner, minutes, missing, count):
    rows = [row or {A: " " * 12} for row in rows] or [{A: "x" * 12}]
    conditions = tuple(
        threshold(minutes, name=f"c{n}", missing=missing, trigger=Trigger(count=count)) for n in range(len(rows))
    )
    policy = Policy(name="p", project="proj-a", conditions=conditions, combiner=combiner, auto_close=5 * MINUTE)
    shown, events = run(policy, rows)
    alive: dict[object, str] = {}
    for event in events:
        where_ = (event.condition.name, event.reading.key)
        if isinstance(event, Opened):
            assert where_ not in alive
            # Never for want of data, unless that is what the policy says.
            assert event.reading.violated or missing is Missing.ACTIVE
            alive[where_] = event.incident
        else:
            assert alive.pop(where_) == event.incident
    # Ten and more take two letters.
    assert shown.endswith(str(len(alive) or "."))

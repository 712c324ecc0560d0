from __future__ import annotations

from pathlib import Path

import pytest

from vertex_deploy.rollout.docs import PAGE, page
from vertex_deploy.rollout.machine import SUMMARY, TRANSITIONS, Ending, Event, Phase, advance, can, diagram

ROOT = Path(__file__).parents[2]


def reachable(start: Phase) -> set[Phase]:
    found, todo = {start}, [start]
    while todo:
        phase = todo.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is phase and after not in found:
                found.add(after)
                todo.append(after)
    return found


def test_every_phase_is_reached_from_the_start_and_reaches_the_end() -> None:
    assert reachable(Phase.PREFLIGHT) == set(Phase)
    assert all(Phase.DONE in reachable(phase) for phase in Phase)


def test_nothing_follows_the_end() -> None:
    assert not any(before is Phase.DONE for before, _ in TRANSITIONS)


def test_every_event_happens_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_only_a_passed_hold_or_a_person_leads_from_holding_to_more_traffic() -> None:
    leads = {
        event for (before, event), after in TRANSITIONS.items() if before is Phase.HOLDING and after is Phase.SHIFTING
    }
    assert leads == {Event.PASSED, Event.SKIP}


def test_a_phase_that_gives_traffic_can_be_aborted() -> None:
    for phase in (Phase.SHIFTING, Phase.HOLDING, Phase.PAUSED, Phase.KEEPING_STABLE):
        assert advance(phase, Event.ABORT) is Phase.ROLLING_BACK


def test_what_is_not_in_the_table_cannot_happen() -> None:
    assert not can(Phase.PREFLIGHT, Event.PROMOTED)
    with pytest.raises(LookupError, match="promoted cannot happen while preflight"):
        advance(Phase.PREFLIGHT, Event.PROMOTED)


def test_endings_have_exit_codes_of_their_own() -> None:
    assert [int(ending.exit_code) for ending in Ending] == [0, 10, 11, 6]


def test_the_diagram_and_the_page_are_current() -> None:
    assert all(str(phase) in diagram() for phase in Phase)
    assert set(SUMMARY) == set(Phase)
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page()

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import STABLE, World, spec_with, step, step_to
from vertex_deploy.errors import RolloutError
from vertex_deploy.rollout import session
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.view import exit_code

if TYPE_CHECKING:
    from vertex_deploy.rollout.controller import Controller

BEFORE_ALL = [{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}]


def waiting(world: World) -> Controller:
    controller = world.start()
    step_to(controller, Phase.AWAITING_APPROVAL)
    return controller


def test_a_step_that_needs_an_approval_is_not_taken_without_one_however_long_it_takes() -> None:
    world = World(spec=spec_with(steps=BEFORE_ALL))
    controller = waiting(world)
    for _ in range(500):
        step(controller)
    assert controller.record.phase is Phase.AWAITING_APPROVAL
    assert world.target.split == {STABLE: 90, controller.record.canary: 10}
    assert "100% waits for `rollout promote --approver" in controller.record.reason
    assert exit_code(controller.record) == 12


def test_who_approved_and_when_is_in_the_history() -> None:
    world = World(spec=spec_with(steps=BEFORE_ALL))
    controller = waiting(world)
    world.clock.sleep(100)
    asked = world.clock.now()
    world.ask(Verb.PROMOTE, approver="Ada")
    record = controller.run()
    assert record.ending is Ending.PROMOTED
    (entry,) = [e for e in world.store().log(record.id) if e.data.get("event") == "approved"]
    assert entry.text == "promote by you@there, approved by Ada"
    assert entry.data["request"]["approver"] == "Ada"
    assert entry.data["request"]["who"] == "you@there"
    assert entry.data["request"]["at"] == asked


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL])
def test_promoting_past_an_approval_without_an_approver_is_refused(verb: Verb) -> None:
    world = World(spec=spec_with(steps=BEFORE_ALL))
    controller = waiting(world)
    with pytest.raises(RolloutError, match="the step to 100% needs an approval"):
        session.ask(world.store(), verb, clock=world.clock)
    # A request that was left all the same, by an older version say, is put aside by the controller.
    world.ask(verb)
    step(controller)
    assert controller.record.phase is Phase.AWAITING_APPROVAL
    assert "was refused: the step to 100% needs an approval" in world.store().log(controller.record.id)[-1].text


def test_promote_full_from_a_hold_asks_for_the_approval_of_a_step_it_would_jump_over() -> None:
    steps = [
        {"weight": 10, "hold": "1m"},
        {"weight": 50, "hold": "1m", "approval": True},
        {"weight": 100},
    ]
    world = World(spec=spec_with(steps=steps))
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    with pytest.raises(RolloutError, match="the step to 50% needs an approval"):
        session.ask(world.store(), Verb.PROMOTE_FULL, clock=world.clock)
    world.ask(Verb.PROMOTE_FULL, approver="Ada")
    assert controller.run().ending is Ending.PROMOTED


def test_gates_watch_while_an_approval_is_waited_for() -> None:
    world = World(spec=spec_with(steps=BEFORE_ALL))
    controller = waiting(world)
    world.errors = 0.5
    record = controller.run()
    assert record.ending is Ending.ROLLED_BACK
    assert world.target.split == {STABLE: 100}
    assert "awaiting_approval" in world.phases()


def test_the_first_step_may_need_an_approval_and_a_pause_does_not_get_around_it() -> None:
    steps = [{"weight": 10, "hold": "1m", "approval": True}, {"weight": 100}]
    world = World(spec=spec_with(steps=steps))
    controller = waiting(world)
    assert world.target.split == {STABLE: 100}
    world.ask(Verb.PAUSE)
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.RESUME)
    controller = waiting(world)
    assert world.target.split == {STABLE: 100}
    world.ask(Verb.PROMOTE, approver="Ada")
    assert controller.run().ending is Ending.PROMOTED


def test_a_split_that_somebody_changed_while_waiting_stops_the_rollout() -> None:
    world = World(spec=spec_with(steps=BEFORE_ALL))
    controller = waiting(world)
    world.target.change_split({STABLE: 70, controller.record.canary: 30})
    assert controller.run().phase is Phase.PAUSED

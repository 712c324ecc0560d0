from __future__ import annotations

from tests.rollout.world import World, spec_with
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb


def paused_by_a_gate() -> World:
    world = World(spec=spec_with(on_failure="pause"), errors=0.2)
    assert world.run().phase is Phase.PAUSED
    assert "a gate failed" in world.record().reason
    return world


def test_resuming_after_a_failed_gate_judges_anew_from_there() -> None:
    world = paused_by_a_gate()
    world.errors = 0.0
    world.ask(Verb.RESUME)
    assert world.run().ending is Ending.PROMOTED


def test_a_controller_that_was_killed_after_the_resume_judges_anew_as_well() -> None:
    world = paused_by_a_gate()
    world.errors = 0.0
    world.ask(Verb.RESUME)
    world.start().run(stop=lambda record: record.phase is Phase.HOLDING and bool(record.verdict))
    assert world.run().ending is Ending.PROMOTED


def test_what_is_still_bad_after_the_resume_fails_again() -> None:
    world = paused_by_a_gate()
    world.ask(Verb.RESUME)
    assert world.run().phase is Phase.PAUSED
    assert world.phases().count("holding") == 2

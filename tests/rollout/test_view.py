from __future__ import annotations

from tests.rollout.world import World, spec_with, step
from vertex_deploy.rollout.machine import Phase
from vertex_deploy.rollout.plan import plan_of
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.store import Lease
from vertex_deploy.rollout.view import View, lines, quantity, view_of


def view(world: World, *, driven: bool = False) -> View:
    holder = Lease(host="box", pid=42, born=0, token="t", expires=0.0) if driven else None
    return view_of(world.record(), plan_of(world.spec), now=world.clock.now(), holder=holder)


def text(world: World, *, driven: bool = False) -> str:
    """The lines, with the ids that differ from run to run named."""
    record = world.record()
    found = "\n".join(lines(view(world, driven=driven)))
    return found.replace(record.canary, "CANARY").replace(record.id, "ROLLOUT")


def test_a_hold_shows_step_time_left_split_and_readings() -> None:
    world = World()
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING or world.clock.now() - controller.record.entered < 30:
        step(controller)
    assert text(world, driven=True) == (
        "lite0  holding  step 1 of 3 (10%)  30s left\n"
        "├─ split is 111: 90%, CANARY: 10%; holding for 1m\n"
        "├─ stable ██████████████████··  90%  111  m@1\n"
        "├─ canary ██··················  10%  CANARY  m@2\n"
        "├─ ✔ error_rate (absolute): 0%, limit 1%, stable 0%, 200 requests: pass\n"
        "└─ ROLLOUT, started 2027-01-15T08:00:00Z, driven by pid 42 on box"
    )


def test_a_split_that_is_not_as_it_should_be_shows_both() -> None:
    world = World()
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING:
        step(controller)
    world.target.change_split({"111": 70, controller.record.canary: 30})
    controller.run()
    assert "├─ stable ██████████████······  70%  (desired 90%)  111  m@1" in text(world)
    assert "paused" in text(world)
    assert view(world).exit_code == 12


def test_an_ended_rollout_shows_its_ending_and_the_verdict_it_ended_on() -> None:
    world = World(errors=0.3)
    world.run()
    found = view(world)
    assert (found.ending, found.exit_code, found.left) == ("rolled_back", 10, None)
    assert [gate.outcome for gate in found.gates] == ["fail"]
    assert text(world).startswith("lite0  rolled_back  step 1 of 3 (10%)\n├─ error_rate of the canary is")


def test_exit_codes_of_the_other_endings() -> None:
    aborted = World(spec=spec_with(keep_stable="5m"))
    controller = aborted.start()
    while controller.record.phase is not Phase.KEEPING_STABLE:
        step(controller)
    assert view(aborted).exit_code == 0
    aborted.ask(Verb.ABORT)
    controller.run()
    assert view(aborted).exit_code == 11
    refused = World()
    refused.target.split = {}
    refused.run()
    assert (view(refused).ending, view(refused).exit_code) == ("failed", 6)


def test_quantities_carry_their_unit() -> None:
    assert quantity(0.0123, "share") == "1.23%"
    assert quantity(87.25, "ms") == "87.25 ms"
    assert quantity(None, "ms") == "not measured"

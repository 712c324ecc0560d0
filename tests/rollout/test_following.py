"""Who watches a rollout is told its end, also if the controller ended while the record was being read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.rollout.group_world import MEMBERS, Pair
from tests.rollout.world import World, step_to
from vertex_deploy.rollout import lockstep, session
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.store import RolloutStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.record import Record


def watcher(world: World) -> RolloutStore:
    """The store as another process has it, to which the controller's is alive."""
    return RolloutStore(world.blobs, "memory", dead=lambda _lease: False)


def let_go(world: World) -> None:
    """What a controller does last."""
    world.blobs.delete("lease.json")


def test_a_controller_that_ends_between_two_reads_does_not_leave_the_watcher_with_an_old_record() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    told: list[Phase] = []

    def seen(record: Record) -> None:
        told.append(record.phase)
        if len(told) == 1:
            controller.run()
            let_go(world)

    found = session.follow(watcher(world), clock=world.clock, until=lambda _record: False, seen=seen)
    assert (found.phase, found.ending) == (Phase.DONE, Ending.PROMOTED)
    assert told == [Phase.HOLDING, Phase.DONE]


def test_nobody_drives_and_the_watcher_returns_with_the_record_as_it_stands() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    let_go(world)
    found = session.follow(watcher(world), clock=world.clock, until=lambda _record: False, seen=lambda _record: None)
    assert found.phase is Phase.HOLDING


def test_a_group_whose_controller_ends_between_two_reads_is_told_to_its_end() -> None:
    pair = Pair(World(), World())
    controllers = pair.start()
    told: list[set[Phase]] = []

    def seen(records: Mapping[str, Record]) -> None:
        told.append({record.phase for record in records.values()})
        if len(told) == 1:
            pair.run(controllers)
            for world in pair.worlds.values():
                let_go(world)

    stores = {member: watcher(pair.worlds[member]) for member in MEMBERS}
    found = lockstep.follow(stores, clock=pair.clock, until=lambda _records: False, seen=seen)
    assert {record.ending for record in found.values()} == {Ending.PROMOTED}
    assert told == [{Phase.PREFLIGHT}, {Phase.DONE}]

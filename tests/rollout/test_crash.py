"""Kill the controller before and after every external call and durable write of whole rollouts, and start it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import STABLE, Killed, World, spec_with, step
from vertex_deploy.rollout.machine import TRANSITIONS, Ending, Event, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record


@dataclass
class Path:
    """One way through a rollout."""

    name: str
    errors: float
    abort_in: Phase | None
    ending: Ending


PATHS = [
    Path("promotion", 0.0, None, Ending.PROMOTED),
    Path("failure", 0.3, None, Ending.ROLLED_BACK),
    Path("abort while deploying", 0.0, Phase.DEPLOYING, Ending.ABORTED),
    Path("abort while holding", 0.0, Phase.HOLDING, Ending.ABORTED),
]


def world_of(path: Path) -> World:
    spec = spec_with(steps=[{"weight": 10, "hold": "30s"}, {"weight": 50, "hold": "30s"}, {"weight": 100}], poll="10s")
    world = World(spec=spec, errors=path.errors)
    world.target.polls = 2
    return world


def drive(world: World, path: Path, killer: Killer) -> Record:
    """Run controllers until the rollout is over; each one that is killed is followed by a new one."""
    while True:
        try:
            controller = world.start()
            killer.armed = True
            while not controller.record.over:
                _maybe_abort(world, path, controller)
                step(controller)
        except Killed:
            killer.armed = False
            world.clock.sleep(7)
            if (found := world.store().current()) is not None and found.over:
                return found
            continue
        return controller.record


def _maybe_abort(world: World, path: Path, controller: Controller) -> None:
    asked = controller.record.ending or world.blobs.names("requests/")
    if path.abort_in is not None and controller.record.phase is path.abort_in and not asked:
        world.ask(Verb.ABORT)


class Killer:
    """Counts the moments around calls and writes, and kills at the chosen one, once."""

    def __init__(self, world: World, at: int | None) -> None:
        self.at, self.count, self.armed = at, 0, False
        world.target.hook = lambda _call, _moment: self.moment()
        world.blobs.hook = self.moment

    def moment(self) -> None:
        if not self.armed:
            return
        self.count += 1
        if self.count == self.at:
            raise Killed


def check(world: World, path: Path, record: Record) -> None:
    assert record.ending is path.ending, record.reason
    survivor = record.canary if path.ending is Ending.PROMOTED else STABLE
    assert world.target.split == {survivor: 100}
    assert world.deployed() == [survivor]
    assert world.target.deploys <= 1
    assert world.target.versions.count(world.release.hash) == 1
    for split in world.target.splits:
        assert sum(split.values()) == 100
    log = world.store().log(record.id)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
    moves = [entry.data for entry in log if entry.kind == "transition"]
    assert moves[0]["from"] == Phase.PREFLIGHT
    assert moves[-1]["to"] == Phase.DONE
    for before, after in pairwise(moves):
        assert before["to"] == after["from"]
    for move in moves:
        assert TRANSITIONS[Phase(move["from"]), Event(move["event"])] == move["to"]
    once = Counter((move["from"], move["event"], move["step"]) for move in moves)
    assert set(once.values()) == {1}
    ends = [interval["end"] for entry in log for interval in entry.data.get("intervals", ())]
    assert ends == sorted(set(ends))


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_controller_killed_at_any_moment_is_continued_by_the_next(path: Path, tell: Callable[[str], None]) -> None:
    world = world_of(path)
    killer = Killer(world, None)
    check(world, path, drive(world, path, killer))
    moments = killer.count
    assert moments > 50
    for at in range(1, moments + 1):
        world = world_of(path)
        killer = Killer(world, at)
        record = drive(world, path, killer)
        try:
            check(world, path, record)
        except AssertionError as error:
            raise AssertionError(f"killed at moment {at} of {moments}") from error
    tell(f"{path.name}: killed at each of {moments} moments, every rollout ended as it should")

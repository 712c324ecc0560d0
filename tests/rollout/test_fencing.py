"""One controller sleeps past its lease at any moment, another finishes the rollout, the first wakes up and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.test_crash import PATHS, Path, check, world_of
from tests.rollout.world import STABLE, World, step
from vertex_deploy.errors import RolloutBusy
from vertex_deploy.rollout.machine import Ending
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.rollout.controller import Controller

SLEEP = 120.0

UNFENCED = {"before start_deploy", "before start_upload"}
"""Calls that the API takes from anybody at any time: sent after the rollout is over, one leaves a deployment or a
version without traffic. No check before a call can prevent it; traffic moves under an etag only."""


class Sleeper:
    """Counts the moments around calls and writes of the first controller; at the chosen one the second runs."""

    def __init__(self, world: World, path: Path, at: int | None) -> None:
        self.world, self.path, self.at = world, path, at
        self.count, self.busy = 0, False
        world.target.hook = lambda call, moment: self.moment(f"{moment} {call}")
        world.blobs.hook = lambda: self.moment("write")
        self.where = ""

    def moment(self, where: str) -> None:
        if self.busy:
            return
        self.count += 1
        if self.count != self.at or self.world.record().over:
            return
        self.busy, self.where = True, where
        self.world.clock.sleep(SLEEP)
        drive(self.world, self.path, self.world.start())


def drive(world: World, path: Path, controller: Controller) -> None:
    while not controller.record.over:
        asked = controller.record.ending or world.blobs.names("requests/")
        if path.abort_in is not None and controller.record.phase is path.abort_in and not asked:
            world.ask(Verb.ABORT)
        step(controller)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_controller_that_slept_past_its_lease_never_undoes_what_the_next_one_did(
    path: Path, tell: Callable[[str], None]
) -> None:
    world = world_of(path)
    sleeper = Sleeper(world, path, None)
    controller = world.start()
    sleeper.count = 0
    drive(world, path, controller)
    moments, refused = sleeper.count, 0
    for at in range(1, moments + 1):
        world = world_of(path)
        sleeper = Sleeper(world, path, None)
        first = world.start()
        sleeper.count, sleeper.at = 0, at
        try:
            drive(world, path, first)
        except RolloutBusy:
            refused += 1
        record = world.record()
        try:
            if sleeper.where in UNFENCED:
                assert record.ending is path.ending
                assert world.target.split == {record.canary if path.ending is Ending.PROMOTED else STABLE: 100}
            else:
                check(world, path, record)
        except AssertionError as error:
            raise AssertionError(f"slept at moment {at} of {moments}: {sleeper.where}") from error
    assert refused > moments // 2
    tell(f"{path.name}: slept past its lease at each of {moments} moments, {refused} times refused")

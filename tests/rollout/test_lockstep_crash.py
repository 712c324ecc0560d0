"""Kill the process that drives a group before and after every external call and durable write, and start it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.group_world import MEMBERS, Pair
from tests.rollout.world import STABLE, Killed, World, spec_with, step
from vertex_deploy.errors import RolloutError
from vertex_deploy.rollout.group import level, ready_of
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = [0, 10, 100]
"""The canary's share before the first step, and at each."""
PATHS = [
    ("promotion", 0.0, None, Ending.PROMOTED),
    ("errors in one", 0.3, None, Ending.ROLLED_BACK),
    ("abort while holding", 0.0, Phase.HOLDING, Ending.ABORTED),
]


class Run:
    """One group rollout whose driver is killed at a moment.

    Args:
        errors: share of the second member's requests that fail.
        abort_in: somebody aborts the group while the first member is in this phase.
        at: number of the moment; None: never.
    """

    def __init__(self, errors: float, abort_in: Phase | None, at: int | None) -> None:
        spec = spec_with(steps=[{"weight": 10, "hold": "20s"}, {"weight": 100}], poll="10s", keep_stable="15s")
        self.pair = Pair(World(spec=spec), World(spec=spec, errors=errors))
        self.abort_in, self.at, self.count, self.armed, self.asked = abort_in, at, 0, False, False
        self.seen: object = None
        for world in self.pair.worlds.values():
            world.target.polls = 2
            world.target.hook = lambda _call, _moment: self.moment()
            world.blobs.hook = self.moment

    def moment(self) -> None:
        if self.armed:
            self.in_step()
            self.count += 1
            if self.count == self.at:
                raise Killed

    def drive(self) -> None:
        """Controllers until all is over; those that are killed are followed by new ones."""
        for _ in range(3):
            try:
                self.armed = True
                controllers = list(self.pair.start().values())
                while any(not controller.record.over for controller in controllers):
                    for controller in controllers:
                        self.maybe_abort()
                        if not controller.record.over:
                            step(controller)
                        self.in_step()
            except Killed:
                self.armed = False
                self.pair.clock.sleep(7)
                if self.finished():
                    return
                continue
            return
        raise AssertionError("killed once, and not over after two more controllers")

    def finished(self) -> bool:
        try:
            records = self.pair.records()
        except RolloutError:
            return False
        return len(records) == len(MEMBERS) and all(record.over for record in records.values())

    def maybe_abort(self) -> None:
        if self.abort_in is not None and not self.asked and self.pair.records()["us"].phase is self.abort_in:
            self.asked, self.armed = True, False
            self.pair.ask(Verb.ABORT)
            self.armed = True

    def in_step(self) -> None:
        """At no instant is a split more than one step ahead of the slowest, nor stable gone before its time."""
        seen = [(world.blobs.writes, len(world.target.splits), world.deployed()) for world in self.pair.worlds.values()]
        if seen == self.seen or any(not world.blobs.read("current.json")[1] for world in self.pair.worlds.values()):
            return
        self.seen = seen
        records = self.pair.records()
        if any(record.ending not in {None, Ending.PROMOTED} for record in records.values()):
            return
        worlds = self.pair.worlds
        shares = {member: worlds[member].target.split.get(record.canary, 0) for member, record in records.items()}
        steps = {member: WEIGHTS.index(share) for member, share in shares.items()}
        assert max(steps.values()) - min(steps.values()) <= 1, shares
        begun = {member: record.step for member, record in records.items()}
        assert max(begun.values()) - min(begun.values()) <= 1, begun
        for member in records:
            # A split is set only for a step that every other member's own record is ready for.
            slowest = min(ready_of(other) for name, other in records.items() if name != member)
            if shares[member]:
                assert slowest >= level(steps[member] - 1), (member, shares, slowest)
            if STABLE not in worlds[member].deployed():
                assert slowest >= level(2), "stable is gone before every member had kept it for its time"


def check(run: Run, ending: Ending) -> None:
    records = run.pair.records()
    assert {record.ending for record in records.values()} == {ending}
    assert len({record.id for record in records.values()}) == 1
    for member, world in run.pair.worlds.items():
        survivor = records[member].canary if ending is Ending.PROMOTED else STABLE
        assert world.target.split == {survivor: 100}
        assert world.deployed() == [survivor]
        assert world.target.deploys == 1
        assert world.target.versions.count(world.release.hash) == 1
        log = run.pair.store(member).log(records[member].id)
        assert [entry.seq for entry in log] == list(range(1, len(log) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[0])
def test_a_group_whose_driver_is_killed_at_any_moment_comes_to_one_end(
    path: tuple[str, float, Phase | None, Ending], tell: Callable[[str], None]
) -> None:
    name, errors, abort_in, ending = path
    run = Run(errors, abort_in, None)
    run.drive()
    check(run, ending)
    moments = run.count
    assert moments > 100
    for at in range(1, moments + 1):
        killed = Run(errors, abort_in, at)
        try:
            killed.drive()
            check(killed, ending)
        except AssertionError as error:
            raise AssertionError(f"killed at moment {at} of {moments}") from error
    tell(f"group, {name}: killed at each of {moments} moments, both members ended alike")

"""What others do to an endpoint in the middle of a rollout, in every phase: change its split, undeploy, delete it.

What is asked: what they did is kept or said, never overwritten in silence, and the rollout does not call it a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.faultable import PATHS, Faultable, Path, chained, world_of
from tests.rollout.world import STABLE, step
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.targets.types import Deployed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.slow
THIRD = "7"
QUIET = frozenset({Phase.PREFLIGHT, Phase.DONE})
"""Phases in which nothing is ours yet, or any more."""

SPLITS: Mapping[str, Callable[[str], dict[str, int]]] = {
    "a third version gets most": lambda _canary: {STABLE: 40, THIRD: 60},
    "the canary shares with a third": lambda canary: {canary: 40, THIRD: 60},
    "all back to stable": lambda _canary: {STABLE: 100},
    "the canary gets more": lambda canary: {STABLE: 40, canary: 60},
    "the canary gets all": lambda canary: {canary: 100},
}


def brought_to(path: Path, phase: Phase, policy: str) -> Faultable | None:
    """A world whose rollout has just entered the phase; None if this path does not lead there."""
    world = world_of(path, on_foreign_split=policy)
    world.target.deployed = (*world.target.deployed, Deployed(id=THIRD, model="x/models/o", version="1"))
    controller = world.start()
    while controller.record.phase is not phase:
        if controller.record.over:
            return None
        step(controller)
    return world


def cases(policy: str) -> list[tuple[Path, Phase, Faultable]]:
    """Every phase of every path, each with a world that has just entered it."""
    asked = [(path, phase) for path in PATHS for phase in Phase if phase not in QUIET]
    return [(path, phase, world) for path, phase in asked if (world := brought_to(path, phase, policy)) is not None]


@pytest.mark.parametrize("policy", ["stop", "adopt"])
@pytest.mark.parametrize("kind", SPLITS)
def test_a_split_that_somebody_else_wrote(kind: str, policy: str, tell: Callable[[str], None]) -> None:
    tried = 0
    for path, phase, world in cases(policy):
        canary = world.record().canary
        wanted = SPLITS[kind](canary)
        if any(world.target_of(deployed) is None for deployed in wanted) or wanted == world.target.split:
            continue
        tried += 1
        world.target.change_split(wanted)
        world.attempt()
        record = world.record()
        where = f"{path.name}, {phase}: {record.phase}, {record.ending}, {record.reason}, {world.target.split}"
        chained(world, record)
        assert sum(world.target.split.values()) == 100, where
        assert set(world.target.split) <= set(world.deployed()), where
        # A third version's share is somebody's will: nobody asked us about it.
        assert world.target.split.get(THIRD, 0) == wanted.get(THIRD, 0), where
        if record.phase is Phase.PAUSED:
            assert world.target.split == wanted, where
            assert "somebody else" in record.reason, where
        if record.ending is Ending.PROMOTED:
            said = "somebody else left it" in record.reason or any(
                entry.data.get("event") == "adopted" for entry in world.store().log(record.id)
            )
            assert world.target.split == {canary: 100} or said, where
        if record.over and record.ending is not Ending.PROMOTED:
            said = "has traffic" in record.reason or "gave traffic away" in record.reason
            assert said or not world.target.split.get(canary), where
    assert tried >= 5
    tell(f"{kind}, on_foreign_split: {policy}: in {tried} phases")


DEEDS: Mapping[str, Callable[[Faultable, str], None]] = {
    "the endpoint is deleted": lambda world, _canary: world.delete_endpoint(),
    "the canary is undeployed": lambda world, canary: world.undeploy(canary),
    "stable is undeployed": lambda world, _canary: world.undeploy(STABLE),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_deleted_or_undeployed_by_somebody_else(deed: str, tell: Callable[[str], None]) -> None:
    tried = 0
    for path, phase, world in cases("stop"):
        canary = world.record().canary
        gone = {"the canary is undeployed": canary, "stable is undeployed": STABLE}.get(deed)
        if gone is not None and world.target_of(gone) is None:
            continue
        tried += 1
        DEEDS[deed](world, canary)
        said = world.attempt()
        record = world.record()
        where = f"{path.name}, {phase}: {record.phase}, {record.ending}, {record.reason}, {world.target.split}, {said}"
        chained(world, record)
        assert world.target.deploys <= 1, where
        assert set(world.target.split) <= set(world.deployed()), where
        if deed == "the endpoint is deleted":
            assert (record.ending, record.phase) == (Ending.FAILED, Phase.DONE), where
            assert "was deleted" in record.reason, where
            assert "create_endpoint" not in world.target.calls, where
            assert world.alerts.kept == {}, where
        if record.ending is Ending.PROMOTED:
            assert world.target.split == {canary: 100}, where
            assert world.target_of(canary) is not None, where
        if gone == canary and record.ending is not None:
            assert record.ending is not Ending.PROMOTED, where
    assert tried >= 5
    tell(f"{deed}: in {tried} phases")

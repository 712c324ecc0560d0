"""What random walks found, each as a rollout of its own: small, named, and without a dice."""

from __future__ import annotations

import pytest

from tests.rollout.faultable import Faultable
from tests.rollout.group_world import Pair
from tests.rollout.world import STABLE, World, step
from vertex_deploy.errors import CloudError, RolloutBusy, StateError
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.targets.types import Deployed

LOST = CloudError("write: UNAVAILABLE", code="UNAVAILABLE", transient=True)


class Full(MemoryBlobs):
    """Blobs that refuse the next write of the history."""

    refuses = False
    error: Exception = LOST

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        if "/log/" in name and self.refuses:
            self.refuses = False
            raise self.error
        return super().write(name, data, generation=generation)


@pytest.mark.parametrize("error", [LOST, StateError("write: no space left")], ids=["bucket", "folder"])
def test_a_commit_whose_history_entry_cannot_be_copied_stands_and_the_entry_is_copied_before_the_next(
    error: Exception,
) -> None:
    world = World()
    world.blobs = blobs = Full()  # type: ignore[assignment] # any Blobs
    blobs.error = error
    controller = world.start()
    number = refused = 0
    while controller.record.phase is not Phase.HOLDING:
        number += 1
        blobs.refuses = number % 2 == 0
        step(controller)
        refused += number % 2 == 0 and not blobs.refuses
        stored = world.record()
        assert (stored.phase, stored.seq) == (controller.record.phase, controller.record.seq)
    assert refused > 2
    assert controller.run().ending is Ending.PROMOTED
    log = world.store().log(world.record().id)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
    assert len([entry for entry in log if entry.text.startswith("split set")]) == 3


def test_a_member_that_was_overtaken_while_its_api_failed_does_not_keep_the_other_from_being_driven() -> None:
    pair = Pair(World(), World())
    controllers = pair.start()
    pair.start()["us"].tick()  # somebody else drives us from now on

    def unreachable(_call: str, _moment: str) -> None:
        raise CloudError("observe: no answer", code="UNAVAILABLE", transient=True)

    pair.worlds["us"].target.hook = unreachable
    eu = pair.store("eu")
    record = eu.current()
    assert record is not None
    controllers["eu"] = pair.controller("eu", eu, record)
    with pytest.raises(RolloutBusy):
        pair.run(controllers)
    assert pair.records()["eu"].phase is Phase.AWAITING_GROUP


def test_going_back_to_a_stable_version_that_somebody_undeployed_is_a_failure_and_says_so() -> None:
    world = Faultable()
    world.target.deployed = (*world.target.deployed, Deployed(id="7", model="x/models/o", version="1"))
    controller = world.start()
    while controller.record.phase is not Phase.REMOVING_STABLE or STABLE in world.deployed():
        step(controller)
    world.undeploy(controller.record.canary)
    record = controller.run()
    assert record.ending is Ending.FAILED
    assert f"stable {STABLE} is no longer deployed" in record.reason
    assert world.target.split == {"7": 100}

"""Several controllers driven by one process: none keeps the others waiting, and no failure is lost."""

from __future__ import annotations

import pytest

from tests.rollout.world import World
from vertex_deploy.errors import CloudError, StateError
from vertex_deploy.rollout.driver import PATIENCE, run
from vertex_deploy.rollout.machine import Ending, Phase


def pair() -> tuple[World, World]:
    """Two worlds of one time."""
    one, two = World(), World(errors=0.3)
    two.clock = one.clock
    return one, two


def test_two_rollouts_go_on_in_turn_each_to_its_own_ending() -> None:
    one, two = pair()
    run([one.start(), two.start()], clock=one.clock)
    assert one.record().ending is Ending.PROMOTED
    assert two.record().ending is Ending.ROLLED_BACK


@pytest.mark.parametrize(("transient", "told"), [(True, PATIENCE + 1), (False, 1)])
def test_one_that_gives_up_does_not_stop_the_other_and_its_error_is_raised_at_the_end(
    transient: bool, told: int
) -> None:
    one, two = pair()

    def unreachable(_call: str, moment: str) -> None:
        if moment == "before":
            raise CloudError("find_endpoint: no answer", code="UNAVAILABLE", transient=transient)

    controllers = [two.start(), one.start()]
    controllers[0].tick()
    assert controllers[0].record.phase is not Phase.PREFLIGHT
    two.target.hook = unreachable
    with pytest.raises(CloudError, match="no answer"):
        run(controllers, clock=one.clock)
    assert one.record().ending is Ending.PROMOTED
    assert two.record().ending is None
    warnings = [entry for entry in two.store().log(two.record().id) if entry.kind == "warning"]
    assert len([entry for entry in warnings if "no answer" in entry.text]) == told
    assert "the controller stops" in warnings[-1].text


def test_a_folder_that_is_full_neither_hides_what_failed_nor_stops_the_other() -> None:
    one, two = pair()
    controllers = [two.start(), one.start()]
    controllers[0].tick()

    def unreachable(_call: str, _moment: str) -> None:
        raise CloudError("find_endpoint: PERMISSION_DENIED: no", code="PERMISSION_DENIED")

    def full() -> None:
        raise StateError("log: cannot be written (No space left on device)")

    two.target.hook, two.blobs.hook = unreachable, full
    with pytest.raises(CloudError, match="PERMISSION_DENIED"):
        run(controllers, clock=one.clock)
    assert one.record().ending is Ending.PROMOTED

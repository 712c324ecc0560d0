"""Before a new version gets traffic: its replicas answer, and what is deployed is what was meant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.rollout.world import STABLE, World, spec_with, step_to
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.targets.types import Deployed

START_UP = 90.0


def each_look(world: World, change: Callable[[Deployed], Deployed | None]) -> None:
    """Let every read of the endpoint find the new version as ``change`` makes it; None: not at all."""

    def hook(call: str, moment: str) -> None:
        if (call, moment) == ("observe", "before"):
            found = [deployed if deployed.id == STABLE else change(deployed) for deployed in world.target.deployed]
            world.target.deployed = tuple(deployed for deployed in found if deployed is not None)

    world.target.hook = hook


def deployed_by(world: World) -> Controller:
    """A controller whose new version is deployed and not yet checked."""
    controller = world.start()
    step_to(controller, Phase.WARMING_UP)
    return controller


def test_a_version_gets_no_traffic_before_a_replica_of_it_answers() -> None:
    world = World()
    ready: list[float] = []

    def starting(deployed: Deployed) -> Deployed:
        if not ready:
            ready.append(world.clock.now() + START_UP)
        up = world.clock.now() >= ready[0]
        assert up or deployed.id not in world.target.split, "it has traffic and cannot answer"
        return replace(deployed, available=int(up))

    each_look(world, starting)
    assert world.run().ending is Ending.PROMOTED
    log = world.store().log(world.record().id)
    (warm,) = [entry for entry in log if entry.data.get("event") == "warm"]
    assert warm.at >= ready[0]
    assert "is deployed and healthy, without traffic" in warm.text


def test_a_version_whose_replicas_never_answer_fails_in_time_and_goes_without_having_had_traffic() -> None:
    world = World(spec=spec_with(deploy_timeout="10m"))
    each_look(world, lambda deployed: replace(deployed, available=0))
    record = world.run()
    assert (record.ending, record.reason) == (Ending.FAILED, "no replica became available")
    assert world.target.splits == []
    assert world.deployed() == [STABLE]
    (warmed,) = [e.at for e in world.store().log(record.id) if e.data.get("to") == "warming_up"]
    (failed,) = [e.at for e in world.store().log(record.id) if e.data.get("event") == "deploy_failed"]
    assert 600 <= failed - warmed <= 610


def test_where_the_api_tells_no_replicas_the_deployment_itself_is_the_check() -> None:
    world = World()
    each_look(world, lambda deployed: replace(deployed, available=None))
    assert world.run().ending is Ending.PROMOTED


def test_a_version_that_vanishes_before_it_had_traffic_is_a_failure() -> None:
    world = World()
    controller = deployed_by(world)
    each_look(world, lambda _deployed: None)
    record = controller.run()
    assert record.ending is Ending.FAILED
    assert "vanished after deployment" in record.reason
    assert world.target.split == {STABLE: 100}


def test_another_model_under_the_chosen_id_gets_no_traffic_and_is_left_alone() -> None:
    world = World()
    controller = deployed_by(world)
    each_look(world, lambda deployed: replace(deployed, version="77"))
    record = controller.run()
    assert record.ending is Ending.FAILED
    assert "it is left alone" in record.reason
    assert world.target.split == {STABLE: 100}
    assert record.canary in world.deployed()


def test_somebody_may_pause_and_abort_while_replicas_start() -> None:
    world = World()
    each_look(world, lambda deployed: replace(deployed, available=0))
    controller = deployed_by(world)
    world.ask(Verb.PAUSE)
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.ABORT)
    assert world.run().ending is Ending.ABORTED
    assert world.deployed() == [STABLE]
    assert world.target.splits == []

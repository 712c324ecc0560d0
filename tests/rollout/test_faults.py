"""Each fault of the cloud, at each call: a rollout ends well once the fault is over, or badly and says so."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import STABLE, World, spec_with, step, step_to
from vertex_deploy.errors import CloudError, SplitConflict
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.targets.types import Deployed

if TYPE_CHECKING:
    from vertex_deploy.rollout.controller import Controller

TRANSIENT = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
UNCERTAIN = ("ABORTED", "INTERNAL", "UNKNOWN")
READS = ("find_endpoint", "observe", "find_model", "poll")
EFFECTS = ("create_endpoint", "start_upload", "start_deploy", "start_undeploy", "set_split")


def error(call: str, code: str) -> CloudError:
    if call == "set_split" and code == "ABORTED":
        return SplitConflict(f"{call}: {code}", code=code)
    return CloudError(f"{call}: {code}", code=code, transient=code in TRANSIENT)


class Fault:
    """Makes one kind of call fail.

    Args:
        world: whose target.
        call: method of the target.
        code: what it answers.
        moment: before it takes effect, or after: the answer is lost.
        times: how often; None: until ``over`` is set.
    """

    def __init__(self, world: World, call: str, code: str, *, moment: str = "before", times: int | None = 2) -> None:
        self.hits, self.over = 0, False

        def hook(found: str, when: str) -> None:
            if self.over or (found, when) != (call, moment) or (times is not None and self.hits >= times):
                return
            self.hits += 1
            raise error(call, code)

        world.target.hook = hook


def held(world: World) -> Controller:
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    return controller


@pytest.mark.parametrize("moment", ["before", "after"], ids=["refused", "answer lost"])
@pytest.mark.parametrize("code", [*TRANSIENT, *UNCERTAIN])
@pytest.mark.parametrize("call", [*READS, *EFFECTS])
def test_a_call_that_fails_twice_is_made_again_and_takes_effect_once(call: str, code: str, moment: str) -> None:
    world = World(first=call == "create_endpoint")
    if world.first:
        world.target.endpoint = None
    # What took effect is not done again, so its answer can be lost only once.
    times = 1 if moment == "after" and call in {"start_upload", "set_split"} else 2
    fault = Fault(world, call, code, moment=moment, times=times)
    record = world.run()
    assert fault.hits == times
    assert record.ending is Ending.PROMOTED
    assert world.target.split == {record.canary: 100}
    assert world.deployed() == [record.canary]
    assert world.target.deploys == 1
    assert world.target.versions.count(world.release.hash) == 1


@pytest.mark.parametrize("call", ["observe", "set_split", "poll", "start_undeploy"])
@pytest.mark.parametrize("code", [*TRANSIENT, *UNCERTAIN])
def test_a_rollback_gets_through_the_same_faults(call: str, code: str) -> None:
    world = World(errors=0.3)
    world.target.polls = 3
    controller = held(world)
    fault = Fault(world, call, code, moment="after", times=1)
    record = controller.run()
    assert fault.hits == 1
    assert record.ending is Ending.ROLLED_BACK
    assert world.target.split == {STABLE: 100}
    assert world.deployed() == [STABLE]


@pytest.mark.parametrize("code", [*TRANSIENT, "INTERNAL", "UNAUTHENTICATED", "PERMISSION_DENIED"])
@pytest.mark.parametrize("call", [*READS, "start_upload", "start_deploy", "set_split", "start_undeploy"])
def test_a_call_that_always_fails_is_never_a_success_and_leaves_the_split_as_it_was(call: str, code: str) -> None:
    world = World()
    fault = Fault(world, call, code, times=None)
    with suppress(CloudError):
        world.run()
    record = world.record()
    if not record.over:
        stopped = [e.text for e in world.store().log(record.id) if "the controller stops" in e.text]
        assert code in stopped[-1]
        assert "the split is" in stopped[-1]
    promoted = call == "start_undeploy"  # all traffic had moved before this call was made for the first time
    assert fault.hits
    assert promoted or record.ending is not Ending.PROMOTED
    assert world.target.split == ({record.canary: 100} if promoted else {STABLE: 100})
    splits = list(world.target.splits)
    fault.over = True
    if not record.over:
        assert world.run().ending is Ending.PROMOTED
        assert world.target.deploys == 1
        assert world.target.splits[: len(splits)] == splits


def test_credentials_that_expire_in_a_hold_end_the_controller_at_once_and_not_the_rollout() -> None:
    world = World()
    controller = held(world)
    fault = Fault(world, "observe", "UNAUTHENTICATED", times=None)
    before, slept = dict(world.target.split), len(world.clock.slept)
    with pytest.raises(CloudError, match="UNAUTHENTICATED"):
        controller.run()
    assert (fault.hits, len(world.clock.slept)) == (1, slept)
    assert world.target.split == before
    assert world.record().phase is Phase.HOLDING
    fault.over = True
    assert world.run().ending is Ending.PROMOTED


def test_credentials_that_may_not_read_metrics_any_more_never_pass_a_gate() -> None:
    world = World()
    controller = held(world)
    world.source.failure = CloudError("ListTimeSeries: UNAUTHENTICATED", code="UNAUTHENTICATED")
    assert controller.run().phase is Phase.PAUSED
    assert world.target.split == {STABLE: 90, controller.record.canary: 10}


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("endpoint", Ending.FAILED), ("upload", Ending.FAILED), ("deploy", Ending.FAILED), ("undeploy", Ending.PROMOTED)],
)
@pytest.mark.parametrize("how", ["ends in an error", "never ends"])
def test_an_operation_that_does_not_end_well(kind: str, ending: Ending, how: str) -> None:
    world = World(spec=spec_with(deploy_timeout="5m"), first=kind == "endpoint")
    if world.first:
        world.target.endpoint = None
    if how == "never ends":
        world.target.stuck.add(kind)
    else:
        world.target.errors[kind] = "INTERNAL: it broke"
    record = world.run()
    assert record.ending is ending
    assert ("not done within 300 s" if how == "never ends" else "it broke") in record.reason
    if kind == "undeploy":
        assert "by hand" in record.reason
        assert world.target.split == {record.canary: 100}
    elif not world.first:
        assert world.target.split == {STABLE: 100}


PHASES = [Phase.UPLOADING, Phase.DEPLOYING, Phase.WARMING_UP, Phase.SHIFTING, Phase.HOLDING, Phase.KEEPING_STABLE,
          Phase.REMOVING_STABLE, Phase.ROLLING_BACK, Phase.REMOVING_CANARY]  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_an_endpoint_deleted_in_any_phase_ends_the_rollout_as_failed(phase: Phase) -> None:
    world = World(errors=0.3 if phase in {Phase.ROLLING_BACK, Phase.REMOVING_CANARY} else 0.0)
    controller = world.start()
    while controller.record.phase is not phase:
        step(controller)
    world.target.endpoint = None
    record = controller.run()
    assert (record.ending, record.phase) == (Ending.FAILED, Phase.DONE)
    assert "was deleted" in record.reason
    assert not any(call == "create_endpoint" for call in world.target.calls)


@pytest.mark.parametrize("policy", ["stop", "adopt"])
@pytest.mark.parametrize("phase", [Phase.WARMING_UP, Phase.SHIFTING, Phase.HOLDING, Phase.KEEPING_STABLE])
def test_traffic_given_to_a_third_version_always_pauses_and_is_left_alone(phase: Phase, policy: str) -> None:
    world = World(spec=spec_with(on_foreign_split=policy))
    world.target.deployed = (*world.target.deployed, Deployed(id="7", model="x/models/o", version="1"))
    controller = world.start()
    while controller.record.phase is not phase:
        step(controller)
    canary = controller.record.canary
    foreign = {key: 20 for key in (STABLE, canary) if controller._look()[0].endpoint.find(key)} | {"7": 60}
    world.target.change_split(foreign)
    assert controller.run().phase is Phase.PAUSED
    assert world.target.split == foreign


def test_an_adopted_split_is_held_anew_for_the_step_it_has_reached() -> None:
    world = World(spec=spec_with(on_foreign_split="adopt"))
    controller = held(world)
    world.clock.sleep(50)
    at, canary = world.clock.now(), controller.record.canary
    world.target.change_split({STABLE: 40, canary: 60})
    record = controller.run()
    assert record.ending is Ending.PROMOTED
    assert world.target.splits == [{STABLE: 90, canary: 10}, {STABLE: 40, canary: 60}, {canary: 100}]
    (adopted,) = [e for e in world.store().log(record.id) if e.data.get("event") == "adopted"]
    assert adopted.data["step"] == 1
    full = next(e for e in world.store().log(record.id) if e.text.startswith(f"split set: {canary}: 100"))
    assert full.at - at >= 60


def test_an_adopted_split_is_judged_like_any_other() -> None:
    world = World(spec=spec_with(on_foreign_split="adopt"))
    controller = held(world)
    world.target.change_split({STABLE: 40, controller.record.canary: 60})
    world.errors = 0.3
    record = controller.run()
    assert record.ending is Ending.ROLLED_BACK
    assert world.target.split == {STABLE: 100}


@pytest.mark.parametrize("weight", [0, 5, 100])
def test_a_split_that_speaks_against_going_on_is_not_adopted(weight: int) -> None:
    world = World(spec=spec_with(on_foreign_split="adopt"))
    controller = held(world)
    canary = controller.record.canary
    foreign = {key: value for key, value in ((STABLE, 100 - weight), (canary, weight)) if value}
    world.target.change_split(foreign)
    assert controller.run().phase is Phase.PAUSED
    assert world.target.split == foreign
    world.ask(Verb.ABORT)
    assert world.run().ending is Ending.ABORTED
    assert world.target.split == {STABLE: 100}


def test_a_split_past_an_approval_is_not_adopted() -> None:
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m", "approval": True}, {"weight": 100}]
    world = World(spec=spec_with(on_foreign_split="adopt", steps=steps))
    controller = held(world)
    world.target.change_split({STABLE: 50, controller.record.canary: 50})
    assert controller.run().phase is Phase.PAUSED


def test_an_endpoint_that_changes_all_the_time_ends_the_controller_with_the_conflict() -> None:
    world = World()
    fault = Fault(world, "set_split", "ABORTED", times=None)
    with pytest.raises(SplitConflict):
        world.run()
    assert world.target.split == {STABLE: 100}
    fault.over = True
    assert world.run().ending is Ending.PROMOTED


@pytest.mark.parametrize(("policy", "ending"), [("warn", Ending.PROMOTED), ("refuse", Ending.FAILED)])
def test_a_stable_version_without_metrics_is_said_or_refused(policy: str, ending: Ending) -> None:
    world = World(spec=spec_with(on_missing_metrics=policy))
    real, world.source.produce = world.source.produce, lambda *_: []
    controller = world.start()
    while controller.record.phase is Phase.PREFLIGHT:
        step(controller)
    world.source.produce = real
    record = controller.run()
    assert record.ending is ending
    assert any("no metrics of the last hour" in entry.text for entry in world.store().log(record.id))
    assert (world.target.deploys == 0) is (policy == "refuse")

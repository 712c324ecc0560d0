from __future__ import annotations

import pytest

from tests.rollout.world import STABLE, World, spec_with, step, step_to
from vertex_deploy.errors import CloudError, RolloutBusy, RolloutError
from vertex_deploy.rollout.driver import nap
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb


def test_a_good_version_is_promoted_step_by_step_and_stable_is_removed() -> None:
    world = World()
    record = world.run()
    assert record.ending is Ending.PROMOTED
    assert world.target.splits == [
        {STABLE: 90, record.canary: 10},
        {STABLE: 50, record.canary: 50},
        {record.canary: 100},
    ]
    assert world.deployed() == [record.canary]
    assert world.target.deploys == 1
    assert world.phases() == [
        "creating_endpoint", "uploading", "deploying", "warming_up", "shifting", "holding", "shifting", "holding",
        "shifting", "keeping_stable", "removing_stable", "done",
    ]  # fmt: skip


def test_stable_is_kept_for_the_time_the_spec_says() -> None:
    world = World(spec=spec_with(keep_stable="10m"))
    world.run()
    log = world.store().log(world.record().id)
    at = {entry.data["to"]: entry.at for entry in log if entry.kind == "transition"}
    assert at["removing_stable"] - at["keeping_stable"] == pytest.approx(600, abs=1)


def test_a_failing_version_is_rolled_back_with_one_update_and_removed() -> None:
    world = World(errors=0.2)
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert "error_rate" in record.reason
    assert world.target.splits == [{STABLE: 90, record.canary: 10}, {STABLE: 100}]
    assert world.deployed() == [STABLE]


def test_a_failure_after_promotion_goes_back_to_the_warm_stable() -> None:
    world = World(spec=spec_with(keep_stable="5m"), errors_at_full=0.5)
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert world.target.split == {STABLE: 100}
    assert "keeping_stable" in world.phases()


def test_no_metrics_of_the_canary_are_never_a_pass() -> None:
    world = World(silent=True)
    record = world.run()
    assert record.phase is Phase.PAUSED
    assert record.reason.startswith("inconclusive")
    assert world.target.split == {STABLE: 90, record.canary: 10}


@pytest.mark.parametrize(
    ("policy", "ending"), [("rollback", Ending.ROLLED_BACK), ("proceed", Ending.PROMOTED), ("pause", None)]
)
def test_inconclusive_does_what_the_spec_says(policy: str, ending: Ending | None) -> None:
    world = World(spec=spec_with(on_inconclusive=policy), silent=True)
    assert world.run().ending is ending


def test_a_failing_gate_may_pause_instead() -> None:
    world = World(spec=spec_with(on_failure="pause"), errors=0.2)
    record = world.run()
    assert record.phase is Phase.PAUSED
    assert record.verdict is not None
    assert record.verdict["outcome"] == "fail"


def test_unreadable_metrics_are_no_evidence_and_the_history_says_so() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    world.source.failure = CloudError("ListTimeSeries: PERMISSION_DENIED", code="PERMISSION_DENIED")
    record = controller.run()
    assert record.phase is Phase.PAUSED
    assert any("could not be read" in entry.text for entry in world.store().log(record.id))


def test_metrics_that_cannot_be_read_at_all_refuse_the_start_before_anything_changes() -> None:
    world = World()
    world.source.failure = CloudError("ListTimeSeries: PERMISSION_DENIED", code="PERMISSION_DENIED")
    record = world.run()
    assert (record.phase, record.ending) == (Phase.DONE, Ending.FAILED)
    assert world.target.deploys == 0
    assert not any(call.startswith(("start_", "create_", "set_")) for call in world.target.calls)


def test_the_first_version_of_an_endpoint_gets_all_traffic_and_says_that_nothing_gated_it() -> None:
    world = World(first=True)
    record = world.run()
    assert record.ending is Ending.PROMOTED
    assert "first version" in record.reason
    assert world.target.split == {record.canary: 100}


def test_an_endpoint_is_created_where_there_is_none() -> None:
    world = World(first=True)
    world.target.endpoint = None
    assert world.run().ending is Ending.PROMOTED
    assert world.target.endpoint == world.target.ENDPOINT


def test_the_same_release_again_has_nothing_to_do() -> None:
    world = World()
    canary = world.run().canary
    world.clock.sleep(5)
    record = world.run()
    assert (record.ending, world.phases()) == (Ending.PROMOTED, ["done"])
    assert world.target.split == {canary: 100}


@pytest.mark.parametrize(
    "phase", [p for p in Phase if p not in {Phase.DONE, Phase.PREFLIGHT, Phase.PAUSED, Phase.AWAITING_GROUP}]
)
def test_abort_in_any_phase_leaves_stable_with_all_traffic(phase: Phase) -> None:
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": phase is Phase.AWAITING_APPROVAL}]
    world = World(
        spec=spec_with(steps=steps), errors=0.2 if phase in {Phase.ROLLING_BACK, Phase.REMOVING_CANARY} else 0.0
    )
    world.target.polls = 3
    controller = world.start()
    while not controller.record.over and controller.record.phase is not phase:
        step(controller)
    assert controller.record.phase is phase
    world.ask(Verb.ABORT)
    record = controller.run()
    late = phase in {Phase.REMOVING_STABLE, Phase.ROLLING_BACK, Phase.REMOVING_CANARY}
    assert record.over
    if phase is Phase.REMOVING_STABLE:
        assert record.ending is Ending.PROMOTED
    else:
        assert world.target.split == {STABLE: 100}
        assert world.deployed() == [STABLE]
        assert record.ending is (Ending.ROLLED_BACK if late else Ending.ABORTED)


def test_a_request_is_answered_within_seconds_of_a_long_hold() -> None:
    world = World(spec=spec_with(steps=[{"weight": 10, "hold": "1h"}, {"weight": 100}], poll="1m"))
    controller = world.start()
    wait = controller.tick()
    while controller.record.phase is not Phase.HOLDING:
        nap(controller, wait.until, world.clock)
        wait = controller.tick()
    asked = world.clock.now() + 7

    def ask(_record: object) -> None:
        if world.clock.now() >= asked and not world.blobs.names("requests/"):
            world.ask(Verb.ABORT)

    controller._on_idle = ask
    record = controller.run()
    assert record.ending is Ending.ABORTED
    assert record.ended is not None
    assert record.ended - asked < 10


def test_pause_then_resume_goes_on_from_the_step_it_was_at() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    world.ask(Verb.PAUSE)
    assert controller.run().phase is Phase.PAUSED
    world.clock.sleep(3600)
    world.ask(Verb.RESUME)
    assert world.run().ending is Ending.PROMOTED
    assert len(world.target.splits) == 3


def test_promote_full_skips_to_all_traffic() -> None:
    world = World(silent=True)
    world.run()
    world.ask(Verb.PROMOTE_FULL)
    record = world.run()
    assert record.ending is Ending.PROMOTED
    assert world.target.splits == [{STABLE: 90, record.canary: 10}, {record.canary: 100}]


def test_somebody_elses_split_stops_the_rollout_and_is_left_as_it_is() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    foreign = {STABLE: 70, controller.record.canary: 30}
    world.target.change_split(foreign)
    record = controller.run()
    assert record.phase is Phase.PAUSED
    assert "somebody else" in record.reason
    assert world.target.split == foreign


def test_a_rollback_moves_only_the_canarys_share() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    canary = controller.record.canary
    world.target.deployed = (
        *world.target.deployed,
        type(world.target.deployed[0])(id="7", model="x/models/o", version="1"),
    )
    world.target.change_split({STABLE: 50, canary: 20, "7": 30})
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.ABORT)
    world.run()
    assert world.target.split == {STABLE: 70, "7": 30}
    assert world.deployed() == [STABLE, "7"]


def test_unrelated_models_are_never_touched() -> None:
    world = World()
    world.target.deployed = (
        *world.target.deployed,
        type(world.target.deployed[0])(id="7", model="x/models/o", version="1"),
    )
    record = world.run()
    assert world.deployed() == ["7", record.canary]


def test_an_etag_that_changed_without_the_split_is_tried_again() -> None:
    world = World()
    hits = []

    def touch(call: str, moment: str) -> None:
        if call == "set_split" and moment == "before" and not hits:
            hits.append(call)
            world.target._etag += 1

    world.target.hook = touch
    assert world.run().ending is Ending.PROMOTED
    assert hits


@pytest.mark.parametrize(("kind", "phase"), [("upload", "uploading"), ("deploy", "deploying")])
def test_an_operation_that_is_done_with_an_error_is_a_failure(kind: str, phase: str) -> None:
    world = World()
    world.target.errors[kind] = "FAILED_PRECONDITION: Model server exited unexpectedly"
    record = world.run()
    assert record.ending is Ending.FAILED
    assert "exited unexpectedly" in record.reason
    assert phase in world.phases()
    assert world.target.split == {STABLE: 100}
    assert world.deployed() == [STABLE]


def test_an_operation_that_never_ends_runs_into_the_specs_timeout() -> None:
    world = World(spec=spec_with(deploy_timeout="10m"))
    world.target.polls = 10**9
    record = world.run()
    assert record.ending is Ending.FAILED
    assert "not done within 600 s" in record.reason


def test_an_operation_whose_name_the_api_forgot_is_judged_by_its_effect() -> None:
    world = World()
    world.target.polls = 5
    controller = world.start()
    while controller.record.phase is not Phase.DEPLOYING or controller.record.pending is None:
        step(controller)
    world.target.forget_operations()
    assert controller.run().ending is Ending.PROMOTED
    assert world.target.deploys == 1


def test_transient_failures_are_waited_out() -> None:
    world = World()
    left = {"observe": 3, "set_split": 2, "start_deploy": 2, "poll": 2}

    def fail(call: str, moment: str) -> None:
        if moment == "before" and left.get(call, 0):
            left[call] -= 1
            raise CloudError(f"{call}: UNAVAILABLE", code="UNAVAILABLE", transient=True)

    world.target.hook = fail
    assert world.run().ending is Ending.PROMOTED
    assert not any(left.values())


def test_an_api_that_stays_away_ends_the_controller_but_not_the_rollout() -> None:
    world = World()
    down = True

    def fail(call: str, _moment: str) -> None:
        if down and call == "set_split":
            raise CloudError("UpdateEndpoint: UNAVAILABLE", code="UNAVAILABLE", transient=True)

    world.target.hook = fail
    with pytest.raises(CloudError, match="UNAVAILABLE"):
        world.run()
    assert not world.record().over
    down = False
    assert world.run().ending is Ending.PROMOTED


def test_a_deleted_endpoint_ends_the_rollout_as_failed() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    world.target.endpoint = None
    record = controller.run()
    assert record.ending is Ending.FAILED
    assert "deleted" in record.reason


def test_a_stable_that_vanished_leaves_the_traffic_where_it_is() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    canary = controller.record.canary
    world.target.deployed = tuple(d for d in world.target.deployed if d.id == canary)
    world.target.change_split({canary: 100})
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.ABORT)
    record = world.run()
    assert record.ending is Ending.FAILED
    assert world.target.split == {canary: 100}


def test_a_changed_spec_is_refused_while_a_rollout_is_under_way() -> None:
    world = World()
    world.start()
    with pytest.raises(RolloutError, match=r"rollout\.keep_stable"):
        world.start(spec_with(keep_stable="5m"))


def test_two_versions_with_traffic_are_refused_before_anything_changes() -> None:
    world = World()
    world.target.deployed = (
        *world.target.deployed,
        type(world.target.deployed[0])(id="7", model="x/models/o", version="1"),
    )
    world.target.split = {STABLE: 60, "7": 40}
    record = world.run()
    assert record.ending is Ending.FAILED
    assert "no single stable version" in record.reason
    assert world.target.split == {STABLE: 60, "7": 40}


def test_a_controller_whose_lease_was_taken_over_stops_without_writing() -> None:
    world = World()
    first = world.start()
    second = world.start()
    second.tick()
    before = dict(world.blobs.content)
    with pytest.raises(RolloutBusy):
        first.tick()
    assert world.blobs.content == before


def test_a_restarted_controller_keeps_the_evidence_of_the_first() -> None:
    world = World(spec=spec_with(steps=[{"weight": 10, "hold": "1m"}, {"weight": 100}]))
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING or world.clock.now() - controller.record.entered < 30:
        step(controller)
    assert controller._evidence._judge is not None
    kept = controller._evidence._judge.look().to_json()
    again = world.start()
    assert again._evidence.rebuilt(again.record.canary).look().to_json() == kept


def test_a_scheduler_that_only_ticks_promotes_as_well_each_time_with_a_new_controller() -> None:
    world = World()
    ticks = 0
    while not (found := world.store().current()) or not found.over:
        world.start().tick()
        world.clock.sleep(20)
        ticks += 1
        assert ticks < 60
    assert found.ending is Ending.PROMOTED
    assert world.target.deploys == 1
    assert len(world.target.splits) == 3


def test_a_request_that_cannot_be_read_ends_neither_the_rollout_nor_its_controller() -> None:
    world = World()
    controller = world.start()
    world.blobs.write("requests/001700000000000-0badc0.json", b'{"verb": "explode"}')
    assert controller.run().ending is Ending.PROMOTED
    told = [entry.text for entry in world.store().log(world.record().id) if entry.kind == "request"]
    assert told == ["request 001700000000000-0badc0 cannot be read and was put aside; ask for it again"]

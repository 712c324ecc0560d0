"""Two members of a lockstep group: they go on together, and back together, whatever happens to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.group_world import MEMBERS, Pair, back, endings
from tests.rollout.world import STABLE, World, spec_with, step
from vertex_deploy.errors import CloudError, ExitCode, RolloutError, StateError
from vertex_deploy.rollout import driver, lockstep
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from vertex_deploy.rollout.controller import Controller

APPROVED = [{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}]


def until(pair: Pair, phase: Phase, *members: str) -> dict[str, Controller]:
    """Controllers that were driven until the named members are in the phase."""
    controllers = pair.start()
    while any(controllers[member].record.phase is not phase for member in members or MEMBERS):
        for member in MEMBERS:
            if controllers[member].record.phase is not phase:
                step(controllers[member])
    return controllers


def test_good_versions_are_promoted_everywhere_one_step_after_the_other() -> None:
    slow = World(spec=spec_with(steps=[{"weight": 10, "hold": "3m"}, {"weight": 50, "hold": "1m"}, {"weight": 100}]))
    pair = Pair(World(), slow)
    records = pair.run()
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}
    assert records["us"].id == records["eu"].id
    assert records["us"].canary != records["eu"].canary
    assert records["us"].label != records["eu"].label
    assert lockstep.exit_code_of(records) is ExitCode.OK
    entered = {member: [at for at, data in pair.moves(member) if data["to"] == Phase.SHIFTING] for member in MEMBERS}
    for one, other in zip(entered["us"], entered["eu"], strict=True):
        assert one == pytest.approx(other, abs=6)
    for member, world in pair.worlds.items():
        assert world.deployed() == [records[member].canary]


def test_nothing_is_made_anywhere_before_every_preflight_has_passed() -> None:
    pair = Pair(World(), World())
    pair.worlds["eu"].source.failure = CloudError("ListTimeSeries: PERMISSION_DENIED", code="PERMISSION_DENIED")
    records = pair.run()
    assert endings(pair) == {"us": Ending.FAILED, "eu": Ending.FAILED}
    assert "eu went back" in records["us"].reason
    for world in pair.worlds.values():
        assert not any(call.startswith(("start_", "create_", "set_")) for call in world.target.calls)


def test_no_traffic_moves_anywhere_before_every_canary_is_warm() -> None:
    pair = Pair(World(), World())
    pair.worlds["eu"].target.errors["deploy"] = "no machines left"
    pair.run()
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.FAILED}
    assert pair.worlds["us"].target.splits == []
    back(pair)


def test_errors_in_one_roll_back_all() -> None:
    pair = Pair(World(), World(errors=0.3))
    records = pair.run()
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    assert "eu went back (rolled_back): error_rate" in records["us"].reason
    assert lockstep.exit_code_of(records) is ExitCode.ROLLED_BACK
    back(pair)


def test_a_failure_of_one_that_is_promoted_already_takes_the_others_back_too() -> None:
    long = spec_with(keep_stable="5m")
    pair = Pair(World(spec=spec_with(keep_stable="20s")), World(spec=long, errors_at_full=0.5))
    pair.run()
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    back(pair)


@pytest.mark.parametrize("phase", [Phase.DEPLOYING, Phase.HOLDING, Phase.KEEPING_STABLE])
def test_an_abort_ends_all_as_aborted(phase: Phase) -> None:
    pair = Pair(World(), World())
    controllers = until(pair, phase)
    pair.ask(Verb.ABORT)
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.ABORTED, "eu": Ending.ABORTED}
    back(pair)


def test_a_paused_member_holds_the_others_at_the_next_barrier_and_goes_back_with_them() -> None:
    pair = Pair(World(), World())
    controllers = until(pair, Phase.HOLDING)
    pair.store("eu").ask(Verb.PAUSE, who="me", now=pair.clock.now())
    records = pair.run(controllers)
    assert (records["us"].phase, records["eu"].phase) == (Phase.AWAITING_GROUP, Phase.PAUSED)
    assert pair.worlds["us"].target.split == {STABLE: 90, records["us"].canary: 10}
    assert lockstep.come_somewhere(records)
    pair.clock.time += 0.01
    pair.store("us").ask(Verb.ABORT, who="me", now=pair.clock.now())
    pair.run()
    assert endings(pair) == {"us": Ending.ABORTED, "eu": Ending.ABORTED}
    back(pair)


def test_one_approval_lets_all_go_on_and_none_goes_without() -> None:
    pair = Pair(World(spec=spec_with(steps=APPROVED)), World(spec=spec_with(steps=APPROVED)))
    controllers = until(pair, Phase.AWAITING_APPROVAL, "us")
    if controllers["eu"].record.phase is Phase.HOLDING:
        with pytest.raises(RolloutError, match="eu is holding"):
            pair.ask(Verb.PROMOTE, approver="ann")
    while controllers["eu"].record.phase is not Phase.AWAITING_APPROVAL:
        step(controllers["eu"])
    with pytest.raises(RolloutError, match="needs an approval"):
        pair.ask(Verb.PROMOTE)
    pair.ask(Verb.PROMOTE, approver="ann")
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_promote_full_of_all_skips_the_holds_of_all() -> None:
    pair = Pair(World(), World())
    controllers = until(pair, Phase.HOLDING)
    pair.ask(Verb.PROMOTE_FULL)
    records = pair.run(controllers)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}
    for member, world in pair.worlds.items():
        assert world.target.splits[-1] == {records[member].canary: 100}
        assert len(world.target.splits) == 2


def test_a_request_for_one_step_is_no_way_past_the_others() -> None:
    pair = Pair(World(), World())
    controllers = until(pair, Phase.HOLDING)
    pair.store("us").ask(Verb.PROMOTE_FULL, who="me", now=pair.clock.now())
    controllers["us"].tick()
    assert (controllers["us"].record.phase, controllers["us"].record.step) == (Phase.AWAITING_GROUP, 0)
    pair.store("us").ask(Verb.PROMOTE, who="me", now=pair.clock.now() + 0.01)
    controllers["us"].tick()
    assert controllers["us"].record.ready == 4
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_a_region_whose_api_fails_for_good_does_not_keep_the_other_from_being_driven() -> None:
    pair = Pair(World(), World())
    controllers = until(pair, Phase.HOLDING)

    def unreachable(_call: str, _moment: str) -> None:
        raise CloudError("observe: no answer", code="UNAVAILABLE", transient=True)

    pair.worlds["eu"].target.hook = unreachable
    with pytest.raises(CloudError, match="no answer"):
        pair.run(controllers)
    records = pair.records()
    assert (records["us"].phase, records["eu"].phase) == (Phase.AWAITING_GROUP, Phase.HOLDING)
    pair.worlds["eu"].target.hook = lambda _call, _moment: None
    pair.run()
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_while_one_region_is_unreachable_the_other_still_goes_back() -> None:
    pair = Pair(World(errors=0.3), World())
    controllers = until(pair, Phase.HOLDING)

    def unreachable(_call: str, _moment: str) -> None:
        raise CloudError("observe: no answer", code="UNAVAILABLE", transient=True)

    pair.worlds["eu"].target.hook = unreachable
    with pytest.raises(CloudError, match="no answer"):
        pair.run(controllers)
    assert pair.worlds["us"].target.split == {STABLE: 100}
    pair.worlds["eu"].target.hook = lambda _call, _moment: None
    pair.run()
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    back(pair)


def test_a_record_that_cannot_be_read_is_not_ready_and_that_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(World(), World())
    controllers = until(pair, Phase.HOLDING)
    store = controllers["us"]._siblings._stores["eu"]

    def broken(_id: str) -> None:
        raise StateError("eu: not a rollout's record")

    monkeypatch.setattr(store, "load", broken)
    for _ in range(40):
        controllers["us"].tick()
        pair.clock.sleep(5)
    assert controllers["us"].record.phase is Phase.AWAITING_GROUP
    log = pair.store("us").log(controllers["us"].record.id)
    assert len([entry for entry in log if "cannot be read" in entry.text]) == 1


def test_a_member_that_has_the_model_already_counts_as_ready() -> None:
    pair = Pair(World(), World())
    lone = World(spec=pair.worlds["eu"].spec)
    lone.target, lone.clock, lone.source = pair.worlds["eu"].target, pair.clock, pair.worlds["eu"].source
    lone.run()
    pair.clock.sleep(5)
    pair.run()
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}
    assert [data["event"] for _, data in pair.moves("eu")] == ["nothing_to_do"]


def test_a_record_that_a_killed_start_left_out_is_made_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(World(), World())
    first = pair.start()["us"].record
    pair.worlds["eu"].blobs = type(pair.worlds["eu"].blobs)()
    assert list(pair.records()) == ["us"]
    again = pair.start()
    assert {controller.record.id for controller in again.values()} == {first.id}
    pair.run(again)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_ticks_of_separate_schedulers_come_to_the_same_end() -> None:
    pair = Pair(World(), World())
    pair.start()
    for _ in range(300):
        for member in MEMBERS:
            store = pair.store(member)
            record = store.current()
            assert record is not None
            if not record.over:
                driver.tick([pair.controller(member, store, record)])
        pair.clock.sleep(5)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_a_foreign_split_is_adopted_only_where_the_group_has_come() -> None:
    spec = spec_with(on_foreign_split="adopt")
    pair = Pair(World(spec=spec), World())
    controllers = until(pair, Phase.HOLDING)
    us = controllers["us"]
    pair.worlds["us"].target.change_split({STABLE: 50, us.record.canary: 50})
    us.tick()
    assert us.record.phase is Phase.PAUSED


def test_two_members_of_one_region_upload_the_release_once() -> None:
    us, eu = World(), World()
    pair = Pair(us, eu)
    eu.spec = us.spec
    eu.release, eu.target.release = us.release, us.release.hash
    eu.target.versions = us.target.versions
    pair.run()
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}
    assert us.target.versions.count(us.release.hash) == 1
    assert "start_upload" not in eu.target.calls


def test_a_rollout_that_was_begun_alone_is_not_taken_for_the_groups() -> None:
    pair = Pair(World(), World())
    pair.worlds["us"].start()
    with pytest.raises(RolloutError, match="not one of prod"):
        pair.start()

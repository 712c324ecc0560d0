"""How members of a lockstep group end together: while stable is warm, at the last barrier, alone, and three of them."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

import pytest

from tests.rollout.group_world import Pair, back, endings
from tests.rollout.world import STABLE, World, spec_with, step
from vertex_deploy.errors import ExitCode, RolloutError
from vertex_deploy.rollout import driver, lockstep
from vertex_deploy.rollout.actions import Move
from vertex_deploy.rollout.blobs import DirectoryBlobs
from vertex_deploy.rollout.decide import decide
from vertex_deploy.rollout.engine import create
from vertex_deploy.rollout.group import level
from vertex_deploy.rollout.lease import Lease
from vertex_deploy.rollout.machine import Ending, Event, Phase
from vertex_deploy.rollout.record import Group
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.store import RolloutStore

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record

SHORT = {"steps": [{"weight": 10, "hold": "20s"}, {"weight": 100}], "poll": "10s"}
LAST = level(2)
"""Ready for the removal of stable, after the two steps of ``SHORT``."""


def warm(us: float = 300, eu: float = 300, **worlds: World) -> Pair:
    """A group whose members keep stable for so many seconds."""
    first = World(spec=spec_with(**SHORT, keep_stable=f"{us}s"))
    return Pair(first, World(spec=spec_with(**SHORT, keep_stable=f"{eu}s")), **worlds)


def driven(pair: Pair, done: Callable[[Mapping[str, Controller]], bool]) -> dict[str, Controller]:
    """Controllers of one process, one action each in turn, until ``done``."""
    controllers = pair.start()
    while not done(controllers):
        for controller in controllers.values():
            if not controller.record.over and not done(controllers):
                step(controller)
    return controllers


# --- while stable is warm ---------------------------------------------------------------------------------------------


def all_warm(controllers: Mapping[str, Controller]) -> bool:
    return all(controller.record.phase is Phase.KEEPING_STABLE for controller in controllers.values())


def test_a_rollback_asked_of_the_group_while_stable_is_warm_takes_every_member_back() -> None:
    pair = warm()
    controllers = driven(pair, all_warm)
    pair.ask(Verb.ROLLBACK)
    records = pair.run(controllers)
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    assert lockstep.exit_code_of(records) is ExitCode.ROLLED_BACK
    back(pair)


@pytest.mark.parametrize("member", ["us", "eu"])
def test_a_rollback_asked_of_one_member_while_stable_is_warm_takes_the_other_back_too(member: str) -> None:
    pair = warm()
    controllers = driven(pair, all_warm)
    pair.store(member).ask(Verb.ROLLBACK, who="me", now=pair.clock.now())
    records = pair.run(controllers)
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    other = next(record for name, record in records.items() if name != member)
    assert f"{member} went back (rolled_back): rollback by me" in other.reason
    back(pair)


@pytest.mark.parametrize("asked", ["us", "eu"])
def test_a_member_that_kept_stable_for_its_time_still_goes_back_while_another_keeps_its_own(asked: str) -> None:
    pair = warm(us=300, eu=20)
    controllers = driven(pair, lambda found: found["eu"].record.ready == LAST)
    assert controllers["us"].record.phase is Phase.KEEPING_STABLE
    pair.store(asked).ask(Verb.ROLLBACK, who="me", now=pair.clock.now())
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.ROLLED_BACK}
    back(pair)


def test_after_the_last_barrier_nothing_goes_back_and_a_request_is_told_so() -> None:
    pair = warm(us=20, eu=20)
    controllers = driven(pair, lambda found: any(one.record.phase is Phase.REMOVING_STABLE for one in found.values()))
    pair.run(controllers)
    with pytest.raises(RolloutError, match="no rollout is under way"):
        pair.ask(Verb.ROLLBACK)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


def test_a_member_that_promised_to_remove_stable_keeps_its_word_though_a_gate_fails_or_somebody_asks() -> None:
    pair = warm(us=20, eu=20)
    controllers = driven(pair, lambda found: found["us"].record.ready == LAST or found["eu"].record.ready == LAST)
    waits, other = ("us", "eu") if controllers["us"].record.ready == LAST else ("eu", "us")
    while controllers[other].record.phase is not Phase.REMOVING_STABLE:
        step(controllers[other])
    # The other one removes its stable on this word; what comes now must not split the group.
    pair.worlds[waits].errors_at_full = 0.9
    pair.store(waits).ask(Verb.ROLLBACK, who="me", now=pair.clock.now())
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}


# --- two processes at the last barrier --------------------------------------------------------------------------------


def at_the_last_barrier() -> tuple[Pair, dict[str, Controller]]:
    """us has kept stable for its time and waits; eu is about to."""
    pair = warm(us=20, eu=60)
    controllers = driven(pair, lambda found: found["us"].record.ready == LAST)
    return pair, controllers


def test_a_gate_that_fails_between_the_others_look_and_its_commit_leaves_one_promoted_and_says_so() -> None:
    """The one outcome apart that ADR 5 admits, and only where each member has a process of its own."""
    pair, controllers = at_the_last_barrier()
    us, eu = controllers["us"], controllers["eu"]
    pair.clock.sleep(5)
    pair.worlds["us"].errors_at_full = 0.9
    while not isinstance(action := decide(us.record, us._plan, us._look()[0]), Move):
        pair.clock.sleep(5)
        us.tick() if us.record.verdict is None else us._perform(action, us._look()[1])
    assert action.event is Event.GATE_FAILED
    # us has looked, and decided to go back; before it commits that, eu comes to the barrier and sees it ready.
    while eu.record.phase is not Phase.REMOVING_STABLE:
        step(eu)
    us._perform(action, us._look()[1])
    records = pair.run(controllers)
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.PROMOTED}
    assert lockstep.exit_code_of(records) is ExitCode.ROLLED_BACK
    assert pair.worlds["us"].target.split == {STABLE: 100}
    assert pair.worlds["eu"].target.split == {records["eu"].canary: 100}


class Crossing:
    """At one moment around a call or write of us, a process of eu's own runs until it is over or can go no further."""

    def __init__(self, at: int | None, errors: float) -> None:
        self.pair, self.controllers = at_the_last_barrier()
        self.at, self.count, self.busy = at, 0, False
        self.pair.worlds["us"].errors_at_full = self.pair.worlds["eu"].errors_at_full = errors
        self.pair.worlds["us"].target.hook = lambda _call, _moment: self.moment()
        self.pair.worlds["us"].blobs.hook = self.moment

    def moment(self) -> None:
        if self.busy:
            return
        self.count += 1
        if self.count == self.at:
            self.busy = True
            for _ in range(40):
                if self.controllers["eu"].record.over:
                    break
                step(self.controllers["eu"])
            self.busy = False

    def run(self) -> set[Ending | None]:
        for _ in range(400):
            for controller in self.controllers.values():
                if not controller.record.over:
                    controller.tick()
            self.pair.clock.sleep(5)
            if all(controller.record.over for controller in self.controllers.values()):
                break
        return set(endings(self.pair).values())


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.0, 0.9], ids=["good", "errors"])
def test_two_controllers_that_cross_at_any_moment_of_the_last_barrier_never_lose_a_member(errors: float) -> None:
    probe = Crossing(None, errors)
    probe.run()
    outcomes: list[set[Ending | None]] = []
    for at in range(1, probe.count + 1):
        crossing = Crossing(at, errors)
        outcomes.append(crossing.run())
        for member, record in crossing.pair.records().items():
            world = crossing.pair.worlds[member]
            survivor = record.canary if record.ending is Ending.PROMOTED else STABLE
            assert world.target.split == {survivor: 100}, (at, record.reason)
            assert world.deployed() == [survivor], (at, record.reason)
    assert len(outcomes) > 20
    if not errors:
        assert outcomes.count({Ending.PROMOTED}) == len(outcomes)
    else:
        assert all(found <= {Ending.PROMOTED, Ending.ROLLED_BACK} for found in outcomes)
        assert outcomes.count({Ending.ROLLED_BACK}) > len(outcomes) / 2


# --- a first version --------------------------------------------------------------------------------------------------


def test_a_member_without_an_older_version_serves_alone_and_the_others_go_on_by_their_gates() -> None:
    pair = Pair(World(spec=spec_with(**SHORT)), World(spec=spec_with(**SHORT), first=True))
    records = pair.run()
    assert endings(pair) == {"us": Ending.PROMOTED, "eu": Ending.PROMOTED}
    assert "first version" in records["eu"].reason
    shares = [split.get(records["us"].canary) for split in pair.worlds["us"].target.splits]
    assert shares == [10, 100]


def test_a_first_version_that_serves_alone_has_nothing_to_go_back_to_when_another_falls() -> None:
    pair = Pair(World(spec=spec_with(**SHORT), errors=0.3), World(spec=spec_with(**SHORT), first=True))
    records = pair.run()
    assert endings(pair) == {"us": Ending.ROLLED_BACK, "eu": Ending.PROMOTED}
    assert "ungated" in records["eu"].reason
    assert pair.worlds["eu"].target.split == {records["eu"].canary: 100}
    assert lockstep.exit_code_of(records) is ExitCode.ROLLED_BACK


def test_a_first_version_that_is_still_being_deployed_when_another_falls_says_that_it_keeps_serving() -> None:
    pair = Pair(World(spec=spec_with(**SHORT)), World(spec=spec_with(**SHORT), first=True))
    controllers = pair.start()
    while controllers["eu"].record.phase is not Phase.WARMING_UP:
        for controller in controllers.values():
            if controller.record.phase is not Phase.WARMING_UP:
                step(controller)
    pair.store("us").ask(Verb.ABORT, who="me", now=pair.clock.now())
    while not controllers["us"].record.over:
        step(controllers["us"])
    records = pair.run(controllers)
    assert endings(pair) == {"us": Ending.ABORTED, "eu": Ending.ABORTED}
    assert "no older version to go back to: this one keeps serving" in records["eu"].reason
    assert pair.worlds["eu"].target.split == {records["eu"].canary: 100}


def test_a_first_version_is_not_deployed_when_another_falls_before() -> None:
    pair = Pair(World(spec=spec_with(**SHORT)), World(spec=spec_with(**SHORT), first=True))
    controllers = driven(pair, lambda found: found["eu"].record.phase is Phase.UPLOADING)
    pair.store("us").ask(Verb.ABORT, who="me", now=pair.clock.now())
    controllers["us"].tick()
    pair.run(controllers)
    assert endings(pair) == {"us": Ending.ABORTED, "eu": Ending.ABORTED}
    assert (pair.worlds["eu"].target.deploys, pair.worlds["eu"].deployed()) == (0, [])


# --- three ------------------------------------------------------------------------------------------------------------


def three(**asia: float) -> Pair:
    return Pair(
        World(spec=spec_with(**SHORT)), World(spec=spec_with(**SHORT)), asia=World(spec=spec_with(**SHORT), **asia)
    )


def test_three_members_take_each_step_when_the_slowest_has_come_to_it() -> None:
    slow = World(spec=spec_with(steps=[{"weight": 10, "hold": "3m"}, {"weight": 100}], poll="10s"))
    pair = Pair(World(spec=spec_with(**SHORT)), World(spec=spec_with(**SHORT)), asia=slow)
    records = pair.run()
    assert set(endings(pair).values()) == {Ending.PROMOTED}
    assert len({record.canary for record in records.values()}) == 3
    full = {
        member: [at for at, data in pair.moves(member) if data["event"] == Event.GROUP_ADVANCES] for member in records
    }
    for one, two, third in zip(*full.values(), strict=True):
        assert max(one, two, third) - min(one, two, third) <= 10


def test_errors_in_the_third_take_all_three_back_and_each_says_whose_they_were() -> None:
    pair = three(errors=0.3)
    records = pair.run()
    assert set(endings(pair).values()) == {Ending.ROLLED_BACK}
    assert "error_rate" in records["asia"].reason
    for member in ("us", "eu"):
        assert "went back" in records[member].reason
    back(pair)


def test_a_third_that_is_paused_holds_two_and_its_abort_ends_three() -> None:
    pair = three()
    controllers = driven(pair, lambda found: found["asia"].record.phase is Phase.HOLDING)
    pair.store("asia").ask(Verb.PAUSE, who="me", now=pair.clock.now())
    records = pair.run(controllers)
    assert [records[member].phase for member in ("us", "eu", "asia")] == [
        Phase.AWAITING_GROUP,
        Phase.AWAITING_GROUP,
        Phase.PAUSED,
    ]
    pair.ask(Verb.ABORT)
    pair.run()
    assert set(endings(pair).values()) == {Ending.ABORTED}
    back(pair)


# --- real processes ---------------------------------------------------------------------------------------------------


class Fast:
    """Real time, a hundred times as fast, so that two processes agree on it."""

    def __init__(self, begun: float) -> None:
        self.begun = begun

    def now(self) -> float:
        return 1_800_000_000.0 + (time.time() - self.begun) * 100

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / 100)


def stored(root: pathlib.Path, member: str) -> RolloutStore:
    folder = root / member
    return RolloutStore(DirectoryBlobs(folder), str(folder), beside=lambda other: stored(root, other))


def regional_world(member: str) -> Pair:
    """A group in which this member's world is the one that is driven."""
    pair = warm(us=20, eu=20)
    pair.keys = {name: name for name in pair.keys}
    assert member in pair.worlds
    return pair


def drive_one(root: pathlib.Path, member: str, begun: float) -> None:
    """One process: it drives one member, and reads the other's record."""
    pair = regional_world(member)
    clock = pair.clock = pair.worlds[member].clock = Fast(begun)  # type: ignore[assignment] # any clock
    store = stored(root, member)
    now = clock.now()
    store.acquire(Lease(host=member, pid=1, born=0, token=member, expires=now + 60_000), now)
    record = store.current()
    assert record is not None
    controller = pair.controller(member, store, record)
    for _ in range(600):
        driver.run([controller], clock=clock)
        if controller.record.over:
            break
        clock.sleep(5)
    assert sum(pair.worlds[member].target.split.values()) == 100
    store.attach(record.id, "split.json", str(pair.worlds[member].target.split).encode())


@pytest.mark.slow
def test_two_processes_that_drive_one_member_each_are_promoted_together(tmp_path: pathlib.Path) -> None:
    begun, records = time.time(), {}
    for member in ("us", "eu"):
        world = regional_world(member).worlds[member]
        group = Group(name="prod", member=member, stores={"us": "us", "eu": "eu"})
        now = Fast(begun).now()
        records[member] = create(
            stored(tmp_path, member), world.spec, world.release, "r1", now=now, started="here", group=group
        )
    # Not forked: other tests of this process may have left threads of gRPC's, and their locks, behind.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=drive_one, args=(tmp_path, member, begun)) for member in records]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    ended: dict[str, Record | None] = {member: stored(tmp_path, member).current() for member in records}
    for member, record in ended.items():
        assert record is not None
        assert record.ending is Ending.PROMOTED, record.reason
        assert (tmp_path / member / "r1" / "split.json").read_text() == str({record.canary: 100})

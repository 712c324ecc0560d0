"""Random walks of a lockstep group: the deeds of ``walk_deeds``, each upon one of three members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.rollout.group_world import Pair
from tests.rollout.walk import Walk
from tests.rollout.walk_checks import check
from tests.rollout.walk_deeds import DEEDS, THEN, WORLDS, Deed, Sameness, perform, spec_of_world
from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.rollout import driver, lockstep
from vertex_deploy.rollout.alerting import AlertWatch
from vertex_deploy.rollout.group import BEGIN, level, ready_of
from vertex_deploy.rollout.lease import Lease
from vertex_deploy.rollout.machine import Ending, Event, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.models import Spec

ALONE = frozenset({"once more"})
"""Deeds that a member of a group does not do alone."""
MEDDLING = frozenset({"remove", "split", "shift", "split in a call"})


@dataclass
class Member(Walk):
    """One member's world; ``troop`` and ``name`` are set once there is a group."""

    name: str = ""
    troop: Pair = None  # type: ignore[assignment] # set once there is a group

    def store(self) -> RolloutStore:
        return self.troop.store(self.name)

    def start(self, spec: Spec | None = None) -> Controller:
        """As one scheduler of this member does."""
        self.controllers += 1
        store, now, number = self.store(), self.clock.now(), self.controllers
        store.acquire(Lease(host="h", pid=number, born=0, token=f"{self.name}{number}", expires=now + 60), now)
        record = store.current()
        assert record is not None
        found = self.troop.controller(self.name, store, record)
        found._alerts = AlertWatch(self.spec, self.alerts)
        return found


def formed(world: Mapping[str, Any], names: Sequence[str]) -> dict[str, Member]:
    """A group whose rollout has begun in every member."""
    members = {}
    for number, name in enumerate(names):
        first = world["endpoint"] != "versions" and number == 1
        members[name] = Member(spec=spec_of_world(world), name=name, first=first)
        members[name].errors = world["errors"] if number == 2 else 0.0
    pair = Pair(**members)
    for name, member in members.items():
        member.troop, member.source.now = pair, pair.clock.now
        member.name = name
    if world["one_region"]:
        lead = members[names[0]]
        for member in members.values():
            # One model for all of them: whoever uploads the release does it for the group.
            member.spec, member.release, member.target.release = lead.spec, lead.release, lead.release.hash
            member.target.versions = lead.target.versions
    pair.start()
    for member in members.values():
        member.begin(again=False)
    for _ in range(2 * world["head"]):
        waits = [member.act() for member in members.values()]
        if all(waits):
            pair.clock.sleep(5)
        for member in members.values():
            check(member)
    return members


def others_ready(members: Mapping[str, Member], name: str) -> int:
    return min(ready_of(record) for other, member in members.items() if other != name and (record := member.current()))


def barriers(members: Mapping[str, Member], name: str, known: int) -> None:
    """Whatever barrier this member has just passed, every other one was ready for it."""
    log = members[name].kept.get(_id(members[name]), [])[known:]
    for entry in log:
        event = entry["data"].get("event") if entry["kind"] == "transition" else None
        wanted = {
            Event.GROUP_BEGINS: BEGIN,
            Event.GROUP_ADVANCES: level(entry["data"].get("step", 0)),
            Event.GROUP_KEPT: level(3),
        }.get(event)
        if wanted is not None:
            assert others_ready(members, name) >= wanted, f"{name} passed {event} alone"


def _id(member: Member) -> str:
    record = member.current()
    return record.id if record else ""


def go(members: Mapping[str, Member], name: str, deed: Deed) -> None:
    """A deed upon one member, and all of the group is looked at."""
    known = len(members[name].kept.get(_id(members[name]), []))
    perform(members[name], deed)
    barriers(members, name, known)
    assert len({_id(member) for member in members.values()}) == 1


def walked(world: Mapping[str, Any], names: Sequence[str], deeds: Sequence[tuple[str, Deed]]) -> dict[str, Member]:
    """A whole walk, and what the group comes to once all trouble is over.

    Raises:
        AssertionError: something did not hold.
    """
    with Sameness():
        members = formed(world, names)
        said: list[str] = []
        try:
            for name, deed in deeds:
                trail = members[name].trail
                known = len(trail)
                try:
                    go(members, name, deed)
                finally:
                    said += [f"{name}: {line}" for line in trail[known:]]
            calm(members)
            alike(members, any(deed.kind in MEDDLING for _, deed in deeds))
        except Exception as error:
            ends = [f"{name}: {record.phase} {record.ending} {record.reason}"
                    for name, member in members.items() if (record := member.current())]  # fmt: skip
            error.add_note("\n".join(["", *said, *ends, ""]))
            raise
    return members


def calm(members: Mapping[str, Member]) -> None:
    """All trouble is over: the group ends by itself, or where it waits for a person, by an abort."""
    pair = next(iter(members.values())).troop
    for member in members.values():
        member.troubles, member.weather, member.sleepers = [], {}, []
        member.errors, member.silent, member.delay = 0.0, False, 0.0
        member.target.errors, member.target.stuck = {}, set()
        member.quiet()
    for attempt in range(3):
        drive(members, pair)
        records = [record for member in members.values() if (record := member.current())]
        if all(record.over for record in records):
            return
        assert attempt < 2, [(record.phase, record.reason) for record in records]
        stores = {name: member.store() for name, member in members.items()}
        lockstep.ask(stores, Verb.ABORT, clock=pair.clock)
        pair.clock.time += 0.01


def drive(members: Mapping[str, Member], pair: Pair) -> None:
    """One process drives all, until each is over or stands."""
    for member in members.values():
        record = member.current()
        if record is not None and not record.over:
            member.begin(again=False)
    for _ in range(300):
        controllers = [m.controller for m in members.values() if m.controller and not m.controller.record.over]
        try:
            driver.tick(controllers)
        except (CloudError, RolloutError) as error:
            raise AssertionError(f"trouble is over, and yet: {error}") from error
        for member in members.values():
            check(member)
        records = [found for member in members.values() if (found := member.current())]
        stands = [record.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL} for record in records]
        if all(record.over for record in records) or (any(stands) and all(map(_still, records))):
            return
        pair.clock.sleep(10)


def _still(record: Record) -> bool:
    return record.over or record.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL, Phase.AWAITING_GROUP}


def alike(members: Mapping[str, Member], meddled: bool) -> None:
    """Promoted everywhere or nowhere: but for a first version, and for what others did to an endpoint."""
    ends = {}
    for name, member in members.items():
        assert member.target.versions.count(member.release.hash) <= 1
        record = member.current()
        assert record is not None
        assert record.over
        if record.stable is not None:
            ends[name] = record.ending is Ending.PROMOTED
    assert meddled or len(set(ends.values())) <= 1, {n: m.current().reason for n, m in members.items()}  # type: ignore[union-attr] # see above


def thrown(dice: random.Random, length: int) -> tuple[dict[str, Any], tuple[str, ...], list[tuple[str, Deed]]]:
    """A walk of a group by a dice."""
    world = {name: dice.choice(values) for name, values in WORLDS.items()}
    world["one_region"] = dice.random() < 0.4
    names = ("us", "eu", "asia")[: dice.choice((2, 2, 3))]
    kinds = [kind for kind in DEEDS if kind not in ALONE]
    gentle = dice.random() < 0.6
    if gentle:
        kinds = [kind for kind in kinds if kind not in MEDDLING]
    chosen = dice.choices(kinds, [DEEDS[kind][0] for kind in kinds], k=dice.randint(1, length))
    deeds = [
        (dice.choice(names), Deed(kind, tuple(dice.choice(of) for of in DEEDS[kind][2]), dice.choice(THEN)))
        for kind in chosen
    ]
    return world, names, deeds

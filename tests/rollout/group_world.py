"""A lockstep group in memory: worlds of one time, two or more, whose stores lie side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rollout.world import STABLE, World
from vertex_deploy.release import build_release
from vertex_deploy.rollout import driver, lockstep
from vertex_deploy.rollout.controller import Controller
from vertex_deploy.rollout.lease import Lease
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.siblings import siblings_of
from vertex_deploy.rollout.store import RolloutStore
from vertex_deploy.spec.models import Spec

if TYPE_CHECKING:
    from vertex_deploy.rollout.machine import Ending
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.requests import Verb

MEMBERS = ("us", "eu")


def regional(spec: Spec, region: str) -> Spec:
    return Spec.model_validate({**spec.model_dump(mode="json"), "gcp": {"project": "p", "region": region}})


class Pair:
    """Two members of the group ``prod``, each a world of its own; more, where more are given.

    Args:
        us: the first.
        eu: the second.
        more: environment -> world.
    """

    def __init__(self, us: World, eu: World, **more: World) -> None:
        self.worlds = {"us": us, "eu": eu, **more}
        self.keys = {member: f"lite0@{member}" for member in self.worlds}
        self.clock = us.clock
        self.sittings = 0
        for member, world in self.worlds.items():
            world.clock = self.clock
            world.spec = regional(world.spec, f"{member}-central1")
            world.release = build_release(world.spec)
            world.target.release = world.release.hash

    def store(self, member: str) -> RolloutStore:
        by_key = {key: name for name, key in self.keys.items()}
        blobs = self.worlds[member].blobs
        return RolloutStore(blobs, member, dead=lambda _lease: True, beside=lambda key: self.store(by_key[key]))

    def start(self) -> dict[str, Controller]:
        """Controllers of every member, as `rollout start` on the group makes them."""
        self.sittings += 1
        now, stores = self.clock.now(), {member: self.store(member) for member in self.worlds}
        for store in stores.values():
            lease = Lease(host="h", pid=self.sittings, born=0, token=str(self.sittings), expires=now + 60)
            store.acquire(lease, now)
        wanted = {member: (world.spec, world.release) for member, world in self.worlds.items()}
        records, _ = lockstep.start("prod", stores, self.keys, wanted, clock=self.clock)
        return {member: self.controller(member, stores[member], record) for member, record in records.items()}

    def controller(self, member: str, store: RolloutStore, record: Record) -> Controller:
        world = self.worlds[member]
        return Controller(
            store=store,
            record=record,
            plan=plan_of(spec_of(record), lag=10.0),
            gates=spec_of(record).rollout.gates,
            target=world.target,
            source_for=lambda _endpoint: world.source,
            clock=self.clock,
            siblings=siblings_of(record, store),
        )

    def run(self, controllers: dict[str, Controller] | None = None) -> dict[str, Record]:
        driver.run(list((controllers or self.start()).values()), clock=self.clock)
        return self.records()

    def records(self) -> dict[str, Record]:
        return lockstep.newest({member: self.store(member) for member in self.worlds})

    def ask(self, verb: Verb, **kwargs: Any) -> None:
        lockstep.ask({member: self.store(member) for member in self.worlds}, verb, clock=self.clock, **kwargs)
        self.clock.time += 0.01

    def moves(self, member: str) -> list[tuple[float, dict[str, Any]]]:
        log = self.store(member).log(self.records()[member].id)
        return [(entry.at, dict(entry.data)) for entry in log if entry.kind == "transition"]


def endings(pair: Pair) -> dict[str, Ending | None]:
    return {member: record.ending for member, record in pair.records().items()}


def back(pair: Pair) -> None:
    """Every member serves what it served before, and nothing else is left."""
    for world in pair.worlds.values():
        assert world.target.split == {STABLE: 100}
        assert world.deployed() == [STABLE]

"""A rollout's alert policies at each of its endings, killed at each call before: made once, gone after, others stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.rollout.faultable import PATHS, Faultable, Path, short_spec
from tests.rollout.world import Killed
from vertex_deploy.gcp import cloud_error
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL
from vertex_deploy.rollout.machine import Ending, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GATES = [
    {"metric": "error_rate", "max": "1%", "min_requests": 10},
    {"metric": "latency_p95", "max": "300ms", "min_requests": 10},
]
STANDING = {"displayName": "lite0: standing", "userLabels": {"vertex-deploy": "lite0"}}
"""As `pulumi up` makes of ``monitoring.alerts``: labelled with the spec's name, and with no rollout's."""
OTHER = {"displayName": "lite0 r0: error_rate", "userLabels": {"vertex-deploy": "lite0", ROLLOUT_LABEL: "r0"}}
"""Of another rollout, whose controller may be at work elsewhere."""


@dataclass
class Way:
    """How a rollout comes to its ending.

    Args:
        name: for people.
        path: of a rollout.
        ending: what it is.
        settings: of its ``rollout`` section.
        upset: changes the world before it starts.
    """

    name: str
    path: Path
    ending: Ending
    settings: Mapping[str, Any]
    upset: Callable[[Faultable], None] = lambda _world: None


def upload_fails(world: Faultable) -> None:
    world.target.errors["upload"] = "INTERNAL: it broke"


def deployment_fails(world: Faultable) -> None:
    world.target.errors["deploy"] = "INTERNAL: it broke"


def endpoint_goes(world: Faultable) -> None:
    """Somebody deletes it in the hold."""
    hook = world.target.hook

    def point(call: str, moment: str) -> None:
        holding = world.controller is not None and world.controller.record.phase is Phase.HOLDING
        if holding and world.target.endpoint is not None:
            world.delete_endpoint()
        hook(call, moment)

    world.target.hook = point


def second_refused(world: Faultable) -> None:
    create = world.alerts.create

    def limited(policy: Mapping[str, Any]) -> None:
        if world.alerts.made:
            raise cloud_error("CreateAlertPolicy", "INVALID_ARGUMENT", "no more")
        create(policy)

    world.alerts.create = limited  # type: ignore[method-assign] # what is tested


def unmeasured(world: Faultable) -> None:
    world.silent = True


WAYS = [
    *(Way(path.name, path, path.ending, {}) for path in PATHS),
    Way("second policy refused", PATHS[0], Ending.FAILED, {}, second_refused),
    Way("upload failed", PATHS[0], Ending.FAILED, {}, upload_fails),
    Way("deployment failed", PATHS[0], Ending.FAILED, {}, deployment_fails),
    Way("endpoint deleted", PATHS[0], Ending.FAILED, {}, endpoint_goes),
    Way("inconclusive", PATHS[0], Ending.ROLLED_BACK, {"on_inconclusive": "rollback"}, unmeasured),
]


def world_of(way: Way) -> Faultable:
    world = Faultable(spec=short_spec(gates=GATES, **way.settings), errors=way.path.errors, abort_in=way.path.abort_in)
    world.alerts.kept |= {"projects/p/alertPolicies/standing": STANDING, "projects/p/alertPolicies/other": OTHER}
    way.upset(world)
    return world


class Killer:
    """Kills the controller at the chosen call to Monitoring, or counts them."""

    def __init__(self, world: Faultable, at: int) -> None:
        self.count = 0
        told = world.point

        def point(call: str, moment: str) -> None:
            told(call, moment)
            if "alert polic" in call or "incidents" in call:
                self.count += 1
                if self.count == at:
                    raise Killed

        world.alerts.point = point


def driven(world: Faultable) -> None:
    """Run controllers until the rollout is over; after a kill the next one."""
    for _ in range(3):
        try:
            world.run()
        except Killed:
            world.clock.sleep(7)
            if world.record().over:
                return
            continue
        return


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_own_policies_are_gone_and_all_others_stay(way: Way, tell: Callable[[str], None]) -> None:
    at = 0
    while True:
        world = world_of(way)
        killer = Killer(world, at)
        driven(world)
        record, where = world.record(), f"{way.name}, killed at call {at} of Monitoring"
        assert (record.phase, record.ending) == (Phase.DONE, way.ending), f"{where}: {record.reason}"
        assert sorted(p["displayName"] for p in world.alerts.kept.values()) == sorted(
            [STANDING["displayName"], OTHER["displayName"]]
        ), where
        if at > killer.count or not killer.count:
            break
        at += 1
    assert world.alerts.made == (1 if way.upset is second_refused else len(GATES))
    tell(f"{way.name}: {way.ending}, killed at each of {max(at - 1, 0)} calls of Monitoring")


def test_policies_are_there_from_before_traffic_moves_until_the_end() -> None:
    world = world_of(WAYS[0])
    seen: list[tuple[str, int, int]] = []

    def look(call: str, moment: str) -> None:
        world.point(call, moment)
        if world.controller is not None and moment == "before":
            own = sum(ROLLOUT_LABEL in p["userLabels"] for p in world.alerts.kept.values()) - 1
            seen.append((str(world.controller.record.phase), own, world.canary_share()))

    world.target.hook = look
    world.run()
    assert {own for phase, own, _ in seen if phase != Phase.PREFLIGHT} == {len(GATES)}
    assert {own for _, own, share in seen if share} == {len(GATES)}

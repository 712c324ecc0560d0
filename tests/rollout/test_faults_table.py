"""Every fault of a table at every kind of call in every phase of whole rollouts; how many were tried is printed.

What is asked of each: it never ends as a success that it is not, the endpoint is never left worse than it was, and once
the fault is over the rollout ends as it would have without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.faultable import EVIDENCE, PATHS, Fault, Faultable, Path, Site, ended_well, sites_of, sound, world_of
from tests.rollout.world import STABLE
from vertex_deploy.errors import SplitConflict
from vertex_deploy.gcp import cloud_error
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# 429, 503, an answer that never came, an etag that moved on, and failures that say nothing of what happened.
PASSING = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN")
LASTING = (*PASSING, "UNAUTHENTICATED", "PERMISSION_DENIED")


def error_of(code: str) -> Callable[[str], Exception]:
    def error(call: str) -> Exception:
        found = cloud_error(call, code, "on purpose")
        if call == "set_split" and code == "ABORTED":
            return SplitConflict(str(found), code=code)
        return found

    return error


def passing(site: Site) -> Iterator[tuple[str, Fault]]:
    """Faults that strike once: refused, or the answer to a call that took effect is lost."""
    for code in PASSING:
        for moment in ("before", "after"):
            yield f"{code} {moment} {site}", Fault(site, error_of(code), moment=moment)


def lasting(site: Site) -> Iterator[tuple[str, Fault]]:
    """Faults that stay until somebody does something."""
    for code in LASTING:
        yield f"{code} from {site} on", Fault(site, error_of(code), times=None)


def struck(path: Path, fault: Fault) -> Faultable:
    world = world_of(path)
    world.fault = fault
    return world


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_fault_that_passes_changes_no_ending(path: Path, tell: Callable[[str], None]) -> None:
    tried = 0
    for site in sites_of(path):
        for name, fault in passing(site):
            world = struck(path, fault)
            said = world.attempt()
            try:
                assert world.hits == 1
                assert not said, f"one failure ended the controller: {said}"
                sound(world)
                ended_well(world, path)
                assert world.alerts.kept == {}
            except AssertionError as error:
                raise AssertionError(f"{path.name}: {name}") from error
            tried += 1
    tell(f"{path.name}: {tried} faults that pass tried, every rollout ended as without them")


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_fault_that_lasts_is_never_a_success_and_leaves_the_endpoint_no_worse(
    path: Path, tell: Callable[[str], None]
) -> None:
    tried, outcomes = 0, {"stopped": 0, "ended": 0, "paused": 0, "went on": 0}
    for site in sites_of(path):
        for name, fault in lasting(site):
            world = struck(path, fault)
            said = world.attempt()
            try:
                assert world.hits
                sound(world)
                outcomes[outcome(world, path, site, said)] += 1
                mended(world, path)
            except AssertionError as error:
                raise AssertionError(f"{path.name}: {name}") from error
            tried += 1
    tell(f"{path.name}: {tried} faults that last tried: {outcomes}")


def outcome(world: Faultable, path: Path, site: Site, said: str) -> str:
    """What a lasting fault came to, which has to be one of four; see the names."""
    record = world.record()
    if record.over and record.ending is path.ending:
        # The call was not needed any more, or only tidies up.
        if path.ending is Ending.PROMOTED:
            assert not (site.call in EVIDENCE and site.phase in {Phase.PREFLIGHT, Phase.HOLDING})
        ended_well(world, path)
        return "went on"
    assert world.canary_share() <= world.share_at_first_hit
    assert STABLE in world.deployed() or record.phase is Phase.REMOVING_STABLE
    if record.over:
        assert record.ending is not Ending.PROMOTED
        assert record.reason
        assert world.target.split == {STABLE: 100}
        assert not world.alerts.kept
        return "ended"
    if said:
        stopped = [e.text for e in world.store().log(record.id) if "the controller stops" in e.text]
        assert "the split is" in stopped[-1]
        assert "`rollout start`" in stopped[-1]
        return "stopped"
    assert record.phase is Phase.PAUSED, record.phase
    return "paused"


def mended(world: Faultable, path: Path) -> None:
    """The fault is over: what was not is brought to the ending that it would have had."""
    world.over = True
    if world.record().over:
        return
    if world.record().phase is Phase.PAUSED:
        world.ask(Verb.RESUME)
    assert not world.attempt()
    sound(world)
    ended_well(world, path)
    assert world.alerts.kept == {}

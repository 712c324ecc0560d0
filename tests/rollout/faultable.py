"""A rollout's world in which any call can fail: target, metrics, incidents, alert policies and the store, by one hook.

A fault is said by where it strikes (phase and call), when (before the call takes effect, or after it: the answer is
lost), how often, and what is raised. What must hold afterwards, whatever failed, is ``sound`` and ``ended_well``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.rollout.world import STABLE, World, spec_with
from vertex_deploy.errors import VertexDeployError
from vertex_deploy.metrics.memory import MemorySource
from vertex_deploy.rollout.alert_clients import MemoryAlerts
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL, AlertWatch
from vertex_deploy.rollout.machine import TRANSITIONS, Ending, Event, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vertex_deploy.metrics.types import Interval
    from vertex_deploy.rollout.alerting import Incident
    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.spec.models import Spec
    from vertex_deploy.targets.types import Deployed

EVIDENCE = frozenset({"read metrics", "read incidents"})
"""Calls whose answer a promotion rests on."""


@dataclass(frozen=True)
class Site:
    """A kind of call in a phase."""

    phase: str
    call: str

    def __str__(self) -> str:
        return f"{self.call} while {self.phase}"


@dataclass(frozen=True)
class Fault:
    """What fails.

    Args:
        site: where it strikes first; a lasting one then meets the same call in every phase.
        error: makes what is raised, from the call's name.
        moment: "before" the call takes effect, or "after".
        times: how often; None: until it is over.
    """

    site: Site
    error: Callable[[str], Exception]
    moment: str = "before"
    times: int | None = 1


@dataclass(frozen=True)
class Path:
    """One way through a rollout.

    Args:
        name: for people.
        ending: how it ends without a fault.
        errors: share of the canary's requests that fail.
        abort_in: somebody aborts in this phase; while deploying, once the deployment has begun.
    """

    name: str
    ending: Ending
    errors: float = 0.0
    abort_in: Phase | None = None


PATHS = (
    Path("promoted", Ending.PROMOTED),
    Path("rolled back", Ending.ROLLED_BACK, errors=0.3),
    Path("aborted while deploying", Ending.ABORTED, abort_in=Phase.DEPLOYING),
    Path("aborted while holding", Ending.ABORTED, abort_in=Phase.HOLDING),
)


@dataclass
class Source(MemorySource):
    """Metrics by the hook."""

    point: Callable[[str, str], None] = lambda _call, _moment: None

    def read(self, **asked: Any) -> Sequence[Interval]:
        self.point("read metrics", "before")
        found = MemorySource.read(self, **asked)
        self.point("read metrics", "after")
        return found


@dataclass
class Alerts(MemoryAlerts):
    """Alert policies and incidents by the hook."""

    point: Callable[[str, str], None] = lambda _call, _moment: None

    def policies(self, rollout_id: str) -> Mapping[str, str]:
        self.point("list alert policies", "before")
        found = MemoryAlerts.policies(self, rollout_id)
        self.point("list alert policies", "after")
        return found

    def create(self, policy: Mapping[str, Any]) -> None:
        self.point("create alert policy", "before")
        MemoryAlerts.create(self, policy)
        self.point("create alert policy", "after")

    def delete(self, name: str) -> None:
        self.point("delete alert policy", "before")
        MemoryAlerts.delete(self, name)
        self.point("delete alert policy", "after")

    def incidents(self, since: float) -> Sequence[Incident]:
        self.point("read incidents", "before")
        found = MemoryAlerts.incidents(self, since)
        self.point("read incidents", "after")
        return found


def short_spec(**rollout: Any) -> Spec:
    """A step of 10 seconds in two looks, so that thousands of rollouts take seconds."""
    steps = [{"weight": 10, "hold": "20s"}, {"weight": 100}]
    return spec_with(**{"steps": steps, "poll": "10s", "keep_stable": "15s", "deploy_timeout": "10m", **rollout})


@dataclass
class Faultable(World):
    """A world with alert policies whose calls tell ``struck`` before and after.

    Args:
        abort_in: see ``Path``.
    """

    spec: Spec = field(default_factory=short_spec)
    abort_in: Phase | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.target.polls = 2
        self.source = Source(produce=self._produce, point=self.point)
        self.alerts = Alerts(point=self.point)
        self.target.hook = self.point
        self.fault: Fault | None = None
        self.hits = 0
        self.over = False
        self.share_at_first_hit = 0
        self.sites: list[Site] = []
        self.controller: Controller | None = None
        self._asked = False

    def point(self, call: str, moment: str) -> None:
        """Something is called, or was."""
        record = self.controller.record if self.controller else None
        site = Site(str(record.phase) if record else "start", call)
        if moment == "before" and site not in self.sites:
            self.sites.append(site)
        self._maybe_abort(site)
        fault = self.fault
        if fault is None or self.over or (call, moment) != (fault.site.call, fault.moment):
            return
        if not self.hits and site != fault.site:
            return
        if fault.times is not None and self.hits >= fault.times:
            return
        if not self.hits:
            self.share_at_first_hit = self.canary_share()
        self.hits += 1
        raise fault.error(call)

    def _maybe_abort(self, site: Site) -> None:
        begun = self.abort_in is not Phase.DEPLOYING or self.target.deploys
        if not self._asked and site == Site(str(self.abort_in), "observe") and begun:
            self._asked = True
            self.ask(Verb.ABORT)

    def start(self, spec: Spec | None = None) -> Controller:
        self.controller = None
        self.controller = super().start(spec)
        self.controller._alerts = AlertWatch(self.spec, self.alerts)
        return self.controller

    def target_of(self, deployed_id: str) -> Deployed | None:
        """The deployed model of this id, or None."""
        return next((found for found in self.target.deployed if found.id == deployed_id), None)

    def undeploy(self, deployed_id: str) -> None:
        """As somebody else does: its share goes to another, as the API demands of an undeployment."""
        left = tuple(found for found in self.target.deployed if found.id != deployed_id)
        split = {key: share for key, share in self.target.split.items() if key != deployed_id}
        missing = 100 - sum(split.values())
        if left and missing:
            heir = next(iter(split), left[0].id)
            split[heir] = split.get(heir, 0) + missing
        self.target.deployed = left
        self.target.change_split(split if left else {})

    def delete_endpoint(self) -> None:
        """As somebody else does: nothing is left of it."""
        self.target.endpoint, self.target.deployed, self.target.split = None, (), {}

    def canary_share(self) -> int:
        return sum(share for deployed, share in self.target.split.items() if deployed != STABLE)

    def attempt(self) -> str:
        """Run a controller until it ends, whatever it ends with; what it raised, or ""."""
        try:
            self.run()
        except VertexDeployError as error:
            return str(error)
        return ""


def world_of(path: Path, **rollout: Any) -> Faultable:
    return Faultable(spec=short_spec(**rollout), errors=path.errors, abort_in=path.abort_in)


def sites_of(path: Path) -> list[Site]:
    """Where a rollout without faults calls anything, in order."""
    world = world_of(path)
    world.run()
    ended_well(world, path)
    return world.sites


def sound(world: Faultable) -> None:
    """What holds at any time, whatever fails: traffic goes to what is deployed, and the history is one line."""
    deployed = set(world.deployed())
    for split in [*world.target.splits, world.target.split]:
        assert sum(split.values()) == 100, split
    assert set(world.target.split) <= deployed, (world.target.split, deployed)
    assert world.target.deploys <= 1
    if (record := world.store().current()) is not None:
        chained(world, record)


def chained(world: Faultable, record: Record) -> None:
    """The history has no gap, and its transitions are those of the table, each once."""
    log = world.store().log(record.id)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
    moves = [entry.data for entry in log if entry.kind == "transition"]
    for before, after in pairwise(moves):
        assert before["to"] == after["from"]
    for move in moves:
        assert TRANSITIONS[Phase(move["from"]), Event(move["event"])] == move["to"]
    if moves:
        assert moves[-1]["to"] == record.phase
    once = Counter((move["from"], move["event"], move["step"]) for move in moves)
    assert set(once.values()) <= {1} or any(move["event"] == Event.RESUME for move in moves)
    if record.over:
        assert moves[-1]["ending"] == record.ending


def told(world: Faultable) -> Iterator[str]:
    """Every line of the history."""
    return (entry.text for entry in world.store().log(world.record().id))


def ended_well(world: Faultable, path: Path) -> None:
    """The rollout ended as it would have without the fault, and nothing is left over that its history does not say."""
    record = world.record()
    assert (record.phase, record.ending) == (Phase.DONE, path.ending), record.reason
    survivor = record.canary if path.ending is Ending.PROMOTED else STABLE
    assert world.target.split == {survivor: 100}
    assert world.deployed() == [survivor] or "by hand" in record.reason, record.reason
    assert world.target.versions.count(world.release.hash) <= 1
    assert not world.alerts.kept or any(ROLLOUT_LABEL in line for line in told(world))

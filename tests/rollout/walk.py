"""A rollout's world for random walks: any call may fail, die or be overtaken, and others meddle with the endpoint.

``Walk`` does what a walk's rules ask and ``check`` says what must hold after each of them. It knows the truth of the
world (who changed what, what the metrics said), so that nothing is checked against what the controller believes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.rollout.faultable import Alerts, Faultable, short_spec
from tests.rollout.walk_checks import check
from tests.rollout.walk_parts import Endpoint, Read, Told, Trouble
from tests.rollout.world import STABLE, Killed, with_version
from vertex_deploy.errors import CloudError, RolloutBusy, RolloutError, SplitConflict, StateError
from vertex_deploy.gcp import cloud_error
from vertex_deploy.release import build_release
from vertex_deploy.rollout import driver
from vertex_deploy.rollout.actions import Wait
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL, Incident
from vertex_deploy.rollout.decide import decide
from vertex_deploy.rollout.machine import Phase
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.targets.types import Deployed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.metrics.types import Interval
    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.spec.models import Spec

THIRD = "7"
"""A deployed model that is neither stable nor canary, and nobody's business."""
UNFENCED = frozenset({"start_deploy", "start_upload", "create_endpoint"})
"""Calls that the API takes from anybody at any time; see ``test_fencing``."""
DISK = frozenset({"PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"})
"""Codes that stand for a folder's failures, where the store is met."""
STANDS = frozenset({Phase.PAUSED, Phase.AWAITING_APPROVAL})
"""Where a rollout waits for a person."""
SLEEP = 120.0
"""Longer than a lease."""


@dataclass
class Walk(Faultable):
    """A world that is walked through at random.

    Args:
        spec: what is rolled out.
        without_endpoint: there is none yet.
    """

    spec: Spec = field(default_factory=short_spec)
    without_endpoint: bool = False
    delay: float = 0.0
    """Seconds after which metrics can be read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.target = Endpoint(release=self.release.hash, polls=2, hook=self.point)
        self.target.writer = lambda: self.controller.record  # type: ignore[union-attr] # somebody writes
        if not (self.first or self.without_endpoint):
            with_version(self.target, STABLE, "1", weight=100)
            self.target.deployed = (*self.target.deployed, Deployed(id=THIRD, model="x/models/o", version="1"))
        if self.without_endpoint:
            self.target.endpoint = None
        self.source = Read(produce=self._late, point=self.point, now=self.clock.now)
        self.alerts = Alerts(point=self.point)
        self.blobs = Told()  # type: ignore[assignment] # any Blobs
        self.blobs.point = self.point  # type: ignore[attr-defined] # of Told
        self.troubles: list[Trouble] = []
        self.weather: dict[str, tuple[str, float]] = {}
        self.sleepers: list[Controller] = []
        self.acting = False
        self.third = self.target.split.get(THIRD, 0)
        self.meddled_since_look = False
        self.removed_by_others: set[str] = set()
        self.given_up: set[str] = set()
        """Rollouts that had come to where stable is removed."""
        self.rollouts: list[str] = []
        self.kept: dict[str, list[Any]] = {}
        self.seen: dict[str, Record] = {}
        self.tried = 0
        self.trail: list[str] = []

    def _late(self, *asked: Any) -> list[Interval]:
        *who, until = asked
        found = self._produce(*who, until)
        return [one for one in found if one.end.timestamp() <= until.timestamp() - self.delay]

    # -- what strikes ------------------------------------------------------------------------------------------------

    def point(self, call: str, moment: str) -> None:
        """Something is called by a controller, or was."""
        if not getattr(self, "acting", False):
            return
        if moment == "before" and call in self.weather:
            code, until = self.weather[call]
            if self.clock.now() < until:
                self.trail.append(f"  {call}: {code}")
                raise self._error(call, code)
            del self.weather[call]
        if (call, moment) == ("observe", "after"):
            self.meddled_since_look = False
        for trouble in self.troubles:
            trouble.after -= 1
        due = next((trouble for trouble in self.troubles if trouble.after <= 0), None)
        if due is None or (due.kind == "overtake" and moment == "before" and call in UNFENCED):
            return
        self.troubles.remove(due)
        self.trail.append(f"  {due.kind} {due.code if due.kind == 'error' else ''} {moment} {call}")
        self._strike(due, call)

    def _strike(self, due: Trouble, call: str) -> None:
        if due.kind == "kill":
            raise Killed
        if due.kind == "error":
            raise self._error(call, due.code)
        if due.kind == "meddle":
            self.meddle([due.actions, 5, 3])
        if due.kind == "overtake" and self.controller is not None and self.current() is not None:
            sleeper, held = self.controller, self.troubles
            self.troubles = []
            self.clock.sleep(SLEEP)
            self.begin(again=False)
            for _ in range(due.actions):
                self.act()
            self.acting, self.troubles = True, held
            self.sleepers.append(sleeper)

    @staticmethod
    def _error(call: str, code: str) -> Exception:
        if call.endswith("store") and code in DISK:
            return StateError(f"{call}: {code}: no space left")
        found = cloud_error(call, code, "on purpose")
        if call == "set_split" and code in {"ABORTED", "FAILED_PRECONDITION"}:
            return SplitConflict(str(found), code=code)
        return found

    # -- what a controller does --------------------------------------------------------------------------------------

    def current(self) -> Record | None:
        was, self.acting = self.acting, False
        try:
            return self.store().current()
        finally:
            self.acting = was

    def begin(self, *, again: bool) -> None:
        """A new controller takes over, or begins another rollout where ``again`` says so."""
        record = self.current()
        if record is not None and record.over and not again:
            return
        self.controller = None
        self._guarded(self._begin)

    def _begin(self) -> None:
        self.controller = self.start()

    def act(self) -> bool:
        """One action of the controller; whether it has to wait."""
        waits, mine = False, self.controller
        if mine is None or mine.record.over:
            return True

        def once() -> None:
            nonlocal waits
            seen, etag = mine._look()
            action = decide(mine.record, mine._plan, seen)
            if isinstance(action, Wait):
                waits = True
                return
            self.trail.append(f"  {mine.record.phase}: {action}"[:230])
            mine.journal.renew()
            mine._perform(action, etag)

        self._guarded(once)
        return waits

    def turn(self, seconds: float) -> None:
        """All that is due, with the driver's own way with failures, then a pause."""
        if self.controller is None or self.controller.record.over:
            return
        seat = driver._Seat(self.controller)
        self._guarded(lambda: seat.turn(self.clock))
        if seat.error is not None:
            self.trail.append(f"  ended by {seat.error}"[:200])
            self.controller = None
        self.clock.sleep(seconds)
        if self.controller is not None:
            self._guarded(lambda: seat.idle(self.clock))

    def wake(self) -> None:
        """A controller that slept goes on where it stood: it must not change anything any more."""
        if not self.sleepers:
            return
        sleeper, current = self.sleepers.pop(), self.controller
        held, self.troubles = self.troubles, []
        before = (dict(self.target.split), self.target.deployed, self.current(), set(self.target._operations))
        self.controller = sleeper
        with suppress(RolloutBusy):
            for _ in range(3):
                self.act()
        assert (dict(self.target.split), self.current(), set(self.target._operations)) == (
            before[0],
            before[2],
            before[3],
        )
        self.controller, self.troubles = current, held

    def _guarded(self, work: Callable[[], None]) -> None:
        """Act, and lose the controller to what ends one; any other exception is a bug."""
        mine = self.controller
        self.acting = True
        try:
            work()
        except Killed:
            self._lose(mine)
        except (CloudError, RolloutError) as error:
            self.trail.append(f"  raised {type(error).__name__}: {error}"[:200])
            if not (isinstance(error, CloudError) and error.transient) or mine is None:
                self._lose(mine)
        finally:
            self.acting = False
            self.tried += 1

    def _lose(self, controller: Controller | None) -> None:
        # Whoever overtook it in mid-call goes on.
        if self.controller is controller:
            self.controller = None

    def ask(self, verb: Verb, approver: str = "") -> None:
        if self.current() is not None:
            super().ask(verb, approver)

    # -- what others do ----------------------------------------------------------------------------------------------

    def alive(self) -> list[str]:
        dying = self.target.dying()
        return [found.id for found in self.target.deployed if found.id not in dying]

    def meddle(self, parts: Sequence[int]) -> None:
        """Somebody else writes a split, in these proportions."""
        alive = self.alive()
        weights = [parts[number % len(parts)] for number in range(len(alive))]
        whole = sum(weights)
        if self.target.endpoint is None or not whole:
            return
        shares = [weight * 100 // whole for weight in weights]
        shares[weights.index(max(weights))] += 100 - sum(shares)
        self.write(dict(zip(alive, shares, strict=True)))

    def write(self, split: dict[str, int]) -> None:
        """Somebody else writes a split, if the API takes it."""
        if self.target.endpoint is None or not {key for key, share in split.items() if share} <= set(self.alive()):
            return
        self._theirs(split)
        self.meddled_since_look = True
        self.third = self.target.split.get(THIRD, 0)
        self.trail.append(f"  somebody set {self.target.split}")

    def _theirs(self, split: dict[str, int]) -> None:
        self.target.theirs = True
        self.target.change_split(split)
        self.target.theirs = False

    def remove(self, deployed_id: str) -> None:
        """Somebody else undeploys a model and gives its share to another."""
        if deployed_id not in self.alive() or len(self.alive()) == 1:
            return
        heir = next(found for found in self.alive() if found != deployed_id)
        split = {key: share for key, share in self.target.split.items() if key != deployed_id}
        missing = self.target.split.get(deployed_id, 0)
        self.target.deployed = tuple(found for found in self.target.deployed if found.id != deployed_id)
        self._theirs({**split, heir: split.get(heir, 0) + missing})
        self.removed_by_others.add(deployed_id)
        self.meddled_since_look = True
        self.third = self.target.split.get(THIRD, 0)

    def delete_endpoint(self) -> None:
        self.removed_by_others |= {found.id for found in self.target.deployed}
        super().delete_endpoint()
        self.third = 0
        self.target._operations.clear()

    def fire(self, *, own: bool, who: str) -> None:
        """An incident opens."""
        record = self.current()
        if record is None:
            return
        labels = {ROLLOUT_LABEL: record.label} if own else {"vertex-deploy": self.spec.name}
        about = {"canary": record.canary, "stable": record.stable or ""}.get(who, "")
        title = f"lite0 {record.label}: error_rate" if own else "lite0: error_rate"
        name = f"projects/p/alerts/{len(self.alerts.fired)}"
        now = self.clock.now()
        self.alerts.fired.append(
            Incident(name=name, title=title, labels=labels, opened=now, open=True, deployed_id=about)
        )

    def quiet(self) -> None:
        """Every incident closes."""
        self.alerts.fired = [replace(incident, open=False) for incident in self.alerts.fired]

    # -- the end -----------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """All trouble is over: what the rollout comes to by itself, and by an abort where it waits for a person."""
        self.troubles, self.weather, self.sleepers = [], {}, []
        self.errors, self.silent, self.delay = 0.0, False, 0.0
        self.target.errors, self.target.stuck = {}, set()
        self.quiet()
        for attempt in range(3):
            record = self.current()
            if record is None or record.over:
                break
            self.begin(again=False)
            assert self.controller is not None
            self.controller.run(lambda found: found.phase in STANDS)
            record = self.current()
            assert record is not None
            check(self)
            if record.over:
                break
            assert record.phase in STANDS
            assert record.reason
            assert attempt < 2, f"an abort did not end it: {record.phase}"
            self.ask(Verb.ABORT)
        check(self)


def next_release(walk: Walk) -> None:
    """Another release of the same spec's name."""
    artifact = f"gs://p-models/lite0/{len(walk.rollouts) + 3}"
    walk.spec = type(walk.spec).model_validate(
        {**walk.spec.model_dump(mode="json", exclude_none=True), "model": {"artifact": artifact}}
    )
    walk.release = build_release(walk.spec)
    walk.target.release = walk.release.hash

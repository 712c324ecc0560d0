"""Random walks through whole rollouts: trouble of every kind in any order, and what holds after each step of it.

The crash and fault tables try each trouble at each call of four rollouts. Here troubles meet: a split that somebody
else wrote while the answer to ours was lost, an abort during a takeover, an operation that never ends and a lease that
did. What holds is in ``walk_checks``, what may happen in ``walk_deeds``; what was found is in ``test_walk_found``.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.rollout import walk_deeds, walk_group
from tests.rollout.walk_checks import check
from tests.rollout.walk_deeds import DEEDS, THEN, WORLDS, Deed, Sameness
from vertex_deploy.rollout import decide, group, siblings
from vertex_deploy.rollout.actions import Begin, Move, SetSplit
from vertex_deploy.rollout.alerting import AlertWatch
from vertex_deploy.rollout.effects import Effects
from vertex_deploy.rollout.machine import Ending, Event, Phase
from vertex_deploy.rollout.store import RolloutStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.rollout.walk import Walk
    from vertex_deploy.rollout.actions import Action
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Record

TRIED = {"walks": 0, "steps": 0, "ended": 0}
WORLD = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in WORLDS.items()})


def count(walks: Iterable[Walk]) -> None:
    TRIED["walks"] += 1
    for walk in walks:
        TRIED["steps"] += walk.tried
        TRIED["ended"] += sum(record.over for record in walk.seen.values())


def summary(what: str) -> str:
    return (
        f"{what}: {TRIED['walks']} random walks, {TRIED['steps']} steps of controllers, {TRIED['ended']} rollouts"
        " ended; every promise was kept after each step"
    )


class Rollouts(RuleBasedStateMachine):
    """One endpoint, its rollouts, their controllers, and everybody else: a rule a kind of deed, see ``DEEDS``."""

    def __init__(self) -> None:
        super().__init__()
        self.walk: Walk | None = None
        self.sameness = Sameness()
        self.sameness.__enter__()

    @initialize(world=WORLD)
    def begin(self, world: dict[str, object]) -> None:
        self.walk = walk_deeds.begun(world)

    @rule(kind=st.sampled_from([kind for kind, (weight, _, _) in DEEDS.items() for _ in range(weight)]),
          data=st.data(), then=st.sampled_from(THEN))  # fmt: skip
    def happens(self, kind: str, data: st.DataObject, then: int) -> None:
        values = tuple(data.draw(st.sampled_from(of)) for of in DEEDS[kind][2])
        walk_deeds.perform(self.walk, Deed(kind, values, then))

    @invariant()
    def kept(self) -> None:
        if self.walk is not None:
            check(self.walk)

    def teardown(self) -> None:
        try:
            # A walk that failed is not walked to its end.
            if self.walk is not None and sys.exc_info()[0] is None:
                self.walk.calm()
                count([self.walk])
        finally:
            self.sameness.__exit__()


def machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Rollouts,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def groups(seeds: range, length: int) -> None:
    for seed in seeds:
        count(walk_group.walked(*walk_group.thrown(random.Random(seed), length)).values())


@pytest.fixture(autouse=True)
def from_nothing() -> None:
    TRIED.update(dict.fromkeys(TRIED, 0))


def test_a_few_walks_keep_every_promise(tell: Callable[[str], None]) -> None:
    machine(8, 12)
    for walk in walk_deeds.many(range(10), 25):
        count([walk])
    tell(summary("a few"))
    assert TRIED["steps"] > 500


def test_a_few_walks_of_a_group_keep_every_promise(tell: Callable[[str], None]) -> None:
    groups(range(4), 15)
    tell(summary("a few of groups"))
    assert TRIED["ended"] >= 8


@pytest.mark.slow
def test_walks_that_hypothesis_chooses_keep_every_promise(tell: Callable[[str], None]) -> None:
    machine(150, 50)
    tell(summary("chosen by Hypothesis"))
    assert TRIED["ended"] > 100


@pytest.mark.slow
def test_walks_by_dice_keep_every_promise(tell: Callable[[str], None]) -> None:
    for walk in walk_deeds.many(range(100, 300), 60):
        count([walk])
    tell(summary("by dice"))
    assert TRIED["ended"] > 200


@pytest.mark.slow
def test_walks_of_groups_keep_every_promise(tell: Callable[[str], None]) -> None:
    groups(range(100, 180), 50)
    tell(summary("groups, by dice"))
    assert TRIED["ended"] > 160


# --- whether the walks would notice -----------------------------------------------------------------------------------


def _never_measured(patch: pytest.MonkeyPatch) -> None:
    """What was not measured counts as passed."""
    real = decide._PHASES[Phase.HOLDING]

    def holding(record: Record, plan: Plan, seen: decide.Seen) -> Action:
        found = real(record, plan, seen)
        unproven = isinstance(found, Move) and found.event in {Event.INCONCLUSIVE, Event.PAUSE}
        return decide._onward(record, plan, "it will be fine") if unproven and seen.now > record.entered + 40 else found

    patch.setitem(decide._PHASES, Phase.HOLDING, holding)  # type: ignore[arg-type] # a dict


def _everything_to_stable(patch: pytest.MonkeyPatch) -> None:
    """A rollback overwrites what somebody else gave to a third version."""
    real = decide._PHASES[Phase.ROLLING_BACK]

    def rolling_back(record: Record, plan: Plan, seen: decide.Seen) -> Action:
        found = real(record, plan, seen)
        return SetSplit({record.stable or "": 100}) if isinstance(found, SetSplit) else found

    patch.setitem(decide._PHASES, Phase.ROLLING_BACK, rolling_back)  # type: ignore[arg-type] # a dict


def _no_approval(patch: pytest.MonkeyPatch) -> None:
    """Anybody passes a step that waits for an approval."""
    patch.setattr(decide, "lacks_approval", lambda *_: "")


def _cold_stable(patch: pytest.MonkeyPatch) -> None:
    """Stable is undeployed as soon as the canary has all traffic."""
    kept = Move(Event.KEPT, "no need to keep it", Ending.PROMOTED)
    patch.setitem(decide._PHASES, Phase.KEEPING_STABLE, lambda *_: kept)  # type: ignore[arg-type] # a dict


def _policies_stay(patch: pytest.MonkeyPatch) -> None:
    """Alert policies are left behind."""
    patch.setattr(AlertWatch, "clear", lambda *_: "")


def _another_id(patch: pytest.MonkeyPatch) -> None:
    """Each deployment gets an id of its own."""
    real = Effects._start

    def start(self: Effects, action: Begin) -> str:
        if action.kind != "deploy":
            return real(self, action)
        record = self._journal.record
        return self._target.start_deploy(
            record.endpoint or "", model=record.model or "", deployed_id=f"9{record.seq}", first=False
        )

    patch.setattr(Effects, "_start", start)


def _entries_lost(patch: pytest.MonkeyPatch) -> None:
    """A history entry that could not be copied is gone with the next one."""
    real = RolloutStore._copy_tail

    def copy(self: RolloutStore, record: Record) -> None:
        try:
            real(self, record)
        finally:
            self._uncopied = None

    patch.setattr(RolloutStore, "_copy_tail", copy)


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [_never_measured, _everything_to_stable, _no_approval, _cold_stable, _policies_stay, _another_id, _entries_lost],
    ids=lambda broken: broken.__name__.strip("_"),
)
def test_the_walks_notice_a_controller_that_is_broken_on_purpose(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    for seed in range(120):
        world, deeds = walk_deeds.thrown(random.Random(seed), 60)
        if isinstance(walk_deeds.fails(world, deeds), AssertionError):
            return
    pytest.fail(f"120 walks did not notice: {broken.__doc__}")


@pytest.mark.slow
def test_the_walks_notice_a_member_that_does_not_wait_for_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    real = group.others
    monkeypatch.setattr(siblings, "others", lambda *asked: replace(real(*asked), ready=group.EVERYTHING))
    with pytest.raises(AssertionError, match="alone"):
        groups(range(60), 40)

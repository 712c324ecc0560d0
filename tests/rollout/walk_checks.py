"""What holds after every step of a random walk, whatever happened: facts of the world, not of the controller."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import ExitCode, StateError
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL
from vertex_deploy.rollout.machine import TRANSITIONS, Ending, Event, Phase
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.view import exit_code

if TYPE_CHECKING:
    from tests.rollout.walk import Walk
    from vertex_deploy.rollout.record import Record

FIXED = ("id", "canary", "endpoint", "stable", "stable_model", "model")
"""What never changes again, once it is known."""
LEFT = ("keep", "has traffic", "gave traffic", "was deleted", "by hand", "left alone", "left deployed")
"""How a reason says that the canary was left with traffic, or may get some."""
ENDINGS = {
    Ending.PROMOTED: ExitCode.OK,
    Ending.ROLLED_BACK: ExitCode.ROLLED_BACK,
    Ending.ABORTED: ExitCode.ABORTED,
    Ending.FAILED: ExitCode.ROLLOUT,
}


def check(walk: Walk) -> None:
    """Everything."""
    record = walk.current()
    _traffic(walk)
    _written(walk)
    if record is None:
        assert not walk.target.ended
        return
    before = walk.seen.get(record.id)
    if before is None:
        walk.rollouts.append(record.id)
    else:
        for name in FIXED:
            known, now = getattr(before, name), getattr(record, name)
            assert known == now or known is None or before.phase is Phase.PREFLIGHT, f"{name}: {known}, then {now}"
    fresh = before is None or before.seq != record.seq
    ended = record.over and (before is None or not before.over)
    walk.seen[record.id] = record
    _deployed(walk, record)
    assert exit_code(record) == _exit(record)
    if fresh:
        _history(walk, record)
    if ended:
        _ending(walk, record)


def _traffic(walk: Walk) -> None:
    deployed, split = {found.id for found in walk.target.deployed}, walk.target.split
    assert sum(split.values()) == 100 or not split, split
    assert set(split) <= deployed, (split, deployed)
    assert not set(split) & walk.target.dying(), f"{split}, and undeploying {walk.target.dying()}"
    # Somebody may have made it the stable version of a later rollout.
    ours = any(record.stable == "7" for record in walk.seen.values())
    assert ours or walk.target.split.get("7", 0) == walk.third, f"a third version had {walk.third}%: {split}"


def _written(walk: Walk) -> None:
    """What a controller wrote moves shares between stable and canary, to a step's weight or to nothing."""
    for before, after, record in walk.target.ours:
        mine = {record.canary, record.stable}
        assert {k: v for k, v in before.items() if k not in mine} == {k: v for k, v in after.items() if k not in mine}
        share, weights = after.get(record.canary, 0), plan_of(spec_of(record)).weights
        assert share == 0 or share in weights, (before, after)
        rises = share > before.get(record.canary, 0)
        assert not (rises and record.ending not in {None, Ending.PROMOTED}), "more traffic while it goes back"
    walk.target.ours.clear()


def _deployed(walk: Walk, record: Record) -> None:
    deployed = {found.id for found in walk.target.deployed}
    canaries = {known.canary for known in walk.seen.values()}
    first = walk.first or walk.without_endpoint
    assert deployed <= canaries | {"111", "7"}
    if not first and walk.target.endpoint is not None and all(known.stable != "7" for known in walk.seen.values()):
        assert "7" in deployed | walk.removed_by_others
    for known in canaries:
        assert walk.target.in_flight("deploy", known) <= 1
    for (kind, data), times in walk.target.ended.items():
        if kind == "deploy":
            assert times <= 1 + (data in walk.removed_by_others), f"{data} was deployed {times} times"
    if record.phase is Phase.REMOVING_STABLE or record.ending is Ending.PROMOTED:
        walk.given_up.add(record.id)
    if record.stable and record.id not in walk.given_up and walk.target.endpoint is not None:
        assert record.stable in deployed | walk.removed_by_others, "stable is gone"
        assert record.stable not in walk.target.dying()


def _exit(record: Record) -> ExitCode:
    if record.over:
        assert record.ending is not None
        return ENDINGS[record.ending]
    waits = record.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL}
    return ExitCode.INCONCLUSIVE if waits else ExitCode.OK


def _history(walk: Walk, record: Record) -> None:
    """It only grows, has no gap, follows the table, and every step up was earned or asked for."""
    was, walk.acting = walk.acting, False
    try:
        log = [entry.to_json() for entry in walk.store().log(record.id)]
    except StateError as error:  # the store says itself where an entry is missing
        raise AssertionError(f"the history was changed: {error}") from error
    walk.acting = was
    kept = walk.kept.get(record.id, [])
    assert log[: len(kept)] == kept, "the history was changed"
    assert [entry["seq"] for entry in log] == list(range(1, len(log) + 1))
    walk.kept[record.id] = log
    moves = [entry for entry in log if entry["kind"] == "transition"]
    for one, other in pairwise(moves):
        assert one["data"]["to"] == other["data"]["from"]
    for move in moves:
        data = move["data"]
        assert TRANSITIONS[Phase(data["from"]), Event(data["event"])] == data["to"]
    assert (moves[-1]["data"]["to"] if moves else "preflight") == record.phase
    fresh = log[len(kept) :]
    _earned(walk, record, log, [entry for entry in fresh if entry["kind"] == "transition"])
    _approved(walk, record, moves)


def _approved(walk: Walk, record: Record, moves: list[dict[str, Any]]) -> None:
    """No step that waits for an approval was entered without one, by name."""
    plan, highest, named = plan_of(spec_of(record)), -1, ""
    for move in moves:
        data = move["data"]
        named = data.get("request", {}).get("approver") or named
        if data["to"] not in {Phase.SHIFTING, Phase.HOLDING} or data["step"] <= highest:
            continue
        for step in range(highest + 1, data["step"] + 1):
            if plan.approvals[step]:
                assert named, f"step {step} without an approval: {move['text']}"
        highest, named = data["step"], ""


def _earned(walk: Walk, record: Record, log: list[dict[str, Any]], moves: list[dict[str, Any]]) -> None:
    """A hold is passed by what the metrics showed of the canary in it, an operator's step by its request."""
    plan = plan_of(spec_of(record))
    for move in moves:
        data, event = move["data"], Event(move["data"]["event"])
        if event in {Event.SKIP, Event.APPROVED, Event.RESUME, Event.ABORT, Event.ROLL_BACK}:
            assert Verb(data["request"]["verb"])
        if event is Event.KEPT and "undeployed by somebody else" not in move["text"]:
            assert move["at"] - _entered(log, move) >= plan.keep_stable, "stable was not kept for its time"
        onward = event is Event.PASSED or (event is Event.NEEDS_APPROVAL and data["from"] == Phase.HOLDING)
        if not onward or not plan.gated or "on_inconclusive is proceed" in move["text"]:
            continue
        entered = _entered(log, move)
        shown = {i.end: i for at, i in walk.source.shown if entered <= at <= move["at"] and i.end.timestamp() > entered}
        canary = [interval.canary for interval in shown.values() if interval.canary is not None]
        assert sum(one.requests for one in canary) >= 100, f"passed on too few requests: {move['text']}"
        assert not all(one.errors for one in canary), f"passed on errors: {move['text']}"
        assert move["at"] - entered >= plan.holds[record.step - 1 if event is Event.PASSED else record.step]


def _entered(log: list[dict[str, Any]], move: dict[str, Any]) -> float:
    """When the phase that a move leaves had begun."""
    return next(float(e["at"]) for e in reversed(log[: move["seq"] - 1]) if e["kind"] == "transition")


def _ending(walk: Walk, record: Record) -> None:
    """The rollout has just ended."""
    assert record.ending is not None
    assert record.reason
    share = walk.target.split.get(record.canary, 0)
    said = any(words in record.reason for words in LEFT)
    if record.ending is Ending.PROMOTED:
        # Nothing to do: the version that serves is this release already.
        nothing = walk.kept[record.id][-1]["data"].get("event") == Event.NOTHING_TO_DO
        assert share == 100 or nothing or "somebody else left it" in record.reason or walk.meddled_since_look, share
    else:
        assert not share or said or walk.meddled_since_look, (share, record.reason)
    left = [p for p in walk.alerts.kept.values() if p["userLabels"].get(ROLLOUT_LABEL) == record.label]
    told = any(ROLLOUT_LABEL in entry["text"] for entry in walk.kept[record.id])
    assert not left or told, "alert policies were left without a word"

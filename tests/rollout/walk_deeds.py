"""What may happen to a rollout, as data: each deed with the values that it takes, for Hypothesis and for a plain dice.

Hypothesis makes walks small where one fails, and repeats itself; a dice reaches far more states, and its walks are made
small by leaving deeds out one by one (``shortened``).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from tests.rollout.faultable import short_spec
from tests.rollout.walk import THIRD, Walk, next_release
from tests.rollout.walk_checks import check
from tests.rollout.walk_parts import Trouble
from vertex_deploy.rollout.machine import Ending
from vertex_deploy.rollout.requests import Verb, possible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vertex_deploy.spec.models import Spec

CODES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN", "UNAUTHENTICATED",
         "PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT")  # fmt: skip
CALLS = ("find_endpoint", "check", "observe", "find_model", "poll", "create_endpoint", "start_upload", "start_deploy",
         "start_undeploy", "set_split", "read metrics", "read incidents", "list alert policies", "create alert policy",
         "delete alert policy", "read store", "write store", "check_artifact")  # fmt: skip
OPERATIONS = ("endpoint", "upload", "deploy", "undeploy")
MOMENTS = tuple(range(1, 11))
NEVER_APPROVED = (False, False, False, True)

WORLDS: Mapping[str, Sequence[Any]] = {
    "endpoint": ("versions",) * 8 + ("empty", "none"),
    "gated": (True,) * 5 + (False,),
    "approvals": tuple((a, b, c) for a in NEVER_APPROVED for b in NEVER_APPROVED for c in NEVER_APPROVED),
    "on_failure": ("rollback", "rollback", "pause"),
    "on_inconclusive": ("pause", "rollback", "proceed"),
    "on_foreign_split": ("stop", "adopt"),
    "on_missing_metrics": ("warn", "warn", "refuse"),
    "on_stable": ("ignore", "pause", "rollback"),
    "standing": (False, True),
    "errors": (0.0, 0.0, 0.3),
    "head": (0, 10, 15, 20, 25, 30, 35, 40),
}
"""What a walk's spec and endpoint may be."""


class Deed(NamedTuple):
    """What happens, and for how many actions a controller goes on afterwards."""

    kind: str
    values: tuple[Any, ...]
    then: int


def spec_of_world(world: Mapping[str, Any]) -> Spec:
    steps: list[dict[str, Any]] = [{"weight": 10, "hold": "40s"}, {"weight": 50, "hold": "20s"}, {"weight": 100}]
    for found, approval in zip(steps, world["approvals"], strict=True):
        found["approval"] = approval
    policies = ("on_failure", "on_inconclusive", "on_foreign_split", "on_missing_metrics")
    spec = short_spec(
        steps=steps,
        gates=[{"metric": "error_rate", "max": "1%", "min_requests": 100}] if world["gated"] else [],
        poll="5s",
        keep_stable="40s",
        alerts={"on_stable": world["on_stable"]},
        **{name: world[name] for name in policies},
    )
    if not world["standing"]:
        return spec
    alerts = {"alerts": [{"metric": "error_rate", "name": "any errors", "max": "1%"}]}
    return type(spec).model_validate({**spec.model_dump(mode="json", exclude_none=True), "monitoring": alerts})


# --- deeds ------------------------------------------------------------------------------------------------------------


def _trouble(kind: str) -> Callable[..., None]:
    def arm(walk: Walk, after: int, *more: Any) -> None:
        code = more[0] if kind == "error" else ""
        walk.troubles.append(Trouble(after, kind, code=code, actions=0 if kind == "error" else sum(more)))

    return arm


def _weather(walk: Walk, call: str, code: str, seconds: float) -> None:
    walk.weather[call] = (code, walk.clock.now() + seconds)


def _operations(walk: Walk, kind: str, how: str) -> None:
    target = walk.target
    target.errors.pop(kind, None)
    target.stuck.discard(kind)
    if how == "error":
        target.errors[kind] = "INTERNAL: it broke"
    elif how == "stuck":
        target.stuck.add(kind)
    elif how == "forgotten":
        target.forget_operations()


def _take_over(walk: Walk) -> None:
    sleeper = walk.controller
    walk.clock.sleep(61)
    walk.begin(again=False)
    if sleeper is not None and walk.controller is not None and walk.controller is not sleeper:
        walk.sleepers.append(sleeper)


def _ask(walk: Walk, number: int, approver: str) -> None:
    record = walk.current()
    verbs = [verb for verb in Verb if record is not None and possible(verb, record.phase)]
    if verbs:
        walk.ask(verbs[number % len(verbs)], approver)


def _shift(walk: Walk, share: int) -> None:
    record = walk.current()
    if record is not None and record.stable:
        walk.write({key: value for key, value in ((record.stable, 100 - share), (record.canary, share)) if value})


def _remove(walk: Walk, who: str) -> None:
    record = walk.current()
    if record is None:
        return
    if who == "endpoint":
        walk.delete_endpoint()
    else:
        walk.remove({"canary": record.canary, "stable": record.stable or "", "third": THIRD}[who])


def _metrics(walk: Walk, errors: float, silent: bool, delay: float) -> None:
    walk.errors, walk.silent, walk.delay = errors, silent, delay


def _once_more(walk: Walk, other: bool) -> None:
    record = walk.current()
    if record is None or not record.over:
        return
    walk.clock.sleep(1)
    if other or record.ending is Ending.PROMOTED:
        next_release(walk)
    walk.begin(again=True)


DEEDS: Mapping[str, tuple[int, Callable[..., None], tuple[Sequence[Any], ...]]] = {
    "nothing": (6, lambda _walk: None, ()),
    "turn": (6, lambda walk, seconds: walk.turn(seconds), ((1, 5, 10, 25),)),
    "time": (3, lambda walk, seconds: walk.clock.sleep(seconds), ((1, 5, 20, 61, 130, 310, 700, 4000),)),
    "kill": (4, _trouble("kill"), (MOMENTS,)),
    "error": (6, _trouble("error"), (MOMENTS, CODES)),
    "overtake": (2, _trouble("overtake"), (MOMENTS, (0, 1, 3, 6, 12))),
    "split in a call": (2, _trouble("meddle"), (MOMENTS, (0, 2, 9))),
    "weather": (3, _weather, (CALLS, CODES, (5, 60, 1200))),
    "operations": (
        3,
        _operations,
        (("endpoint", "upload", "deploy", "undeploy"), ("error", "stuck", "well", "forgotten")),
    ),
    "take over": (2, _take_over, ()),
    "wake": (2, lambda walk: walk.wake(), ()),
    "ask": (6, _ask, (tuple(range(6)), ("", "ann"))),
    "ask anything": (1, lambda walk, verb, who: walk.ask(verb, who), (tuple(Verb), ("", "ann"))),
    "split": (2, lambda walk, *parts: walk.meddle(parts), ((0, 1, 5), (0, 2, 5), (0, 3))),
    "shift": (2, _shift, ((0, 5, 10, 30, 50, 60, 100),)),
    "remove": (1, _remove, (("canary", "stable", "third", "third", "endpoint"),)),
    "metrics": (4, _metrics, ((0.0, 0.3), (False, False, True), (0.0, 0.0, 8.0, 40.0))),
    "incident": (2, lambda walk, own, who: walk.fire(own=own, who=who), ((True, False), ("canary", "stable", ""))),
    "incidents close": (1, lambda walk: walk.quiet(), ()),
    "once more": (2, _once_more, ((True, False),)),
}
"""Kind -> weight, what it does, and the values of each of its arguments."""
THEN = (0, 1, 2, 3, 5, 8)


# --- walks ------------------------------------------------------------------------------------------------------------


class Sameness:
    """Random names are the same in every run of a walk, so that it can be repeated."""

    def __enter__(self) -> None:
        numbers = iter(range(10**9))
        self._patch = patch("secrets.token_hex", lambda size: f"{next(numbers):0{2 * size}x}"[-2 * size :])
        self._patch.start()

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def begun(world: Mapping[str, Any]) -> Walk:
    where = world["endpoint"]
    walk = Walk(spec=spec_of_world(world), first=where != "versions", without_endpoint=where == "none")
    walk.errors = world["errors"]
    walk.begin(again=False)
    for _ in range(world["head"]):
        if walk.act():
            walk.clock.sleep(5)
        check(walk)
    return walk


def perform(walk: Walk, deed: Deed) -> None:
    """One deed, some actions, and the checks after each."""
    walk.trail.append(f"{deed.kind} {deed.values}, then {deed.then}")
    DEEDS[deed.kind][1](walk, *deed.values)
    check(walk)
    for _ in range(deed.then):
        if walk.controller is None:
            walk.begin(again=False)
        if walk.act():
            walk.clock.sleep(5)
        check(walk)


def thrown(dice: random.Random, length: int) -> tuple[dict[str, Any], list[Deed]]:
    """A walk by a dice."""
    world = {name: dice.choice(values) for name, values in WORLDS.items()}
    kinds, weights = list(DEEDS), [weight for weight, _, _ in DEEDS.values()]
    chosen = dice.choices(kinds, weights, k=length)
    return world, [Deed(kind, tuple(dice.choice(of) for of in DEEDS[kind][2]), dice.choice(THEN)) for kind in chosen]


def walked(world: Mapping[str, Any], deeds: Sequence[Deed]) -> Walk:
    """A whole walk, and what it comes to once all trouble is over.

    Raises:
        AssertionError: something did not hold; with the walk as its argument's last line.
    """
    with Sameness():
        walk = begun(world)
        try:
            for deed in deeds:
                perform(walk, deed)
            walk.calm()
        except Exception as error:
            error.add_note("\n".join(["", *walk.trail, ""]))
            raise
    return walk


def fails(world: Mapping[str, Any], deeds: Sequence[Deed]) -> Exception | None:
    try:
        walked(world, deeds)
    except Exception as error:  # noqa: BLE001 - whatever a walk found
        return error
    return None


def shortened(world: Mapping[str, Any], deeds: Sequence[Deed]) -> list[Deed]:
    """The walk without the deeds that its failure does not need."""
    left = list(deeds)
    size = max(1, len(left) // 2)
    while size:
        at = 0
        while at < len(left):
            fewer = left[:at] + left[at + size :]
            if fails(world, fewer):
                left = fewer
            else:
                at += size
        size //= 2
    return left


def many(seeds: Sequence[int], length: int) -> Iterator[Walk]:
    """Walks by dice.

    Raises:
        AssertionError: one found something; made small, and with all that happened in it.
    """
    for seed in seeds:
        world, deeds = thrown(random.Random(seed), length)
        try:
            yield walked(world, deeds)
        except Exception:  # noqa: BLE001 - whatever a walk found
            few = shortened(world, deeds)
            raise AssertionError(f"seed {seed}: {world}\n{few}") from fails(world, few)

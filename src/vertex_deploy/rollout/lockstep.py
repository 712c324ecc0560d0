"""Rollouts of a lockstep group: begin one in every member, drive them in turn, ask all for something.

As ``session``, for several stores. Left out: who waits for whom and who goes back with whom, which every member decides
from the records of the others (``group``); printing (``cli.lockstep``).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from math import inf
from typing import TYPE_CHECKING

from vertex_deploy.errors import ExitCode, NoRollout, RolloutError
from vertex_deploy.rollout import driver
from vertex_deploy.rollout.engine import controller_for, create, demand_same, new_id, whoami
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.record import Group
from vertex_deploy.rollout.requests import Verb, lacks_approval, possible
from vertex_deploy.rollout.session import leased, put_away, unheard
from vertex_deploy.rollout.view import exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vertex_deploy.release import Release
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.models import Spec

# From the worst on: what a group exits with is what its worst member does.
_WORST = (ExitCode.ROLLOUT, ExitCode.ROLLED_BACK, ExitCode.ABORTED, ExitCode.INCONCLUSIVE, ExitCode.OK)
_STANDS = frozenset({Phase.KEEPING_STABLE, Phase.REMOVING_STABLE, Phase.PAUSED, Phase.AWAITING_APPROVAL})


@contextmanager
def leased_all(
    stores: Mapping[str, RolloutStore], clock: Clock, *, on_warning: Callable[[str], None] = unheard
) -> Iterator[None]:
    """Hold every member's lease; see ``session.leased``.

    Raises:
        RolloutBusy: another controller is at work in one of them.
    """
    with ExitStack() as stack:
        for store in stores.values():
            stack.enter_context(leased(store, clock, on_warning=on_warning))
        yield


def start(
    name: str,
    stores: Mapping[str, RolloutStore],
    keys: Mapping[str, str],
    wanted: Mapping[str, tuple[Spec, Release]],
    *,
    clock: Clock,
    why: str = "",
) -> tuple[dict[str, Record], bool]:
    """Begin a rollout in every member, or go on with the one that is under way in any. All leases must be held.

    A controller that was killed while it created the records left some out: those are made now, with the same id.

    Args:
        name: of the group.
        stores: environment -> store.
        keys: environment -> what ``engine.key_of`` gave.
        wanted: environment -> spec and release.
        clock: time.
        why: goes behind "started by NAME" in the history.

    Returns:
        The records by environment, and whether the rollout was under way already.

    Raises:
        RolloutError: one is under way for something else; see ``engine.demand_same``. Or traffic is Pulumi's.
    """
    now, found = clock.now(), {member: store.current() for member, store in stores.items()}
    going = {member: record for member, record in found.items() if record is not None and not record.over}
    for member, record in going.items():
        if record.group is None or record.group.name != name or dict(record.group.stores) != dict(keys):
            raise RolloutError(
                f"rollout {record.id} of {member} is under way, and not one of {name} as it is now; let it end, or "
                f"`vertex-deploy rollout abort --env {member}`"
            )
        demand_same(record, *wanted[member])
    ids = {record.id for record in going.values()}
    if len(ids) > 1:
        raise RolloutError(
            f"the members of {name} are in different rollouts ({', '.join(sorted(ids))}); abort each with --env MEMBER"
        )
    rollout_id = ids.pop() if ids else new_id(next(iter(wanted.values()))[1], now)
    records = {}
    for member, store in stores.items():
        known = found[member]
        if known is not None and known.id == rollout_id:
            records[member] = known
            continue
        if store.has(rollout_id):
            records[member] = store.load(rollout_id)
            store.make_current(records[member])
            continue
        spec, release = wanted[member]
        group = Group(name=name, member=member, stores=dict(keys))
        started = f"started by {whoami()} with group {name}{why}"
        records[member] = create(store, spec, release, rollout_id, now=now, started=started, group=group)
    return records, bool(going)


def again(stores: Mapping[str, RolloutStore]) -> dict[str, tuple[Spec, Release]]:
    """What ``start`` needs to try the newest rollout again: same specs, same releases.

    Raises:
        RolloutError: a member has none, one is under way, or all were promoted.
    """
    records = newest(stores)
    if missing := next((member for member in stores if member not in records), ""):
        raise RolloutError(f"{missing} has no part in the newest rollout; `vertex-deploy rollout start` makes one")
    if going := next((record for record in records.values() if not record.over), None):
        raise RolloutError(f"rollout {going.id} is {going.phase}; `rollout start` goes on with it")
    if all(record.ending is Ending.PROMOTED for record in records.values()):
        raise RolloutError(f"rollout {next(iter(records.values())).id} was promoted: there is nothing to try again")
    return {member: (spec_of(record), record.release) for member, record in records.items()}


def newest(stores: Mapping[str, RolloutStore]) -> dict[str, Record]:
    """The members' records of the newest rollout of the group; members without one are left out.

    Raises:
        NoRollout: there is none at all.
    """
    found = {member: record for member, store in stores.items() if (record := store.current()) is not None}
    if not found:
        raise NoRollout(f"{', '.join(stores)}: no rollout yet; begin one with `vertex-deploy rollout start`")
    last = max(found.values(), key=lambda record: record.started).id
    return {member: record for member, record in found.items() if record.id == last}


def under_way(stores: Mapping[str, RolloutStore]) -> dict[str, Record]:
    """As ``newest``, if any member is under way.

    Raises:
        NoRollout: none is.
    """
    records = newest(stores)
    if all(record.over for record in records.values()):
        last = next(iter(records.values())).id
        raise NoRollout(f"no rollout is under way; the last one is {last}; `vertex-deploy rollout start` begins one")
    return records


def drive(
    stores: Mapping[str, RolloutStore],
    records: Mapping[str, Record],
    *,
    clock: Clock,
    on_entry: Callable[[LogEntry, Record], None] | None = None,
    on_idle: Callable[[Record], None] | None = None,
    on_warning: Callable[[str], None] = unheard,
    stop: Callable[[Record], bool] = lambda _record: False,
    once: bool = False,
) -> dict[str, Record]:
    """Drive every member in turn until all have come to a stop; then reports are written. All leases must be held.

    Args:
        stores: environment -> store.
        records: environment -> record.
        clock: time.
        on_entry: told of every history entry.
        on_idle: told of each record about once a second.
        on_warning: told of each report that cannot be written.
        stop: whether a member need not be driven any further.
        once: do what is due and return, for a scheduler.

    Raises:
        CloudError: an API kept failing in one member; the others were driven to a stop.
        RolloutBusy: another controller took over.
    """
    controllers = {
        member: controller_for(stores[member], record, clock=clock, on_entry=on_entry, on_idle=on_idle)
        for member, record in records.items()
        if not record.over
    }
    with ExitStack() as ends:
        for member, controller in controllers.items():
            # Each, whatever became of the others.
            ends.callback(put_away, stores[member], controller, on_warning)
        if once:
            driver.tick(list(controllers.values()))
        else:
            driver.run(list(controllers.values()), clock=clock, stop=stop)
    return {**records, **{member: controller.record for member, controller in controllers.items()}}


def ask(stores: Mapping[str, RolloutStore], verb: Verb, *, clock: Clock, approver: str = "") -> bool:
    """Leave a request with every member that it means something to; whether each of them is driven by somebody.

    Raises:
        RolloutError: no rollout is under way, the request means nothing to any member, or an approval is missing. Or
            some members wait for an approval and others do not yet: there it would cut a hold short.
    """
    going = {member: record for member, record in under_way(stores).items() if not record.over}
    asked = {member: record for member, record in going.items() if possible(verb, record.phase)}
    if not asked:
        where = ", ".join(f"{member} is {record.phase}" for member, record in going.items())
        raise RolloutError(f"{verb} has no meaning: {where}; see `rollout status`")
    waiting = [member for member, record in asked.items() if record.phase is Phase.AWAITING_APPROVAL]
    if verb is Verb.PROMOTE and waiting and len(waiting) < len(asked):
        late = next(member for member in asked if member not in waiting)
        raise RolloutError(f"{late} is {asked[late].phase}: promote once every member waits for the approval")
    for member, record in asked.items():
        if missing := lacks_approval(verb, record.step, plan_of(spec_of(record)), approver):
            raise RolloutError(f"rollout {record.id} of {member}: {missing}")
    now = clock.now()
    driven = []
    for member, record in asked.items():
        stores[member].ask(verb, who=whoami(), now=now, approver=approver, rollout=record.id)
        driven.append(stores[member].holder(now) is not None)
    return all(driven)


def follow(
    stores: Mapping[str, RolloutStore],
    *,
    clock: Clock,
    until: Callable[[Mapping[str, Record]], bool],
    seen: Callable[[Mapping[str, Record]], None] = lambda _records: None,
    alone: bool = False,
) -> dict[str, Record]:
    """Watch what other controllers do.

    Args:
        stores: environment -> store.
        clock: time.
        until: whether to stop watching.
        seen: told of the records about once a second.
        alone: go on where nobody drives them.

    Returns:
        The last records; watching also ends when all are over, or nobody drives any of them.
    """
    while True:
        now = clock.now()
        # Before the records are read; see ``session.follow``.
        driven = alone or any(store.holder(now) is not None for store in stores.values())
        records = newest(stores)
        seen(records)
        if until(records) or all(record.over for record in records.values()) or not driven:
            return records
        clock.sleep(1.0)


def wait(stores: Mapping[str, RolloutStore], *, clock: Clock, timeout: float = inf) -> dict[str, Record]:
    """Block until the group has come somewhere, whoever drives it, or nobody; see ``session.wait``.

    Raises:
        RolloutError: there is none, or it has come nowhere in time.
    """
    last = clock.now() + timeout
    records = follow(stores, clock=clock, until=lambda found: come_somewhere(found) or clock.now() >= last, alone=True)
    if not come_somewhere(records):
        where = ", ".join(f"{member} is still {record.phase}" for member, record in records.items())
        raise RolloutError(f"{where}; see `rollout status`, or wait longer")
    return records


def come_somewhere(records: Mapping[str, Record]) -> bool:
    """Whether each member is promoted, over, paused, waits for an approval, or waits for one that does."""
    stands = [record.over or record.bare or record.phase in _STANDS for record in records.values()]
    waits = [record.phase is Phase.AWAITING_GROUP for record in records.values()]
    blocked = any(record.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL} for record in records.values())
    return all(stands) or (blocked and all(one or two for one, two in zip(stands, waits, strict=True)))


def exit_code_of(records: Mapping[str, Record]) -> ExitCode:
    """What a controller of the group that stops at these records exits with: promoted only if every member is."""
    codes = {exit_code(record) for record in records.values()}
    return next((code for code in _WORST if code in codes), ExitCode.OK)

"""One sitting of a controller: take the lease, drive, write the report, let go. And how others ask it for something.

A report or a lease that fails once the driving is done is a warning: what the rollout came to is not changed by it, nor
is an error that ended the driving hidden. What is left out: printing (``cli.rollout``).
"""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError, NoRollout, RolloutError
from vertex_deploy.rollout.engine import begin, controller_for, whoami
from vertex_deploy.rollout.lease import LEASE_SECONDS, this_process
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.report import write_report
from vertex_deploy.rollout.requests import lacks_approval, possible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vertex_deploy.release import Release
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.controller import Controller
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.rollout.requests import Verb
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.models import Spec

# Promotion is reached once all traffic has moved; that stable is kept a day longer is not waited for.
_COME_SOMEWHERE = frozenset({Phase.KEEPING_STABLE, Phase.REMOVING_STABLE, Phase.PAUSED, Phase.AWAITING_APPROVAL})


def unheard(_text: str) -> None:
    """Where nobody listens to warnings."""


@contextmanager
def leased(store: RolloutStore, clock: Clock, *, on_warning: Callable[[str], None] = unheard) -> Iterator[None]:
    """Hold the store's lease.

    Args:
        store: of the rollout.
        clock: time.
        on_warning: told if it cannot be given back; it expires by itself then.

    Raises:
        RolloutBusy: another controller is at work.
    """
    now = clock.now()
    store.acquire(this_process(now), now)
    try:
        yield
    finally:
        try:
            store.release()
        except (CloudError, RolloutError) as error:
            on_warning(f"the lease is left to expire, within {LEASE_SECONDS:g} s: {error}")


def start(store: RolloutStore, spec: Spec, release: Release, *, clock: Clock) -> tuple[Record, bool]:
    """Begin a rollout or find the one under way; see ``engine.begin``. The lease must be held."""
    return begin(store, spec, release, now=clock.now(), who=whoami())


def retry(store: RolloutStore, *, clock: Clock) -> Record:
    """Begin again what the newest rollout did not bring to an end: same spec, same release. The lease must be held.

    Raises:
        RolloutError: there is none, it is under way, or it was promoted.
    """
    last = store.current()
    if last is None:
        raise RolloutError(f"{store.where}: no rollout yet; begin one with `vertex-deploy rollout start`")
    if not last.over:
        raise RolloutError(f"rollout {last.id} is {last.phase}; `rollout start` goes on with it")
    if last.ending is Ending.PROMOTED:
        raise RolloutError(f"rollout {last.id} was promoted: there is nothing to try again")
    why = f", again after {last.id} ({last.ending})"
    return begin(store, spec_of(last), last.release, now=clock.now(), who=whoami(), why=why)[0]


def drive(
    store: RolloutStore,
    record: Record,
    *,
    clock: Clock,
    on_entry: Callable[[LogEntry, Record], None] | None = None,
    on_idle: Callable[[Record], None] | None = None,
    on_warning: Callable[[str], None] = unheard,
    stop: Callable[[Record], bool] = lambda _record: False,
) -> Record:
    """Drive until it is over, paused, or ``stop`` says so; then the report is written. The lease must be held.

    Args:
        store: of the rollout.
        record: as stored.
        clock: time.
        on_entry: told of every history entry.
        on_idle: told of the record about once a second.
        on_warning: told if the report cannot be written.
        stop: whether it need not be driven any further.

    Raises:
        CloudError: an API kept failing; the rollout can be started again.
        RolloutBusy: another controller took over.
    """
    controller = controller_for(store, record, clock=clock, on_entry=on_entry, on_idle=on_idle)
    try:
        return controller.run(stop)
    finally:
        put_away(store, controller, on_warning)


def tick(
    store: RolloutStore,
    record: Record,
    *,
    clock: Clock,
    on_entry: Callable[[LogEntry, Record], None],
    on_warning: Callable[[str], None] = unheard,
) -> Record:
    """Do what is due and return, for a scheduler; see ``drive``. The lease must be held."""
    controller = controller_for(store, record, clock=clock, on_entry=on_entry)
    try:
        controller.tick()
    finally:
        put_away(store, controller, on_warning)
    return controller.record


def put_away(store: RolloutStore, controller: Controller, on_warning: Callable[[str], None] = unheard) -> None:
    """What ends every controller: notifications are waited for, and the report is written.

    Not by a controller that only slept while another took over: its record is old, and so would the report be.
    """
    controller.close()
    try:
        if store.owns(controller.record):
            store.bind(controller.record)
            write_report(store, controller.record)
    except (CloudError, RolloutError) as error:
        on_warning(f"the report was not written: {error}; `vertex-deploy rollout report` writes it")


def under_way(store: RolloutStore) -> Record:
    """The rollout that is under way.

    Raises:
        NoRollout: there is none.
    """
    record = store.current()
    if record is None or record.over:
        last = f"; the last one, {record.id}, is {record.ending}" if record else ""
        raise NoRollout(f"{store.where}: no rollout is under way{last}; begin one with `vertex-deploy rollout start`")
    return record


def ask(store: RolloutStore, verb: Verb, *, clock: Clock, approver: str = "") -> bool:
    """Leave a request; whether a controller is at work that will answer it.

    Args:
        store: of the rollout.
        verb: what is asked.
        clock: time.
        approver: who approves the step that it leads to.

    Raises:
        NoRollout: no rollout is under way.
        RolloutError: the request means nothing where it is, or an approval is missing.
    """
    record = under_way(store)
    if not possible(verb, record.phase):
        raise RolloutError(f"rollout {record.id} is {record.phase}: {verb} has no meaning there; see `rollout status`")
    if missing := lacks_approval(verb, record.step, plan_of(spec_of(record)), approver):
        raise RolloutError(f"rollout {record.id}: {missing}")
    now = clock.now()
    store.ask(verb, who=whoami(), now=now, approver=approver, rollout=record.id)
    return store.holder(now) is not None


def wait(store: RolloutStore, *, clock: Clock, timeout: float = inf) -> Record:
    """Block until the rollout is promoted, over, paused or waits for an approval, whoever drives it, or nobody.

    Args:
        store: of the rollout.
        clock: time.
        timeout: seconds after which nobody waits any more.

    Raises:
        RolloutError: there is none, or it has come nowhere in time.
    """
    until = clock.now() + timeout
    while True:
        record = store.current()
        if record is None:
            raise RolloutError(f"{store.where}: no rollout yet; begin one with `vertex-deploy rollout start`")
        if record.over or record.phase in _COME_SOMEWHERE:
            return record
        if clock.now() >= until:
            raise RolloutError(f"rollout {record.id} is still {record.phase}; see `rollout status`, or wait longer")
        clock.sleep(1.0)


def follow(
    store: RolloutStore, *, clock: Clock, until: Callable[[Record], bool], seen: Callable[[Record], None]
) -> Record:
    """Watch what another controller does.

    Args:
        store: of the rollout.
        clock: time.
        until: whether to stop watching.
        seen: told of the record about once a second.

    Returns:
        The last record; watching also ends when nobody drives it any more.
    """
    while True:
        # Before the record is read: who lets go has written it for the last time, and that is what is returned.
        driven = store.holder(clock.now()) is not None
        record = store.current()
        if record is None:
            raise RolloutError(f"{store.where}: no rollout yet; begin one with `vertex-deploy rollout start`")
        seen(record)
        if until(record) or record.over or record.phase is Phase.PAUSED or not driven:
            return record
        clock.sleep(1.0)

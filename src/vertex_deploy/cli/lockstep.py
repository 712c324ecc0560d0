"""The commands of ``vertex-deploy rollout`` where ``--env`` names a lockstep group: every member at once.

``also`` turns a command of one rollout into one of both; a member alone can be looked at and steered, but not started.
JSON is ``{"group": ..., "members": {ENV: what the command says of one}}``. Left out: what is done
(``rollout.lockstep``).
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer

from vertex_deploy.cli import shown
from vertex_deploy.cli.members import Members, Tree, as_json, finish, group_named, lines_of, teller, views_of
from vertex_deploy.cli.output import OutputFormat, emit
from vertex_deploy.cli.screen import WATCHED, Screen, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.record import Record

P = ParamSpec("P")


def also(command: Callable[P, None]) -> Callable[P, None]:
    """The command, and the one of this module with its name where ``--env`` names a group.

    A member of a group is neither started nor tried again alone.

    Raises:
        RolloutError: it would be.
    """

    @functools.wraps(command)
    def either(*args: P.args, **kwargs: P.kwargs) -> None:
        given: dict[str, Any] = dict(kwargs)
        spec_file, env = given["spec_file"], given["env"]
        if group := group_named(spec_file, env, given["root"], sound=command.__name__ in {"start", "plan"}):
            _GROUP[command.__name__](group, **given)
            return
        if command.__name__ in {"start", "retry"}:
            _refuse_alone(command.__name__, spec_file, env)
        command(*args, **kwargs)

    return either


def _refuse_alone(verb: str, spec_file: Path, env: str | None) -> None:
    from vertex_deploy.errors import RolloutError, SpecError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.spec import examine  # noqa: PLC0415 - see above

    if env is None:
        return
    examined = examine(spec_file, env)
    if env not in examined.environments:  # nor is it known whether it goes alone
        raise SpecError([str(problem) for problem in examined.problems])
    if name := examined.group_of(env):
        raise RolloutError(f"{env} goes in lockstep with {name}; use `vertex-deploy rollout {verb} --env {name}`")


def start(
    group: Members,
    *,
    spec_file: Path,
    output: OutputFormat,
    events: str | None,
    plain: bool,
    report: Path | None,
    release_file: Path | None,
    detach: bool,
    **_: Any,
) -> None:
    """As ``rollout start``; the reports go to REPORT with the member's name before its suffix."""
    places = {member: _place(report, member) for member in group.specs} if report is not None else {}
    for path in places.values():
        shown.writable(path)
    wanted = {member: (spec, shown.release_of(spec, spec_file, release_file)) for member, spec in group.specs.items()}
    records = _begin(group, wanted, output=output, events=events, plain=plain, detach=detach)
    for member, path in places.items():
        shown.write_report_if_possible(group.stores[member], records[member], path)
    finish(group, records, output, events)


def _place(report: Path, member: str) -> Path:
    """A member's own: the group's, with its name before the suffix."""
    return report.with_name(f"{report.stem}-{member}{report.suffix}")


def retry(group: Members, *, output: OutputFormat, events: str | None, plain: bool, **_: Any) -> None:
    """As ``rollout retry``."""
    from vertex_deploy.rollout.lockstep import again, newest  # noqa: PLC0415 - --help must not wait for it

    wanted = again(group.stores)
    last = next(iter(newest(group.stores).values())).id
    why = f", again after {last}"
    finish(group, _begin(group, wanted, output=output, events=events, plain=plain, why=why), output, events)


def _begin(
    group: Members,
    wanted: Mapping[str, Any],
    *,
    output: OutputFormat,
    events: str | None,
    plain: bool,
    detach: bool = False,
    why: str = "",
) -> dict[str, Record]:
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    clock = SystemClock()
    with lockstep.leased_all(group.stores, clock, on_warning=shown.warn):
        records, resumed = lockstep.start(group.name, group.stores, group.keys, wanted, clock=clock, why=why)
        with Screen(Tree(group, records).lines, output, events, plain=plain) as screen:
            for member, record in records.items():
                for entry in group.stores[member].log(record.id)[-1 if resumed else 0 :]:
                    screen.entry(entry, record)
            return _drive(group, records, clock, screen, detach=detach)


def _drive(
    group: Members, records: Mapping[str, Record], clock: Clock, screen: Screen, *, detach: bool = False
) -> dict[str, Record]:
    """Drive all members, as far as each goes, and show it."""
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - --help must not wait for it

    return lockstep.drive(
        group.stores,
        records,
        clock=clock,
        on_entry=screen.entry,
        on_idle=screen.record,
        on_warning=shown.warn,
        stop=lambda found: detach and found.bare,
    )


def plan(group: Members, *, spec_file: Path, output: OutputFormat, release_file: Path | None, **_: Any) -> None:
    """As ``rollout plan``: exit 6 if any member would be refused."""
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.errors import ExitCode  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import engine  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.preview_text import preview_lines  # noqa: PLC0415 - see above

    found = {
        member: engine.preview_for(
            group.stores[member], spec, shown.release_of(spec, spec_file, release_file), now=time.time()
        )
        for member, spec in group.specs.items()
    }
    text = [line for member, one in found.items() for line in (f"{member}:", *(f"  {x}" for x in preview_lines(one)))]
    emit(as_json(group, {member: one.to_json() for member, one in found.items()}), output, lambda: "\n".join(text))
    raise typer.Exit(ExitCode.OK if all(one.starts for one in found.values()) else ExitCode.ROLLOUT)


def status(group: Members, *, output: OutputFormat, wait: bool, timeout: str | None, **_: Any) -> None:
    """As ``rollout status``."""
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    patience = shown.patience(timeout, wait=wait)
    records = lockstep.newest(group.stores)
    if wait:
        records = lockstep.wait(group.stores, clock=SystemClock(), timeout=patience)
    views = views_of(group, records)
    data = as_json(group, {member: view.to_json() for member, view in views.items()})
    emit(data, output, lambda: "\n".join(lines_of(group, views)))
    if wait:
        raise typer.Exit(lockstep.exit_code_of(records))


def watch(group: Members, *, output: OutputFormat, plain: bool, **_: Any) -> None:
    """As ``rollout watch``."""
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    tree = Tree(group, lockstep.newest(group.stores)).lines
    with Screen(tree, output, None, plain=plain, interrupted=WATCHED) as screen:
        seen = teller(group, screen)
        records = lockstep.follow(group.stores, clock=SystemClock(), until=_still, seen=seen)
    finish(group, records, output, None)


def _still(records: Mapping[str, Record]) -> bool:
    from vertex_deploy.rollout.machine import Phase  # noqa: PLC0415 - --help must not wait for it

    return all(record.over or record.phase is Phase.PAUSED for record in records.values())


def history(group: Members, *, output: OutputFormat, rollout: str | None, measured: bool, **_: Any) -> None:
    """As ``rollout history``; the events of one rollout are those of all members, by time."""
    if measured:
        from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it

        raise UsageError(f"--measured is of one member of {group.name}; use --env {' or --env '.join(group.stores)}")
    if rollout is None:
        views = {member: shown.views(store) for member, store in group.stores.items()}
        text = "\n".join(
            f"{view.id}  {member:<12} {view.ending or view.phase:<14} {view.started}  {view.reason}"
            for member, found in views.items()
            for view in found
        )
        data = {member: [view.to_json() for view in found] for member, found in views.items()}
        emit(as_json(group, data), output, lambda: text or "no rollouts yet")
        return
    logs = {member: group.stores[member].log(record.id) for member, record in _of(group, rollout).items()}
    every = sorted(((entry, member) for member, log in logs.items() for entry in log), key=lambda found: found[0].at)
    text = "\n".join(f"{moment(entry.at)}  {member:<12} {entry.kind:<10} {entry.text}" for entry, member in every)
    emit(
        as_json(group, {member: [entry.to_json() for entry in log] for member, log in logs.items()}),
        output,
        lambda: text,
    )


def _of(group: Members, rollout: str) -> dict[str, Record]:
    """The members' records of one rollout; those without a part in it are left out.

    Raises:
        RolloutError: no member has one.
    """
    from vertex_deploy.errors import RolloutError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.store import some_of  # noqa: PLC0415 - see above

    found = {member: store.load(rollout) for member, store in group.stores.items() if store.has(rollout)}
    if not found:
        known = some_of(sorted({known for store in group.stores.values() for known in store.ids()}))
        raise RolloutError(f"no rollout {rollout!r} of {group.name}; there is: {known}")
    return found


def tick(group: Members, *, output: OutputFormat, events: str | None, plain: bool, **_: Any) -> None:
    """As ``rollout tick``."""
    from vertex_deploy.errors import NoRollout, RolloutBusy  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    clock = SystemClock()
    with ExitStack() as held:
        try:
            held.enter_context(lockstep.leased_all(group.stores, clock, on_warning=shown.warn))
            records = lockstep.under_way(group.stores)
        except (NoRollout, RolloutBusy) as error:
            shown.nothing_due(error, output)
            return
        with Screen(Tree(group, records).lines, output, events, plain=plain) as screen:
            records = lockstep.drive(
                group.stores, records, clock=clock, on_entry=screen.entry, on_warning=shown.warn, once=True
            )
    finish(group, records, output, events)


def report(group: Members, *, output: OutputFormat, rollout: str | None, out: Path | None, **_: Any) -> None:
    """As ``rollout report``: one a member."""
    from vertex_deploy.rollout.lockstep import newest  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.report import report_data, write_report  # noqa: PLC0415 - see above

    records = _of(group, rollout) if rollout is not None else newest(group.stores)
    where = {member: write_report(group.stores[member], record) for member, record in records.items()}
    if out is not None:
        for member, record in records.items():
            shown.write_report(group.stores[member], record, _place(out, member))
    data = {member: report_data(group.stores[member], record) for member, record in records.items()}
    emit(as_json(group, data), output, lambda: "\n".join(where.values()))


def steer(group: Members, verb: str, *, output: OutputFormat, plain: bool, approver: str = "") -> NoReturn:
    """Ask whoever drives the members, and watch; if nobody does, drive them here."""
    from vertex_deploy.rollout import lockstep  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.requests import Verb  # noqa: PLC0415 - see above

    clock, asked = SystemClock(), Verb(verb)
    records = lockstep.under_way(group.stores)
    known, to_the_end = {member: record.handled for member, record in records.items()}, asked in {"abort", "rollback"}

    def settled(found: Mapping[str, Record]) -> bool:
        done = (
            record.over or (not to_the_end and record.handled != known.get(member, ""))
            for member, record in found.items()
        )
        return all(done)

    driven = lockstep.ask(group.stores, asked, clock=clock, approver=approver)
    if driven:
        told = {member: record.seq - 1 for member, record in records.items()}
        with Screen(Tree(group, records).lines, output, None, plain=plain, interrupted=WATCHED) as screen:
            seen = teller(group, screen, told)
            records = lockstep.follow(group.stores, clock=clock, until=settled, seen=seen)
    if not driven or not settled(records):
        with lockstep.leased_all(group.stores, clock, on_warning=shown.warn):
            records = lockstep.newest(group.stores)
            with Screen(Tree(group, records).lines, output, None, plain=plain) as screen:
                records = _drive(group, records, clock, screen)
    finish(group, records, output, None)


_GROUP: Mapping[str, Callable[..., None]] = {
    command.__name__: command for command in (start, plan, retry, status, watch, history, tick, report)
}

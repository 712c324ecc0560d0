"""``vertex-deploy rollout``: start, watch and steer rollouts.

Progress goes to standard error where standard output carries JSON or events, so that programs can read the one while
people read the other. Commands that drive or watch exit with the rollout's own code: 0 promoted, 10 rolled back, 11
aborted, 12 paused.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import Annotated

import typer

from vertex_deploy.cli import lockstep, shown, steer
from vertex_deploy.cli.example import Command
from vertex_deploy.cli.judge import judge
from vertex_deploy.cli.options import ROOT, SPEC, Env, Events, Plain, Release, Root, SpecFile
from vertex_deploy.cli.output import Output, OutputFormat, emit
from vertex_deploy.cli.screen import WATCHED, Screen, moment

_JUDGED = "vertex-deploy rollout judge --history history.json --gates deploy.yaml -o json"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Shift traffic to a new model version, step by step.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(cls=Command, epilog="vertex-deploy rollout start --env prod --release release.json")
@lockstep.also
def start(
    spec_file: SpecFile = SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    events: Events = None,
    plain: Plain = False,
    report: Annotated[Path | None, typer.Option("--report", help="Also write the HTML report here.")] = None,
    release_file: Release = None,
    detach: Annotated[
        bool, typer.Option("--detach-after-promotion", help="Stop at 100%; `rollout tick` removes stable later.")
    ] = False,
    root: Root = ROOT,
) -> None:
    """Start a rollout, or go on with it, until it ends or pauses.

    Ctrl-C leaves traffic where it is, and the next start goes on.
    """
    from vertex_deploy.rollout import engine, session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.machine import Phase  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    spec = load(spec_file, env)
    if report is not None:
        shown.writable(report)
    release = shown.release_of(spec, spec_file, release_file)
    store, clock = engine.open_store(engine.key_of(spec, env), root), SystemClock()
    with (
        session.leased(store, clock, on_warning=shown.warn),
        Screen(shown.tree(store), output, events, plain=plain) as screen,
    ):
        record, resumed = session.start(store, spec, release, clock=clock)
        shown.teller(store, screen, after=record.seq - 2 if resumed else 0)(record)
        record = session.drive(
            store,
            record,
            clock=clock,
            on_entry=screen.entry,
            on_idle=screen.record,
            on_warning=shown.warn,
            stop=lambda found: detach and found.phase is Phase.KEEPING_STABLE,
        )
    if report is not None:
        shown.write_report_if_possible(store, record, report)
    shown.finish(store, record, output, events)


@app.command(cls=Command, epilog="vertex-deploy rollout plan --env prod")
@lockstep.also
def plan(
    spec_file: SpecFile = SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    release_file: Release = None,
    root: Root = ROOT,
) -> None:
    """Say what `rollout start` would do; nothing is changed.

    Exits with 6 if it would be refused.
    """
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.errors import ExitCode  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import engine  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.preview_text import preview_lines  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    spec = load(spec_file, env)
    store = engine.open_store(engine.key_of(spec, env), root)
    found = engine.preview_for(store, spec, shown.release_of(spec, spec_file, release_file), now=time.time())
    emit(found.to_json(), output, lambda: "\n".join(preview_lines(found)))
    raise typer.Exit(ExitCode.OK if found.starts else ExitCode.ROLLOUT)


@app.command(cls=Command, epilog="vertex-deploy rollout retry --env prod")
@lockstep.also
def retry(
    spec_file: SpecFile = SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    events: Events = None,
    plain: Plain = False,
    root: Root = ROOT,
) -> None:
    """Try the newest rollout again: same spec, same release.

    It failed, was aborted, or rolled back.
    """
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store, clock = shown.store_of(spec_file, env, root), SystemClock()
    with (
        session.leased(store, clock, on_warning=shown.warn),
        Screen(shown.tree(store), output, events, plain=plain) as screen,
    ):
        record = session.retry(store, clock=clock)
        shown.teller(store, screen)(record)
        record = session.drive(
            store, record, clock=clock, on_entry=screen.entry, on_idle=screen.record, on_warning=shown.warn
        )
    shown.finish(store, record, output, events)


@app.command(cls=Command, epilog="vertex-deploy rollout status --wait --timeout 30m")
@lockstep.also
def status(
    spec_file: SpecFile = SPEC,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Block until it is promoted, over, paused or waits for an approval.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="With --wait: for so long at most, such as 30m.")
    ] = None,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = ROOT,
) -> None:
    """Show where the newest rollout is, and return at once.

    Exits with 0 whatever it is.

    With --wait: when it has come somewhere, with the rollout's own exit code. Nobody has to drive it meanwhile. If it
    has come nowhere in --timeout: exit 6.
    """
    from vertex_deploy.rollout.view import lines  # noqa: PLC0415 - --help must not wait for it

    patience = shown.patience(timeout, wait=wait)
    store = shown.store_of(spec_file, env, root)
    record = shown.newest(store)
    if wait:
        from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
        from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

        record = session.wait(store, clock=SystemClock(), timeout=patience)
    view = shown.view(store, record)
    emit(view.to_json(), output, lambda: "\n".join(lines(view)))
    if wait:
        raise typer.Exit(view.exit_code)


@app.command(cls=Command, epilog="vertex-deploy rollout watch --env prod")
@lockstep.also
def watch(
    spec_file: SpecFile = SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    plain: Plain = False,
    root: Root = ROOT,
) -> None:
    """Watch a rollout that another process drives.

    Until it ends, pauses, or nobody drives it.
    """
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store = shown.store_of(spec_file, env, root)
    with Screen(shown.tree(store), output, None, plain=plain, interrupted=WATCHED) as screen:
        record = session.follow(
            store, clock=SystemClock(), until=lambda _record: False, seen=shown.teller(store, screen)
        )
    shown.finish(store, record, output, None)


@app.command(
    cls=Command,
    epilog="vertex-deploy rollout history --measured | vertex-deploy rollout judge --history - --gates deploy.yaml",
)
@lockstep.also
def history(
    spec_file: SpecFile = SPEC,
    *,
    rollout: Annotated[str | None, typer.Option("--id", help="One rollout's events instead of the list.")] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="What was measured (of --id, or the newest), for `rollout judge`: JSON.")
    ] = False,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = ROOT,
) -> None:
    """List the rollouts of this spec, or the events of one."""
    store = shown.store_of(spec_file, env, root)
    if measured:
        shown.measured(store, store.load(rollout) if rollout is not None else shown.newest(store))
        return
    if rollout is not None:
        entries = store.log(store.load(rollout).id)
        text = "\n".join(f"{moment(entry.at)}  {entry.kind:<10} {entry.text}" for entry in entries)
        emit([entry.to_json() for entry in entries], output, lambda: text)
        return
    views = shown.views(store)
    text = "\n".join(f"{view.id}  {view.ending or view.phase:<12} {view.started}  {view.reason}" for view in views)
    emit([view.to_json() for view in views], output, lambda: text or "no rollouts yet")


@app.command(cls=Command, epilog="vertex-deploy rollout tick --store gs://my-rollouts/team")
@lockstep.also
def tick(
    spec_file: SpecFile = SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    events: Events = None,
    plain: Plain = False,
    root: Root = ROOT,
) -> None:
    """Do what is due in a rollout, and exit: for a scheduler.

    Exits with 0 if nothing is due.
    """
    from vertex_deploy.errors import NoRollout, RolloutBusy  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import session  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store, clock = shown.store_of(spec_file, env, root), SystemClock()
    with ExitStack() as held:
        try:
            held.enter_context(session.leased(store, clock, on_warning=shown.warn))
            record = session.under_way(store)
        except (NoRollout, RolloutBusy) as error:
            shown.nothing_due(error, output)
            return
        with Screen(shown.tree(store), output, events, plain=plain) as screen:
            record = session.tick(store, record, clock=clock, on_entry=screen.entry, on_warning=shown.warn)
    shown.finish(store, record, output, events)


@app.command(cls=Command, epilog="vertex-deploy rollout report --out report.html")
@lockstep.also
def report(
    spec_file: SpecFile = SPEC,
    *,
    rollout: Annotated[str | None, typer.Option("--id", help="Which rollout; the newest where absent.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the HTML here.")] = None,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = ROOT,
) -> None:
    """Write a rollout's report anew (HTML and JSON)."""
    from vertex_deploy.rollout.report import report_data, write_report  # noqa: PLC0415 - --help must not wait for it

    store = shown.store_of(spec_file, env, root)
    record = store.load(rollout) if rollout is not None else shown.newest(store)
    where = write_report(store, record)
    if out is not None:
        shown.write_report(store, record, out)
    emit(report_data(store, record), output, lambda: where)


for _command, _example in {**steer.COMMANDS, judge: _JUDGED}.items():
    app.command(cls=Command, epilog=_example)(_command)

"""``vertex-deploy rollout``: start, watch and steer rollouts.

Progress goes to standard error where standard output carries JSON or events, so that programs can read the one while
people read the other. Commands that drive or watch exit with the rollout's own code: 0 promoted, 10 rolled back, 11
aborted, 12 paused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertex_deploy.cli import lockstep
from vertex_deploy.cli.judge import judge
from vertex_deploy.cli.output import Output, OutputFormat, emit
from vertex_deploy.cli.screen import PLAIN, WATCHED, Screen, clock_time
from vertex_deploy.cli.shown import lines as _lines
from vertex_deploy.cli.shown import newest as _newest
from vertex_deploy.cli.shown import release_of as _release
from vertex_deploy.cli.shown import view as _view
from vertex_deploy.cli.shown import write_report as _write_report

if TYPE_CHECKING:
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Shift traffic to a new model version, step by step.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(judge)

SpecFile = Annotated[Path, typer.Argument(metavar="[DEPLOY.YAML]", help="The spec.", show_default=True)]
Env = Annotated[str | None, typer.Option("--env", "-e", help="Environment whose overrides apply.")]
Root = Annotated[
    str, typer.Option("--store", envvar="VERTEX_DEPLOY_STORE", help="Folder or gs://BUCKET/PREFIX that keeps rollouts.")
]
Events = Annotated[str | None, typer.Option("--events", metavar="FILE|-", help="Write events as NDJSON, one a line.")]
Plain = Annotated[bool, typer.Option("--plain", envvar=PLAIN, help="One line an event, on a terminal too.")]
Release = Annotated[
    Path | None, typer.Option("--release", help="JSON with image, artifact and commit, as a build hands over.")
]

_SPEC = Path("deploy.yaml")
_ROOT = ".vertex-deploy/rollouts"


@app.command()
@lockstep.also
def start(
    spec_file: SpecFile = _SPEC,
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
    root: Root = _ROOT,
) -> None:
    """Start a rollout, or go on with the one that is under way, and stay until it ends or pauses."""
    from vertex_deploy.rollout import engine, session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.machine import Phase  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    spec = load(spec_file, env)
    release = _release(spec, spec_file, release_file)
    store, clock = engine.open_store(engine.key_of(spec, env), root), SystemClock()
    with (
        session.leased(store, clock),
        Screen(lambda found: _lines(store, found), output, events, plain=plain) as screen,
    ):
        record, resumed = session.start(store, spec, release, clock=clock)
        _announce(store, record, resumed=resumed, screen=screen)
        record = session.drive(
            store,
            record,
            clock=clock,
            on_entry=screen.entry,
            on_idle=screen.record,
            stop=lambda found: detach and found.phase is Phase.KEEPING_STABLE,
        )
    if report is not None:
        _write_report(store, record, report)
    _finish(store, record, output, events)


@app.command()
@lockstep.also
def plan(
    spec_file: SpecFile = _SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    release_file: Release = None,
    root: Root = _ROOT,
) -> None:
    """Say what `rollout start` would do, changing nothing (exit 6 if it would be refused)."""
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.errors import ExitCode  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import engine  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.preview_text import preview_lines  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    spec = load(spec_file, env)
    store = engine.open_store(engine.key_of(spec, env), root)
    found = engine.preview_for(store, spec, _release(spec, spec_file, release_file), now=time.time())
    emit(found.to_json(), output, lambda: "\n".join(preview_lines(found)))
    raise typer.Exit(ExitCode.OK if found.starts else ExitCode.ROLLOUT)


@app.command()
@lockstep.also
def retry(
    spec_file: SpecFile = _SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    events: Events = None,
    plain: Plain = False,
    root: Root = _ROOT,
) -> None:
    """Try the newest rollout again, after it failed, was aborted or rolled back: same spec, same release."""
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store, clock = _store(spec_file, env, root), SystemClock()
    with (
        session.leased(store, clock),
        Screen(lambda found: _lines(store, found), output, events, plain=plain) as screen,
    ):
        record = session.retry(store, clock=clock)
        _announce(store, record, resumed=False, screen=screen)
        record = session.drive(store, record, clock=clock, on_entry=screen.entry, on_idle=screen.record)
    _finish(store, record, output, events)


@app.command()
@lockstep.also
def status(
    spec_file: SpecFile = _SPEC,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Block until it is promoted, over, paused or waits for an approval.")
    ] = False,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = _ROOT,
) -> None:
    """Show where the newest rollout is, and return at once (exit 0 whatever it is).

    With --wait: when it has come somewhere, with the rollout's own exit code. Nobody has to drive it meanwhile.
    """
    store = _store(spec_file, env, root)
    record = _newest(store)
    if wait:
        from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
        from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

        record = session.wait(store, clock=SystemClock())
    view = _view(store, record)
    emit(view.to_json(), output, lambda: "\n".join(_lines(store, record)))
    if wait:
        raise typer.Exit(view.exit_code)


@app.command()
@lockstep.also
def watch(
    spec_file: SpecFile = _SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    plain: Plain = False,
    root: Root = _ROOT,
) -> None:
    """Watch a rollout that another process drives, until it ends, pauses, or nobody drives it."""
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store = _store(spec_file, env, root)
    shown = 0
    with Screen(lambda found: _lines(store, found), output, None, plain=plain, interrupted=WATCHED) as screen:

        def seen(record: Record) -> None:
            nonlocal shown
            for entry in store.log(record.id, after=shown):
                shown = entry.seq
                screen.entry(entry, record)
            screen.record(record)

        record = session.follow(store, clock=SystemClock(), until=lambda _record: False, seen=seen)
    _finish(store, record, output, None)


@app.command()
@lockstep.also
def history(
    spec_file: SpecFile = _SPEC,
    *,
    rollout: Annotated[str | None, typer.Option("--id", help="One rollout's events instead of the list.")] = None,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = _ROOT,
) -> None:
    """List the rollouts of this spec, or the events of one."""
    store = _store(spec_file, env, root)
    if rollout is not None:
        entries = store.log(store.load(rollout).id)
        text = "\n".join(f"{clock_time(entry.at)}  {entry.kind:<10} {entry.text}" for entry in entries)
        emit([entry.to_json() for entry in entries], output, lambda: text)
        return
    views = [_view(store, store.load(found)) for found in store.ids()]
    text = "\n".join(f"{view.id}  {view.ending or view.phase:<12} {view.started}  {view.reason}" for view in views)
    emit([view.to_json() for view in views], output, lambda: text or "no rollouts yet")


@app.command()
def abort(
    spec_file: SpecFile = _SPEC, *, env: Env = None, output: Output = OutputFormat.TEXT, root: Root = _ROOT
) -> None:
    """Stop the rollout: all traffic back to stable, the new version undeployed."""
    _steer("abort", spec_file, env, output, root)


@app.command()
def rollback(
    spec_file: SpecFile = _SPEC, *, env: Env = None, output: Output = OutputFormat.TEXT, root: Root = _ROOT
) -> None:
    """As abort, but recorded as the version's fault; works while stable is kept warm after promotion, too."""
    _steer("rollback", spec_file, env, output, root)


@app.command()
def pause(
    spec_file: SpecFile = _SPEC, *, env: Env = None, output: Output = OutputFormat.TEXT, root: Root = _ROOT
) -> None:
    """Stand still at the current split; go on with `resume`."""
    _steer("pause", spec_file, env, output, root)


@app.command()
def resume(
    spec_file: SpecFile = _SPEC, *, env: Env = None, output: Output = OutputFormat.TEXT, root: Root = _ROOT
) -> None:
    """Go on with a paused rollout: its step is held and measured from the beginning."""
    _steer("resume", spec_file, env, output, root)


@app.command()
def promote(
    spec_file: SpecFile = _SPEC,
    *,
    full: Annotated[bool, typer.Option("--full", help="To 100% at once, past all remaining steps.")] = False,
    approver: Annotated[
        str, typer.Option("--approver", metavar="NAME", help="Who approves a step that asks for it; recorded.")
    ] = "",
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = _ROOT,
) -> None:
    """Go to the next step now, or approve it where it waits for that; recorded with your name."""
    _steer("promote_full" if full else "promote", spec_file, env, output, root, approver=approver)


@app.command()
@lockstep.also
def tick(
    spec_file: SpecFile = _SPEC,
    *,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    events: Events = None,
    plain: Plain = False,
    root: Root = _ROOT,
) -> None:
    """Do what is due in the rollout that is under way, and exit: for a scheduler."""
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above

    store, clock = _store(spec_file, env, root), SystemClock()
    with (
        session.leased(store, clock),
        Screen(lambda found: _lines(store, found), output, events, plain=plain) as screen,
    ):
        record = session.tick(store, session.under_way(store), clock=clock, on_entry=screen.entry)
    _finish(store, record, output, events)


@app.command()
@lockstep.also
def report(
    spec_file: SpecFile = _SPEC,
    *,
    rollout: Annotated[str | None, typer.Option("--id", help="Which rollout; the newest where absent.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the HTML here.")] = None,
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    root: Root = _ROOT,
) -> None:
    """Write a rollout's report (HTML and JSON) anew and say where it is."""
    from vertex_deploy.rollout.report import report_data, write_report  # noqa: PLC0415 - --help must not wait for it

    store = _store(spec_file, env, root)
    record = store.load(rollout) if rollout else _newest(store)
    where = write_report(store, record)
    if out is not None:
        _write_report(store, record, out)
    emit(report_data(store, record), output, lambda: where)


def _steer(verb: str, spec_file: Path, env: str | None, output: OutputFormat, root: str, *, approver: str = "") -> None:
    """Ask whoever drives the rollout, and watch; if nobody does, drive it here."""
    from vertex_deploy.rollout import session  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.requests import Verb  # noqa: PLC0415 - see above

    if group := lockstep.group_named(spec_file, env, root):
        lockstep.steer(group, verb, output=output, approver=approver)
    store, clock, asked = _store(spec_file, env, root), SystemClock(), Verb(verb)
    record = session.under_way(store)
    known, to_the_end = record.handled, asked in {Verb.ABORT, Verb.ROLLBACK}
    settled = False
    if session.ask(store, asked, clock=clock, approver=approver):
        record = session.follow(
            store,
            clock=clock,
            until=lambda found: not to_the_end and found.handled != known,
            seen=lambda _record: None,
        )
        settled = record.over or (not to_the_end and record.handled != known)
    if not settled:
        # Nobody drives it, or whoever did stopped before this was done.
        with session.leased(store, clock), Screen(lambda found: _lines(store, found), output, None) as screen:
            record = session.drive(
                store, session.under_way(store), clock=clock, on_entry=screen.entry, on_idle=screen.record
            )
    _finish(store, record, output, None)


def _announce(store: RolloutStore, record: Record, *, resumed: bool, screen: Screen) -> None:
    for entry in store.log(record.id)[-1 if resumed else 0 :]:
        screen.entry(entry, record)


def _finish(store: RolloutStore, record: Record, output: OutputFormat, events: str | None) -> None:
    view = _view(store, record)
    where = f"{store.where}/{record.id}/report.html"
    if events != "-":
        emit(
            view.to_json() | {"report": where}, output, lambda: "\n".join([*_lines(store, record), f"report: {where}"])
        )
    raise typer.Exit(view.exit_code)


def _store(spec_file: Path, env: str | None, root: str) -> RolloutStore:
    from vertex_deploy.rollout.engine import key_of, open_store  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    return open_store(key_of(load(spec_file, env), env), root)

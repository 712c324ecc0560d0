"""``vertex-deploy rollout abort | rollback | pause | resume | promote``: ask for something, and see it done.

Whoever drives the rollout is asked and watched; if nobody does, the command drives it. Left out: what each request
means where (``rollout.requests``), and lockstep groups (``cli.lockstep``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertex_deploy.cli import lockstep, shown
from vertex_deploy.cli.members import group_named
from vertex_deploy.cli.options import ROOT, SPEC, Env, Plain, Root, SpecFile
from vertex_deploy.cli.output import Output, OutputFormat
from vertex_deploy.cli.screen import WATCHED, Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vertex_deploy.rollout.record import Record


_UNDO = " of the version before (its deploy.yaml, or --release) to go back to what is no longer deployed"


def _asking(verb: str, text: str) -> Callable[..., None]:
    """A command that asks for ``verb`` and takes nothing more; ``text`` is its help."""

    def command(
        spec_file: SpecFile = SPEC,
        *,
        env: Env = None,
        output: Output = OutputFormat.TEXT,
        plain: Plain = False,
        root: Root = ROOT,
    ) -> None:
        _steer(verb, spec_file, env=env, output=output, plain=plain, root=root)

    command.__name__, command.__doc__ = verb, text
    return command


abort = _asking(
    "abort",
    """Stop the rollout: all traffic back to stable.

    The new version is undeployed.
    """,
)
rollback = _asking(
    "rollback",
    """As abort, but recorded as the version's fault.

    Works while stable is kept warm after promotion, too.
    """,
)
pause = _asking("pause", "Stand still at the current split; go on with `resume`.")
resume = _asking(
    "resume",
    """Go on with a paused rollout: its step is measured anew.

    After a pause that a failed gate led to, a new judge starts: what failed the gate is not held against the version
    again.
    """,
)


def promote(
    spec_file: SpecFile = SPEC,
    *,
    full: Annotated[bool, typer.Option("--full", help="To 100% at once, past all remaining steps.")] = False,
    approver: Annotated[
        str, typer.Option("--approver", metavar="NAME", help="Who approves a step that asks for it; recorded.")
    ] = "",
    env: Env = None,
    output: Output = OutputFormat.TEXT,
    plain: Plain = False,
    root: Root = ROOT,
) -> None:
    """Go to the next step now, or approve it where it waits.

    Recorded with your name. Out of a pause that a failed gate led to, it overrules the gate, and a new judge starts, as
    with resume.
    """
    verb = "promote_full" if full else "promote"
    _steer(verb, spec_file, env=env, output=output, plain=plain, root=root, approver=approver)


COMMANDS: Mapping[Callable[..., None], str] = {
    abort: "vertex-deploy rollout abort --env prod",
    rollback: "vertex-deploy rollout rollback --env prod",
    pause: "vertex-deploy rollout pause --env prod",
    resume: "vertex-deploy rollout resume --env prod",
    promote: "vertex-deploy rollout promote --approver me@example.com",
}
"""Each with an example."""


def _steer(
    verb: str, spec_file: Path, *, env: str | None, output: OutputFormat, plain: bool, root: str, approver: str = ""
) -> None:
    """Ask whoever drives the rollout, and watch; if nobody does, drive it here."""
    from vertex_deploy.errors import NoRollout  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout import session  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.clock import SystemClock  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.requests import Verb  # noqa: PLC0415 - see above

    try:
        if group := group_named(spec_file, env, root):
            lockstep.steer(group, verb, output=output, plain=plain, approver=approver)
        store, clock, asked = shown.store_of(spec_file, env, root), SystemClock(), Verb(verb)
        record = session.under_way(store)
    except NoRollout as error:
        raise NoRollout(f"{error}{_UNDO if verb == Verb.ROLLBACK else ''}") from error
    known, to_the_end = record.handled, asked in {Verb.ABORT, Verb.ROLLBACK}

    def settled(found: Record) -> bool:
        return found.over or (not to_the_end and found.handled != known)

    if session.ask(store, asked, clock=clock, approver=approver):
        with Screen(shown.tree(store), output, None, plain=plain, interrupted=WATCHED) as screen:
            seen = shown.teller(store, screen, after=record.seq - 1)
            record = session.follow(store, clock=clock, until=settled, seen=seen)
    if settled(record):
        shown.finish(store, record, output, None)
    # Nobody drives it, or whoever did stopped before this was done.
    with (
        session.leased(store, clock, on_warning=shown.warn),
        Screen(shown.tree(store), output, None, plain=plain) as screen,
    ):
        record = session.drive(
            store,
            session.under_way(store),
            clock=clock,
            on_entry=screen.entry,
            on_idle=screen.record,
            on_warning=shown.warn,
        )
    shown.finish(store, record, output, None)

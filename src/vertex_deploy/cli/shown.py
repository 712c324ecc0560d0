"""What the commands of ``rollout`` share, of one rollout and of a lockstep group: release, view, report, printing.

What a command exits with once a rollout was driven is the rollout's own code: a report, a lease or a pipe that fails
then is a warning on standard error, or nothing. Left out: the commands themselves (``rollout``, ``steer``,
``lockstep``).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from vertex_deploy.cli.output import emit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from vertex_deploy.cli.output import OutputFormat
    from vertex_deploy.cli.screen import Screen
    from vertex_deploy.errors import RolloutError
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.loader import Examined


def warn(text: str) -> None:
    """A line on standard error for what does not change how a command ends, nor does it if nobody reads it."""
    from vertex_deploy.errors import printable  # noqa: PLC0415 - --help must not wait for it

    with suppress(OSError):
        sys.stderr.write(f"warning: {printable(text)}\n")


def writable(path: Path) -> None:
    """Refuse a place for a report before anything is done for its sake; its folder is made.

    Raises:
        UsageError: a file cannot be written there.
    """
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reason = "Is a directory" if path.is_dir() else ""
    except OSError as error:
        reason = str(error.strerror)
    if not reason and not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "Permission denied"
    if reason:
        raise UsageError(f"{path}: the report cannot be written ({reason}); name another place")


def write_report(store: RolloutStore, record: Record, path: Path) -> None:
    """Write the HTML report to a place of the user's.

    Raises:
        UsageError: it cannot be written there.
    """
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.report import render_report, report_data  # noqa: PLC0415 - see above

    writable(path)
    try:
        path.write_text(render_report(report_data(store, record)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: the report cannot be written ({error.strerror}); name another place") from error


def write_report_if_possible(store: RolloutStore, record: Record, path: Path) -> None:
    """As ``write_report``, where the rollout's own outcome matters more: what fails is a warning."""
    from vertex_deploy.errors import VertexDeployError  # noqa: PLC0415 - --help must not wait for it

    try:
        write_report(store, record, path)
    except VertexDeployError as error:
        warn(str(error))


def release_of(spec: Any, spec_file: Path, release_file: Path | None) -> Any:
    """The release that a spec asks for, with what a build pinned.

    Raises:
        UsageError: the pins cannot be read.
    """
    from vertex_deploy.release import build_release, read_pins  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.engine import git_commit  # noqa: PLC0415 - see above

    pins = read_pins(release_file) if release_file else None
    return build_release(spec, pins=pins, commit=git_commit(spec_file.parent))


def store_of(spec_file: Path, env: str | None, root: str) -> RolloutStore:
    """Where the rollouts of a spec are kept.

    A rollout goes by the spec that it was begun with: problems of the file as it is now are warnings where there is
    one, so that whoever broke the file can still abort.

    Raises:
        SpecError: the spec has problems, and there is no rollout.
        UsageError: the spec cannot be read, or the store's place is none.
    """
    from vertex_deploy.errors import SpecError, StateError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.engine import key_named, open_store  # noqa: PLC0415 - see above

    examined = examined_in(spec_file, env, root)
    problems = [str(problem) for problem in examined.problems]
    hint = _enough(root) if not examined.parsed else []
    # An empty environment is none that was left out: it is a script's variable that was not set.
    if problems and (not examined.name or env == ""):
        raise SpecError([*problems, *hint])
    try:
        store = open_store(key_named(examined.name, env), root)
    except StateError as error:
        raise SpecError(problems) from error
    excuse(problems, [store], hint)
    return store


def examined_in(spec_file: Path, env: str | None, root: str) -> Examined:
    """As ``spec.examine``, where a rollout of a store is to be looked at or steered.

    Raises:
        UsageError: the file cannot be read; says what is enough instead.
    """
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.spec import examine  # noqa: PLC0415 - see above

    try:
        return examine(spec_file, env)
    except UsageError as error:
        raise UsageError("; ".join([str(error), *_enough(root)])) from error


def _enough(root: str) -> list[str]:
    """A line that says what is enough to find the rollouts of a store by; none if there are none to find."""
    from vertex_deploy.rollout.engine import known_in  # noqa: PLC0415 - --help must not wait for it

    if not (known := [root] if "://" in root else known_in(root)):
        return []
    enough = "a rollout goes by its own spec: to look at it or steer it, a file with the line `name: NAME` is enough"
    return [f"{enough}, and --env ENV where it is kept as NAME@ENV ({', '.join(known)})"]


def excuse(problems: list[str], stores: Collection[RolloutStore], hint: Sequence[str] = ()) -> None:
    """Take a file's problems for warnings where there is a rollout, which does not go by the file.

    Args:
        problems: of the file.
        stores: where a rollout may be.
        hint: lines to be told after the problems where there is none.

    Raises:
        SpecError: there is none, so the problems are all there is to say.
        CloudError, StateError: it cannot be told.
    """
    from vertex_deploy.errors import SpecError  # noqa: PLC0415 - --help must not wait for it

    if problems and all(store.current() is None for store in stores):
        raise SpecError([*problems, *hint])
    for problem in problems:
        warn(f"{problem} (the rollout goes by the spec that it was begun with)")


def newest(store: RolloutStore) -> Record:
    """The newest rollout of a store.

    Raises:
        NoRollout: there is none.
    """
    from vertex_deploy.errors import NoRollout  # noqa: PLC0415 - --help must not wait for it

    record = store.current()
    if record is None:
        raise NoRollout(f"{store.where}: no rollout yet; begin one with `vertex-deploy rollout start`")
    return record


def patience(timeout: str | None, *, wait: bool) -> float:
    """Seconds that --wait lasts at most.

    Raises:
        UsageError: no time, or without --wait.
    """
    from math import inf  # noqa: PLC0415 - beside its only use

    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.spec.units import parse_duration  # noqa: PLC0415 - see above

    if timeout is None:
        return inf
    if not wait:
        raise UsageError("--timeout is of --wait; give both")
    try:
        return parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None


def nothing_due(why: RolloutError, output: OutputFormat) -> None:
    """What a tick says that has nothing to do: a scheduler calls it all the time, so that is a good end."""
    emit({"due": False, "reason": str(why)}, output, lambda: f"nothing is due: {why}")


def view(store: RolloutStore, record: Record) -> Any:
    """The view of a record at this moment.

    Raises:
        CloudError, StateError: who drives it cannot be read.
    """
    import time  # noqa: PLC0415 - beside its only use

    return _view(record, store.holder(time.time()))


def _view(record: Record, holder: Any) -> Any:
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.rollout.plan import plan_of, spec_of  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.view import view_of  # noqa: PLC0415 - see above

    return view_of(record, plan_of(spec_of(record)), now=time.time(), holder=holder)


def views(store: RolloutStore) -> list[Any]:
    """The views of every rollout of a store, oldest first; one that was never begun says so.

    Raises:
        CloudError, StateError: one cannot be read.
    """
    from vertex_deploy.rollout.view import never_begun  # noqa: PLC0415 - --help must not wait for it

    now = store.current()
    current = now.id if now else ""
    found = [store.load(rollout) for rollout in store.ids()]
    return [
        view(store, record) if record.over or record.id == current else never_begun(_view(record, None))
        for record in found
    ]


def final_view(store: RolloutStore, record: Record) -> Any:
    """The view of a record that was driven or watched to a stop; who drives it now is left out if it cannot be read.

    Raises:
        StateError: the record has another version's spec.
    """
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.errors import VertexDeployError  # noqa: PLC0415 - --help must not wait for it

    holder = None
    try:
        holder = store.holder(time.time())
    except VertexDeployError as error:
        warn(str(error))
    return _view(record, holder)


def lines(store: RolloutStore, record: Record) -> list[str]:
    """The view of a record as lines of text."""
    from vertex_deploy.rollout import view as views_of  # noqa: PLC0415 - --help must not wait for it

    return views_of.lines(view(store, record))


def tree(store: RolloutStore) -> Callable[[Record], list[str]]:
    """What a ``Screen`` draws of one rollout: as it was, while who drives it cannot be read."""
    from vertex_deploy.errors import VertexDeployError  # noqa: PLC0415 - --help must not wait for it

    drawn: list[str] = []

    def draw(record: Record) -> list[str]:
        with suppress(VertexDeployError):
            drawn[:] = lines(store, record)
        return list(drawn)

    return draw


def teller(store: RolloutStore, screen: Screen, after: int = 0) -> Callable[[Record], None]:
    """Tells a screen what is new in the history of a rollout that somebody else drives, and draws it.

    Args:
        store: of the rollout.
        screen: where it is shown.
        after: number of the last entry that need not be told.
    """
    told = after

    def seen(record: Record) -> None:
        nonlocal told
        entries = store.log(record.id, after=told)
        screen.begins_with(entries, record)
        for entry in entries:
            told = entry.seq
            screen.entry(entry, record)
        screen.record(record)

    return seen


def measured(store: RolloutStore, record: Record) -> None:
    """Print what a rollout measured, an interval a line, as `rollout judge` reads it.

    Raises:
        CloudError, StateError: the history cannot be read.
    """
    import json  # noqa: PLC0415 - beside its only use

    from vertex_deploy.rollout.judge.history import entry_to_json  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.plan import plan_of, spec_of  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.recorded import recorded  # noqa: PLC0415 - see above

    entries = recorded(store.log(record.id), record.canary, plan_of(spec_of(record)).weights)
    lines = ",\n".join(json.dumps(entry_to_json(entry)) for entry in entries)
    sys.stdout.write(f"[\n{lines}\n]\n" if lines else "[]\n")


def finish(store: RolloutStore, record: Record, output: OutputFormat, events: str | None) -> NoReturn:
    """Print where a rollout came to, and exit with its own code."""
    from vertex_deploy.rollout import view as views_of  # noqa: PLC0415 - --help must not wait for it

    found = final_view(store, record)
    where = f"{store.where}/{record.id}/report.html"
    data, text = found.to_json() | {"report": where}, [*views_of.lines(found), f"report: {where}"]
    leave(data, text, output, events, code=found.exit_code)


def leave(data: Any, text: list[str], output: OutputFormat, events: str | None, *, code: int) -> NoReturn:
    """Print the end of a command that drove or watched, and exit with a rollout's code, whoever reads."""
    try:
        if events != "-":
            emit(data, output, lambda: "\n".join(text))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`| head`); what the rollout came to is still said by the code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(code)

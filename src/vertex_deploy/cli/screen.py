"""What `vertex-deploy rollout` shows while it works: a live tree on a terminal, plain lines for logs, NDJSON of events.

Who drives a rollout does not stop because nobody can be shown it: a reader that went away or a full disk ends the
lines or the events, not the controller. Left out: what the tree says (``rollout.view``).
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertex_deploy.cli.output import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self, TextIO

    from vertex_deploy.rollout.record import LogEntry, Record

RESUME = "interrupted: traffic stays where it is; `vertex-deploy rollout start` goes on with the rollout"
"""What Ctrl-C says to who drives a rollout."""

WATCHED = "no longer watched: the rollout itself goes on"
"""What Ctrl-C says to who only watches."""

PLAIN = "VERTEX_DEPLOY_PLAIN"
"""Variable that asks for plain lines, as --plain does."""

QUIET = 10.0
"""Seconds between two measurements that say the same, where each takes a line."""


class Screen:
    """Shows a rollout: a live tree on a terminal, one line an event elsewhere.

    Args:
        lines: gives the tree of a record.
        output: the command's ``-o``; progress goes to standard error where standard output carries JSON.
        events: where events go as NDJSON: a file, - or None.
        plain: one line an event on a terminal too.
        interrupted: what is said when Ctrl-C ends it.
    """

    def __init__(
        self,
        lines: Callable[[Record], list[str]],
        output: OutputFormat,
        events: str | None,
        *,
        plain: bool = False,
        interrupted: str = RESUME,
    ) -> None:
        self._lines = lines
        self._interrupted = interrupted
        self._measured = ("", 0.0)
        self._phases: dict[str, str] = {}
        self._gone = False
        self._stack = ExitStack()
        self._events: TextIO | None = None
        if events == "-":
            self._events = sys.stdout
        elif events:
            self._events = self._stack.enter_context(_appended(Path(events)))
        quiet = output is OutputFormat.JSON or events == "-"
        self._out = sys.stderr if quiet else sys.stdout
        self._live: Any = None
        if self._out.isatty() and not plain and can_redraw(os.environ):
            from rich.console import Console  # noqa: PLC0415 - only where there is a terminal to draw on
            from rich.live import Live  # noqa: PLC0415 - see above

            console = Console(file=self._out, highlight=False)
            self._live = self._stack.enter_context(Live(console=console, auto_refresh=False, transient=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # First the tree goes and the cursor comes back: the line must stay.
        with suppress(OSError):
            if self._live is not None:
                # rich draws the last frame whole before it clears it: of one taller than the terminal, most would stay.
                self._live.update("", refresh=True)
            self._stack.close()
        self._live = None
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._print(self._interrupted)

    def begins_with(self, entries: Sequence[LogEntry], record: Record) -> None:
        """Say which entries come next, to who was told none yet: the record is ahead of them already."""
        which = _which(record)
        moves = (entry.data.get("from") for entry in entries if entry.kind == "transition")
        if which not in self._phases and (before := next(moves, None)) is not None:
            self._phases[which] = str(before)

    def entry(self, entry: LogEntry, record: Record) -> None:
        """One more line of history."""
        self._event({"rollout": record.id, **_member(record), **entry.to_json()})
        if self._worth_a_line(entry):
            who = f"{record.group.member:<12} " if record.group else ""
            mark = "warning: " if entry.kind == "warning" else ""
            self._print(f"{clock_time(entry.at)}  {who}{self._phase(entry, record):<17} {mark}{entry.text}")
        self.record(record)

    def _phase(self, entry: LogEntry, record: Record) -> str:
        """Where the rollout was when this happened: who watches reads several entries at once, behind the record."""
        which = _which(record)
        known = self._phases.get(which, "preflight" if entry.seq == 1 else record.phase)
        self._phases[which] = str(entry.data["to"]) if entry.kind == "transition" else known
        return self._phases[which]

    def _event(self, event: Mapping[str, Any]) -> None:
        if self._events is None:
            return
        try:
            self._events.write(json.dumps(event, default=str) + "\n")
            self._events.flush()
        except OSError as error:
            name, self._events = self._events.name, None
            sys.stderr.write(
                f"warning: {name}: no more events can be written ({error.strerror}); the rollout goes on\n"
            )

    def _worth_a_line(self, entry: LogEntry) -> bool:
        """A measurement is, if it changes the outcome or the last one that was shown is a while ago."""
        if entry.kind != "measured":
            return True
        outcome, at = self._measured
        now = str(entry.data.get("verdict", {}).get("outcome", ""))
        if now == outcome and entry.at - at < QUIET:
            return False
        self._measured = (now, entry.at)
        return True

    def record(self, record: Record) -> None:
        """Draw the tree anew, if there is a terminal."""
        if self._live is None or self._gone:
            return
        from rich.text import Text  # noqa: PLC0415 - only where there is a terminal to draw on

        tree = Text("\n".join(self._lines(record)))
        with self._while_there():
            self._live.update(tree, refresh=True)

    def _print(self, line: str) -> None:
        if self._gone:
            return
        with self._while_there():
            if self._live is not None:
                self._live.console.print(line, markup=False)
            else:
                self._out.write(line + "\n")
                self._out.flush()

    @contextmanager
    def _while_there(self) -> Iterator[None]:
        """Until the terminal or the reader is gone."""
        try:
            yield
        except OSError:
            self._gone = True


def can_redraw(environment: Mapping[str, str]) -> bool:
    """Whether the terminal of this environment can move its cursor. No colours are used: NO_COLOR is nothing to it."""
    return environment.get("TERM", "dumb").lower() not in {"dumb", "unknown", ""}


def _which(record: Record) -> str:
    return f"{record.id} {record.group.member if record.group else ''}"


def _member(record: Record) -> dict[str, str]:
    return {"member": record.group.member} if record.group else {}


def clock_time(seconds: float) -> str:
    """Seconds since the epoch as local time of day."""
    from datetime import datetime  # noqa: PLC0415 - beside its only use

    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S")


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, for what may be days old."""
    from datetime import UTC, datetime  # noqa: PLC0415 - beside its only use

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _appended(path: Path) -> TextIO:
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it

    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: events cannot be written ({error.strerror}); name another file") from error

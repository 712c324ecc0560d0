"""`vertex-deploy rollout` in a real terminal, against Local Vertex: the tree, resized, interrupted, gone on with.

The hold lasts longer than the test: what ends it is a command. Left out: what the tree says (``rollout.view``).
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest

from tests.waiting import PATIENCE
from vertex_deploy.cli.screen import RESUME, WATCHED

from .rollouts import HELD, Rollouts, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXIT_CODES = Path(__file__).parents[2] / "docs/reference/exit-codes.md"
ROLLOUT = {"steps": [{"weight": 20, "hold": HELD}, {"weight": 100}], "gates": [], "keep_stable": "1s"}
WIDE, NARROW, LINES = 110, 50, 40
CLEAR_SCREEN, ESCAPE = "\x1b[2J", "\x1b"
FRAME = b"tty  holding  "
HEAD = re.compile(r"tty  holding  step 1 of 2 \(20%\)  \w+ left")
LAST = "└─"
"""What the last line of a tree begins with."""

# A terminal of its own; Ctrl-C as a person's, also where the test run itself ignores it.
PROGRAM = """
import os, signal, sys
os.login_tty(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from vertex_deploy.cli.main import main
main()
"""


class Terminal:
    """A command on a pseudo-terminal, and what stands on it."""

    def __init__(self, rollouts: Rollouts, verb: str, *arguments: str) -> None:
        self._main, side = pty.openpty()
        termios.tcsetwinsize(side, (LINES, WIDE))
        self._screen = pyte.Screen(WIDE, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self.sent = b""
        own = {"COLUMNS", "LINES", "VERTEX_DEPLOY_PLAIN"}
        environment = {key: value for key, value in rollouts.env.items() if key not in own}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "rollout", verb, f"{rollouts.name}.yaml", *arguments],
            cwd=rollouts.cli.folder,
            env=environment | {"TERM": "xterm-256color"},
            stdin=side,
            stdout=side,
            stderr=side,
        )
        rollouts.cli.begun.append(self.process)
        os.close(side)

    def read(self, seconds: float = 0.2) -> None:
        """What has come since; nothing more comes once the command has ended."""
        end = time.monotonic() + seconds
        while select.select([self._main], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                data = os.read(self._main, 65536)
            except OSError:  # EIO: the other side is closed
                return
            self.sent += data
            self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        """What was sent, as one line: the terminal may have wrapped it."""
        return " ".join(self.sent.decode(errors="replace").split())

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None or condition(), self.died()
            assert time.monotonic() < end, "\n".join(self.lines)
            self.read()

    def died(self) -> str:
        self.read()
        return "\n".join([f"exit code {self.process.returncode}", *self.lines])

    def frames(self, number: int) -> None:
        """Wait for so many more frames."""
        until = self.sent.count(FRAME) + number
        self.until(lambda: self.sent.count(FRAME) >= until)

    def resize(self, columns: int) -> None:
        """As a person drags the window's edge: the kernel sends SIGWINCH.

        Between two frames, the program held still: one that was drawn for the old width and read after it would stand
        on this screen as no terminal shows it.
        """

        def held() -> bool:
            self.frames(1)
            self.process.send_signal(signal.SIGSTOP)
            until(lambda: self._state() == "T")
            self.read()
            if not self.whole():
                self.process.send_signal(signal.SIGCONT)
            return self.whole()

        until(held)
        termios.tcsetwinsize(self._main, (LINES, columns))
        self._screen.resize(LINES, columns)
        self.process.send_signal(signal.SIGCONT)

    def whole(self) -> bool:
        """Whether the tree on the screen is drawn to its end: what was sent may have come in part."""
        return any(HEAD.search(line) for line in self.lines) and any(line.startswith(LAST) for line in self.lines)

    def _state(self) -> str:
        """Of the process; see proc(5)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def type(self, keys: bytes) -> None:
        os.write(self._main, keys)

    def ended(self) -> int:
        """The exit code, once everything that was sent is read."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, "\n".join(self.lines)
            self.read()
        self.read()
        os.close(self._main)
        return self.process.returncode


@pytest.fixture(scope="module")
def rollouts(vertex) -> Iterator[Rollouts]:
    """The first version has all traffic."""
    found = Rollouts(vertex, "tty", ROLLOUT)
    found.write("one")
    code, out = found.run("start")
    assert code == 0, out
    return found


def test_a_rollout_in_a_terminal_is_resized_interrupted_and_gone_on_with(rollouts: Rollouts) -> None:
    rollouts.write("two")
    terminal = Terminal(rollouts, "start")
    terminal.until(terminal.whole)
    for columns in (NARROW, WIDE, NARROW):
        terminal.resize(columns)
        terminal.frames(3)
        terminal.until(terminal.whole)
        heads = [line for line in terminal.lines if line.startswith("tty  holding")]
        assert len(heads) == 1, "\n".join(terminal.lines)
        assert any("canary" in line and "20%" in line for line in terminal.lines)
    assert CLEAR_SCREEN not in terminal.sent.decode(errors="replace")

    terminal.type(b"\x03")
    assert terminal.ended() == 130
    assert "| 130 | | Interrupted (Ctrl-C). A rollout: traffic stays where it is" in EXIT_CODES.read_text()
    assert RESUME in terminal.text
    assert terminal.sent.rindex(b"\x1b[?25h") > terminal.sent.rindex(b"\x1b[?25l"), "the cursor is back"
    assert not [line for line in terminal.lines if line.startswith("tty  holding")], "the tree is gone"
    before = rollouts.status()
    split, deployed = rollouts.served()
    assert (before["phase"], before["controller"]) == ("holding", "")
    assert sorted(split.values()) == [20, 80]
    assert sorted(split) == sorted(deployed)

    again = Terminal(rollouts, "start")
    again.until(again.whole)
    code, out = rollouts.run("promote")
    assert "promote by" in out
    assert again.ended() == 0, again.lines
    assert code == 0
    after = rollouts.status()
    assert (after["id"], after["ending"]) == (before["id"], "promoted")
    assert any(line.startswith("tty  promoted") for line in again.lines)
    assert rollouts.served() == ({rollouts.record()["canary"]: 100}, [rollouts.record()["canary"]])


def test_plain_lines_in_a_terminal_and_who_only_watches_ends_nothing(rollouts: Rollouts) -> None:
    rollouts.write("three")
    first = rollouts.begin("start")
    until(lambda: rollouts.record()["phase"] == "holding", process=first)
    watching = Terminal(rollouts, "watch")
    watching.until(watching.whole)
    watching.type(b"\x03")
    assert watching.ended() == 130
    assert WATCHED in watching.text
    assert first.poll() is None

    plain = Terminal(rollouts, "abort", "--plain")
    assert plain.ended() == 11, plain.lines
    assert rollouts.finished(first)[0] == 11
    assert ESCAPE not in plain.sent.decode()
    assert re.search(r"\d\d:\d\d:\d\d +\w+ +abort by", plain.text)
    assert any(line.startswith("tty  aborted") for line in plain.lines)
    assert list(rollouts.served()[0].values()) == [100]

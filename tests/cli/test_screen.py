"""The live tree on a real pseudo-terminal: what reaches the terminal, and what stands on it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pyte
import pytest

from tests.rollout.world import World
from vertex_deploy.cli.output import OutputFormat
from vertex_deploy.cli.screen import RESUME, Screen, can_redraw

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.rollout.record import Record

CLEAR_SCREEN = "\x1b[2J"
END = "\x1b]the end\x07"
"""Written after all else: a terminal shows nothing of it."""
LIMIT = 120
"""Seconds that only a failure takes."""


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: int,
    act: Callable[[Screen], None],
    plain: bool = False,
    gates: int = 1,
    ended: bool = False,
) -> str:
    """What a screen that writes to a pseudo-terminal sent to it: until it ends, or until it has ended."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("VERTEX_DEPLOY_PLAIN", raising=False)
    main, side = pty.openpty()
    frames = iter(range(100))

    def lines(_record: Record) -> list[str]:
        return [f"lite0  holding  {next(frames)}s left", "├─ endpoint 1", *["└─ " + "gate " * 10 + "end"] * gates]

    with os.fdopen(side, "w", encoding="utf-8", buffering=1) as out:
        monkeypatch.setattr(sys, "stdout", out)
        with Screen(lines, OutputFormat.TEXT, None, plain=plain) as screen:
            act(screen)
            if not ended:
                out.write(END)
                out.flush()
                found = received(main, END)
        if ended:
            out.write(END)
            out.flush()
            found = received(main, END)
    os.close(main)
    return found.partition(END)[0]


def received(main: int, until: str) -> str:
    """What reached the terminal, up to and with this."""
    found = b""
    while until.encode() not in found:
        assert select.select([main], [], [], LIMIT)[0], f"no {until!r}: {found!r}"
        found += os.read(main, 65536)
    return found.decode()


def shown(sent: str, columns: int) -> list[str]:
    screen = pyte.Screen(columns, 24)
    pyte.Stream(screen).feed(sent)
    return [line.rstrip() for line in screen.display if line.strip()]


@pytest.mark.parametrize("columns", [100, 30])
def test_frames_are_drawn_in_place_on_a_wide_and_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    record = World().start().record

    def act(screen: Screen) -> None:
        for _ in range(5):
            screen.record(record)

    sent = drawn(monkeypatch, columns=columns, act=act)
    assert CLEAR_SCREEN not in sent
    assert "\x1b[1A" in sent
    found = shown(sent, columns)
    assert [line for line in found if "holding" in line] == ["lite0  holding  4s left"]
    assert found[1] == "├─ endpoint 1"
    assert found[-1].endswith("end")


def test_a_tree_taller_than_the_terminal_is_cut_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    record = World().start().record

    def act(screen: Screen) -> None:
        for number in range(2):
            screen.record(record)
            screen._print(f"event {number}")

    during = shown(drawn(monkeypatch, columns=40, act=act, gates=40), 40)
    assert during[0].startswith("lite0  holding")
    assert during[-1].strip() == "..."
    screen = pyte.HistoryScreen(40, 24, history=1000)
    pyte.Stream(screen).feed(drawn(monkeypatch, columns=40, act=act, gates=40, ended=True))
    above = ["".join(row[column].data for column in range(40)).rstrip() for row in screen.history.top]
    assert [line for line in [*above, *(line.rstrip() for line in screen.display)] if line] == [
        "event 0",
        "event 1",
    ]


def test_plain_draws_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    record = World().start().record
    assert drawn(monkeypatch, columns=80, act=lambda screen: screen.record(record), plain=True) == ""


@pytest.mark.parametrize(
    ("environment", "redraws"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_a_tree_is_drawn_where_the_cursor_can_move(environment: dict[str, str], redraws: bool) -> None:
    assert can_redraw(environment) is redraws


INTERRUPTED = """
import os, signal, time
os.login_tty(0)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell started with &
from vertex_deploy.cli.output import OutputFormat
from vertex_deploy.cli.screen import Screen
with Screen(lambda _: ["the tree"], OutputFormat.TEXT, None) as screen:
    screen.record(None)
    while True:  # no signal.pause(): a Ctrl-C just before it would be slept through
        time.sleep(0.05)
"""


@pytest.mark.slow
def test_ctrl_c_gives_the_cursor_back_and_says_how_to_go_on() -> None:
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdin=side, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}
    )
    os.close(side)
    sent = received(main, "the tree")
    os.write(main, b"\x03")
    sent += received(main, "rollout start")
    os.close(main)
    child.wait(LIMIT)
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")
    assert RESUME.split(":")[0] in sent
    assert CLEAR_SCREEN not in sent

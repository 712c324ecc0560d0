"""Run a program to its end and say in one line why it failed. Left out: shells, pipelines and time limits."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ToolError(Exception):
    """One line: what failed, and the fix where there is one. `__main__` prints it and exits 1."""


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, quiet: bool = False, to_stderr: bool = False
) -> str:
    """Run a program to its end and return what it wrote on stdout, stripped.

    Args:
        argv: the program and its arguments; never a shell line.
        env: the whole environment; this process's unless given.
        quiet: keep stderr for the error message rather than letting it through.
        to_stderr: its stdout is progress for the person; nothing is returned.

    Raises:
        ToolError: the program is not there, or it did not exit 0.
    """
    try:
        done = subprocess.run(  # noqa: S603 - an argument vector of ours, no shell
            list(argv),
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if to_stderr else subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            check=False,
        )
    except FileNotFoundError:
        raise ToolError(f"{argv[0]} is not installed; the fix: python3 -m containers.tools setup") from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] if quiet else []
        raise ToolError(f"exit {done.returncode}: {shlex.join(argv)}" + "".join(f": {line}" for line in last))
    return "" if to_stderr else done.stdout.decode(errors="replace").strip()


def say(line: str) -> None:
    """Tell the person, on stderr: stdout is for what a script reads."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()

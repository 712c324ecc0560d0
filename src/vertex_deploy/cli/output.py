"""How commands print: one ``-o/--output`` option, one function that honours it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


class OutputFormat(StrEnum):
    """What ``-o`` takes."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[OutputFormat, typer.Option("-o", "--output", help="text for people, json for programs.")]


def emit(data: Any, output: OutputFormat, text: Callable[[], str]) -> None:
    """Print ``data`` as JSON, or what ``text()`` gives, to standard output.

    Args:
        data: anything ``json.dumps`` takes; other values are written with ``str``.
        output: the command's ``-o``.
        text: called only for ``text`` output.
    """
    line = json.dumps(data, indent=2, default=str) if output is OutputFormat.JSON else text()
    sys.stdout.write(line if line.endswith("\n") else line + "\n")

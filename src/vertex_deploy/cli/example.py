"""Help that ends with an example on a line of its own: wrapped, as other text is, it could not be pasted.

A command's or group's ``epilog`` is the example, without a word before it. Left out: the rest of the help (typer's).
"""

from __future__ import annotations

from typing import Any

import typer.core


def write_example(command: str | None, formatter: Any) -> None:
    """Write an example below the help, if there is one."""
    if command:
        formatter.write(f"\nExample:\n  {command}\n")


class Command(typer.core.TyperCommand):
    """A command with an example."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """See ``write_example``."""
        write_example(self.epilog, formatter)


class Group(typer.core.TyperGroup):
    """A group of commands with an example."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """See ``write_example``."""
        write_example(self.epilog, formatter)

"""Writes generated pages, or says which of them are stale; what is in them is the generators' own matter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write_or_check(texts: Mapping[str, str], root: Path, arguments: Sequence[str], command: str) -> int:
    """Write the pages that differ from their texts, or with ``--check`` name them.

    Args:
        texts: path below ``root`` -> the page's text.
        root: folder of the project.
        arguments: of the command line.
        command: that writes the pages, for the message.

    Returns:
        0, or 1 if ``--check`` found a stale page.
    """
    stale = {
        name: text
        for name, text in texts.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    }
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"{name} is stale; run {command}\n")
        return 1 if stale else 0
    for name, text in stale.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return 0

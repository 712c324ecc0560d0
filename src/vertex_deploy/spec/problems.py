"""What is wrong with a deploy.yaml, where, and the fix: one line for people, one object for programs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Path = tuple[str | int, ...]
"""Keys and list indexes from the root of a document."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_KEY = 60


class Finding(NamedTuple):
    """A problem before it is placed in a file.

    Args:
        path: where, from the root of the spec.
        message: what is wrong.
        fix: what to write instead.
    """

    path: Path
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Args:
        file: the file's name as it was given.
        line: from 1.
        column: from 1.
        field: path of the value, ``rollout.gates[0].metric``; empty for the file as a whole.
        message: what is wrong, without the fix.
        fix: what to write instead; may be empty.
        certain: False if an override elsewhere in the file could make it right: a missing key, values that do not fit
            together.
    """

    file: str
    line: int
    column: int
    field: str
    message: str
    fix: str = ""
    certain: bool = True

    def __str__(self) -> str:
        text = f"{self.field}: {self.message}" if self.field else self.message
        separator = " " if self.fix.startswith("(") else "; "
        return f"{self.file}:{self.line}: {text}" + (f"{separator}{self.fix}" if self.fix else "")


def field_name(path: Path) -> str:
    """``("rollout", "gates", 0, "metric") -> "rollout.gates[0].metric"``; odd keys are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:_LONGEST_KEY])}]"
    return text


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """``did you mean metric? (allowed: max, metric, ...)``, without the question where nothing is near."""
    names = sorted(set(allowed))
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}(allowed: {', '.join(names) or 'nothing'})"

r"""RE2's regular expressions, which Cloud Monitoring's filters take. Pure.

Python's parser reads them; ``automaton`` matches, in time that grows with the text and not exponentially as Python's
engine would: anybody may write a filter, and it is tried on every series, on the loop that serves predictions.

What only Python has, or reads in another way, is refused: look-around and other groups, back references, possessive
repetition, ``\Z`` and Python's Unicode escapes. Classes such as ``\d`` are ASCII, as in RE2.

Left out, and refused: POSIX classes such as ``[[:alpha:]]``, and ``\p{...}``, ``\Q...\E``, ``\z`` and ``\C``, which
Python lacks; and expressions that are larger than ``automaton.MAX_STATES`` with their repetitions written out.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

from vertex_deploy.local.monitoring.automaton import Automaton

_GROUP = re.compile(r"\(\?(?::|P<[A-Za-z_]\w*>|[ims]+(?:-[ims]+)?[:)]|-[ims]+:)")
_ESCAPES = frozenset("123456789ZNuU")
_REPEATS = frozenset("*+?}")


@lru_cache(maxsize=512)
def pattern(text: str) -> Automaton:
    """Compile an expression.

    Raises:
        ValueError: one line; it is not valid, or not to be evaluated as RE2 would.
    """
    why = _foreign(text)
    if why:
        raise ValueError(f'the regular expression "{text}" has {why}')
    try:
        with warnings.catch_warnings():
            # Of "[[", "--" and "&&" in a class: they may mean something in Python one day, and are plain in RE2.
            warnings.simplefilter("ignore", FutureWarning)
            return Automaton(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f'the regular expression "{text}" is not valid: {error}') from error


@lru_cache(maxsize=16_384)
def full_match(text: str, value: str) -> bool:
    """Whether an expression matches a whole value. The values of labels are few, and asked for again and again.

    Raises:
        ValueError: as ``pattern``.
    """
    return pattern(text).full_match(value)


def _foreign(text: str) -> str:
    """What RE2 or Local Vertex does not have, or ""."""
    at, before, first = 0, "", -1  # first: where a class begins, -1 outside
    while at < len(text):
        char = text[at]
        if char == "\\":
            if text[at + 1 : at + 2] in _ESCAPES:
                return f'"{text[at : at + 2]}", which RE2 does not have'
            at, before = at + 2, ""
            continue
        if first >= 0:
            if text.startswith("[:", at):
                return "a POSIX class, which Local Vertex does not have"
            if char == "]" and at > first:
                first = -1
        elif char == "[":
            first = at + 1 + text.startswith("^", at + 1)
        elif text.startswith("(?", at) and not _GROUP.match(text, at):
            return f'the group "{text[at : at + 3]}", which RE2 does not have'
        elif char == "+" and before in _REPEATS:
            return "a possessive repetition, which RE2 does not have"
        at, before = at + 1, char if first < 0 else ""
    return ""

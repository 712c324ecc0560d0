r"""A regular expression as a nondeterministic automaton, walked in all its states at once. Pure.

Matching takes at most (characters of the text) x (states) steps, whatever the expression (Thompson, "Regular expression
search algorithm", 1968). Counted repetitions are written out, and their number of states is bounded, as RE2 bounds its
program. The expression is parsed by Python's own parser, ``re._parser``, which has no public name.

Left out: groups as results, look-around, back references, atomic and possessive repetition (``re2`` refuses them).
"""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]  # not public
from re import _parser  # type: ignore[attr-defined]  # not public
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_STATES = 2000
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_CLASSES = {
    codes.CATEGORY_DIGIT: frozenset("0123456789"),
    codes.CATEGORY_SPACE: frozenset(" \t\n\r\f\v"),
    codes.CATEGORY_WORD: _WORD,
}
_NEGATED = {
    codes.CATEGORY_NOT_DIGIT: codes.CATEGORY_DIGIT,
    codes.CATEGORY_NOT_SPACE: codes.CATEGORY_SPACE,
    codes.CATEGORY_NOT_WORD: codes.CATEGORY_WORD,
}


class Automaton:
    """A compiled expression.

    Args:
        pattern: the expression.

    Raises:
        re.error, OverflowError, RecursionError: Python cannot parse it.
        ValueError: it is too large, or has what is left out.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        # Of each state: what it takes and where that leads; or, where it takes nothing, what must hold, and its exits.
        self._takes: list[Callable[[str], bool] | None] = []
        self._holds: list[Callable[[str, str], bool] | None] = []
        self._exits: list[tuple[int, ...]] = []
        self._final = self._add(exits=())
        tree = _parser.parse(pattern, re.ASCII)
        self._start = self._sequence(tree, self._final, tree.state.flags)

    def full_match(self, text: str) -> bool:
        """Whether it matches the whole of a text."""
        before, at = "", self._reached([self._start], "", text[:1])
        for index, char in enumerate(text):
            moved = [
                exit_ for state in at if (takes := self._takes[state]) and takes(char) for exit_ in self._exits[state]
            ]
            if not moved:
                return False
            before = char
            at = self._reached(moved, before, text[index + 1 : index + 2])
        return self._final in at

    def _reached(self, states: Iterable[int], before: str, after: str) -> set[int]:
        """The states, and all that they lead to between two characters ("" at either end of the text)."""
        found: set[int] = set()
        left = list(states)
        while left:
            state = left.pop()
            if state in found:
                continue
            found.add(state)
            holds = self._holds[state]
            if self._takes[state] is None and (holds is None or holds(before, after)):
                left += self._exits[state]
        return found

    # --- from the parser's tree to states, from the end to the beginning --------------------------------------------

    def _add(
        self,
        *,
        exits: tuple[int, ...],
        takes: Callable[[str], bool] | None = None,
        holds: Callable[[str, str], bool] | None = None,
    ) -> int:
        if len(self._exits) >= MAX_STATES:
            raise ValueError(f"it is larger than {MAX_STATES} with its repetitions written out")
        self._takes.append(takes)
        self._holds.append(holds)
        self._exits.append(exits)
        return len(self._exits) - 1

    def _sequence(self, items: Any, then: int, flags: int) -> int:
        for operation, value in reversed(list(items)):
            then = self._one(operation, value, then, flags)
        return then

    def _one(self, operation: Any, value: Any, then: int, flags: int) -> int:
        """States for one item that go on to ``then``; where they begin."""
        if operation in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            return self._repeat(value, then, flags)
        if operation is codes.SUBPATTERN:
            _, added, removed, inner = value
            return self._sequence(inner, then, (flags | added) & ~removed)
        if operation is codes.BRANCH:
            return self._add(exits=tuple(self._sequence(inner, then, flags) for inner in value[1]))
        if operation is codes.AT:
            return self._add(exits=(then,), holds=_place(value, multiline=bool(flags & re.MULTILINE)))
        return self._add(exits=(then,), takes=_taken(operation, value, flags))

    def _repeat(self, value: Any, then: int, flags: int) -> int:
        least, most, inner = value
        if most is codes.MAXREPEAT:
            loop = self._add(exits=())
            self._exits[loop] = (self._sequence(inner, loop, flags), then)
            then = loop
        else:
            after = then
            for _ in range(most - least):
                then = self._add(exits=(self._sequence(inner, then, flags), after))
        for _ in range(least):
            then = self._sequence(inner, then, flags)
        return then


def _place(code: Any, *, multiline: bool) -> Callable[[str, str], bool]:
    """What holds between two characters; ``$`` only at the end of the text, not before its last newline, as in RE2."""
    if code in (codes.AT_BOUNDARY, codes.AT_NON_BOUNDARY):
        wanted = code is codes.AT_BOUNDARY
        return lambda before, after: ((before in _WORD) != (after in _WORD)) is wanted
    lines = ("", "\n") if multiline else ("",)
    if code is codes.AT_BEGINNING:
        return lambda before, _: before in lines
    if code is codes.AT_BEGINNING_STRING:
        return lambda before, _: before == ""
    if code is codes.AT_END:
        return lambda _, after: after in lines
    raise ValueError(f"{str(code).lower()} is not implemented by Local Vertex")


def _taken(operation: Any, value: Any, flags: int) -> Callable[[str], bool]:
    """Which characters an item takes that takes one."""
    if operation is codes.ANY:
        everything = bool(flags & re.DOTALL)
        return lambda char: everything or char != "\n"
    ignore_case = bool(flags & re.IGNORECASE)
    if operation is codes.IN:
        return _accepts(value, ignore_case=ignore_case)
    literal = _accepts([(codes.LITERAL, value)], ignore_case=ignore_case)
    if operation is codes.LITERAL:
        return literal
    if operation is codes.NOT_LITERAL:
        return lambda char: not literal(char)
    raise ValueError(f"{str(operation).lower()} is not implemented by Local Vertex")


def _accepts(terms: Sequence[tuple[Any, Any]], *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a character is one of a class's."""
    tests = [_term(code, value) for code, value in terms if code is not codes.NEGATE]
    negated = len(tests) < len(terms)

    def accepts(char: str) -> bool:
        # As with Python's re.ASCII: letters beyond ASCII have one case.
        forms = (char, char.swapcase()) if ignore_case and char.isascii() else (char,)
        return any(test(form) for test in tests for form in forms) is not negated

    return accepts


def _term(code: Any, value: Any) -> Callable[[str], bool]:
    if code is codes.LITERAL:
        return lambda char: ord(char) == value
    if code is codes.RANGE:
        low, high = value
        return lambda char: low <= ord(char) <= high
    if code is codes.CATEGORY and value in _CLASSES:
        return _CLASSES[value].__contains__
    if code is codes.CATEGORY and value in _NEGATED:
        held = _CLASSES[_NEGATED[value]]
        return lambda char: char not in held
    raise ValueError(f"{str(value).lower()} is not implemented by Local Vertex")

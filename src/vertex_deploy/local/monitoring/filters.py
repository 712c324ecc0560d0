"""The filter language of Cloud Monitoring: text to a tree, and a tree to yes or no. Pure.

Grammar (cloud.google.com/monitoring/api/v3/filters)::

    or         = and ("OR" and)*
    and        = not (["AND"] not)*            side by side means AND; AND binds closer than OR
    not        = ("NOT" | "-") not | "(" or ")" | comparison
    comparison = selector ("=" | "!=" | ":" | "<" | "<=" | ">" | ">=") (literal | function)
    selector   = project | resource.type | resource.label(s).KEY | metric.type | metric.label(s).KEY
    function   = starts_with | ends_with | has_substring | monitoring.regex.full_match | one_of

A KEY may be quoted, ``resource.label."zone"``, as the console writes it. Regular expressions are those of ``re2``.

Left out: the selectors ``group.id`` and ``metadata.*`` (Local Vertex has neither) and time series selectors such as
``select_slo_health``. Whatever cannot be evaluated raises FilterError naming it; nothing is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from vertex_deploy.local.monitoring import re2
from vertex_deploy.local.monitoring.tokens import Token, bare, tokens, unquoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_LENGTH = 8192
"""Characters in a filter; parentheses can therefore nest, but see MAX_DEPTH."""
MAX_DEPTH = 50
"""Nested parentheses and NOTs: a deeper filter is refused before Python's stack would overflow."""


class FilterError(ValueError):
    """The filter cannot be parsed or holds something that Local Vertex cannot evaluate."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison.

    Args:
        selector: canonical: ``metric.type``, ``metric.labels.KEY``, ``resource.type``, ``resource.labels.KEY``,
            ``project``.
        op: the operator.
        function: name of the function on the right, or "".
        values: the literal, or the function's arguments.
    """

    selector: str
    op: str
    function: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of the terms."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the terms."""

    terms: tuple[Node, ...]


Node: TypeAlias = "Comparison | Not | And | Or"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter is asked about: a time series, a metric descriptor or a monitored resource descriptor.

    A label that the subject lacks compares as the empty string.
    """

    project: str = ""
    metric_type: str = ""
    metric_labels: Mapping[str, str] | None = None
    resource_type: str = ""
    resource_labels: Mapping[str, str] | None = None

    def get(self, selector: str) -> str:
        """The value that a canonical selector names."""
        match selector.split(".", 2):
            case ["project"]:
                return self.project
            case ["metric", "type"]:
                return self.metric_type
            case ["resource", "type"]:
                return self.resource_type
            case ["metric", _, key]:
                return (self.metric_labels or {}).get(key, "")
            case [_, _, key]:
                return (self.resource_labels or {}).get(key, "")
        raise FilterError(f'the selector "{selector}" is not known')


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_LABEL = re.compile(r"(metric|resource)\.labels?\.([A-Za-z_][A-Za-z0-9_]*)")
_FUNCTIONS = {
    "starts_with": 1,
    "ends_with": 1,
    "has_substring": 1,
    "monitoring.regex.full_match": 1,
    "one_of": None,
}


class _Parser:
    """Recursive descent over the tokens; ``_at`` is the next one."""

    def __init__(self, text: str, selectors: Callable[[str], str]) -> None:
        self._selectors = selectors
        try:
            self._tokens = list(tokens(text))
        except ValueError as error:
            raise FilterError(str(error)) from None
        self._end = len(text)
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._or()
        if (token := self._peek()) is not None:
            raise FilterError(f'the filter cannot be parsed at position {token.at}: unexpected "{token.text}"')
        return node

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, wanted: str) -> Token:
        token = self._peek()
        if token is None:
            raise FilterError(f"the filter ends where {wanted} is expected, at position {self._end}")
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind != "string" and token.text in texts

    def _or(self) -> Node:
        terms = [self._and()]
        while self._is("OR"):
            self._at += 1
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _and(self) -> Node:
        terms = [self._not()]
        while self._peek() is not None and not self._is("OR", ")"):
            if self._is("AND"):
                self._at += 1
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _not(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"the filter nests deeper than {MAX_DEPTH}")
        try:
            if self._is("NOT", "-"):
                self._at += 1
                return Not(self._not())
            if self._is("("):
                self._at += 1
                inner = self._or()
                if (token := self._next('")"')).text != ")":
                    raise FilterError(f'the filter cannot be parsed at position {token.at}: ")" is expected')
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Comparison:
        token = self._next("a comparison")
        if token.kind != "word":
            raise FilterError(f'the filter cannot be parsed at position {token.at}: unexpected "{token.text}"')
        if self._is("("):
            raise FilterError(f'the function "{token.text}" cannot be used as a selector, at position {token.at}')
        try:
            selector = self._selectors(token.text)
        except FilterError as error:
            raise FilterError(f"{error}, at position {token.at}") from None
        op = self._next("an operator")
        if op.kind != "op":
            raise FilterError(f'the filter cannot be parsed at position {op.at}: "{op.text}" is not an operator')
        right = self._peek()
        function, values = self._right()
        try:
            return _checked(Comparison(selector, op.text, function, values), numbers=self._selectors is canonical)
        except FilterError as error:
            raise FilterError(f"{error}, at position {right.at if right else self._end}") from None

    def _right(self) -> tuple[str, tuple[str, ...]]:
        token = self._next("a value")
        if token.kind == "word" and self._is("("):
            if token.text not in _FUNCTIONS:
                raise FilterError(f'the function "{token.text}" is not known, at position {token.at}')
            self._at += 1
            return token.text, self._arguments(token)
        if token.kind not in ("string", "word") or token.text in ("AND", "OR", "NOT"):
            raise FilterError(f'the filter cannot be parsed at position {token.at}: "{token.text}" is not a value')
        return "", (unquoted(token.text),)

    def _arguments(self, function: Token) -> tuple[str, ...]:
        name = function.text
        values: list[str] = []
        while True:
            token = self._next("an argument")
            if token.kind not in ("string", "word"):
                raise FilterError(f'"{token.text}" is not an argument of "{name}", at position {token.at}')
            values.append(unquoted(token.text))
            after = self._next('")"')
            if after.text == ")":
                break
            if after.text != ",":
                raise FilterError(f'the filter cannot be parsed at position {after.at}: "," or ")" is expected')
        wanted = _FUNCTIONS[name]
        if wanted is not None and len(values) != wanted:
            raise FilterError(f'"{name}" takes {wanted} argument, not {len(values)}, at position {function.at}')
        return tuple(values)


def canonical(selector: str) -> str:
    """A selector with ``label`` and ``labels`` made one, and its key without quotes.

    Raises:
        FilterError: it is not one that Local Vertex can evaluate.
    """
    selector = bare(selector)
    if selector in ("project", "metric.type", "resource.type"):
        return selector
    if found := _LABEL.fullmatch(selector):
        return f"{found[1]}.labels.{found[2]}"
    raise FilterError(f'the selector "{selector}" is not supported')


def _checked(term: Comparison, *, numbers: bool) -> Comparison:
    if term.function and term.op not in ("=", "!="):
        raise FilterError(f'the operator "{term.op}" cannot be used with the function "{term.function}"')
    if numbers and term.op in ("<", "<=", ">", ">="):
        if not term.selector.startswith(("metric.labels.", "resource.labels.")):
            raise FilterError(f'the operator "{term.op}" cannot be used with "{term.selector}"')
        if not _NUMBER.fullmatch(term.values[0]):
            raise FilterError(f'the operator "{term.op}" needs a number, not "{term.values[0]}"')
    if term.function == "monitoring.regex.full_match":
        try:
            re2.pattern(term.values[0])
        except ValueError as error:
            raise FilterError(str(error)) from error
    return term


def parse(text: str, selectors: Callable[[str], str] = canonical) -> Node:
    """Parse a filter.

    Args:
        text: the filter; not empty.
        selectors: gives the canonical form of a selector or raises FilterError. Filters of other list methods, which
            have the same grammar, bring their own; what ``<`` and ``>`` compare is then up to them.

    Raises:
        FilterError: one line, naming what cannot be parsed or evaluated.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters; at most {MAX_LENGTH} are read")
    return _Parser(text, selectors).parse()


def matches(node: Node, subject: Subject) -> bool:
    """Whether the subject passes the filter."""
    match node:
        case Not(term):
            return not matches(term, subject)
        case And(terms):
            return all(matches(t, subject) for t in terms)
        case Or(terms):
            return any(matches(t, subject) for t in terms)
        case Comparison(selector, op, function, values):
            return _compare(subject.get(selector), op, function, values)


def _compare(  # noqa: PLR0911 - one return an operator or function
    actual: str, op: str, function: str, values: tuple[str, ...]
) -> bool:
    wanted = values[0]
    if op == "!=":
        return not _compare(actual, "=", function, values)
    if op == ":":
        return wanted in actual
    if op != "=":
        return _ordered(actual, op, float(wanted))
    match function:
        case "":
            return actual == wanted
        case "starts_with":
            return actual.startswith(wanted)
        case "ends_with":
            return actual.endswith(wanted)
        case "has_substring":
            return wanted in actual
        case "one_of":
            return actual in values
    return re2.full_match(wanted, actual)


def _ordered(actual: str, op: str, wanted: float) -> bool:
    if not _NUMBER.fullmatch(actual):
        return False
    value = float(actual)
    return {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[op]


def comparisons(node: Node) -> Iterator[Comparison]:
    """Every comparison in the tree."""
    match node:
        case Comparison():
            yield node
        case Not(term):
            yield from comparisons(term)
        case And(terms) | Or(terms):
            for term in terms:
                yield from comparisons(term)


def single_metric(node: Node) -> str | None:
    """The one metric type that every match must have, or None if the filter does not pin it to one."""
    return single_value(node, "metric.type")


def single_value(node: Node, selector: str) -> str | None:
    """The one value that every match must have, or None if the filter does not pin it to one.

    Only ``SELECTOR = "..."`` joined by AND counts: under OR or NOT it would leave others possible.

    Args:
        node: the filter.
        selector: canonical.
    """
    terms = node.terms if isinstance(node, And) else (node,)
    found = {single_value(t, selector) for t in terms if isinstance(t, And)} - {None}
    found |= {
        t.values[0]
        for t in terms
        if isinstance(t, Comparison) and (t.selector, t.op) == (selector, "=") and t.function in ("", "one_of")
        if len(t.values) == 1
    }
    return found.pop() if len(found) == 1 else None

"""Google's HTTP path templates: compiled when needed, matched against raw (still percent-encoded) paths. No I/O.

Grammar (google/api/http.proto): ``/v1/{name=projects/*/models/*}:verb``; ``*`` is one segment, ``**`` is any number.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_VARIABLE = re.compile(r"\{(?P<field>[^=}]+)(?:=(?P<template>[^}]+))?\}|(?P<wild>\*\*?)|(?P<text>[^{*]+)")
_PATTERNS = {"*": r"[^/]+", "**": r".+"}


def _wild(template: str) -> str:
    return "".join(_PATTERNS.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*)", template))


@cache
def compile_template(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A template as a regular expression with one group a variable, and the dotted fields the groups bind."""
    fields: list[str] = []
    pattern = ""
    for part in _VARIABLE.finditer(template):
        if part["field"]:
            fields.append(part["field"])
            pattern += f"({_wild(part['template'] or '*')})"
        else:
            pattern += _wild(part["wild"] or part["text"])
    return re.compile(pattern), tuple(fields)


class Routes(Generic[T]):
    """Templates and what they lead to.

    Looked up by method, verb and number of segments first, and compiled when a path may match, so that the thousand
    operation templates of the AI Platform clients cost nothing.
    """

    def __init__(self) -> None:
        self._fixed: dict[tuple[str, str, int], list[tuple[str, T]]] = {}
        self._open: dict[str, list[tuple[str, T]]] = {}

    def add(self, method: str, template: str, target: T) -> None:
        """Lead ``method`` on ``template`` to ``target``; the first that was added wins."""
        entry = (template, target)
        if "**" in template:
            self._open.setdefault(method, []).append(entry)
            return
        flat = re.sub(r"\{[^=}]+=([^}]+)\}", r"\1", template)
        flat = re.sub(r"\{[^}]+\}", "*", flat)
        _, _, verb = flat.rpartition("/")[2].partition(":")
        self._fixed.setdefault((method, verb, flat.count("/")), []).append(entry)

    def match(self, method: str, raw_path: str) -> tuple[T, dict[str, str]] | None:
        """Find the target of a path.

        Args:
            method: in capitals.
            raw_path: percent-encoded, without query.

        Returns:
            The target and the decoded value of each bound field, or None.
        """
        for template, target in self._candidates(method, raw_path):
            pattern, fields = compile_template(template)
            found = pattern.fullmatch(raw_path)
            if found is not None:
                return target, {name: unquote(value) for name, value in zip(fields, found.groups(), strict=True)}
        return None

    def _candidates(self, method: str, raw_path: str) -> Iterator[tuple[str, T]]:
        segments = raw_path.count("/")
        verb = raw_path.rpartition("/")[2].partition(":")[2]
        if verb:
            yield from self._fixed.get((method, verb, segments), ())
        yield from self._fixed.get((method, "", segments), ())
        yield from self._open.get(method, ())

"""deploy.yaml as a tree that remembers where each value was written.

A careful subset of YAML: one document of mappings with text keys, lists and plain values. Anchors, aliases, merge keys
and tags are left out (environments do their work, and a document cannot expand); ``yes``, ``on``, ``0o17`` and ``1:30``
are text, as in YAML 1.2. Refused: duplicate keys, more than 1 MiB, more than 32 levels, numbers that are not finite.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from vertex_deploy.errors import one_line
from vertex_deploy.spec.problems import Path, Problem, field_name

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_DIGITS = 18
"""Digits of the longest whole number: it fits 64 bits."""

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written.

    Args:
        value: None, bool, int, float, str, ``dict[str, Node]`` or ``list[Node]``.
        line: of the value, from 1.
        column: of the value, from 1.
        path: where in the file, as written: values of an environment start with ``environments``.
        key_line: of the key that holds it, or of the value itself in a list.
        key_column: see ``key_line``.
    """

    value: Any
    line: int
    column: int
    path: Path
    key_line: int
    key_column: int


class _RefusedError(Exception):
    """The document cannot be read on."""

    def __init__(self, mark: Any, message: str, fix: str, path: Path = ()) -> None:
        super().__init__(message)
        self.mark, self.message, self.fix, self.path = mark, message, fix, path


def parse(data: bytes, file: str) -> tuple[Node | None, list[Problem]]:
    """Read a document.

    Args:
        data: the file's bytes, UTF-8.
        file: its name, for the problems.

    Returns:
        The root, a mapping, or None if it cannot be read; and every problem found.
    """
    if len(data) > MAX_BYTES:
        return None, [Problem(file, 1, 1, "", "larger than 1 MiB", "a deploy.yaml is a few hundred lines at most")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Problem(file, line, 1, "", f"byte {error.start} is not UTF-8", "save the file as UTF-8")]
    try:
        return _Reader(text, file).read()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"character U+{error.character:04X} is not allowed in YAML"
        return None, [Problem(file, line, 1, "", character, "remove it, or escape it in double quotes")]


class _Reader:
    """Builds nodes from PyYAML's events: those come without recursion, so depth is ours to limit."""

    def __init__(self, text: str, file: str) -> None:
        self._loader: Any = yaml.SafeLoader(text)  # typed as Any: PyYAML is typed for documents, not for events
        self._file = file
        self._problems: list[Problem] = []

    def read(self) -> tuple[Node | None, list[Problem]]:
        try:
            return self._document(), self._problems
        except _RefusedError as error:
            self._report(error.mark, error.message, error.fix, error.path)
        except yaml.MarkedYAMLError as error:
            problem = one_line(error.problem or error.context or "it cannot be read")
            fix = "indent with spaces, not tabs" if "'\\t'" in problem else ""
            self._report(error.problem_mark or error.context_mark, f"not valid YAML: {problem}", fix)
        except (ValueError, OverflowError, IndexError) as error:
            # PyYAML passes on what chr() and int() raise for impossible escapes and versions.
            self._report(None, f"not valid YAML: {one_line(str(error))}", "")
        finally:
            self._loader.dispose()
        return None, self._problems

    def _report(self, mark: Any, message: str, fix: str, path: Path = ()) -> None:
        line, column = (mark.line, mark.column) if mark else (getattr(self._loader, "line", 0), 0)
        self._problems.append(Problem(self._file, line + 1, column + 1, field_name(path), message, fix))

    def _document(self) -> Node:
        self._loader.get_event()  # the start of the stream
        first = self._loader.get_event()
        if isinstance(first, yaml.StreamEndEvent):
            raise _RefusedError(None, "the file is empty", "the reference page of the spec has an example")
        event = self._loader.get_event()
        root = self._node(event, (), event.start_mark)
        if not isinstance(root.value, dict):
            raise _RefusedError(event.start_mark, f"must be a mapping, not {got(root)}", "start with name: ...")
        self._loader.get_event()  # the end of the document
        after = self._loader.get_event()
        if not isinstance(after, yaml.StreamEndEvent):
            raise _RefusedError(after.start_mark, "a second document", "keep one document a file; remove ---")
        return root

    def _node(self, event: Any, path: Path, key: Any) -> Node:
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            fix = "write the value out; environments override what differs"
            raise _RefusedError(mark, "anchors and aliases are not supported", fix, path)
        if getattr(event, "tag", None) not in (None, "!", _STR_TAG):
            raise _RefusedError(mark, f"tag {event.tag[:40]!r} is not supported", "remove the tag", path)
        if len(path) >= MAX_DEPTH:
            raise _RefusedError(mark, f"more than {MAX_DEPTH} levels", "no field is that deep", path[:4])
        if isinstance(event, yaml.MappingStartEvent):
            value: Any = self._mapping(path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := self._loader.get_event(), yaml.SequenceEndEvent):
                value.append(self._node(item, (*path, len(value)), item.start_mark))
        else:
            value = self._scalar(event, path)
        return Node(value, mark.line + 1, mark.column + 1, path, key.line + 1, key.column + 1)

    def _mapping(self, path: Path) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(key := self._loader.get_event(), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.anchor or key.tag not in (None, "!", _STR_TAG):
                raise _RefusedError(key.start_mark, "a key must be plain text", "write key: value", path)
            where = (*path, key.value)
            self._text(key, where)
            node = self._node(self._loader.get_event(), where, key.start_mark)
            if key.value in found:
                fix = f"it is already on line {found[key.value].key_line}; keep one"
                self._report(key.start_mark, "duplicate key", fix, where)
            else:
                found[key.value] = node
        return found

    def _scalar(self, event: Any, path: Path) -> Any:
        text = self._text(event, path)
        if event.style or event.tag:
            return text
        if _NULL.fullmatch(text):
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if _INT.fullmatch(text) or _INFINITE.fullmatch(text):
            raise _RefusedError(event.start_mark, f"{text[:24]!r} is not a usable number", "write a smaller one", path)
        if _FLOAT.fullmatch(text):
            if math.isinf(number := float(text)):
                raise _RefusedError(event.start_mark, f"{text[:24]!r} is too large", "write a smaller one", path)
            return number
        return text

    def _text(self, event: Any, path: Path) -> str:
        text: str = event.value
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
            raise _RefusedError(event.start_mark, "NUL and half characters cannot be used", "remove the escape", path)
        return text


def got(node: Node) -> str:
    """What a value is, for "must be ..., not ...": ``'abc'``, ``12``, ``a list``, ``nothing``."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true" if node.value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() as text:
            return repr(text) if len(text) <= 40 else repr(text[:37] + "...")  # noqa: PLR2004 - fits a line
        case number:
            return str(number)


def plain(node: Node) -> Any:
    """The values without their places; lists as tuples, which the models have."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return tuple(plain(child) for child in node.value)
    return node.value


def merge(base: Node, over: Node) -> Node:
    """``base`` with the overrides of ``over``; every value keeps the place where it was written.

    Mappings merge key by key, anything else replaces (lists too), and a null removes the key, so that the default
    applies.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged: dict[str, Node] = dict(base.value)
    for key, node in over.value.items():
        if node.value is None:
            # A null for a key that is nowhere stays: it may be misspelt, and validation names the right one.
            if key in merged:
                del merged[key]
            else:
                merged[key] = node
        else:
            merged[key] = merge(merged[key], node) if key in merged else node
    return replace(base, value=merged)


def locate(root: Node, path: Path) -> tuple[Node, Path]:
    """The deepest node on ``path``, and what is left of the path: not empty if a key is missing."""
    node = root
    for depth, part in enumerate(path):
        children: Mapping[str | int, Node] = {}
        if isinstance(node.value, dict):
            children = node.value
        elif isinstance(node.value, list):
            children = dict(enumerate(node.value))
        if part not in children:
            return node, path[depth:]
        node = children[part]
    return node, ()

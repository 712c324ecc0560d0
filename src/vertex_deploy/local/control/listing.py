"""Filter, order and pages of list calls. No I/O.

The filter language is the part of AIP-160 that Vertex AI documents for models and endpoints: comparisons joined by
AND; ``=``, ``!=`` and, for labels, ``labels.KEY:*`` and ``labels:KEY``; names in snake_case or camelCase
(ListModelsRequest of aiplatform v1). What it cannot evaluate is refused, never ignored.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from vertex_deploy.local.control.refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
_TERM = re.compile(
    r"""\s*(?P<field>[a-z][A-Za-z_]*(?:\.(?:[A-Za-z0-9_-]+|"[^"]+"))?)\s*(?P<op>!=|=|:)\s*"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'()]+)\s*"""
)
_AND = re.compile(r"AND\b\s*|(?=[a-z])")
MAX_TEXT = 8192
"""Characters in a filter or an order; every one is compared with every item, on the loop that serves predictions."""
MAX_PAGE = 1000
DEFAULT_PAGE = 100


class Page(NamedTuple):
    """One page of a list."""

    items: list[Any]
    next_token: str


def _value(raw: str) -> str:
    return re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw[:1] in {'"', "'"} else raw


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)


def matcher(text: str, fields: Mapping[str, Callable[[Any], str]]) -> Callable[[Any], bool]:
    """Compile a filter.

    Args:
        text: as the client sent it; empty matches all.
        fields: what may be compared: name -> how to read it. ``labels.KEY`` reads the item's ``labels``.

    Raises:
        ApiError: INVALID_ARGUMENT naming what cannot be evaluated.
    """
    if len(text) > MAX_TEXT:
        raise invalid(f"The filter has {len(text)} characters; at most {MAX_TEXT} are read.")
    tests: list[Callable[[Any], bool]] = []
    at = 0
    while at < len(text.rstrip()):
        if at:
            joined = _AND.match(text, at)
            if joined is None:
                raise invalid(f"Invalid filter '{text}': cannot evaluate '{text[at:]}'.")
            at = joined.end()
        found = _TERM.match(text, at)
        if found is None:
            raise invalid(f"Invalid filter '{text}': cannot evaluate '{text[at:]}'.")
        tests.append(_test(text, found["field"], found["op"], _value(found["value"]), fields))
        at = found.end()
    return lambda item: all(test(item) for test in tests)


def _test(
    text: str, field: str, op: str, value: str, fields: Mapping[str, Callable[[Any], str]]
) -> Callable[[Any], bool]:
    if field.startswith("labels."):
        key = field.removeprefix("labels.").strip('"')
        if op == ":" and value == "*":
            return lambda item: key in item.labels
        if op != ":":
            return lambda item: (item.labels.get(key) == value) == (op == "=")
    elif field == "labels" and op == ":" and value != "*":
        return lambda item: value in item.labels
    elif _snake(field) in fields and op != ":":
        read = fields[_snake(field)]
        return lambda item: (read(item) == value) == (op == "=")
    raise invalid(
        f"Invalid filter '{text}': '{field}{op}{value}' cannot be evaluated; "
        f"fields: {', '.join(sorted(fields))}, labels.KEY."
    )


def order(items: Sequence[T], text: str, fields: Mapping[str, Callable[[T], Any]]) -> list[T]:
    """Sort by ``order_by`` ("display_name, create_time desc"); empty keeps the order.

    Raises:
        ApiError: INVALID_ARGUMENT naming what cannot be sorted by.
    """
    if len(text) > MAX_TEXT:
        raise invalid(f"order_by has {len(text)} characters; at most {MAX_TEXT} are read.")
    result = list(items)
    for term in reversed([part.split() for part in text.split(",") if part.strip()]):
        name, direction = term[0], term[1].lower() if len(term) > 1 else "asc"
        if name not in fields or direction not in {"asc", "desc"} or len(term) > 2:  # noqa: PLR2004 - name, direction
            raise invalid(f"Invalid order_by '{text}'; fields: {', '.join(sorted(fields))}, each asc or desc.")
        result.sort(key=fields[name], reverse=direction == "desc")
    return result


def page(items: Sequence[Any], size: int, token: str) -> Page:
    """Cut one page.

    Args:
        items: all, in order.
        size: page_size of the request; 0 is ``DEFAULT_PAGE``, more than ``MAX_PAGE`` is ``MAX_PAGE``.
        token: page_token of the request.

    Raises:
        ApiError: INVALID_ARGUMENT for a negative size or a token that we did not give.
    """
    if size < 0:
        raise invalid(f"page_size must not be negative, got {size}.")
    start = 0
    if token:
        try:
            start = int(base64.urlsafe_b64decode(token.encode()).decode().removeprefix("o:"))
        except ValueError:
            raise invalid("Invalid page_token.") from None
    end = start + (min(size, MAX_PAGE) or DEFAULT_PAGE)
    following = base64.urlsafe_b64encode(f"o:{end}".encode()).decode() if end < len(items) else ""
    return Page(list(items[start:end]), following)

"""Filter, order and pages of the list methods of alerting. No I/O.

The grammar is that of monitoring filters (``monitoring.filters``) over the fields of the resource: ``state = "OPEN"``,
``policy.display_name:"canary" AND open_time > "2026-11-21T10:00:00Z"``, ``user_labels.rollout = one_of("a", "b")``.
Sources: cloud.google.com/monitoring/api/v3/sorting-and-filtering and the discovery document's projects.alerts.list.

Left out: fields not named by the caller, list indexes in brackets, and the pseudo fields ``.size`` and ``.empty``;
they are refused.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from vertex_deploy.local.monitoring import errors, filters
from vertex_deploy.local.wire.jsonpb import camel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

T = TypeVar("T")
_LABELS = re.compile(r"(?P<map>(?:[a-z]+\.)?(?:user_)?labels?)\.(?P<key>.+)")
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")


def _selectors(fields: Collection[str]) -> Callable[[str], str]:
    """What makes a selector canonical: snake_case, ``labels`` in the plural, one of ``fields`` (``labels.*``: any)."""

    def canonical(selector: str) -> str:
        found = _LABELS.fullmatch(selector)
        if found is None:
            name = _CAPITAL.sub(lambda c: "_" + c[0].lower(), selector)
            if name in fields:
                return name
        else:
            held = found["map"].removesuffix("s") + "s"
            if f"{held}.*" in fields:
                return f"{held}.{found['key']}"
        raise filters.FilterError(f'the field "{selector}" is not supported; fields: {", ".join(sorted(fields))}')

    return canonical


def _values(item: Any, selector: str) -> list[str]:
    """What a field holds in a resource's JSON, as text; a list holds several, an absent field the empty text."""
    found = _LABELS.fullmatch(selector)
    path = [camel(part) for part in (found["map"] if found else selector).split(".")]
    if found:
        path.append(found["key"])
    for part in path:
        item = item.get(part) if isinstance(item, dict) else None
    if isinstance(item, list):
        return [str(value) for value in item]
    return [str(item).lower() if isinstance(item, bool) else "" if item is None else str(item)]


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise filters.FilterError(f'"{text}" is not a time such as 2026-11-21T10:00:00Z') from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _compare(term: filters.Comparison, value: str) -> bool:
    if not term.selector.endswith("_time"):
        # The comparisons are those of monitoring filters, whatever the selector stands for.
        return filters.matches(replace(term, selector="metric.type"), filters.Subject(metric_type=value))
    if not value:
        return term.op == "!="
    have, wanted = _time(value), _time(term.values[0])
    return {
        "=": have == wanted,
        "!=": have != wanted,
        "<": have < wanted,
        "<=": have <= wanted,
        ">": have > wanted,
        ">=": have >= wanted,
    }[term.op]


def _holds(node: filters.Node, item: Any) -> bool:
    match node:
        case filters.Not(term):
            return not _holds(term, item)
        case filters.And(terms):
            return all(_holds(t, item) for t in terms)
        case filters.Or(terms):
            return any(_holds(t, item) for t in terms)
        case filters.Comparison():
            values = _values(item, node.selector)
            if node.op == "!=":
                return all(_compare(node, value) for value in values)
            return any(_compare(node, value) for value in values)


def _check(term: filters.Comparison) -> None:
    if term.selector.endswith("_time"):
        _time(term.values[0])
        if term.op == ":" or term.function:
            raise filters.FilterError(f'a time cannot be compared with "{term.function or term.op}"')
    elif term.op in {"<", "<=", ">", ">="}:
        raise filters.FilterError(f'the operator "{term.op}" cannot be used with "{term.selector}"')


def matcher(text: str, fields: Collection[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Compile a filter.

    Args:
        text: as the client sent it; empty matches all.
        fields: what may be compared, snake_case; ``user_labels.*`` for any entry of a map.

    Returns:
        Takes a resource in its JSON form.

    Raises:
        ApiError: INVALID_ARGUMENT naming what cannot be evaluated.
    """
    if not text.strip():
        return lambda _: True
    try:
        tree = filters.parse(text, _selectors(fields))
        for term in filters.comparisons(tree):
            _check(term)
    except filters.FilterError as error:
        raise errors.field("filter", text[:1000], f"{error}.") from error
    return lambda item: _holds(tree, item)


def order(items: Sequence[T], text: str, fields: Collection[str], read: Callable[[T], Mapping[str, Any]]) -> list[T]:
    """Sort by ``order_by``: fields separated by commas, ``-field`` or ``field desc`` for the reverse.

    Args:
        items: in the order to keep where nothing else decides.
        text: as the client sent it; empty keeps the order.
        fields: as for ``matcher``.
        read: gives an item in its JSON form.

    Raises:
        ApiError: INVALID_ARGUMENT naming what cannot be sorted by.
    """
    if len(text) > filters.MAX_LENGTH:
        raise errors.field("orderBy", text[:100], f"At most {filters.MAX_LENGTH} characters are read.")
    out = list(items)
    for term in reversed([part.strip() for part in text.split(",") if part.strip()]):
        name, _, direction = term.removeprefix("-").partition(" ")
        try:
            selector = _selectors(fields)(name)
        except filters.FilterError as error:
            raise errors.field("orderBy", text[:1000], f"{error}.") from error
        if direction.strip().lower() not in {"", "asc", "desc"}:
            raise errors.field("orderBy", text, f'"{direction.strip()}" is not a direction; use asc or desc.')
        down = term.startswith("-") != (direction.strip().lower() == "desc")
        out.sort(key=lambda item: _values(read(item), selector), reverse=down)
    return out


def page(
    items: Sequence[T], size: int, token: str, *, default: int = 1000, most: int = 1000
) -> tuple[Sequence[T], str]:
    """Cut one page.

    Args:
        items: all, in order.
        size: page_size of the request; 0 or less is ``default``, more than ``most`` is ``most``.
        token: page_token of the request.
        default: entries where the request gives no size.
        most: entries at most.

    Returns:
        The page and the token of the next, "" after the last.

    Raises:
        ApiError: INVALID_ARGUMENT, the token is not ours.
    """
    first = 0
    if token:
        try:
            first = int(base64.urlsafe_b64decode(token.encode()).decode().removeprefix("from:"))
        except ValueError:
            first = -1
        if first < 0:
            raise errors.field("pageToken", token, "The page token is not valid for this request.")
    last = first + (min(size, most) if size > 0 else default)
    following = base64.urlsafe_b64encode(f"from:{last}".encode()).decode() if last < len(items) else ""
    return items[first:last], following

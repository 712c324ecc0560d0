"""Listing of objects with prefix, delimiter and pages. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vertex_deploy.local.storage.errors import invalid
from vertex_deploy.local.storage.preconditions import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_RESULTS = 1000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Args:
        items: names, in order.
        prefixes: folders, in order.
        token: of the next page, or "".
    """

    items: tuple[str, ...]
    prefixes: tuple[str, ...]
    token: str


def limit(query: Mapping[str, str]) -> int:
    """``maxResults``, at most 1000.

    Raises:
        StorageError: 400.
    """
    wanted = number(query, "maxResults")
    if wanted is not None and wanted < 0:
        raise invalid(f"Invalid value '{wanted}' for maxResults: it must not be negative.", "maxResults")
    return min(wanted or MAX_RESULTS, MAX_RESULTS)


def encode_token(last: str) -> str:
    """A page token: the last entry of the page before."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_token(token: str) -> str:
    """The last entry of the page before; "" for the first page.

    Raises:
        StorageError: 400.
    """
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("Invalid pageToken", "pageToken") from None


def page_of(items: Sequence[T], query: Mapping[str, str], name: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """A page of things in order of their names, and the token of the next.

    Raises:
        StorageError: 400.
    """
    after, most = decode_token(query.get("pageToken", "")), limit(query)
    rest = [item for item in items if name(item) > after] if after else items
    page = rest[:most]
    return page, encode_token(name(page[-1])) if len(rest) > most else ""


def page(names: Sequence[str], query: Mapping[str, str]) -> Page:
    """Fold names at the delimiter and cut a page; folders count as results, as in the real API.

    Args:
        names: in order, all beginning with ``prefix``.
        query: ``prefix``, ``delimiter``, ``startOffset``, ``endOffset``, ``includeTrailingDelimiter``, ``maxResults``,
            ``pageToken``.

    Raises:
        StorageError: 400.
    """
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    trailing = query.get("includeTrailingDelimiter", "").lower() == "true"
    after, most = decode_token(query.get("pageToken", "")), limit(query)
    entries: dict[tuple[str, bool], None] = {}
    for name in names:
        if name < start or (end and name >= end):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            entries[name, False] = None
            continue
        folder = name[: at + len(delimiter)]
        entries[folder, True] = None
        if trailing and name == folder:
            entries[name, False] = None
    rest = sorted((e for e in entries if _mark(*e) > after), key=lambda e: _mark(*e))
    cut = rest[:most]
    return Page(
        tuple(n for n, folder in cut if not folder),
        tuple(n for n, folder in cut if folder),
        encode_token(_mark(*cut[-1])) if len(rest) > most else "",
    )


def _mark(name: str, folder: bool) -> str:
    """Orders an object before the folder of the same name (only with includeTrailingDelimiter are both listed)."""
    return name + ("\x01" if folder else "\x00")

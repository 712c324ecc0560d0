"""Range and Content-Range headers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vertex_deploy.local.storage.errors import StorageError, invalid

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes a download asks for.

    Args:
        header: ``Range``, or None.
        size: of the object, bytes.

    Returns:
        First byte and the one after the last; None for the whole object. A header that is not a single byte range is
        ignored, as RFC 9110 says.

    Raises:
        StorageError: 416, outside the object.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[0] == "bytes=-":
        return None
    if not found[1]:
        first, last = max(size - int(found[2]), 0), size
        unsatisfiable = int(found[2]) == 0 or size == 0
    else:
        first, last = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        unsatisfiable = first >= size or bool(found[2] and int(found[2]) < first)
    if unsatisfiable:
        raise StorageError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
    return first, last


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a request to a resumable session sends.

    Args:
        first: offset of its first byte; None: it only asks how far the upload is.
        last: offset of its last byte.
        total: size of the whole object, None while it is unknown.
    """

    first: int | None
    last: int | None
    total: int | None


def chunk(header: str) -> Chunk:
    """Read ``Content-Range`` of a resumable upload.

    Raises:
        StorageError: 400.
    """
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        raise invalid(f"Failed to parse Content-Range header: {header[:100]}")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return Chunk(None, None, total)
    first, last = int(found[1]), int(found[2])
    if last < first or (total is not None and last >= total):
        raise invalid(f"Invalid Content-Range header: {header[:100]}")
    return Chunk(first, last, total)

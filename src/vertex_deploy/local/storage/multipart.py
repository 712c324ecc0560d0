"""multipart/related of an upload: one JSON part, then the content. Pure.

Line ends may be CRLF (google-cloud-storage) or LF (apitools, and so gcloud).
"""

from __future__ import annotations

import re
from typing import Any

from vertex_deploy.local.storage.body import json_object
from vertex_deploy.local.storage.errors import invalid

_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"]+)"|'([^']+)'|([^;\s]+))""", re.IGNORECASE)


def boundary(content_type: str) -> bytes:
    """The boundary of a multipart/related Content-Type.

    Raises:
        StorageError: 400.
    """
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.strip().lower().startswith("multipart/"):
        raise invalid("The Content-Type of a multipart upload must be multipart/related with a boundary.")
    return (found[1] or found[2] or found[3]).encode()


def split(body: bytes, limit: bytes) -> tuple[dict[str, Any], str, bytes]:
    """Metadata, content type of the second part, and content.

    Args:
        body: the whole request body.
        limit: the boundary.

    Raises:
        StorageError: 400, not two parts or the first is not a JSON object.
    """
    mark = b"--" + limit
    start = body.find(mark)
    middle = body.find(b"\n" + mark, start + len(mark))
    # From the end: the content itself may hold the boundary's text.
    end = body.rfind(b"\n" + mark + b"--")
    if start != 0 and body[:start].strip():
        start = -1
    if min(start, middle, end) < 0 or end <= middle:
        raise invalid("Malformed multipart body: two parts are expected.")
    _, first = _part(body[start + len(mark) : _before_line_end(body, middle)])
    headers, content = _part(body[middle + 1 + len(mark) : _before_line_end(body, end)])
    try:
        metadata = json_object(first)
    except ValueError as error:
        raise invalid(f"Malformed multipart body: the first part {error}.") from None
    return metadata, headers.get("content-type", ""), content


def _before_line_end(body: bytes, newline: int) -> int:
    return newline - 1 if body[newline - 1 : newline] == b"\r" else newline


def _part(part: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and content of a part; ``part`` begins with the line end of its boundary."""
    found = re.match(rb"[ \t]*\r?\n((?:[^\r\n]+\r?\n)*)\r?\n", part)
    if found is None:
        raise invalid("Malformed multipart body: a part has no headers.")
    lines = found[1].decode("latin-1").splitlines()
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return headers, part[found.end() :]

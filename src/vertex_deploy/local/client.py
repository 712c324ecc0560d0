"""What the command line asks of a running Local Vertex: its own ``/local/v1`` over HTTP, and log files."""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlencode

from vertex_deploy.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vertex_deploy.local.daemon import Running

_TIMEOUT_S = 10.0
_ERROR = 400
_POLL_S = 0.2


def send(
    running: Running,
    method: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One request.

    Raises:
        LocalError: it does not answer, or refuses; with its message.
    """
    connection = http.client.HTTPConnection("127.0.0.1", running.ports.rest, timeout=_TIMEOUT_S)
    try:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data else {}
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, data, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LocalError(f"Local Vertex does not answer at {running.rest}{path} ({error}); see its log") from None
    finally:
        connection.close()
    if answer.status >= _ERROR:
        raise LocalError(content.get("error", {}).get("message", str(content)))
    found: dict[str, Any] = content
    return found


def get(running: Running, path: str) -> dict[str, Any]:
    """A GET request; errors as for ``send``."""
    return send(running, "GET", path)


def print_logs(paths: Sequence[Path], *, lines: int, follow: bool, out: TextIO | None = None) -> None:
    """Print the ends of log files, each line with its file's name if there are several.

    Args:
        paths: the files.
        lines: from the end of each.
        follow: go on until interrupted; a file that is replaced (rotated) is opened again.
        out: where to; standard output if None.

    Raises:
        LocalError: none of the files is there.
    """
    out = out or sys.stdout
    there = [path for path in paths if path.exists()]
    if not there:
        raise LocalError(f"no log yet: {', '.join(map(str, paths)) or 'nothing runs'}")
    offsets: dict[Path, tuple[int, int]] = {}
    for path in there:
        content = path.read_bytes()
        offsets[path] = (path.stat().st_ino, len(content))
        kept = content.decode(errors="replace").splitlines()
        _write(out, path, kept[len(kept) - min(lines, len(kept)) :], several=len(there) > 1)
    while follow:
        time.sleep(_POLL_S)
        for path, (inode, offset) in offsets.items():
            offsets[path] = _more(out, path, inode, offset, several=len(there) > 1)


def _more(out: TextIO, path: Path, inode: int, offset: int, *, several: bool) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return inode, offset
    if found.st_ino != inode or found.st_size < offset:
        offset = 0
    if found.st_size > offset:
        with path.open("rb") as stream:
            stream.seek(offset)
            fresh = stream.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        _write(out, path, whole.decode(errors="replace").splitlines(), several=several)
        offset += len(whole)
    return found.st_ino, offset


def _write(out: TextIO, path: Path, lines: Sequence[str], *, several: bool) -> None:
    lead = f"{path.stem}: " if several else ""
    out.writelines(f"{lead}{line}\n" for line in lines)
    out.flush()

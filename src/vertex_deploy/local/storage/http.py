"""What the HTTP handlers share: path segments, JSON bodies and answers."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from vertex_deploy.local.storage.body import json_object
from vertex_deploy.local.storage.errors import StorageError, invalid, too_large
from vertex_deploy.local.storage.resources import partial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_JSON = 1 << 20
_LOG = logging.getLogger(__name__)


def base_url(request: web.Request) -> str:
    """The server's URL as the client wrote it, from its Host header."""
    return f"{request.scheme}://{request.host}"


_AFTER_B = {"bucket": 1, "object": 3, "bucket2": 6, "object2": 8}


def segment(request: web.Request, which: str) -> str:
    """A decoded path segment: ``bucket``, ``object``, or ``bucket2`` and ``object2`` of a copy's destination.

    Taken from the raw path (.../b/B/o/O/rewriteTo/b/B2/o/O2): an object's name may hold encoded slashes.

    Raises:
        StorageError: 400.
    """
    parts = request.rel_url.raw_path.split("/")
    try:
        return unquote(parts[parts.index("b") + _AFTER_B[which]], errors="strict")
    except UnicodeDecodeError:
        raise invalid("The object name is not valid UTF-8.", "name") from None


async def read(request: web.Request, limit: int) -> bytes:
    """The body.

    Raises:
        StorageError: 413.
    """
    data = bytearray()
    async for piece in request.content.iter_chunked(1 << 18):
        data += piece
        if len(data) > limit:
            raise too_large(limit)
    return bytes(data)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object.

    Raises:
        StorageError: 400, 413.
    """
    data = await read(request, MAX_JSON)
    try:
        return json_object(data) if data.strip() else {}
    except ValueError as error:
        raise StorageError(400, "parseError", f"Parse Error: the request body {error}.") from None


def answer(request: web.Request, resource: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer, cut down to ``fields``."""
    fields = request.query.get("fields")
    return web.json_response(partial(resource, fields) if fields else resource, headers=headers)


def guarded(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Turn errors into the real API's answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except StorageError as error:
            return _error(request, error)
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, ConnectionError):
                raise
            _LOG.exception("%s %s failed", request.method, request.path)
            return _error(request, StorageError(503, "backendError", f"The store failed: {error}"))
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - an answer that clients can read
            _LOG.exception("%s %s failed", request.method, request.path)
            return _error(request, StorageError(500, "backendError", "Internal error; Local Vertex's log has more."))

    return handle


def _error(request: web.Request, error: StorageError) -> web.Response:
    if error.status == 304:  # noqa: PLR2004 - HTTP: not modified has no body
        return web.Response(status=304)
    if request.method == "GET" and request.query.get("alt") == "media":
        return web.Response(status=error.status, text=error.message)
    return web.json_response(error.body(), status=error.status)

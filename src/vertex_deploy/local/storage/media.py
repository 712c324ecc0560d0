"""HTTP handlers of an object's bytes: download, and upload in its three forms."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aiohttp import web

from vertex_deploy.local.storage import errors, multipart, ranges
from vertex_deploy.local.storage.http import answer, base_url, read, read_json, segment
from vertex_deploy.local.storage.names import check_object
from vertex_deploy.local.storage.objects import refuse
from vertex_deploy.local.storage.preconditions import Preconditions
from vertex_deploy.local.storage.resources import OBJECT_WRITABLE, Object, writable
from vertex_deploy.local.storage.uploads import Session, Sessions, new_id

if TYPE_CHECKING:
    from vertex_deploy.local.storage.content import ContentWriter
    from vertex_deploy.local.storage.objects import ObjectHandlers
    from vertex_deploy.local.storage.store import ObjectStore

_LOG = logging.getLogger(__name__)
MAX_MULTIPART = 128 << 20
"""A multipart body is held in memory; larger objects need a resumable upload (Google's clients use one above 8 MiB)."""
_PIECE = 1 << 20
_RESUME_INCOMPLETE = 308


class MediaHandlers:
    """objects.get?alt=media and objects.insert.

    Args:
        store: the objects.
        objects: finds the object of a download.
    """

    def __init__(self, store: ObjectStore, objects: ObjectHandlers) -> None:
        self._store = store
        self._objects = objects
        self.sessions = Sessions()

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The bytes of an object, or the part that ``Range`` names. An error before the first byte is text."""
        found = self._objects.find(request)
        span = ranges.wanted(request.headers.get("Range"), found.size)
        first, last = span or (0, found.size)
        headers = _headers(found)
        if span:
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{found.size}"
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        response.content_length = last - first
        with self._store.open(found) as file:
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            file.seek(first)
            left = last - first
            while left:
                try:
                    piece = await asyncio.to_thread(file.read, min(left, _PIECE))
                except OSError:
                    _LOG.exception("%s: a download was cut off", request.path)
                    piece = b""
                if not piece:
                    # The headers are sent: only a cut connection tells the client that this is not the whole.
                    if request.transport is not None:
                        request.transport.abort()
                    return response
                left -= len(piece)
                await response.write(piece)
        await response.write_eof()
        return response

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Metadata, or bytes with ``alt=media``."""
        if request.query.get("alt") == "media":
            return await self.download(request)
        return await self._objects.get(request)

    async def insert(self, request: web.Request) -> web.StreamResponse:
        """Upload, or begin a resumable upload."""
        refuse(request, "kmsKeyName")
        match request.query.get("uploadType"):
            case "media":
                return await self._media(request)
            case "multipart":
                return await self._multipart(request)
            case "resumable":
                return await self._begin(request)
        raise errors.invalid("uploadType must be media, multipart or resumable.", "uploadType")

    async def _media(self, request: web.Request) -> web.StreamResponse:
        bucket, name = segment(request, "bucket"), check_object(request.query.get("name", ""))
        encoding = request.query.get("contentEncoding")
        body = _body({"contentEncoding": encoding} if encoding else {}, request.headers.get("Content-Type", ""))
        when = Preconditions.of(request.query)
        self._store.check_write(bucket, name, when)
        writer = self._store.content.writer()
        try:
            async for piece in request.content.iter_chunked(_PIECE):
                await asyncio.to_thread(writer.write, piece)
            made = await self._finish(writer, bucket, name, body, when, _announced(request, {}))
        except BaseException:
            writer.abort()
            raise
        return answer(request, made.json(base_url(request)))

    async def _multipart(self, request: web.Request) -> web.StreamResponse:
        limit = multipart.boundary(request.headers.get("Content-Type", ""))
        sent, content_type, data = multipart.split(await read(request, MAX_MULTIPART), limit)
        bucket, name = segment(request, "bucket"), _name(request, sent)
        body = _body(sent, content_type)
        writer = self._store.content.writer()
        try:
            await asyncio.to_thread(writer.write, data)
            when = Preconditions.of(request.query)
            made = await self._finish(writer, bucket, name, body, when, _announced(request, sent))
        except BaseException:
            writer.abort()
            raise
        return answer(request, made.json(base_url(request)))

    async def _finish(  # noqa: PLR0917 - an upload is these six things
        self,
        writer: ContentWriter,
        bucket: str,
        name: str,
        body: dict[str, Any],
        when: Preconditions,
        announced: tuple[str | None, str | None],
    ) -> Object:
        content = await asyncio.to_thread(writer.finish)
        content.verify(*announced)
        return await asyncio.to_thread(self._store.put, bucket, name, content, body, when=when)

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        sent = await read_json(request)
        bucket, name = segment(request, "bucket"), _name(request, sent)
        body = _body(sent, request.headers.get("X-Upload-Content-Type", ""))
        when = Preconditions.of(request.query)
        self._store.check_write(bucket, name, when)
        session = Session(new_id(), bucket, name, body, when, self._store.content.writer(), _announced(request, sent))
        self.sessions.add(session)
        query = urlencode({"uploadType": "resumable", "name": name, "upload_id": session.id}, quote_via=quote)
        path = request.rel_url.raw_path
        return web.Response(
            headers={"Location": f"{base_url(request)}{path}?{query}", "X-GUploader-UploadID": session.id}
        )

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Bytes of a resumable upload, or the question how many have arrived."""
        session = self.sessions.get(request.query.get("upload_id", ""))
        async with session.lock:
            if session.done is not None:
                return answer(request, session.done.json(base_url(request)))
            header = request.headers.get("Content-Range")
            chunk = ranges.chunk(header) if header else ranges.Chunk(0, None, None)
            arrived = chunk.first is None or await self._append(request, session, chunk)
            size = session.writer.size
            whole = chunk.total == size or (header is None and request.content_length in (None, size))
            if not (arrived and whole):
                headers = {"X-GUploader-UploadID": session.id}
                if size:
                    headers["Range"] = f"bytes=0-{size - 1}"
                return web.Response(status=_RESUME_INCOMPLETE, headers=headers)
            try:
                session.done = await self._finish(
                    session.writer,
                    session.bucket,
                    session.name,
                    session.body,
                    session.when,
                    session.announced,
                )
            except errors.StorageError:
                self.sessions.drop(session.id)
                raise
        return answer(request, session.done.json(base_url(request)))

    async def _append(self, request: web.Request, session: Session, chunk: ranges.Chunk) -> bool:
        """Append what is new of a chunk; a client that missed an answer may send bytes again.

        Returns:
            Whether the body came to its end; if its connection broke, what has arrived is kept and the client asks.

        Raises:
            StorageError: 503, bytes are missing before the chunk; 413.
        """
        first = chunk.first or 0
        size = session.writer.size
        if first > size:
            raise errors.StorageError(
                503, "backendError", f"Invalid request. {size} bytes have arrived, the next cannot be byte {first}."
            )
        repeated = size - first
        left = chunk.last + 1 - size if chunk.last is not None else None
        try:
            async for piece in request.content.iter_chunked(_PIECE):
                fresh = piece[repeated:]
                repeated = max(repeated - len(piece), 0)
                if left is not None:
                    fresh = fresh[: max(left, 0)]
                    left -= len(fresh)
                await asyncio.to_thread(session.writer.write, fresh)
        except (ConnectionError, web.RequestPayloadError):
            return False
        return True

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Give up a resumable upload."""
        session = self.sessions.get(request.query.get("upload_id", ""))
        self.sessions.drop(session.id)
        return web.Response(status=499)


def _name(request: web.Request, sent: dict[str, Any]) -> str:
    name = request.query.get("name") or sent.get("name")
    if not isinstance(name, str):
        raise errors.required("name")
    return check_object(name)


def _body(sent: dict[str, Any], content_type: str) -> dict[str, Any]:
    given = {name: value for name, value in sent.items() if value is not None}
    return writable({"contentType": content_type or "application/octet-stream", **given}, OBJECT_WRITABLE)


def _announced(request: web.Request, sent: dict[str, Any]) -> tuple[str | None, str | None]:
    """CRC32C and MD5 that the client computed: in the resource or in X-Goog-Hash."""
    hashes = dict(sent)
    for header in request.headers.getall("X-Goog-Hash", []):
        for one in header.split(","):
            kind, _, value = one.strip().partition("=")
            hashes.setdefault({"crc32c": "crc32c", "md5": "md5Hash"}.get(kind, kind), value)
    return hashes.get("crc32c"), hashes.get("md5Hash") or request.headers.get("Content-MD5")


def _headers(found: Object) -> dict[str, str]:
    hashes = [f"crc32c={found.crc32c}"] + ([f"md5={found.md5}"] if found.md5 else [])
    named = {
        "Cache-Control": "cacheControl",
        "Content-Disposition": "contentDisposition",
        "Content-Encoding": "contentEncoding",
        "Content-Language": "contentLanguage",
    }
    meta = {f"X-Goog-Meta-{k}": json.dumps(v)[1:-1] for k, v in found.body.get("metadata", {}).items() if _token(k)}
    return {
        "Accept-Ranges": "bytes",
        "Content-Type": found.body.get("contentType", "application/octet-stream"),
        "ETag": found.etag,
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Stored-Content-Length": str(found.size),
        "X-Goog-Stored-Content-Encoding": found.body.get("contentEncoding", "identity"),
        "X-Goog-Storage-Class": found.body.get("storageClass", "STANDARD"),
        **{header: found.body[key] for header, key in named.items() if key in found.body},
        **meta,
    }


def _token(key: str) -> bool:
    return key.replace("-", "").replace("_", "").isalnum() and key.isascii()

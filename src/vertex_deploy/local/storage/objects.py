"""HTTP handlers of objects, but for their bytes (``media``)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vertex_deploy.local.storage import errors
from vertex_deploy.local.storage.http import answer, base_url, read_json, segment
from vertex_deploy.local.storage.listing import page
from vertex_deploy.local.storage.names import check_object
from vertex_deploy.local.storage.preconditions import Preconditions, number
from vertex_deploy.local.storage.resources import OBJECT_WRITABLE, Object, patched, writable

if TYPE_CHECKING:
    from vertex_deploy.local.storage.content import Content
    from vertex_deploy.local.storage.store import ObjectStore

MAX_COMPONENTS = 32
_PIECE = 1 << 20


def refuse(request: web.Request, *names: str) -> None:
    """Refuse parameters that ask for what is left out.

    Raises:
        StorageError: 501.
    """
    for name in names:
        if request.query.get(name, "").lower() not in ("", "false"):
            raise errors.unsupported(name)


class ObjectHandlers:
    """objects.get, list, patch, delete, copy, rewrite, compose.

    Args:
        store: the objects.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Objects and folders; ``versions=true`` lists the live ones, which are all there are without versioning."""
        refuse(request, "softDeleted", "matchGlob", "filter")
        query = request.query
        bucket = segment(request, "bucket")
        if query.get("versions", "").lower() == "true" and self._store.bucket(bucket).versioned:
            raise errors.unsupported("versions of a bucket with versioning")
        found = {o.name: o for o in await asyncio.to_thread(self._store.list, bucket, query.get("prefix", ""))}
        cut = page(list(found), query)
        out: dict[str, Any] = {"kind": "storage#objects"}
        if cut.token:
            out["nextPageToken"] = cut.token
        if cut.prefixes:
            out["prefixes"] = list(cut.prefixes)
        if cut.items:
            out["items"] = [found[name].json(base_url(request)) for name in cut.items]
        return answer(request, out)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The metadata of an object."""
        return answer(request, self.find(request).json(base_url(request)))

    def find(self, request: web.Request) -> Object:
        """The object that a read names.

        Raises:
            StorageError: 404, 412, 304.
        """
        refuse(request, "softDeleted")
        return self._store.get(
            segment(request, "bucket"),
            segment(request, "object"),
            generation=number(request.query, "generation"),
            when=Preconditions.of(request.query),
        )

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Change some fields of an object."""
        sent = await read_json(request)
        found = await asyncio.to_thread(
            self._store.patch,
            segment(request, "bucket"),
            segment(request, "object"),
            partial(patched, sent=sent, kept=OBJECT_WRITABLE),
            generation=number(request.query, "generation"),
            when=Preconditions.of(request.query),
        )
        return answer(request, found.json(base_url(request)))

    async def update(self, request: web.Request) -> web.StreamResponse:
        """Replace all fields of an object."""
        body = writable(await read_json(request), OBJECT_WRITABLE)
        found = await asyncio.to_thread(
            self._store.patch,
            segment(request, "bucket"),
            segment(request, "object"),
            lambda _: body,
            generation=number(request.query, "generation"),
            when=Preconditions.of(request.query),
        )
        return answer(request, found.json(base_url(request)))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete an object."""
        await asyncio.to_thread(
            self._store.delete,
            segment(request, "bucket"),
            segment(request, "object"),
            generation=number(request.query, "generation"),
            when=Preconditions.of(request.query),
        )
        return web.Response(status=204)

    async def _copied(self, request: web.Request) -> Object:
        refuse(request, "destinationKmsKeyName")
        sent = await read_json(request)
        return await asyncio.to_thread(
            self._store.copy,
            (segment(request, "bucket"), segment(request, "object")),
            (segment(request, "bucket2"), check_object(segment(request, "object2"))),
            generation=number(request.query, "sourceGeneration"),
            # An empty resource means: as the source is; any other replaces its metadata.
            body=writable(sent, OBJECT_WRITABLE) if set(sent) - {"name", "bucket"} else None,
            source_when=Preconditions.of(request.query, "ifSource"),
            when=Preconditions.of(request.query),
        )

    async def copy(self, request: web.Request) -> web.StreamResponse:
        """Copy an object."""
        return answer(request, (await self._copied(request)).json(base_url(request)))

    async def rewrite(self, request: web.Request) -> web.StreamResponse:
        """Copy an object; always done in one call, since bytes are shared."""
        copied = await self._copied(request)
        return answer(
            request,
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": str(copied.size),
                "objectSize": str(copied.size),
                "done": True,
                "resource": copied.json(base_url(request)),
            },
        )

    async def compose(self, request: web.Request) -> web.StreamResponse:
        """Concatenate up to 32 objects of the bucket."""
        refuse(request, "kmsKeyName")
        sent = await read_json(request)
        parts = sent.get("sourceObjects")
        if not isinstance(parts, list) or not 0 < len(parts) <= MAX_COMPONENTS:
            raise errors.invalid(f"The number of source components must be between 1 and {MAX_COMPONENTS}.")
        bucket, name = segment(request, "bucket"), check_object(segment(request, "object"))
        when = Preconditions.of(request.query)
        self._store.check_write(bucket, name, when)
        sources = [self._component(bucket, part) for part in parts]
        destination = sent.get("destination") or {}
        if not isinstance(destination, dict):
            raise errors.invalid("Invalid value for destination: an object is expected.", "destination")
        body = writable(destination, OBJECT_WRITABLE)
        body.setdefault("contentType", sources[0].body.get("contentType", "application/octet-stream"))
        content = await asyncio.to_thread(self._joined, sources)
        count = sum(max(s.components, 1) for s in sources)
        made = await asyncio.to_thread(self._store.put, bucket, name, content, body, when=when, components=count)
        return answer(request, made.json(base_url(request)))

    def _component(self, bucket: str, part: object) -> Object:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise errors.required("sourceObjects.name")
        # Google's client sends null where it does not know a generation.
        numbers = {k: str(v) for k, v in part.items() if k == "generation" and v is not None}
        conditions = part.get("objectPreconditions") or {}
        if not isinstance(conditions, dict):
            raise errors.invalid("Invalid value for objectPreconditions: an object is expected.")
        when = Preconditions.of({k: str(v) for k, v in conditions.items() if v is not None})
        generation = number(numbers, "generation")
        return self._store.get(bucket, part["name"], generation=generation, when=when, read=False)

    def _joined(self, sources: list[Object]) -> Content:
        writer = self._store.content.writer()
        try:
            for source in sources:
                with self._store.open(source) as file:
                    while piece := file.read(_PIECE):
                        writer.write(piece)
            return writer.finish()
        except BaseException:
            writer.abort()
            raise

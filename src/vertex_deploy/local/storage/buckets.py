"""HTTP handlers of buckets."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from vertex_deploy.local.storage import errors
from vertex_deploy.local.storage.http import answer, base_url, read_json, segment
from vertex_deploy.local.storage.listing import page_of
from vertex_deploy.local.storage.names import check_bucket
from vertex_deploy.local.storage.preconditions import Preconditions
from vertex_deploy.local.storage.resources import BUCKET_WRITABLE, patched, writable

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.local.storage.store import ObjectStore


class BucketHandlers:
    """buckets.insert, get, list, patch, update, delete, getStorageLayout.

    Args:
        store: the buckets.
        project_id: gives the project id for what a request names, which may be a number.
    """

    def __init__(self, store: ObjectStore, project_id: Callable[[str], str]) -> None:
        self._store = store
        self._project_id = project_id

    def _project(self, request: web.Request) -> str:
        project = request.query.get("project", "")
        if not project:
            raise errors.required("project")
        return self._project_id(project)

    async def insert(self, request: web.Request) -> web.StreamResponse:
        """Create a bucket."""
        project = self._project(request)
        sent = await read_json(request)
        if not isinstance(sent.get("name"), str):
            raise errors.required("name")
        body = writable(sent, BUCKET_WRITABLE, bucket=True)
        bucket = await asyncio.to_thread(self._store.create_bucket, check_bucket(sent["name"]), project, body)
        return answer(request, bucket.json(base_url(request)))

    async def list(self, request: web.Request) -> web.StreamResponse:
        """The buckets of a project."""
        if request.query.get("softDeleted", "").lower() == "true":
            raise errors.unsupported("softDeleted")
        found = self._store.buckets(self._project(request), request.query.get("prefix", ""))
        page, token = page_of(found, request.query, lambda b: b.name)
        out = {"kind": "storage#buckets", "items": [b.json(base_url(request)) for b in page]}
        return answer(request, out | ({"nextPageToken": token} if token else {}))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One bucket."""
        bucket = self._store.bucket(segment(request, "bucket"))
        Preconditions.of(request.query).check(0, bucket.metageneration, read=True)
        return answer(request, bucket.json(base_url(request)))

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Change some fields of a bucket."""
        sent = await read_json(request)
        if "location" in sent:
            raise errors.invalid("The location of a bucket cannot be changed.", "location")
        change = partial(patched, sent=sent, kept=BUCKET_WRITABLE, bucket=True)
        when = Preconditions.of(request.query)
        bucket = await asyncio.to_thread(self._store.patch_bucket, segment(request, "bucket"), change, when)
        return answer(request, bucket.json(base_url(request)))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete an empty bucket."""
        when = Preconditions.of(request.query)
        await asyncio.to_thread(self._store.delete_bucket, segment(request, "bucket"), when)
        return web.Response(status=204)

    async def layout(self, request: web.Request) -> web.StreamResponse:
        """How a bucket is laid out: flat."""
        bucket = self._store.bucket(segment(request, "bucket")).json(base_url(request))
        return answer(
            request,
            {
                "kind": "storage#storageLayout",
                "bucket": bucket["name"],
                "location": bucket["location"],
                "locationType": bucket["locationType"],
                "hierarchicalNamespace": {"enabled": False},
            },
        )

"""The table of Cloud Storage's JSON API: which path leads to which handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from vertex_deploy.local.storage.buckets import BucketHandlers
from vertex_deploy.local.storage.http import guarded
from vertex_deploy.local.storage.media import MediaHandlers
from vertex_deploy.local.storage.objects import ObjectHandlers

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.local.storage.store import ObjectStore

_B = "/storage/v1/b"
_O = _B + "/{bucket:[^/]+}/o"
_OBJECT = _O + "/{object:[^/]+}"
_TO = "b/{bucket2:[^/]+}/o/{object2:[^/]+}"


class StorageApi:
    """Cloud Storage over HTTP.

    Args:
        store: the buckets and objects.
        project_id: gives the project id for what a request names, which may be a number.
    """

    def __init__(self, store: ObjectStore, *, project_id: Callable[[str], str] = str) -> None:
        self._buckets = BucketHandlers(store, project_id)
        self._objects = ObjectHandlers(store)
        self._media = MediaHandlers(store, self._objects)

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount on the REST listener; uploads stream, whatever ``client_max_size`` is."""
        buckets, objects, media = self._buckets, self._objects, self._media
        table = [
            ("GET", _B, buckets.list),
            ("POST", _B, buckets.insert),
            ("GET", _B + "/{bucket:[^/]+}", buckets.get),
            ("PATCH", _B + "/{bucket:[^/]+}", buckets.patch),
            ("DELETE", _B + "/{bucket:[^/]+}", buckets.delete),
            ("GET", _B + "/{bucket:[^/]+}/storageLayout", buckets.layout),
            ("GET", _O, objects.index),
            ("GET", _OBJECT, media.get),
            ("PATCH", _OBJECT, objects.patch),
            ("PUT", _OBJECT, objects.update),
            ("DELETE", _OBJECT, objects.delete),
            ("POST", f"{_OBJECT}/copyTo/{_TO}", objects.copy),
            ("POST", f"{_OBJECT}/rewriteTo/{_TO}", objects.rewrite),
            ("POST", f"{_OBJECT}/compose", objects.compose),
            ("GET", f"/download{_OBJECT}", media.download),
        ]
        for prefix in ("/upload", "/resumable/upload"):
            table += [
                ("POST", f"{prefix}{_O}", media.insert),
                ("PUT", f"{prefix}{_O}", media.resume),
                ("DELETE", f"{prefix}{_O}", media.cancel),
            ]
        return [web.RouteDef(method, path, guarded(handler), {}) for method, path, handler in table]

    def close(self) -> None:
        """Forget unfinished uploads; call before the store is closed."""
        self._media.sessions.close()

"""``seams.Blobs`` on the object store: what the control plane does with a model's artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.storage.errors import StorageError
from vertex_deploy.local.storage.names import split_uri

if TYPE_CHECKING:
    from vertex_deploy.local.storage.store import ObjectStore

_HTTP_NOT_FOUND = 404
_HTTP_CONFLICT = 409


class StoredBlobs:
    """Implements ``seams.Blobs``.

    Args:
        store: the buckets and objects.
        project: project in which the destination bucket of a copy is created, if there is none: Vertex AI's managed
            buckets belong to a project of Google's.
    """

    def __init__(self, store: ObjectStore, *, project: str = "vertex-managed") -> None:
        self._store = store
        self._project = project

    def copy_tree(self, source: str, destination: str) -> int:
        """Copy every object below one gs:// folder to another; bytes are shared, not copied.

        Args:
            source: gs://BUCKET/PREFIX; objects below ``PREFIX/``.
            destination: gs://BUCKET/PREFIX; the bucket is created if there is none.

        Returns:
            How many were copied; 0 if there is no such bucket or nothing below the prefix.

        Raises:
            ApiError: INVALID_ARGUMENT, not a gs:// URI; FAILED_PRECONDITION, the source changed while it was copied.
        """
        from_bucket, from_prefix = _folder(source)
        to_bucket, to_prefix = _folder(destination)
        try:
            found = self._store.list(from_bucket, from_prefix)
        except StorageError as error:
            if error.status == _HTTP_NOT_FOUND:
                return 0
            raise
        if not found:
            return 0
        try:
            self._store.create_bucket(to_bucket, self._project, {})
        except StorageError as error:
            if error.status != _HTTP_CONFLICT:
                raise
        for item in found:
            name = to_prefix + item.name[len(from_prefix) :]
            try:
                self._store.copy((from_bucket, item.name), (to_bucket, name), generation=item.generation)
            except StorageError as error:
                raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, f"gs://{from_bucket}: {error.message}") from error
        return len(found)

    def delete_tree(self, uri: str) -> None:
        """Delete every object below a gs:// folder; nothing there is not an error.

        Raises:
            ApiError: INVALID_ARGUMENT, not a gs:// URI.
        """
        bucket, prefix = _folder(uri)
        try:
            for item in self._store.list(bucket, prefix):
                self._store.delete(bucket, item.name)
        except StorageError as error:
            if error.status != _HTTP_NOT_FOUND:
                raise


def _folder(uri: str) -> tuple[str, str]:
    try:
        bucket, prefix = split_uri(uri)
    except StorageError as error:
        raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, error.message) from error
    return bucket, f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""

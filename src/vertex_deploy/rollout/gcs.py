"""Blobs in a Cloud Storage bucket: compare-and-swap by generation preconditions, through Google's own client.

A write whose answer was lost is told apart from a lost race: every write carries a token of its own in the object's
metadata, and a 412 is a lost race only if the token that is there was not ours. Addresses and retries: ``storage``.

Left out: making the bucket and its lifecycle rules (that is infrastructure), and customer-managed keys (the bucket's
default applies).
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from vertex_deploy.errors import CloudError, UsageError
from vertex_deploy.rollout.blobs import Stale
from vertex_deploy.storage import POLICY, SCHEME, StorageCaller, storage_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.gcp import RetryPolicy

T = TypeVar("T")

_TOKEN = "write"  # noqa: S105 - a metadata key
_READERS = 8
_FIXES = {
    "PERMISSION_DENIED": "grant the caller roles/storage.objectUser on the bucket",
    "NOT_FOUND": "create the bucket, or name another one with --store",
    "RESOURCE_EXHAUSTED": "run the command again: it goes on",
}


def parse_url(url: str) -> tuple[str, str]:
    """``gs://bucket/some/prefix`` as bucket and prefix (without slashes around it).

    Raises:
        UsageError: no bucket in it.
    """
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not bucket:
        raise UsageError(f"--store {url}: not a place in Cloud Storage; write gs://BUCKET/PREFIX, or a folder")
    return bucket, prefix.strip("/")


class GcsBlobs:
    """See ``Blobs``; the generation is the object's own.

    Args:
        url: gs://bucket/prefix.
        client: a ``google.cloud.storage.Client``; made at the first call where absent.
        sleep: waits between attempts; tests pass their own.
        policy: when to try again.
    """

    def __init__(
        self,
        url: str,
        *,
        client: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        policy: RetryPolicy = POLICY,
    ) -> None:
        self._bucket_name, self._prefix = parse_url(url)
        self._client = client
        self._caller = StorageCaller(_FIXES, policy, sleep)
        # The last write of each name whose answer was lost: what is there may be ours without our knowing.
        self._unanswered: dict[str, str] = {}

    def read(self, name: str) -> tuple[bytes, str]:
        """See ``Blobs``."""

        def look() -> tuple[bytes, str]:
            from google.api_core import exceptions as api  # noqa: PLC0415 - heavy: only when a call is made

            while (blob := self._blob(name, fetch=True)) is not None:
                try:
                    data = blob.download_as_bytes(if_generation_match=blob.generation, retry=None)
                except (api.NotFound, api.PreconditionFailed):
                    continue  # replaced between the two calls: content and generation must be of one write
                return bytes(data), str(blob.generation)
            return b"", ""

        return self._call(f"reading {name}", look)

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """See ``Blobs``; several at a time."""
        if not names:
            return []

        def content(name: str) -> bytes:
            return bytes(self._call(f"reading {name}", lambda: self._blob(name).download_as_bytes(retry=None)))

        self._bucket()
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(content, names))

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        """See ``Blobs``."""
        token = secrets.token_hex(8)
        try:
            return self._write(name, data, token, generation)
        except CloudError:
            self._unanswered[name] = token
            raise

    def _write(self, name: str, data: bytes, token: str, generation: str | None) -> str:
        from google.api_core import exceptions as api  # noqa: PLC0415 - heavy: only when a call is made

        def put() -> str:
            blob = self._blob(name)
            blob.metadata = {_TOKEN: token}
            match = None if generation is None else int(generation or 0)
            blob.upload_from_string(data, content_type="application/json", if_generation_match=match, retry=None)
            return str(blob.generation)

        try:
            written = self._call(f"writing {name}", put)
        except api.PreconditionFailed:
            there = self._call(f"reading {name}", lambda: self._blob(name, fetch=True))
            found = (there.metadata or {}).get(_TOKEN) if there is not None else None
            if there is not None and found == token:
                written = str(there.generation)
            elif there is not None and found is not None and found == self._unanswered.pop(name, None):
                return self._write(name, data, token, str(there.generation))
            else:
                raise Stale(name) from None
        self._unanswered.pop(name, None)
        return written

    def delete(self, name: str, *, generation: str | None = None) -> None:
        """See ``Blobs``."""
        from google.api_core import exceptions as api  # noqa: PLC0415 - heavy: only when a call is made

        match = int(generation) if generation else None
        try:
            self._call(f"deleting {name}", lambda: self._blob(name).delete(if_generation_match=match, retry=None))
        except api.PreconditionFailed:
            raise Stale(name) from None
        except CloudError as error:
            if error.code != "NOT_FOUND":
                raise

    def names(self, prefix: str) -> list[str]:
        """See ``Blobs``."""
        base = self._full("")

        def page() -> list[str]:
            found = self._bucket().list_blobs(prefix=base + prefix, fields="items(name),nextPageToken", retry=None)
            return sorted(blob.name.removeprefix(base) for blob in found)

        return self._call(f"listing {prefix}*", page)

    def folders(self) -> list[str]:
        """See ``Blobs``."""
        base = self._full("")

        def page() -> list[str]:
            found = self._bucket().list_blobs(prefix=base, delimiter="/", fields="prefixes,nextPageToken", retry=None)
            # The prefixes are known once every page was read.
            deque(found, maxlen=0)
            return sorted(prefix.removeprefix(base).rstrip("/") for prefix in found.prefixes)

        return self._call("listing folders", page)

    # -- calls -------------------------------------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _bucket(self) -> Any:
        if self._client is None:
            self._client = storage_client()
        return self._client.bucket(self._bucket_name)

    def _blob(self, name: str, *, fetch: bool = False) -> Any:
        bucket = self._bucket()
        return bucket.get_blob(self._full(name), retry=None) if fetch else bucket.blob(self._full(name))

    def _call(self, what: str, work: Callable[[], T]) -> T:
        """Call, and try again what may succeed later; ``PreconditionFailed`` is the caller's to understand."""
        return self._caller(work, where=f"{SCHEME}{self._bucket_name}/{self._prefix}".rstrip("/"), what=what)

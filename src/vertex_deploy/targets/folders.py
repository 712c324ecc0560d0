"""Whether the folder that an upload would take a model's files from holds any; reads only.

Vertex AI copies the files itself, by an account of its own: that the caller may not look there says nothing against the
upload. Left out: what the files are (the serving container's own matter), and whether Vertex AI may read them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.gcp import RetryPolicy, aiplatform_address
from vertex_deploy.storage import EMULATOR, SCHEME, StorageCaller, storage_client

if TYPE_CHECKING:
    from collections.abc import Callable

# Nothing waits long for what is at most a warning.
_POLICY = RetryPolicy(attempts=3, first=0.5, ceiling=2.0)
_FIXES = {"PERMISSION_DENIED": "to have it checked, grant the caller roles/storage.objectViewer on the bucket"}
_LOOKED_AT = 100
"""Names that are read of a folder: enough to tell files from the empty objects that consoles make for folders."""


class Folders(Protocol):
    """Folders in Cloud Storage, to be looked into."""

    def has_files(self, url: str) -> bool:
        """Whether any file lies below ``gs://bucket/path``.

        Raises:
            CloudError: it cannot be told; NOT_FOUND: there is no such bucket.
        """
        ...


@dataclass(slots=True)
class MemoryFolders:
    """Folders in memory, for tests.

    Args:
        files: gs:// names of all files; their buckets are the ones that exist.
        failure: raised by every look, or None.
        asked: the folders that were looked into.
    """

    files: tuple[str, ...] = ()
    failure: CloudError | None = None
    asked: list[str] = field(default_factory=list)

    def has_files(self, url: str) -> bool:
        """See ``Folders``."""
        self.asked.append(url)
        if self.failure is not None:
            raise self.failure
        bucket = url.removeprefix(SCHEME).partition("/")[0]
        if not any(name.startswith(f"{SCHEME}{bucket}/") for name in self.files):
            raise CloudError(f"{url}: listing: NOT_FOUND", code="NOT_FOUND")
        return any(name.startswith(f"{url.rstrip('/')}/") for name in self.files)


class GcsFolders:
    """See ``Folders``; through Google's client.

    A rehearsal stays on this machine: where Vertex AI is a Local Vertex and ``STORAGE_EMULATOR_HOST`` is not set,
    nobody is asked; nor where it is Google's, which reads no emulator's files.

    Args:
        region: where Vertex AI is.
        client: a ``google.cloud.storage.Client``; made at the first call where absent.
        sleep: waits between attempts; tests pass their own.
    """

    def __init__(self, region: str, *, client: Any = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._region = region
        self._client = client
        self._caller = StorageCaller(_FIXES, _POLICY, sleep)

    def has_files(self, url: str) -> bool:
        """See ``Folders``."""
        bucket, _, path = url.removeprefix(SCHEME).partition("/")
        local, emulated = aiplatform_address(self._region).plaintext, bool(os.environ.get(EMULATOR))
        if self._client is None and local != emulated:
            which, is_set = ("a local one", "not set") if local else ("Google's", "set")
            raise CloudError(
                f"{url}: Vertex AI is {which} and {EMULATOR} is {is_set}; `vertex-deploy local env` has both",
                code="FAILED_PRECONDITION",
            )
        prefix = f"{path.rstrip('/')}/" if path.strip("/") else ""

        def look() -> bool:
            self._client = self._client or storage_client()
            found = self._client.bucket(bucket).list_blobs(
                prefix=prefix, max_results=_LOOKED_AT, fields="items(name),nextPageToken", retry=None
            )
            names = [blob.name for blob in found]
            # Where nothing but such objects was read of a folder that has more, it is not known to be empty.
            return len(names) >= _LOOKED_AT or any(not name.endswith("/") for name in names)

        return self._caller(look, where=url, what="listing files")


def check_folder(url: str, folders: Folders) -> None:
    """Refuse a folder that is known to hold no files.

    Args:
        url: gs:// folder of a release, or "" for a release whose model is in its image.
        folders: where it is.

    Raises:
        RolloutError: it holds none, or there is no such bucket.
        CloudError: it cannot be told.
    """
    if not url:
        return
    try:
        if folders.has_files(url):
            return
        lacking, make = f"there are no files below {url}", ""
    except CloudError as error:
        if error.code != "NOT_FOUND":
            raise
        lacking, make = f"there is no bucket for {url}", "make the bucket and "
    copy = f"gcloud storage cp -r DIR/* {url.rstrip('/')}/"
    raise RolloutError(
        f"{lacking}, so there is no model to upload; {make}copy it there (`{copy}`), or correct model.artifact"
    )

"""Getting an artifact onto the disk, and believing none of it until it is checked.

The manifest comes first; then only the files that it names are read, no longer than it says, and their digests must
agree. A folder on disk is used where it is, after the same checks.

Left out: resuming, parallel downloads of one file, and caching between starts (a container starts with an empty disk).
"""

from __future__ import annotations

import hashlib
import os
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from serving.artifact.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, parse
from serving.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1024 * 1024


class Source(Protocol):
    """Where files come from."""

    uri: str

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, in order.

        Raises:
            ArtifactError: it is not there, or cannot be read.
        """
        ...


class Folder:
    """A folder on disk; a link that leads out of it is refused."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(root)

    def path(self, name: str) -> Path:
        """Where a file lies."""
        path = (self.root / PurePosixPath(name)).resolve()
        if not path.is_relative_to(self.root):
            raise ArtifactError(f"{self.uri}/{name}: leads out of the artifact's folder")
        return path

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file."""
        try:
            with self.path(name).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise ArtifactError(f"{self.uri}/{name}: {error.strerror or error}") from None


class Bucket:
    """A folder in Cloud Storage. ``STORAGE_EMULATOR_HOST`` is honoured, with anonymous credentials."""

    def __init__(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        if not bucket:
            raise ArtifactError(f"{uri}: no bucket; write gs://BUCKET/FOLDER")
        # Imported here: it takes most of a second, and a folder on disk needs none of it.
        import google.cloud.storage  # noqa: PLC0415
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415

        self.uri = uri.rstrip("/")
        self._prefix = prefix.strip("/")
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
            client = google.cloud.storage.Client(credentials=anonymous, project="local")
        else:
            client = google.cloud.storage.Client()
        self._bucket = client.bucket(bucket)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of an object, read in ranges so that a lie about its size costs no memory."""
        from google.api_core.exceptions import GoogleAPIError, NotFound  # noqa: PLC0415 - see __init__
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from requests.exceptions import RequestException  # noqa: PLC0415

        blob = self._bucket.blob(f"{self._prefix}/{name}" if self._prefix else name)
        try:
            with blob.open("rb", chunk_size=8 * _CHUNK) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except NotFound:
            raise ArtifactError(f"{self.uri}/{name}: no such object") from None
        except (GoogleAPIError, GoogleAuthError, RequestException, OSError) as error:
            raise ArtifactError(f"{self.uri}/{name}: {' '.join(str(error).split())[:300]}") from None


def source(uri: str) -> Source:
    """The source that a URI means: gs://, file:// or a path.

    Raises:
        ArtifactError: another scheme, or there is no such folder.
    """
    if uri.startswith("gs://"):
        return Bucket(uri)
    path = Path(urllib.parse.unquote(uri.removeprefix("file://"))) if uri.startswith("file://") else Path(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise ArtifactError(f"{uri}: write gs://BUCKET/FOLDER, file:///FOLDER or a path")
    if not path.is_dir():
        raise ArtifactError(f"{uri}: no such folder")
    return Folder(path)


def fetch(uri: str, destination: Path, *, max_bytes: int) -> tuple[Manifest, Path]:
    """Bring an artifact here and check it.

    Args:
        uri: gs://BUCKET/FOLDER, file:///FOLDER or a path.
        destination: an empty folder that downloads go to; a folder on disk is used in place.
        max_bytes: of all files together.

    Returns:
        The manifest, and the folder that holds the checked files.

    Raises:
        ArtifactError: something is missing, too large, damaged, or named to escape the folder.
    """
    origin = source(uri)
    manifest = parse(_read(origin, MANIFEST, MAX_MANIFEST_BYTES), f"{origin.uri}/{MANIFEST}")
    total = sum(file.bytes for file in manifest.files.values())
    if total > max_bytes:
        raise ArtifactError(f"{origin.uri}: {total} bytes in all, SERVING_MAX_ARTIFACT_BYTES is {max_bytes}")
    keep = None if isinstance(origin, Folder) else destination
    for name, file in manifest.files.items():
        _checked(origin, name, size=file.bytes, sha256=file.sha256, keep=keep)
    return manifest, origin.root if isinstance(origin, Folder) else destination


def labels(manifest: Manifest, folder: Path) -> list[str]:
    """The class names.

    Raises:
        ArtifactError: not UTF-8, or not one name for each class.
    """
    try:
        names = (folder / manifest.labels).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ArtifactError(f"{manifest.labels}: not UTF-8") from None
    if len(names) != manifest.classes:
        raise ArtifactError(f"{manifest.labels}: {len(names)} names for {manifest.classes} classes")
    return names


def _read(origin: Source, name: str, limit: int) -> bytes:
    data = b""
    for chunk in origin.chunks(name):
        data += chunk
        if len(data) > limit:
            raise ArtifactError(f"{origin.uri}/{name}: larger than {limit} bytes")
    return data


def _checked(origin: Source, name: str, *, size: int, sha256: str, keep: Path | None) -> None:
    digest, seen = hashlib.sha256(), 0
    path = None if keep is None else keep / PurePosixPath(name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.devnull if path is None else path, "wb") as out:  # noqa: PTH123 - devnull is no Path
        for chunk in origin.chunks(name):
            seen += len(chunk)
            if seen > size:
                break
            digest.update(chunk)
            out.write(chunk)
    if seen != size:
        raise ArtifactError(f"{origin.uri}/{name}: not the {size} bytes that {MANIFEST} says")
    if digest.hexdigest() != sha256:
        raise ArtifactError(f"{origin.uri}/{name}: its sha256 is not the one in {MANIFEST}; upload it again")

"""Content files: written once under a random name, checksummed on the way, flushed before they count."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import google_crc32c

from vertex_deploy.local.storage.errors import StorageError, too_large

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_TEMPORARY = ".part"


@dataclass(frozen=True, slots=True)
class Content:
    """Finished content.

    Args:
        name: of its file.
        size: bytes.
        crc32c: base64.
        md5: base64.
    """

    name: str
    size: int
    crc32c: str
    md5: str

    def verify(self, crc32c: str | None, md5: str | None) -> None:
        """Compare with what the client computed; None: it sent none.

        Raises:
            StorageError: 400.
        """
        for what, sent, actual in (("CRC32C", crc32c, self.crc32c), ("MD5 hash", md5, self.md5)):
            if sent is not None and sent != actual:
                raise StorageError(
                    400, "invalid", f'Provided {what} "{sent[:64]}" doesn\'t match calculated {what} "{actual}".'
                )


class ContentWriter:
    """An upload in progress.

    Args:
        folder: of the content files.
        max_object: largest size, bytes.
    """

    def __init__(self, folder: Path, max_object: int) -> None:
        self.name = uuid.uuid4().hex
        self.size = 0
        self._path = folder / (self.name + _TEMPORARY)
        self._max = max_object
        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # it ships without types
        # Cloud Storage's own checksum, not a safeguard of ours.
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file = self._path.open("xb")

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StorageError: 413.
            OSError: the disk is full.
        """
        if self.size + len(data) > self._max:
            raise too_large(self._max)
        self._file.write(data)
        self._crc.update(data)
        self._md5.update(data)
        self.size += len(data)

    def finish(self) -> Content:
        """Flush to disk; nothing can be written afterwards."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return Content(
            self.name,
            self.size,
            base64.b64encode(self._crc.digest()).decode(),
            base64.b64encode(self._md5.digest()).decode(),
        )

    def abort(self) -> None:
        """Drop what was written; harmless after ``finish`` and ``ContentFolder.keep``."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class ContentFolder:
    """The folder of content files.

    Args:
        path: created if it is not there.
        max_object: largest object, bytes.
    """

    def __init__(self, path: Path, *, max_object: int) -> None:
        self._path = path
        self.max_object = max_object
        path.mkdir(parents=True, exist_ok=True)

    def writer(self) -> ContentWriter:
        """Begin an upload."""
        return ContentWriter(self._path, self.max_object)

    def keep(self, content: Content) -> None:
        """Give finished content its lasting name."""
        (self._path / (content.name + _TEMPORARY)).replace(self._path / content.name)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)

    def open(self, name: str) -> BinaryIO:
        """Open for reading.

        Raises:
            FileNotFoundError: it was removed.
        """
        return (self._path / name).open("rb")

    def remove(self, name: str) -> None:
        """Remove content, finished or not."""
        (self._path / name).unlink(missing_ok=True)
        (self._path / (name + _TEMPORARY)).unlink(missing_ok=True)

    def sweep(self, used: Collection[str]) -> None:
        """Remove what a killed process left: unfinished uploads and content that nothing refers to."""
        for path in self._path.iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)

"""Where a store keeps its bytes: named blobs that are replaced only if nobody else replaced them first.

A blob has a generation, an opaque token that changes with every write; "" stands for "not there". These are the
semantics of Cloud Storage's generation preconditions; a bucket (``gcs``) is one more implementation.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Stale(Exception):  # noqa: N818 - not an error: the caller decides what a lost race means
    """The blob was written by somebody else since its generation was read; nothing was changed."""


class Blobs(Protocol):
    """Named bytes. Names are relative paths with ``/``."""

    def read(self, name: str) -> tuple[bytes, str]:
        """Content and generation; ``(b"", "")`` if it is not there."""
        ...

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        """Replace a blob durably and return its new generation.

        Args:
            name: which.
            data: all of it.
            generation: write only over this one ("": only if it is not there); None: whatever is there.

        Raises:
            Stale: it has another generation.
        """
        ...

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of several that are known to be there, in the same order."""
        ...

    def delete(self, name: str, *, generation: str | None = None) -> None:
        """Remove it; no error if it is not there.

        Args:
            name: which.
            generation: remove only this one; None: whatever is there.

        Raises:
            Stale: it has another generation.
        """
        ...

    def names(self, prefix: str) -> list[str]:
        """Names that start with ``prefix``, sorted."""
        ...

    def folders(self) -> list[str]:
        """What stands before the first ``/`` of names, sorted; cheap however much lies below."""
        ...


@dataclass(slots=True)
class MemoryBlobs:
    """Blobs in memory, for tests; two controllers may share one."""

    content: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    writes: int = 0

    def read(self, name: str) -> tuple[bytes, str]:
        """See ``Blobs``."""
        data, generation = self.content.get(name, (b"", 0))
        return data, str(generation or "")

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        """See ``Blobs``."""
        if generation is not None and generation != self.read(name)[1]:
            raise Stale(name)
        self.writes += 1
        self.content[name] = (data, self.writes)
        return str(self.writes)

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """See ``Blobs``."""
        return [self.read(name)[0] for name in names]

    def delete(self, name: str, *, generation: str | None = None) -> None:
        """See ``Blobs``."""
        if generation is not None and name in self.content and generation != self.read(name)[1]:
            raise Stale(name)
        self.content.pop(name, None)

    def names(self, prefix: str) -> list[str]:
        """See ``Blobs``."""
        return sorted(name for name in self.content if name.startswith(prefix))

    def folders(self) -> list[str]:
        """See ``Blobs``."""
        return sorted({name.partition("/")[0] for name in self.content if "/" in name})


class DirectoryBlobs:
    """Blobs as files of one folder: written aside, synced, renamed; a lock file makes compare-and-swap atomic.

    The lock is ``flock``: it holds between processes of one machine and is gone when its holder dies. A folder that
    several machines mount is not covered.

    Args:
        root: the folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> tuple[bytes, str]:
        """See ``Blobs``; the generation is a hash of the content."""
        try:
            data = (self.root / name).read_bytes()
        except FileNotFoundError:
            return b"", ""
        except OSError as error:
            raise StateError(f"{self.root / name}: cannot be read ({error.strerror}); check its permissions") from error
        return data, hashlib.sha256(data).hexdigest()

    def write(self, name: str, data: bytes, *, generation: str | None = None) -> str:
        """See ``Blobs``."""
        path = self.root / name
        try:
            _make(path.parent)
            with self._locked():
                if generation is not None and generation != self.read(name)[1]:
                    raise Stale(name)
                _replace(path, data)
        except OSError as error:
            raise StateError(f"{path}: cannot be written ({error.strerror}); check space and permissions") from error
        return hashlib.sha256(data).hexdigest()

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """See ``Blobs``."""
        return [self.read(name)[0] for name in names]

    def delete(self, name: str, *, generation: str | None = None) -> None:
        """See ``Blobs``."""
        try:
            with self._locked():
                if generation is not None and self.read(name)[1] not in {"", generation}:
                    raise Stale(name)
                (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                f"{self.root / name}: cannot be removed ({error.strerror}); check its permissions"
            ) from error

    def names(self, prefix: str) -> list[str]:
        """See ``Blobs``."""
        folder = self.root / prefix.rpartition("/")[0]
        with _listing(folder):
            if not folder.is_dir():
                return []
            found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
            return sorted(name for path in found if (name := path.relative_to(self.root).as_posix()).startswith(prefix))

    def folders(self) -> list[str]:
        """See ``Blobs``."""
        with _listing(self.root):
            return sorted(path.name for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _listing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error


def _replace(path: Path, data: bytes) -> None:
    """Either the old content or the new, whatever happens, once this returns the new."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    _sync(path.parent)


def _make(folder: Path) -> None:
    """A folder that is there, and stays: what names a new folder is the one above it."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(new):
        _sync(path.parent)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

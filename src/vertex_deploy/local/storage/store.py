"""Buckets and objects on disk: metadata in sqlite, content in files. Thread-safe; every change is atomic and durable.

An upload is written to a temporary file, flushed to disk and renamed; only then does one sqlite transaction (WAL,
``synchronous=FULL``) check preconditions and make it the live object. Killed at any instant, the store holds the old
object or the new one. Content files have random names and are never written twice, so object names never touch the file
system and a copy shares its content. Files that no object refers to are removed at the next start.

Left out: old generations; the content of a replaced object is deleted at once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from vertex_deploy.errors import LocalError
from vertex_deploy.local.storage import errors
from vertex_deploy.local.storage.content import Content, ContentFolder
from vertex_deploy.local.storage.preconditions import Preconditions
from vertex_deploy.local.storage.resources import Bucket, Object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from vertex_deploy.local.seams import Clock

FILE = "storage.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, project TEXT NOT NULL, created INTEGER NOT NULL,
  updated INTEGER NOT NULL, metageneration INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
  metageneration INTEGER NOT NULL, size INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT NOT NULL,
  content TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, components INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_content ON objects (content);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
ANY = Preconditions()


class ObjectStore:
    """All buckets and objects.

    Args:
        folder: where everything lies; created if it is not there. One process at a time may use it.
        clock: the time, for generations.
        max_object: largest object, bytes.

    Raises:
        LocalError: the folder cannot be used or its database cannot be read.
    """

    def __init__(self, folder: Path, clock: Clock, *, max_object: int = 64 * 2**30) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._replaced: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / FILE, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self.content = ContentFolder(folder / "content", max_object=max_object)
            self.content.sweep({row[0] for row in self._db.execute("SELECT content FROM objects")})
            row = self._db.execute("SELECT value FROM counters WHERE name = 'generation'").fetchone()
            self._generation = row[0] if row else 0
        except (OSError, sqlite3.Error) as error:
            raise LocalError(f"{folder}: the buckets cannot be read ({error}); use another --data folder") from error

    def close(self) -> None:
        """Close the database; all that was acknowledged is on disk."""
        with self._lock:
            self._db.close()

    def _now(self) -> int:
        return int(self._clock.now() * 1_000_000)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction; content files that it stops referring to are removed after it is committed."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._replaced.clear()
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            while self._replaced:
                name = self._replaced.pop()
                if not self._db.execute("SELECT 1 FROM objects WHERE content = ? LIMIT 1", (name,)).fetchone():
                    # The change is committed: a file that cannot be removed now is swept at the next start.
                    with suppress(OSError):
                        self.content.remove(name)

    def _next_generation(self) -> int:
        """Rises even if the clock does not; call within ``_change``."""
        self._generation = max(self._now(), self._generation + 1)
        self._db.execute("INSERT OR REPLACE INTO counters VALUES ('generation', ?)", (self._generation,))
        return self._generation

    def create_bucket(self, name: str, project: str, body: dict[str, Any]) -> Bucket:
        """Create a bucket.

        Raises:
            StorageError: 409, it exists.
        """
        now = self._now()
        bucket = Bucket(name, project, now, now, 1, body)
        with self._change():
            if self._db.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone():
                raise errors.conflict(
                    "Your previous request to create the named bucket succeeded and you already own it."
                )
            self._put_bucket(bucket)
        return bucket

    def _put_bucket(self, bucket: Bucket) -> None:
        *head, body = astuple(bucket)
        self._db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?, ?)", (*head, json.dumps(body)))

    def bucket(self, name: str) -> Bucket:
        """A bucket.

        Raises:
            StorageError: 404.
        """
        with self._lock:
            row = self._db.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise errors.no_bucket()
        return Bucket(*(*row[:-1], json.loads(row[-1])))

    def buckets(self, project: str, prefix: str = "") -> list[Bucket]:
        """The buckets of a project, by name."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM buckets WHERE project = ? ORDER BY name", (project,)).fetchall()
        return [Bucket(*(*row[:-1], json.loads(row[-1]))) for row in rows if row[0].startswith(prefix)]

    def patch_bucket(
        self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], when: Preconditions = ANY
    ) -> Bucket:
        """Replace a bucket's writable fields by ``change`` of them.

        Raises:
            StorageError: 404, 412, or what ``change`` raises.
        """
        with self._change():
            old = self.bucket(name)
            when.check(0, old.metageneration)
            new = replace(old, body=change(old.body), updated=self._now(), metageneration=old.metageneration + 1)
            self._put_bucket(new)
        return new

    def delete_bucket(self, name: str, when: Preconditions = ANY) -> None:
        """Delete an empty bucket.

        Raises:
            StorageError: 404, 409 (not empty), 412.
        """
        with self._change():
            when.check(0, self.bucket(name).metageneration)
            if self._db.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone():
                raise errors.conflict("The bucket you tried to delete is not empty.")
            self._db.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def _live(self, bucket: str, name: str) -> Object | None:
        row = self._db.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
        return _object(row) if row else None

    def get(
        self, bucket: str, name: str, *, generation: int | None = None, when: Preconditions = ANY, read: bool = True
    ) -> Object:
        """A live object.

        Args:
            bucket: its bucket.
            name: its name.
            generation: it must be this one.
            when: preconditions.
            read: a failing ``NotMatch`` means 304.

        Raises:
            StorageError: 404, 412, 304.
        """
        with self._lock:
            self.bucket(bucket)
            live = self._live(bucket, name)
        if live is None or generation not in (None, live.generation):
            raise errors.no_object(bucket, name)
        when.check(live.generation, live.metageneration, read=read)
        return live

    def open(self, found: Object) -> BinaryIO:
        """The content of an object, open for reading; it stays readable if the object is deleted meanwhile.

        Raises:
            StorageError: 404, it was deleted since ``get``.
        """
        try:
            return self.content.open(found.content)
        except FileNotFoundError:
            raise errors.no_object(found.bucket, found.name) from None

    def check_write(self, bucket: str, name: str, when: Preconditions) -> None:
        """Whether an upload could succeed now: before its bytes are sent. ``put`` decides.

        Raises:
            StorageError: 404 (bucket), 412.
        """
        with self._lock:
            self.bucket(bucket)
            live = self._live(bucket, name)
        when.check(live.generation if live else 0, live.metageneration if live else 0)

    def put(
        self,
        bucket: str,
        name: str,
        content: Content,
        body: dict[str, Any],
        *,
        when: Preconditions = ANY,
        components: int = 0,
    ) -> Object:
        """Make finished content the live object; the content is dropped if that fails.

        Raises:
            StorageError: 404 (bucket), 412.
        """
        try:
            self.content.keep(content)
            with self._change():
                self.bucket(bucket)
                new = self._insert((bucket, name), content, body, when, components)
        except BaseException:
            self.content.remove(content.name)
            raise
        return new

    def _insert(
        self, at: tuple[str, str], content: Content, body: dict[str, Any], when: Preconditions, components: int
    ) -> Object:
        bucket, name = at
        live = self._live(bucket, name)
        when.check(live.generation if live else 0, live.metageneration if live else 0)
        if live:
            self._replaced.add(live.content)
        now = self._now()
        md5 = "" if components else content.md5
        new = Object(
            bucket,
            name,
            self._next_generation(),
            1,
            content.size,
            content.crc32c,
            md5,
            content.name,
            now,
            now,
            components,
            body,
        )
        self._put_object(new)
        return new

    def _put_object(self, item: Object) -> None:
        *head, body = astuple(item)
        self._db.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*head, json.dumps(body))
        )

    def copy(
        self,
        source: tuple[str, str],
        destination: tuple[str, str],
        *,
        generation: int | None = None,
        body: dict[str, Any] | None = None,
        source_when: Preconditions = ANY,
        when: Preconditions = ANY,
    ) -> Object:
        """Copy an object without copying its bytes.

        Args:
            source: bucket and name.
            destination: bucket and name.
            generation: of the source.
            body: writable fields of the copy; None: the source's.
            source_when: preconditions on the source.
            when: preconditions on the destination.

        Raises:
            StorageError: 404, 412.
        """
        with self._change():
            old = self.get(*source, generation=generation, when=source_when, read=False)
            self.bucket(destination[0])
            content = Content(old.content, old.size, old.crc32c, old.md5)
            return self._insert(destination, content, old.body if body is None else body, when, old.components)

    def patch(
        self,
        bucket: str,
        name: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        generation: int | None = None,
        when: Preconditions = ANY,
    ) -> Object:
        """Replace an object's writable fields by ``change`` of them.

        Raises:
            StorageError: 404, 412, or what ``change`` raises.
        """
        with self._change():
            old = self.get(bucket, name, generation=generation, when=when, read=False)
            new = replace(old, body=change(old.body), updated=self._now(), metageneration=old.metageneration + 1)
            self._put_object(new)
        return new

    def delete(self, bucket: str, name: str, *, generation: int | None = None, when: Preconditions = ANY) -> None:
        """Delete a live object.

        Raises:
            StorageError: 404, 412.
        """
        with self._change():
            old = self.get(bucket, name, generation=generation, when=when, read=False)
            self._replaced.add(old.content)
            self._db.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = -1) -> Sequence[Object]:
        """Live objects whose names begin with ``prefix`` and come after ``after``, in order of their UTF-8 names.

        Raises:
            StorageError: 404.
        """
        with self._lock:
            self.bucket(bucket)
            rows = self._db.execute(
                "SELECT * FROM objects WHERE bucket = ? AND name >= ? AND name > ? AND substr(name, 1, ?) = ? "
                "ORDER BY name LIMIT ?",
                (bucket, prefix, after, len(prefix), prefix, limit),
            ).fetchall()
        return [_object(row) for row in rows]


def _object(row: Sequence[Any]) -> Object:
    return Object(*(*row[:-1], json.loads(row[-1])))

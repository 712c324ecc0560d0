"""What Local Vertex remembers: one SQLite file of protobuf messages, written before a change is answered.

Resources are rows of (kind, name, protobuf bytes). The control plane runs on one event loop and calls this without
awaiting in between, so a transaction is whatever happens between ``begin`` and the end of its block.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vertex_deploy.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

M = TypeVar("M")
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
  kind TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, note TEXT NOT NULL DEFAULT '', PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""


class Store:
    """The database of one Local Vertex.

    Args:
        path: file of the database, made if it is not there; None keeps everything in memory (tests).

    Raises:
        LocalError: the file is not a database, or was written by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            if path is not None:
                # Passwords of notification channels are in it. SQLite gives its other files the same mode.
                path.touch(mode=0o600)
                path.chmod(0o600)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            # A crash of the process loses nothing; only a crash of the machine may lose the last moments.
            self._db.execute("PRAGMA synchronous=NORMAL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > _SCHEMA_VERSION:
                raise LocalError(
                    f"{path} was written by a newer vertex-deploy (schema {found}, this one knows {_SCHEMA_VERSION}); "
                    "use that version or another --data directory"
                )
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        except (OSError, sqlite3.DatabaseError) as error:
            raise LocalError(f"cannot read {path}: {error}; use another --data directory") from None

    @contextmanager
    def begin(self) -> Iterator[None]:
        """A transaction: all or nothing; one inside another joins it."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(self, kind: str, name: str) -> tuple[bytes, str] | None:
        """Data and note of one resource."""
        row = self._db.execute("SELECT data, note FROM resources WHERE kind=? AND name=?", (kind, name)).fetchone()
        return (row[0], row[1]) if row else None

    def put(self, kind: str, name: str, data: bytes, note: str = "") -> None:
        """Write one resource."""
        self._db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)", (kind, name, data, note))

    def delete(self, kind: str, name: str) -> bool:
        """Remove one resource; whether it was there."""
        return self._db.execute("DELETE FROM resources WHERE kind=? AND name=?", (kind, name)).rowcount > 0

    def scan(self, kind: str, prefix: str = "") -> list[tuple[str, bytes, str]]:
        """(name, data, note) of every resource whose name starts with ``prefix``, by name."""
        rows = self._db.execute(
            "SELECT name, data, note FROM resources WHERE kind=? AND substr(name, 1, ?)=? ORDER BY name",
            (kind, len(prefix), prefix),
        )
        return [(name, data, note) for name, data, note in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Collection(Generic[M]):
    """All resources of one kind, as proto-plus messages.

    Args:
        store: where they are kept.
        kind: name of the kind.
        cls: proto-plus class.
    """

    def __init__(self, store: Store, kind: str, cls: type[M]) -> None:
        self._store = store
        self._kind = kind
        self._cls: Any = cls

    def get(self, name: str) -> M | None:
        """A fresh copy, or None."""
        found = self._store.get(self._kind, name)
        return self._cls.deserialize(found[0]) if found else None

    def put(self, name: str, message: M) -> None:
        """Write it."""
        self._store.put(self._kind, name, self._cls.serialize(message))

    def delete(self, name: str) -> bool:
        """Remove it; whether it was there."""
        return self._store.delete(self._kind, name)

    def under(self, prefix: str = "") -> list[M]:
        """Fresh copies of all whose name starts with ``prefix``, by name."""
        return [self._cls.deserialize(data) for _, data, _ in self._store.scan(self._kind, prefix)]

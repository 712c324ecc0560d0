"""Resumable upload sessions: bytes that have arrived so far, for each upload id.

Sessions live in memory and end with the process: a client gets 404 for one that is gone and begins again, as it must
when Cloud Storage expires one. At most ``max_sessions`` are kept; the oldest goes first.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vertex_deploy.local.storage.errors import StorageError

if TYPE_CHECKING:
    from vertex_deploy.local.storage.content import ContentWriter
    from vertex_deploy.local.storage.preconditions import Preconditions
    from vertex_deploy.local.storage.resources import Object


@dataclass(slots=True)
class Session:
    """One upload.

    Args:
        id: secret in its URL.
        bucket: destination.
        name: destination.
        body: writable fields of the object.
        when: preconditions, decided when the last byte has arrived.
        writer: what has arrived.
        announced: CRC32C and MD5 that the client sent, base64, each or None.
        done: the object, once it is there: a client that missed the answer asks again.
        lock: one request at a time.
    """

    id: str
    bucket: str
    name: str
    body: dict[str, Any]
    when: Preconditions
    writer: ContentWriter
    announced: tuple[str | None, str | None]
    done: Object | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """All uploads in progress.

    Args:
        max_sessions: kept at once.
    """

    def __init__(self, max_sessions: int = 256) -> None:
        self._max = max_sessions
        self._sessions: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        """Keep a session; the oldest gives way."""
        while len(self._sessions) >= self._max:
            self.drop(next(iter(self._sessions)))
        self._sessions[session.id] = session

    def get(self, upload_id: str) -> Session:
        """A session.

        Raises:
            StorageError: 404.
        """
        found = self._sessions.get(upload_id)
        if found is None:
            raise StorageError(404, "notFound", "No such upload session; it may have expired. Start the upload again.")
        return found

    def drop(self, upload_id: str) -> None:
        """Forget a session and what has arrived."""
        session = self._sessions.pop(upload_id, None)
        if session is not None and session.done is None:
            session.writer.abort()

    def close(self) -> None:
        """Forget all."""
        for upload_id in list(self._sessions):
            self.drop(upload_id)


def new_id() -> str:
    """An id that cannot be guessed."""
    return secrets.token_urlsafe(32)

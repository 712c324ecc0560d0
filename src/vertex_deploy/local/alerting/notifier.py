"""Sends notifications to webhooks: one bounded queue and one sender a channel, in order, with retries.

A webhook that is down delays only itself. A notification is tried again after a refused connection, a timeout, 408, 429
and 5xx, then given up with a line in the log; so is one for which the queue is full. Redirects are not followed: they
could lead off this machine.

What waits is kept on disk (``Outbox``) until it was answered or given up, and is sent after a restart; what was sent
but not yet crossed off when the process died is sent twice. Left out: signatures (the real service has none).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import secrets
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from vertex_deploy.local.alerting.channels import allowed_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from google.cloud import monitoring_v3 as m

    from vertex_deploy.local.state import Store

_log = logging.getLogger(__name__)
MAX_WAITING = 100
"""Notifications that wait for one channel."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt."""
TIMEOUT = 10.0
"""Seconds that a webhook has to answer."""
_GRACE = 2.0
_AGAIN = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification for one channel.

    Args:
        url: of the webhook.
        body: JSON.
        user: for basic authentication; "" for none.
        password: likewise.
    """

    url: str
    body: Mapping[str, Any]
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, channel: m.NotificationChannel, body: Mapping[str, Any]) -> Delivery:
        """For a channel as it is kept, with its password."""
        labels = channel.labels
        return cls(labels.get("url", ""), body, labels.get("username", ""), labels.get("password", ""))


class Outbox:
    """What waits to be sent, on disk. Without URL and password: those are the channel's when it is sent.

    Args:
        store: keeps it.
    """

    _KIND = "notifications"

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, channel: str, body: Mapping[str, Any]) -> str:
        """Keep a notification; its key, which sorts by time.

        Raises:
            sqlite3.Error: it could not be written.
        """
        key = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._store.put(self._KIND, key, json.dumps({"channel": channel, "body": body}).encode())
        return key

    def done(self, key: str) -> None:
        """It was sent, or given up."""
        self._store.delete(self._KIND, key)

    def waiting(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Key, channel and body of all that waits, oldest first."""
        found = [(key, json.loads(data)) for key, data, _ in self._store.scan(self._KIND)]
        return [(key, kept["channel"], kept["body"]) for key, kept in found]


async def post(delivery: Delivery) -> int:
    """Send it once; the HTTP status.

    Raises:
        aiohttp.ClientError: the connection failed.
        TimeoutError: no answer in time.
    """
    headers = {}
    if delivery.user:
        secret = base64.b64encode(f"{delivery.user}:{delivery.password}".encode()).decode()
        headers["Authorization"] = f"Basic {secret}"
    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
        session.post(delivery.url, json=delivery.body, allow_redirects=False) as answer,
    ):
        return answer.status


class Notifier:
    """Sends in the background; call it on the event loop.

    Args:
        hosts: where webhooks may lead besides loopback.
        outbox: keeps what waits; None: memory alone.
        send: sends once; tests pass their own.
        sleep: waits between attempts; tests pass their own.
    """

    def __init__(
        self,
        *,
        hosts: Collection[str] = (),
        outbox: Outbox | None = None,
        send: Callable[[Delivery], Awaitable[int]] = post,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = hosts
        self._outbox = outbox
        self._send = send
        self._sleep = sleep
        self._queues: dict[str, asyncio.Queue[tuple[Delivery, str]]] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}

    def notify(self, channel: m.NotificationChannel, body: Mapping[str, Any]) -> bool:
        """Queue a notification; never blocks, never raises.

        Args:
            channel: as it is kept, with its password.
            body: JSON.

        Returns:
            Whether it will be sent: not to a disabled channel, not where the URL may not lead, not if the queue is
            full.
        """
        return self._queued(channel, body, "")

    def restore(self, channel: Callable[[str], m.NotificationChannel | None]) -> int:
        """Queue what an earlier process left; how many notifications.

        Args:
            channel: gives a channel by its name; None: it was deleted, and its notifications go.
        """
        found = 0
        for key, name, body in self._outbox.waiting() if self._outbox else ():
            to = channel(name)
            if to is None or not self._queued(to, body, key):
                self._done(key)
            else:
                found += 1
        return found

    def _queued(self, channel: m.NotificationChannel, body: Mapping[str, Any], key: str) -> bool:
        delivery = Delivery.of(channel, body)
        # Checked when the channel was written too: what is allowed may have changed with a restart.
        why = allowed_url(delivery.url, self._hosts)
        if not channel.enabled or why:
            _log.warning("no notification to %s: %s", channel.name, why or "the channel is disabled")
            return False
        queue = self._queues.setdefault(channel.name, asyncio.Queue(MAX_WAITING))
        if queue.full():
            _log.error("lost a notification to %s: %d wait already", channel.name, MAX_WAITING)
            return False
        queue.put_nowait((delivery, key or self._kept(channel.name, body)))
        sender = self._senders.get(channel.name)
        if sender is None or sender.done():
            self._senders[channel.name] = asyncio.ensure_future(self._drain(channel.name, queue))
        return True

    def _kept(self, channel: str, body: Mapping[str, Any]) -> str:
        try:
            return self._outbox.add(channel, body) if self._outbox else ""
        except sqlite3.Error:
            _log.exception("a notification to %s is not kept over a restart", channel)
            return ""

    def _done(self, key: str) -> None:
        try:
            if self._outbox and key:
                self._outbox.done(key)
        except sqlite3.Error:
            _log.exception("a notification may be sent again after a restart")

    async def _drain(self, name: str, queue: asyncio.Queue[tuple[Delivery, str]]) -> None:
        """Send what waits; ends when nothing does."""
        while not queue.empty():
            delivery, key = queue.get_nowait()
            try:
                await self._deliver(name, delivery)
            except Exception:  # noqa: BLE001 - one notification must not keep the next from being sent
                _log.exception("a notification to %s failed", name)
            # Not where the sender was cancelled: that goes on after a restart.
            self._done(key)

    async def _deliver(self, name: str, delivery: Delivery) -> None:
        problem = ""
        for pause in (0.0, *PAUSES):
            if pause:
                await self._sleep(pause)
            try:
                status = await self._send(delivery)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            problem = f"it answered {status}"
            if status < 300:  # noqa: PLR2004 - HTTP: success
                return
            if status not in _AGAIN and status < 500:  # noqa: PLR2004 - HTTP: errors of the server
                break
        _log.error("gave up a notification to %s: %s", name, problem)

    async def idle(self) -> None:
        """Wait until nothing waits."""
        while busy := [task for task in self._senders.values() if not task.done()]:
            await asyncio.wait(busy)

    async def close(self) -> None:
        """Give what waits a moment, then stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.idle(), _GRACE)
        left = [task for task in self._senders.values() if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

"""Sends notifications to webhooks: one bounded queue and one sender a channel, in order, with retries.

A webhook that is down delays only itself. A notification is tried again after a refused connection, a timeout, 408, 429
and 5xx, then given up with a line in the log; so is one for which the queue is full. Redirects are not followed: they
could lead off this machine.

Left out: keeping what waits over a restart, and signatures (the real service has none).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from vertex_deploy.local.alerting.channels import allowed_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from google.cloud import monitoring_v3 as m

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
        send: sends once; tests pass their own.
        sleep: waits between attempts; tests pass their own.
    """

    def __init__(
        self,
        *,
        hosts: Collection[str] = (),
        send: Callable[[Delivery], Awaitable[int]] = post,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = hosts
        self._send = send
        self._sleep = sleep
        self._queues: dict[str, asyncio.Queue[Delivery]] = {}
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
        delivery = Delivery.of(channel, body)
        # Checked when the channel was written too: what is allowed may have changed with a restart.
        why = allowed_url(delivery.url, self._hosts)
        if not channel.enabled or why:
            _log.warning("no notification to %s: %s", channel.name, why or "the channel is disabled")
            return False
        queue = self._queues.setdefault(channel.name, asyncio.Queue(MAX_WAITING))
        try:
            queue.put_nowait(delivery)
        except asyncio.QueueFull:
            _log.error("lost a notification to %s: %d wait already", channel.name, MAX_WAITING)
            return False
        sender = self._senders.get(channel.name)
        if sender is None or sender.done():
            self._senders[channel.name] = asyncio.ensure_future(self._drain(channel.name, queue))
        return True

    async def _drain(self, name: str, queue: asyncio.Queue[Delivery]) -> None:
        """Send what waits; ends when nothing does."""
        while not queue.empty():
            delivery = queue.get_nowait()
            try:
                await self._deliver(name, delivery)
            except Exception:  # noqa: BLE001 - one notification must not keep the next from being sent
                _log.exception("a notification to %s failed", name)

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

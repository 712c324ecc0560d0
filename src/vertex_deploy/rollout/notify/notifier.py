"""The queues between a rollout and those it tells: bounded, each emptied by a thread of its own, never waited for.

Every channel has its own queue, so that one that hangs keeps no other from being told.

What does not arrive after ``ATTEMPTS`` is a failure that the controller's thread collects and writes to the history
(``failures``): the thread itself never touches a record. A full queue drops the oldest message and says so. When a
controller ends, ``close`` waits at most ``LINGER`` seconds for what is left.

Delivery is at most a few times, not exactly once: a controller that is killed takes its queues along. The history, not
a notification, is the record.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import VertexDeployError, one_line
from vertex_deploy.rollout.notify.channels import PubSub, Slack, Webhook, demand_safe
from vertex_deploy.rollout.notify.message import message_of
from vertex_deploy.secrets import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.rollout.notify.channels import Channel
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.spec.watching import Notify

QUEUE = 256
"""Messages that may wait for one channel."""
ATTEMPTS = 3
LINGER = 10.0
"""Seconds that the end of a controller waits for what is left."""


@dataclass(frozen=True, slots=True)
class Route:
    """A channel and what it gets.

    Args:
        channel: where to.
        failures_only: only what went wrong.
    """

    channel: Channel
    failures_only: bool = False


class _Lane:
    """One channel's queue and thread.

    Args:
        route: whom it tells.
        now: as ``Notifier``; so are ``sleep`` and ``size``.
        failures: where what did not arrive goes.
    """

    def __init__(
        self,
        route: Route,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        size: int,
        failures: queue.SimpleQueue[str],
    ) -> None:
        self._route = route
        self._now = now
        self._sleep = sleep
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(size)
        self._failures = failures
        self._thread: threading.Thread | None = None

    def tell(self, message: dict[str, Any]) -> None:
        if self._route.failures_only and not message["failure"]:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
            self._thread.start()
        self._put(message)

    def finish(self) -> None:
        """Ask the thread to end after what waits."""
        if self._thread is not None:
            self._put(None)

    def join(self, seconds: float) -> None:
        """Wait for that; afterwards another thread would be begun."""
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            label, left = self._route.channel.label, self._queue.qsize()
            self._failures.put(f"notifications: {label}: {left} were not sent before the controller's end")
        self._thread = None

    def _put(self, message: dict[str, Any] | None) -> None:
        while True:
            try:
                self._queue.put_nowait(message)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    dropped = self._queue.get_nowait()
                    if dropped is not None:
                        label = self._route.channel.label
                        self._failures.put(f"notifications: {label}: {dropped['id']} was dropped: too many are waiting")
            else:
                return

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            self._send(self._route.channel, message)

    def _send(self, channel: Channel, message: dict[str, Any]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                channel.send(message, self._now())
            except Exception as error:  # noqa: BLE001 - whatever a channel does, the next message must go out
                if attempt == ATTEMPTS:
                    why = str(error) if isinstance(error, VertexDeployError) else f"{channel.label}: {_kind(error)}"
                    self._failures.put(f"notification {message['id']} did not arrive: {one_line(why)}")
                else:
                    self._sleep(random.random() * 2.0**attempt)  # noqa: S311 - jitter, not a secret
            else:
                return


class Notifier:
    """Tells channels of history entries, each in their order.

    Args:
        routes: whom.
        now: seconds since the epoch, for signatures.
        sleep: waits between attempts; tests pass their own.
        size: messages that may wait for one channel.
        problems: failures from before the first message.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        size: int = QUEUE,
        problems: Sequence[str] = (),
    ) -> None:
        self._failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lanes = [_Lane(route, now=now, sleep=sleep, size=size, failures=self._failures) for route in routes]
        for problem in problems:
            self._failures.put(problem)

    def tell(self, entry: LogEntry, record: Record) -> None:
        """Queue what is to be told of an entry; returns at once and never raises."""
        # A failure to notify that is itself notified of would never end.
        message = None if entry.data.get("notification") else message_of(entry, record)
        if message is not None:
            for lane in self._lanes:
                lane.tell(message)

    def failures(self) -> list[str]:
        """What did not arrive since the last call, one line each."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._failures.get_nowait())
        return found

    def close(self, linger: float = LINGER) -> list[str]:
        """Wait for what is left, ``linger`` seconds at most for all together; what did not arrive."""
        end = time.monotonic() + linger
        for lane in self._lanes:
            lane.finish()
        for lane in self._lanes:
            lane.join(max(0.0, end - time.monotonic()))
        return self.failures()


def notifier_for(entries: Sequence[Notify], *, secret: Callable[[str], str] = resolve) -> Notifier | None:
    """The notifier of a spec's ``rollout.notify``; None if it names nobody.

    Args:
        entries: of the spec.
        secret: resolves references.

    A channel whose secret cannot be read is told of in the history and left out: whoever aborts a rollout from another
    machine need not have the secrets of the one that started it.
    """
    routes, problems = [], []
    for entry in entries:
        try:
            routes.append(Route(_channel(entry, secret), entry.events == "failures"))
        except VertexDeployError as error:
            problems.append(f"nobody is notified by an entry of rollout.notify: {error}")
    return Notifier(routes, problems=problems) if entries else None


def _channel(entry: Notify, secret: Callable[[str], str]) -> Channel:
    if entry.webhook is not None:
        return Webhook(entry.webhook, secret(entry.secret).encode() if entry.secret else None)
    if entry.slack is not None:
        slack = Slack(secret(entry.slack))
        demand_safe(slack.url, slack.label)
        return slack
    return PubSub(entry.pubsub or "")


def _kind(error: Exception) -> str:
    """An error without what it may quote: an address can be a secret."""
    reason = getattr(error, "reason", error)
    return type(reason).__name__ if not isinstance(reason, OSError) else f"{reason.strerror or type(reason).__name__}"

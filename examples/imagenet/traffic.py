"""A steady stream of predictions through Google's own SDK, and a record of who answered what.

An open loop: requests leave on schedule whether or not earlier ones were answered, as users do, so a slow version
shows as latency and not as a lower rate. Where this machine itself stood still, the schedule stands still with it: what
was not sent meanwhile is not sent at once.
"""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WORKERS = 32
STOOD_STILL = 0.25
"""Seconds by which a request is late only where this machine was stopped, or is far too busy."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when it left (seconds since the epoch), how long it took, and who answered or what went wrong."""

    at: float
    seconds: float
    photo: str
    deployed_model_id: str | None
    error: str | None


@dataclass(slots=True)
class Traffic:
    """Sends ``rate`` photographs a second to an endpoint from ``start`` to ``stop``.

    Args:
        endpoint: makes an ``aiplatform.Endpoint``; called once per worker thread.
        photos: JPEG bytes by name, sent in turn.
        rate: requests per second.
    """

    endpoint: Callable[[], Any]
    photos: Mapping[str, bytes]
    rate: float
    sent: list[Sent] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _local: threading.local = field(default_factory=threading.local)

    def start(self) -> None:
        """Begin to send, in the background."""
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the answers still due."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        instances = {name: {"image": {"b64": base64.b64encode(data).decode()}} for name, data in self.photos.items()}
        begin = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            for number, name in enumerate(itertools.cycle(instances)):
                begin = on_time(begin, number / self.rate, time.monotonic())
                if self._stop.wait(max(0.0, begin + number / self.rate - time.monotonic())):
                    return
                pool.submit(self._send, name, instances[name])

    def _send(self, name: str, instance: Any) -> None:
        at, begin = time.time(), time.perf_counter()
        answered, error = None, None
        try:
            if not hasattr(self._local, "endpoint"):
                self._local.endpoint = self.endpoint()
            answer = self._local.endpoint.predict(instances=[instance], parameters={"top_k": 3})
            answered = answer.deployed_model_id
        except Exception as failure:  # noqa: BLE001 - whatever a user would have seen is what is recorded
            error = f"{type(failure).__name__}: {failure}".splitlines()[0][:200]
        self.sent.append(Sent(at, time.perf_counter() - begin, name, answered, error))


def on_time(begin: float, offset: float, now: float) -> float:
    """When the schedule began, put off where this machine stood still.

    Args:
        begin: when it began so far, seconds.
        offset: when the next request leaves, seconds from the beginning.
        now: seconds, of the same clock as ``begin``.
    """
    late = now - begin - offset
    return begin + late if late > STOOD_STILL else begin


def by_version(sent: Sequence[Sent], names: Mapping[str, str], seconds: float = 5.0) -> list[str]:
    """Lines of a table: for each stretch of time, how many requests each version answered, and how many failed.

    Args:
        sent: the record, in any order.
        names: what to call each deployed model id.
        seconds: length of a stretch.
    """
    if not sent:
        return ["no request was sent"]
    first = min(s.at for s in sent)
    stretches: dict[int, Counter[str]] = {}
    for s in sent:
        column = "failed" if s.error else names.get(s.deployed_model_id or "", s.deployed_model_id or "?")
        stretches.setdefault(int((s.at - first) // seconds), Counter())[column] += 1
    columns = [*dict.fromkeys(names.values()), "failed"]
    lines = ["  seconds  " + "".join(f"{c:>12}" for c in columns)]
    lines += [
        f"  {n * seconds:>4.0f}-{(n + 1) * seconds:<4.0f}" + "".join(f"{counts[c] or '.':>12}" for c in columns)
        for n, counts in sorted(stretches.items())
    ]
    return lines

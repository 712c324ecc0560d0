"""Channels in memory: one that keeps what it gets, one that fails, one that hangs until it is let go."""

from __future__ import annotations

import threading
from typing import Any

from vertex_deploy.errors import RolloutError

LONG = 120.0
"""Seconds that only a failure waits."""


class Kept:
    """A channel that keeps what it gets."""

    label = "kept"

    def __init__(self) -> None:
        self.tried = 0
        self.got: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any], now: float) -> None:
        self.tried += 1
        self.deliver(message)

    def deliver(self, message: dict[str, Any]) -> None:
        self.got.append(message)


class Broken(Kept):
    label = "broken"

    def deliver(self, message: dict[str, Any]) -> None:
        raise RolloutError("broken: answered 500")


class Hanging(Kept):
    """``entered`` once somebody sends; nothing is kept before ``free``."""

    label = "hanging"

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def deliver(self, message: dict[str, Any]) -> None:
        self.entered.set()
        self.free.wait(LONG)
        super().deliver(message)

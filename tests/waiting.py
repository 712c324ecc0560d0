"""Waiting for what other tasks, threads and processes do: for its end, with a limit that only a failure reaches."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 300.0
"""Seconds until a wait counts as in vain. Only a failure takes so long, however slow the machine."""


def until(condition: Callable[[], Any], what: str = "it did not come", *, pause: float = 0.02) -> None:
    """Wait for a condition.

    Args:
        condition: asked again and again.
        what: said of a wait in vain.
        pause: seconds between two looks.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE:g} s: {what}"
        time.sleep(pause)


async def come(condition: Callable[[], Any], *, pause: float = 0.01) -> Any:
    """Wait for a condition, or for one that is awaited itself, while the loop goes on; gives what it came to."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(pause)

"""Work that takes long with a request's size, beside the event loop.

protobuf's JSON parser is Python: it takes microseconds a value, seconds a large body. In a thread of its own it shares
the interpreter with the loop, which goes on to answer, route predictions and evaluate alerts meanwhile.

Left out: a time limit. What is to be done is bounded by the requests' own limits.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
SMALL: Final = 32 * 1024
"""Bytes that are worked on at once: at most a tenth of a second, which handing over would not shorten."""


class Aside:
    """One thread: with more, the loop would get a smaller share of the interpreter and nothing would end sooner."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="aside")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Do ``work``: here where it is small, else in the thread, after what was handed to it before.

        Args:
            size: bytes that it works on.
            work: touches nothing that the loop uses meanwhile.

        Raises:
            Exception: what ``work`` raises.
        """
        if size <= SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

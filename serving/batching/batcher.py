"""Feeds one engine from the queue: one batch at a time, in a thread of its own, so that the event loop never waits.

A batch that raises is run again request by request: one that the engine cannot take does not fail its neighbours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from serving.batching.policy import BatchQueue, Item, Ticket
from serving.errors import BatchFailed, Busy, DeadlineExceeded, EngineError, RequestError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from serving.engines.base import Array, Engine, Stage

log = logging.getLogger(__name__)


class Observer(Protocol):
    """What the batcher tells the metrics."""

    def batch(self, instances: int, seconds: float) -> None:
        """A batch ran."""
        ...

    def depth(self, instances: int) -> None:
        """The queue holds so many."""
        ...

    def stages(self, seconds: Mapping[Stage, float]) -> None:
        """A request's time in the stages of the batches that it was in; what no engine measured is absent."""
        ...


class _Job(Ticket["Array"]):
    """A ticket, the rows of its answer, and who waits for it."""

    __slots__ = ("future", "missing", "rows", "stages")

    def __init__(self, instances: list[Array], arrived: float, deadline: float, future: asyncio.Future[Array]) -> None:
        super().__init__(instances, arrived, deadline)
        self.future = future
        self.rows: list[Array | None] = [None] * len(instances)
        self.missing = len(instances)
        self.stages: dict[Stage, float] = {}

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def fill(self, index: int, row: Array) -> None:
        self.rows[index] = row
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(np.stack([r for r in self.rows if r is not None]))


class Batcher:
    """Runs instances in batches.

    Args:
        engine: loaded; used from one thread.
        queue: the rules.
        timeout: seconds from a request's arrival to its deadline.
        observer: told of each batch and of the queue's depth.
        on_fatal: called once, with the reason, when the engine is gone.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: Engine,
        queue: BatchQueue[Array],
        *,
        timeout: float,
        observer: Observer,
        on_fatal: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._queue, self._timeout = engine, queue, timeout
        self._observer, self._on_fatal, self._clock = observer, on_fatal, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._arrived = asyncio.Event()
        self._gone = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="batcher")

    @property
    def full(self) -> bool:
        """Whether not one instance more fits."""
        return self._queue.depth >= self._queue.bound

    async def submit(self, instances: list[Array]) -> Array:
        """Logits of a request's instances, in their order. Cancelling it takes what still waits out of the queue.

        Args:
            instances: each float32 [3, height, width]; at least one.

        Raises:
            Busy: they do not fit into the queue.
            DeadlineExceeded: they were not answered in time.
            Unavailable: the engine is gone.
            RequestError: the engine failed on this request alone (500).
        """
        if self._gone:
            raise Unavailable(f"the engine is gone: {self._gone}")
        loop = asyncio.get_running_loop()
        now = self._clock()
        job = _Job(instances, now, now + self._timeout, loop.create_future())
        if not self._queue.offer(job):
            raise Busy(f"the queue is full: {self._queue.depth} instances wait, {self._queue.bound} may")
        self._observer.depth(self._queue.depth)
        self._arrived.set()
        timer = loop.call_later(self._timeout, self._late, job)
        try:
            return await job.future
        finally:
            timer.cancel()
            if self._queue.cancel(job):  # abandoned or late: do not run it
                self._observer.depth(self._queue.depth)

    async def close(self) -> None:
        """Stop taking batches; one that runs is waited for. Whoever still waits is told so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._abandon("the server is shutting down")
        await asyncio.to_thread(self._thread.shutdown)

    def _late(self, job: _Job) -> None:
        job.fail(DeadlineExceeded(f"not answered within {self._timeout:g} s; try again when there is less load"))

    async def _run(self) -> None:
        while True:
            self._arrived.clear()
            wait = self._queue.due(self._clock())
            if wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), wait)
                continue
            for late in self._queue.expire(self._clock()):
                self._late(late)  # type: ignore[arg-type]  # every ticket here is a _Job
            batch = self._queue.take()
            self._observer.depth(self._queue.depth)
            if batch and not await self._answer(batch):
                return

    async def _answer(self, batch: list[Item[Array]]) -> bool:
        """Run a batch and hand out its rows; False once the engine is gone."""
        loop = asyncio.get_running_loop()
        arrays = [item.ticket.instances[item.index] for item in batch]
        started = time.perf_counter()
        try:
            logits = await loop.run_in_executor(self._thread, self._engine.run, arrays)
        except BatchFailed as error:
            return await self._apart(batch, str(error))
        except Exception as error:  # an engine that raises anything else is not to be trusted with another batch
            if not isinstance(error, EngineError):
                log.exception("the engine raised")
            self._gone = str(error) or type(error).__name__
            for item in batch:
                item.ticket.fail(Unavailable(f"the engine is gone: {self._gone}"))  # type: ignore[attr-defined]
            self._abandon(f"the engine is gone: {self._gone}")
            self._on_fatal(self._gone)
            return False
        self._observer.batch(len(batch), time.perf_counter() - started)
        for job in {id(item.ticket): item.ticket for item in batch}.values():
            self._staged(job)  # type: ignore[arg-type]  # every ticket here is a _Job
        for item, row in zip(batch, logits, strict=True):
            item.ticket.fill(item.index, row)  # type: ignore[attr-defined]
        return True

    def _staged(self, job: _Job) -> None:
        """Add the last batch's stages to a request that was in it; tell of them once no more batch is to come."""
        for stage, seconds in self._engine.stage_seconds.items():
            job.stages[stage] = job.stages.get(stage, 0.0) + seconds
        if not job.waiting and job.stages and not job.future.done():
            self._observer.stages(job.stages)

    async def _apart(self, batch: list[Item[Array]], reason: str) -> bool:
        """Run each request of a failed batch alone."""
        by_ticket: dict[int, list[Item[Array]]] = {}
        for item in batch:
            by_ticket.setdefault(id(item.ticket), []).append(item)
        if len(by_ticket) == 1:
            log.error("the engine failed on a batch of %d: %s", len(batch), reason)
            batch[0].ticket.fail(RequestError(f"the engine failed: {reason}"))  # type: ignore[attr-defined]
            return True
        for items in by_ticket.values():
            if not await self._answer(items):
                return False
        return True

    def _abandon(self, reason: str) -> None:
        for ticket in self._queue.expire(float("inf")):
            ticket.fail(Unavailable(reason))  # type: ignore[attr-defined]

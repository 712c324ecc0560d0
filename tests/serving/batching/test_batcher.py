from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving.batching.batcher import Batcher
from serving.batching.policy import BatchQueue
from serving.errors import BatchFailed, Busy, DeadlineExceeded, EngineError, RequestError, Unavailable
from tests.serving.fakes import SIZE, FakeEngine, Told


def instance(value):
    return np.full((3, SIZE, SIZE), value, np.float32)


class Rig:
    def __init__(self, engine=None, *, timeout=300.0, max_batch=4, bound=8):
        self.engine = engine or FakeEngine()
        self.told = Told()
        self.fatal = []
        self.queue = BatchQueue(max_batch=max_batch, max_delay=0.0, bound=bound)
        self.batcher = Batcher(self.engine, self.queue, timeout=timeout, observer=self.told, on_fatal=self.fatal.append)

    async def __aenter__(self):
        self.batcher.start()
        return self

    async def __aexit__(self, *_):
        self.engine.go.set()
        await self.batcher.close()

    async def hold(self):
        """A request that keeps the engine busy until ``engine.go`` is set."""
        self.engine.go.clear()
        while True:
            first = asyncio.create_task(self.batcher.submit([instance(9)]))
            while not self.engine.running.is_set() and not first.done():  # noqa: ASYNC110 - it runs in a thread
                await asyncio.sleep(0.001)
            if self.engine.running.is_set():
                return first
            assert isinstance(first.exception(), DeadlineExceeded)  # a busy machine had not run it in its time


async def test_each_request_gets_its_own_rows():
    async with Rig() as rig:
        answers = await asyncio.gather(*(rig.batcher.submit([instance(v), instance(-v)]) for v in range(1, 4)))
    for v, rows in zip(range(1, 4), answers, strict=True):
        assert rows[:, 0].tolist() == [v, -v]


async def test_batches_fill_up_while_the_engine_is_busy():
    async with Rig() as rig:
        first = await rig.hold()
        rest = [asyncio.create_task(rig.batcher.submit([instance(v)])) for v in range(4)]
        await asyncio.sleep(0)
        rig.engine.go.set()
        await asyncio.gather(first, *rest)
    assert rig.engine.batches == [1, 4]
    assert rig.told.batches == [1, 4]


async def test_a_request_larger_than_a_batch_is_answered_whole_and_in_order():
    async with Rig() as rig:
        rows = await rig.batcher.submit([instance(v) for v in range(7)])
    assert rows[:, 0].tolist() == list(range(7))
    assert rig.engine.batches == [4, 3]


async def test_a_full_queue_refuses():
    async with Rig(bound=2) as rig:
        first = await rig.hold()
        waits = asyncio.create_task(rig.batcher.submit([instance(1)] * 2))
        await asyncio.sleep(0)
        assert rig.batcher.full
        with pytest.raises(Busy, match="2 instances wait, 2 may"):
            await rig.batcher.submit([instance(1)])
        rig.engine.go.set()
        await asyncio.gather(first, waits)


async def test_work_whose_client_left_is_not_run():
    async with Rig() as rig:
        first = await rig.hold()
        gone = asyncio.create_task(rig.batcher.submit([instance(1)] * 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert rig.queue.depth == 0
        assert rig.told.depths[-1] == 0
        rig.engine.go.set()
        await first
    assert rig.engine.batches == [1]


async def test_late_work_is_refused_while_the_engine_hangs_and_never_run():
    async with Rig(timeout=0.02) as rig:
        first = await rig.hold()
        with pytest.raises(DeadlineExceeded):
            await rig.batcher.submit([instance(1)])
        rig.engine.go.set()
        with pytest.raises(DeadlineExceeded):
            await first
    assert rig.engine.batches == [1]


async def test_a_request_that_the_engine_cannot_take_does_not_fail_its_neighbours():
    engine = FakeEngine(fail=lambda rows: BatchFailed("no 13") if (rows == 13).any() else None)
    async with Rig(engine) as rig:
        first = await rig.hold()
        tasks = [asyncio.create_task(rig.batcher.submit([instance(v)])) for v in (12, 13, 14)]
        await asyncio.sleep(0)
        engine.go.set()
        good, bad, other, _ = await asyncio.gather(*tasks, first, return_exceptions=True)
        again = await rig.batcher.submit([instance(2)])
    assert good[0, 0] == 12
    assert other[0, 0] == 14
    assert isinstance(bad, RequestError)
    assert bad.status == 500
    assert again[0, 0] == 2
    assert rig.fatal == []


async def test_when_the_engine_dies_everybody_is_told_and_nothing_more_is_taken():
    engine = FakeEngine(fail=lambda _: EngineError("ended by SIGKILL"))
    async with Rig(engine) as rig:
        first = await rig.hold()
        waits = asyncio.create_task(rig.batcher.submit([instance(1)]))
        await asyncio.sleep(0)
        engine.go.set()
        results = await asyncio.gather(first, waits, return_exceptions=True)
        assert [type(r) for r in results] == [Unavailable, Unavailable]
        with pytest.raises(Unavailable, match="SIGKILL"):
            await rig.batcher.submit([instance(1)])
    assert rig.fatal == ["ended by SIGKILL"]


async def test_an_engine_that_raises_anything_else_is_not_trusted_again():
    async with Rig(FakeEngine(fail=lambda _: KeyError("bug"))) as rig:
        with pytest.raises(Unavailable):
            await rig.batcher.submit([instance(1)])
    assert len(rig.fatal) == 1


async def test_a_request_is_told_the_stages_of_all_its_batches_once_and_of_none_that_was_not_measured():
    async with Rig(max_batch=2) as rig:
        await rig.batcher.submit([instance(1)])
        rig.engine.stage_seconds = {"vision_encoding": 0.5}
        await rig.batcher.submit([instance(v) for v in range(5)])
    assert rig.engine.batches == [1, 2, 2, 1]
    assert rig.told.staged == [{"vision_encoding": 1.5}]


async def test_each_request_of_a_batch_is_told_the_batchs_stages():
    async with Rig() as rig:
        first = await rig.hold()
        rest = [asyncio.create_task(rig.batcher.submit([instance(v), instance(v)])) for v in range(2)]
        await asyncio.sleep(0)
        rig.engine.stage_seconds = {"vision_encoding": 0.5, "language_generation": 2.0}
        rig.engine.go.set()
        await asyncio.gather(first, *rest)
    assert rig.engine.batches == [1, 4]
    assert rig.told.staged == [{"vision_encoding": 0.5, "language_generation": 2.0}] * 3

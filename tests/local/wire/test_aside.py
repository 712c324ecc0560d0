"""Work beside the event loop."""

import asyncio
import threading

import pytest

from vertex_deploy.local.wire.aside import SMALL, Aside


async def test_what_is_small_is_done_at_once_and_what_is_large_beside_the_loop():
    aside = Aside()
    assert await aside.run(SMALL, threading.current_thread) is threading.main_thread()
    assert await aside.run(SMALL + 1, threading.current_thread) is not threading.main_thread()


async def test_the_loop_goes_on_while_something_large_is_worked_on():
    answered = threading.Event()
    asyncio.get_running_loop().call_later(0, answered.set)
    assert await Aside().run(SMALL + 1, lambda: answered.wait(timeout=60)), "the loop stood still"


async def test_one_large_thing_is_worked_on_at_a_time():
    aside, working = Aside(), []

    def work():
        working.append(1)
        most = len(working)
        threading.Event().wait(0.001)
        working.pop()
        return most

    assert await asyncio.gather(*(aside.run(SMALL + 1, work) for _ in range(5))) == [1] * 5


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
async def test_an_error_arrives(size):
    def fail():
        raise ValueError("what is wrong")

    with pytest.raises(ValueError, match="what is wrong"):
        await Aside().run(size, fail)

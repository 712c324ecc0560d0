"""A server of Cloud Storage on a loopback port."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from vertex_deploy.local.storage import ObjectStore, StorageApi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SystemClock:
    def now(self) -> float:
        return time.time()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server on a thread: the client blocks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    store = ObjectStore(tmp_path / "storage", SystemClock())
    api = StorageApi(store)
    app = web.Application()
    app.add_routes(api.routes())
    runner = web.AppRunner(app)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    api.close()
    store.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

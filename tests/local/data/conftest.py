from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.local.data.support import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A data plane whose containers are applications in this process."""
    bench = Bench(tmp_path)
    yield bench
    await bench.plane.close()


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of its REST listener."""
    application = web.Application()
    application.add_routes(bench.plane.http_routes())
    async with TestClient(TestServer(application)) as client:
        yield client


@pytest.fixture
async def aiohttp_client_for(tmp_path: Path) -> AsyncIterator[Any]:
    """Makes a bench with options of its own, and a client of it."""
    made: list[tuple[Bench, TestClient[Any, Any]]] = []

    async def make(**options: Any) -> tuple[Bench, TestClient[Any, Any]]:
        bench = Bench(tmp_path, **options)
        application = web.Application()
        application.add_routes(bench.plane.http_routes())
        client: TestClient[Any, Any] = TestClient(TestServer(application))
        await client.start_server()
        made.append((bench, client))
        return bench, client

    yield make
    for bench, client in made:
        await client.close()
        await bench.plane.close()

"""Probes over real loopback connections."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from vertex_deploy.local.data.prober import LoopbackProber, ProbeResult
from vertex_deploy.local.data.probes import Exec, HttpGet, TcpSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Executes:
    """A process that runs commands as told."""

    async def execute(self, command):
        if command[0] == "hang":
            await asyncio.Event().wait()
        return 0 if command[0] == "true" else 3


@pytest.fixture
async def prober() -> AsyncIterator[LoopbackProber]:
    prober = LoopbackProber()
    yield prober
    await prober.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    over = asyncio.Event()

    async def status(request: web.Request) -> web.Response:
        code = int(request.match_info["code"])
        if code == 0:
            await over.wait()
        if code == 302:
            raise web.HTTPFound("/200")
        return web.Response(status=200 if request.headers.get("X-Probe") == "yes" else code or 200)

    application = web.Application()
    application.router.add_get("/{code}", status)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    over.set()
    await runner.cleanup()


async def check(prober, action, port, *, timeout=60.0):  # noqa: ASYNC109 - handed on
    return await prober.check(action, port=port, running=Executes(), timeout=timeout)


@pytest.mark.parametrize("code", [201, 204, 302, 404, 500, 503])
async def test_health_is_exactly_200_and_redirects_are_not_followed(prober, port, code):
    assert await check(prober, HttpGet("/200"), port) == ProbeResult(ok=True, detail="HTTP 200")
    assert await check(prober, HttpGet(f"/{code}"), port) == ProbeResult(ok=False, detail=f"HTTP {code}")


@pytest.mark.parametrize(("code", "ok"), [(200, True), (204, True), (302, True), (400, False), (503, False)])
async def test_other_http_probes_pass_below_400(prober, port, code, ok):
    assert (await check(prober, HttpGet(f"/{code}", exactly_200=False), port)).ok is ok


async def test_a_probes_headers_are_sent(prober, port):
    assert (await check(prober, HttpGet("/503", (("X-Probe", "yes"),)), port)).ok


async def test_a_probe_that_takes_too_long_has_failed(prober, port):
    assert await check(prober, HttpGet("/0"), port, timeout=0.02) == ProbeResult(
        ok=False, detail="no answer within 0.02 s"
    )
    assert not (await check(prober, Exec(("hang",)), port, timeout=0.02)).ok


async def test_tcp_probes_connect(prober, port):
    assert (await check(prober, TcpSocket(), port)).ok


@pytest.mark.parametrize("action", [TcpSocket(), HttpGet("/")])
async def test_nobody_listening_is_a_failure_with_its_reason(prober, action):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # refuses connections, and nobody else can begin to listen there
        found = await check(prober, action, held.getsockname()[1])
    assert found == ProbeResult(ok=False, detail="connection refused")


async def test_exec_probes_pass_on_exit_code_0(prober, port):
    assert (await check(prober, Exec(("true",)), port)).ok
    assert await check(prober, Exec(("false",)), port) == ProbeResult(ok=False, detail="false exited 3")

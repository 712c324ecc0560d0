"""Carries out one probe over loopback; what follows from the result is decided in ``probes``."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import aiohttp

from vertex_deploy.local.data.probes import Exec, HttpGet

if TYPE_CHECKING:
    from vertex_deploy.local.data.launcher import Running
    from vertex_deploy.local.data.probes import Action


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe went; ``detail`` says why it failed ("HTTP 503", "connection refused")."""

    ok: bool
    detail: str = ""


class Prober(Protocol):
    """Tries a replica's health."""

    async def check(self, action: Action, *, port: int, running: Running, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a probe's time limit is part of what is probed
        """One try, over within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class LoopbackProber:
    """Probes 127.0.0.1. Every try is a new connection, as the kubelet's are."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def check(self, action: Action, *, port: int, running: Running, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - see Prober
        """One try; see ``Prober.check``."""
        try:
            async with asyncio.timeout(timeout):
                if isinstance(action, HttpGet):
                    return await self._get(action, port)
                if isinstance(action, Exec):
                    code = await running.execute(action.command)
                    return ProbeResult(code == 0, f"{action.command[0]} exited {code}")
                return await self._connect(port)
        except TimeoutError:
            return ProbeResult(ok=False, detail=f"no answer within {timeout:g} s")
        except (OSError, aiohttp.ClientError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            refused = isinstance(cause, ConnectionRefusedError)
            return ProbeResult(ok=False, detail="connection refused" if refused else str(error) or type(error).__name__)

    async def _get(self, action: HttpGet, port: int) -> ProbeResult:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0), auto_decompress=False
            )
        url = f"http://127.0.0.1:{port}{action.path}"
        async with self._session.get(url, headers=list(action.headers), allow_redirects=False) as response:
            status = response.status
        ok = status == HTTPStatus.OK if action.exactly_200 else HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST
        return ProbeResult(ok, f"HTTP {status}")

    async def _connect(self, port: int) -> ProbeResult:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return ProbeResult(ok=True)

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

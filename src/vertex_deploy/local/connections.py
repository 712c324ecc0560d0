"""Connections of the REST listeners: one that sends no request within some seconds is closed.

aiohttp waits for a first request for ever, so that connections which say nothing, or a header a minute, would use up
the process's file descriptors. After its first request a connection falls under aiohttp's own keep-alive timeout.

Left out: a limit on how slowly a body may come; uploads over slow lines are legitimate.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from aiohttp.web_protocol import RequestHandler

HEAD_S = 60.0
"""Seconds: more than a busy machine lets a client wait between connecting and sending."""
_AGAIN_S = 1.0


class Timer(Protocol):
    """What the event loop gives for a call that is due later."""

    def cancel(self) -> None:
        """The call is not made, and what it would have needed is let go."""


class Connections:
    """Knows which connections have sent a request.

    Args:
        seconds: that a connection has for the head of its first one.
        later: calls something after so many seconds; None: the event loop's.
    """

    def __init__(
        self, *, seconds: float = HEAD_S, later: Callable[[float, Callable[[], None]], Timer] | None = None
    ) -> None:
        self._seconds = seconds
        self._later = later or (lambda delay, call: asyncio.get_running_loop().call_later(delay, call))
        self._silent: dict[RequestHandler, Timer] = {}

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """A head has come: the connection may stay."""
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            # Else it would keep a minute's connections in memory, which may be as many as there were requests.
            timer.cancel()
        return await handler(request)

    async def listen(
        self, runner: web.AppRunner, on: socket.socket, *, context: ssl.SSLContext | None = None
    ) -> asyncio.Server:
        """Accept connections; close the server before the runner is cleaned up.

        Args:
            runner: set up; its application has the middleware.
            on: bound.
            context: for TLS.
        """
        accepts = runner.server
        if accepts is None:
            raise RuntimeError("the runner is not set up")

        def connection() -> RequestHandler:
            made = accepts()
            self._silent[made] = self._later(self._seconds, lambda: self._look_again(made))
            return made

        timeout = None if context is None else self._seconds
        loop = asyncio.get_running_loop()
        return await loop.create_server(connection, sock=on, ssl=context, backlog=512, ssl_handshake_timeout=timeout)

    def _look_again(self, connection: RequestHandler) -> None:
        """Where this loop was held up, the timer and the request are both due now: the request goes first."""
        if connection in self._silent:
            self._silent[connection] = self._later(_AGAIN_S, lambda: self._close_if_silent(connection))

    def _close_if_silent(self, connection: RequestHandler) -> None:
        if self._silent.pop(connection, None) is not None and connection.transport is not None:
            connection.transport.abort()

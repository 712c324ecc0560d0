"""The listeners of Local Vertex on loopback: REST and gRPC, each plain and with TLS.

Left out: any other address, and credentials. Instead of them, what a web page could send is refused.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import grpc.aio
from aiohttp import web

from vertex_deploy.errors import LocalError
from vertex_deploy.local.connections import Connections
from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire.rest import error_response
from vertex_deploy.local.wire.rpc import grpc_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from vertex_deploy.local.wire import Wire, tls

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "::1"})


def bound(port: int, option: str) -> socket.socket:
    """A socket on loopback that connections can be made to.

    Args:
        port: 0 takes a free one.
        option: of the command line, which chose the port.

    Raises:
        LocalError: the port is taken.
    """
    try:
        return socket.create_server((LOOPBACK, port), backlog=512)
    except OSError as error:
        raise LocalError(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}; choose another {option}") from None


async def serve_rest(
    app: web.Application, sockets: tuple[socket.socket, socket.socket], files: tls.TlsFiles, stack: AsyncExitStack
) -> None:
    """Answer REST requests, until ``stack`` is closed.

    Args:
        app: what answers; not started yet.
        sockets: bound; plain, and for TLS.
        files: of TLS.
        stack: on its end the listeners are closed, and requests under way have five seconds.
    """
    connections = Connections()
    app.middlewares.insert(0, connections.middleware)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=5.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.chain, files.key)
    for listener, security in zip(sockets, (None, context), strict=True):
        stack.callback((await connections.listen(runner, listener, context=security)).close)


def grpc_ports(wire: Wire, files: tls.TlsFiles, ports: tuple[int, int]) -> tuple[grpc.aio.Server, tuple[int, int]]:
    """A gRPC server that is not started yet, and its ports.

    Args:
        wire: what answers.
        files: of TLS.
        ports: plain, and for TLS; 0 takes a free one.

    Raises:
        LocalError: a port is taken.
    """
    server = grpc_server(wire)
    credentials = grpc.ssl_server_credentials([(files.key.read_bytes(), files.chain.read_bytes())])
    try:
        plain = server.add_insecure_port(f"{LOOPBACK}:{ports[0]}")
        secure = server.add_secure_port(f"{LOOPBACK}:{ports[1]}", credentials)
    except RuntimeError:
        raise LocalError(f"cannot listen on {LOOPBACK}:{ports[0]} for gRPC; choose another --grpc-port") from None
    return server, (plain, secure)


@web.middleware
async def not_from_a_web_page(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what a page in a browser on this machine could send: nothing here asks for credentials.

    A page of another site has an Origin; one whose name was made to lead to loopback has that name as Host.
    """
    origin = request.headers.get("Origin")
    try:
        here = request.url.host in _LOOPBACK_NAMES
        here = here and (origin is None or urlsplit(origin).hostname in _LOOPBACK_NAMES)
    except ValueError:
        here = False
    if not here:
        message = "Local Vertex answers only requests to a loopback address that come from no web page."
        return error_response(ApiError(grpc.StatusCode.PERMISSION_DENIED, message))
    return await handler(request)

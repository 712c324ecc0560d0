"""How large the head of a request may be: the server's protocol on a transport of the test's, without a server."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving.server import Protocol

LIMIT = Protocol.max_head


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.sent, self.closed = b"", False

    def write(self, data):
        self.sent += data

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def app(scope, receive, send):
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def answer(*pieces):
    """What a connection gets that sends these; it stops when it is closed."""
    protocol = Protocol(uvicorn.Config(app, lifespan="off", log_config=None), ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    sent = 0
    for piece in pieces:
        if wire.closed:
            break
        protocol.data_received(piece)
        sent += len(piece)
    if wire.closed:
        protocol.connection_lost(ConnectionError())
    await asyncio.gather(*protocol.tasks)
    if not wire.closed:
        protocol.connection_lost(ConnectionError())
    return wire.sent.partition(b"\r\n")[0].decode(), sent


def repeated(piece, times):
    return [piece] * times


PIECE = b"a" * 16_384


@pytest.mark.parametrize(
    "pieces",
    [
        [b"POST /p HTTP/1.1\r\nX: ", *repeated(PIECE, 1000)],
        [b"POST /", *repeated(PIECE, 1000)],
        [b"POST /p HTTP/1.1\r\n", *repeated(b"X: a\r\n" * 1000, 1000)],
        [b"POST /p HTTP/1.1\r\nX: " + b"a" * LIMIT + b"\r\n\r\n"],
        [b"GET /" + b"a" * LIMIT + b" HTTP/1.1\r\n\r\n"],
        [b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", *repeated(PIECE, 1000)],
        [b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", *repeated(PIECE, 1000)],
    ],
    ids=["field", "target", "fields", "field-at-once", "target-at-once", "trailer", "chunk-extension"],
)
async def test_a_head_without_end_is_refused_soon(pieces):
    status, sent = await answer(*pieces)
    assert status == "HTTP/1.1 431 Request Header Fields Too Large"
    assert sent <= 2 * LIMIT


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /p HTTP/1.1\r\nX: " + b"a" * (LIMIT - 100) + b"\r\n\r\n"],
        [b"GET /p HTTP/1.1\r\nX: ", *repeated(b"a" * 1000, 60), b"\r\n\r\n"],
        [b"POST /p HTTP/1.1\r\nContent-Length: 1638400\r\n\r\n", *repeated(PIECE, 100)],
        [b"POST /p HTTP/1.1\r\nContent-Length: 163840\r\n\r\n" + PIECE * 10],
        [
            b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            *repeated(b"4000\r\n" + PIECE + b"\r\n", 100),
            b"0\r\n\r\n",
        ],
    ],
    ids=["large-field", "in-pieces", "body", "body-at-once", "chunks"],
)
async def test_heads_within_the_limit_and_bodies_of_any_size_pass(pieces):
    assert await answer(*pieces) == ("HTTP/1.1 200 OK", sum(map(len, pieces)))


async def test_every_request_of_a_connection_has_a_head_of_its_own():
    request = b"GET /p HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"
    assert (await answer(*repeated(request, 10)))[1] == 10 * len(request)


@pytest.mark.parametrize(
    "request_",
    [b"hello\r\n\r\n", b"hello " + PIECE * 5, b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n" + PIECE * 5],
    ids=["words", "many-words", "length"],
)
async def test_what_is_no_request_is_400_however_long(request_):
    assert (await answer(request_))[0] == "HTTP/1.1 400 Bad Request"

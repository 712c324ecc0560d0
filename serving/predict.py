"""The predict route as plain ASGI, in front of the FastAPI application: read, decode in a thread, batch, answer.

Bodies are bounded while they stream in; a client that leaves takes its work out of the queue. Whatever is wrong with a
request is a ``RequestError`` with a status of its own; anything else is a fault of ours, logged, and 500.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

from serving.answers import render
from serving.errors import Busy, RequestError, Timeout408, TooLarge
from serving.payload import Limits, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from serving.artifact.manifest import Manifest
    from serving.batching.batcher import Batcher
    from serving.config import Config
    from serving.metrics import Metrics
    from serving.state import Life

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)

_DISCARD_S = 2.0  # how long a refused body is read on, so that the client sees the answer and not a reset
_HELD_BODIES = 32  # bodies in memory together may be so many times the largest one
_CLIENT_LEFT = 499  # nginx's code; only in the metrics, as nobody is there to read it


class Model:
    """What is known once the model is loaded."""

    def __init__(self, manifest: Manifest, labels: Sequence[str], batcher: Batcher) -> None:
        self.manifest, self.labels, self.batcher = manifest, labels, batcher


class Predict:
    """The ASGI application of the predict route.

    Args:
        config: limits and times.
        life: says whether requests are taken.
        metrics: told of every answer.
    """

    def __init__(self, config: Config, life: Life, metrics: Metrics) -> None:
        self._config, self._life, self._metrics = config, life, metrics
        self._limits = Limits(config.max_instances, config.max_pixels)
        self._decoders = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")
        self._held = 0
        self.model: Model | None = None
        self.in_flight = 0  # requests that were accepted and not yet answered

    def close(self) -> None:
        """Stop the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        body, code, count, headers = b"", 500, 0, []
        try:
            body, count = await self._handle(scope, receive)
            code = 200
        except RequestError as error:
            code = error.status
            body = orjson.dumps({"error": str(error)})
            if error.retry_after is not None:
                headers.append((b"retry-after", str(error.retry_after).encode()))
        except ConnectionAbortedError:
            self._metrics.request(_CLIENT_LEFT, time.perf_counter() - started, 0)
            return
        except Exception:
            log.exception("a fault of the server")
            body = orjson.dumps({"error": "a fault of the server; its log has the details"})
        self._metrics.request(code, time.perf_counter() - started, count)
        # While it shuts down, each answer also tells a kept connection to go elsewhere.
        if code in {408, 413} or not self._life.healthy:
            headers.append((b"connection", b"close"))
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _handle(self, scope: Scope, receive: Receive) -> tuple[bytes, int]:
        """The answer's body and its predictions."""
        headers = dict(scope["headers"])
        try:
            self._life.admit()
        except RequestError:
            await self._discard(headers, receive)
            raise
        if self.model is None:
            raise RequestError("ready without a model")
        if self.model.batcher.full or self.in_flight >= self._config.queue + self.model.manifest.max_batch:
            await self._discard(headers, receive)
            raise Busy(f"the queue is full: {self._config.queue} instances may wait")
        self.in_flight += 1
        try:
            body = await self._read(headers, receive)
            try:
                return await self._or_disconnect(self._predict(self.model, headers, body), receive)
            finally:
                self._held -= len(body)
        finally:
            self.in_flight -= 1

    async def _predict(self, model: Model, headers: dict[bytes, bytes], body: bytes) -> tuple[bytes, int]:
        parsed = await asyncio.get_running_loop().run_in_executor(
            self._decoders,
            parse,
            body,
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"content-encoding", b"").decode("latin-1"),
            model.manifest,
            self._limits,
        )
        logits = await model.batcher.submit(parsed.instances)
        return render(logits, model.labels, parsed.where, top_k=parsed.top_k), len(logits)

    async def _or_disconnect(self, work: Awaitable[tuple[bytes, int]], receive: Receive) -> tuple[bytes, int]:
        """The work's result; if the client leaves first, the work is cancelled.

        Raises:
            ConnectionAbortedError: the client left.
        """
        task = asyncio.ensure_future(work)
        # After the whole body, the next message can only be http.disconnect.
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ConnectionAbortedError
            return task.result()
        finally:
            gone.cancel()
            task.cancel()

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body; counts into what is held."""
        limit = self._config.max_body_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:19]) > limit:
            await self._discard(headers, receive)
            raise TooLarge(f"the body is larger than {limit} bytes; send smaller images or fewer instances")
        chunks: list[bytes] = []
        size = 0
        kept = False
        try:
            async with asyncio.timeout(self._config.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionAbortedError
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    self._held += len(chunk)
                    chunks.append(chunk)
                    if size > limit or self._held > _HELD_BODIES * limit:
                        break
                kept = not more and size <= limit and self._held <= _HELD_BODIES * limit
        except TimeoutError:
            raise Timeout408(f"the body did not arrive within {self._config.body_timeout_s:g} s") from None
        finally:
            if not kept:
                self._held -= size
        if not kept:
            chunks.clear()
            if more:
                await self._discard(headers, receive)
            if size > limit:
                raise TooLarge(f"the body is larger than {limit} bytes; send smaller images or fewer instances")
            raise Busy("too many bodies are in flight")
        return b"".join(chunks)

    async def _discard(self, headers: dict[bytes, bytes], receive: Receive) -> None:
        """Read a refused body on for a moment: closing while the client still writes would reset the connection."""
        if headers.get(b"expect", b"").lower() == b"100-continue":
            return  # asked before sending: nothing is on its way
        try:
            async with asyncio.timeout(_DISCARD_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

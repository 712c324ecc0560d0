"""A server's life: listen, load, serve, drain, exit.

It listens before the model is loaded, so that health checks get 503 and not a refused connection. SIGTERM makes it
unhealthy at once; requests are taken for a short grace, then what was accepted is finished, then it exits 0. If the
model does not load, or its engine dies, one line on stderr says why and it exits 1.

Left out: several worker processes (one engine fills the machine) and TLS (the endpoint ends it).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import config as configuration
from serving import log as logs
from serving.app import Application
from serving.artifact.fetch import fetch, labels
from serving.batching.batcher import Batcher
from serving.batching.policy import BatchQueue
from serving.engines.process import ProcessEngine
from serving.errors import ConfigError, EngineError, ServingError
from serving.export import cloud
from serving.metrics import Metrics
from serving.predict import Model, Predict
from serving.state import Life, State

if TYPE_CHECKING:
    from types import FrameType

    from serving.artifact.manifest import Manifest
    from serving.config import Config
    from serving.engines.base import Array

log = logging.getLogger("serving")

_WATCH_S = 0.5


class Protocol(HttpToolsProtocol):
    """uvicorn's, with limits on how long a request's head may take and how large it may be, which uvicorn lacks."""

    header_timeout_s = 10.0
    max_head = 64 * 1024
    """Bytes of a request's target and header fields, and of anything else that is neither them nor a body."""
    _head_timer: asyncio.TimerHandle | None = None
    _unread = 0  # bytes since the last that were of use: a head, a field that never ends, trailers, chunk extensions
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection has so long for its first head."""
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        """So has each next request, from its first byte."""
        super().on_message_begin()
        self._arm()

    def on_headers_complete(self) -> None:
        """In time, and not too large; where all bytes are few, the head's need not be counted."""
        self._disarm()
        if self._unread > self.max_head:
            self._refused = len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.max_head
            if self._refused:
                raise ValueError("too large a head")  # the parser stops, and uvicorn calls send_400_response
        self._unread = 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes; too many that are part of no body end the connection."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.max_head and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unread = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or too large a head."""
        if self._refused:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._head_timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """uvicorn's server with our life cycle.

    Args:
        config: everything that was set.
    """

    def __init__(self, config: Config) -> None:
        self.settings = config
        self.life = Life()
        self._exporter = cloud.exporter(config) if config.metrics_export else None
        self.metrics = Metrics(self._exporter)
        self.predict = Predict(config, self.life, self.metrics)
        self.failure = ""
        self._engine: ProcessEngine | None = None
        self._batcher: Batcher | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        protocol = type("Protocol", (Protocol,), {"header_timeout_s": config.header_timeout_s})
        super().__init__(
            uvicorn.Config(
                Application(config, self.life, self.metrics, self.predict),
                http=protocol,
                ws="none",
                loop="uvloop" if sys.platform != "win32" else "asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=int(config.keep_alive_s) or 1,
                timeout_graceful_shutdown=5,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then begin to load."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if self._exporter is not None:
            self._exporter.start()
        self._tasks.append(self._loop.create_task(self._load(), name="load"))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: drain. A second one: at once."""
        del frame
        if self._loop is None or self.life.state in {State.GRACE, State.DRAINING, State.STOPPED}:
            self.should_exit = True
            return
        log.info("%s: draining", signal.Signals(sig).name)
        serving = self.life.healthy
        self.life.to(State.GRACE if serving else State.DRAINING)
        self.metrics.ready(False)
        self._loop.call_soon_threadsafe(self._begin_drain)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, then the engine."""
        await super().shutdown(sockets)
        self.life.to(State.STOPPED)
        for task in self._tasks:
            task.cancel()
        if self._engine is not None and self._batcher is None:
            self._engine.kill()  # it still loads, in a thread that would be waited for
        if self._batcher is not None:
            await self._batcher.close()
        self.predict.close()
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.close)

    def close_engine(self) -> None:
        """End the engine's process; after the event loop, as a loading engine still holds a thread of it."""
        if self._engine is not None:
            self._engine.close()

    def _begin_drain(self) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._drain(), name="drain"))

    async def _drain(self) -> None:
        if self.life.state is State.GRACE:
            await asyncio.sleep(self.settings.grace_s)
            self.life.to(State.DRAINING)
        try:
            async with asyncio.timeout(self.settings.drain_s):
                while self.predict.in_flight:  # noqa: ASYNC110 - happens once; the hot path should not set events
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.error(  # noqa: TRY400 - not a fault, no traceback
                "%d requests were not finished within SERVING_DRAIN_S", self.predict.in_flight
            )
        self.should_exit = True

    async def _load(self) -> None:
        try:
            manifest, names = await asyncio.to_thread(self._prepare)
        except ServingError as error:
            self._fail(str(error))
            return
        except Exception as error:  # whatever it is, the process must not stay up without a model
            log.exception("loading failed")
            self._fail(f"{type(error).__name__}: {error}")
            return
        if self._engine is None or self.life.state is not State.LOADING:
            return  # asked to stop meanwhile
        config = self.settings
        queue: BatchQueue[Array] = BatchQueue(
            max_batch=config.max_batch or manifest.max_batch, max_delay=config.max_delay_ms / 1000, bound=config.queue
        )
        self._batcher = Batcher(
            self._engine, queue, timeout=config.request_timeout_s, observer=self.metrics, on_fatal=self._fail
        )
        self._batcher.start()
        self.predict.model = Model(manifest, names, self._batcher)
        # What exists now stays: without this, full collections walk all of it and stop the loop for tens of ms.
        gc.collect()
        gc.freeze()
        self.life.to(State.READY)
        self.metrics.ready(True)
        log.info(
            "ready: %s version %s, engine %s, loaded and checked in %.1f s",
            manifest.name,
            manifest.version,
            manifest.engine,
            self._engine.load_seconds,
        )
        await self._watch(self._engine)

    def _prepare(self) -> tuple[Manifest, list[str]]:
        """Fetch, check and load; runs in a thread."""
        config = self.settings
        with tempfile.TemporaryDirectory(prefix="serving-", dir=config.work_dir or None) as folder:
            manifest, root = fetch(config.storage_uri, Path(folder), max_bytes=config.max_artifact_bytes)
            names = labels(manifest, root)
            if config.max_batch > manifest.max_batch:
                raise EngineError(
                    f"SERVING_MAX_BATCH={config.max_batch}: the artifact was built for at most {manifest.max_batch}"
                )
            self._engine = ProcessEngine(
                manifest,
                root,
                threads=config.threads,
                max_batch=config.max_batch or manifest.max_batch,
                work_dir=config.work_dir,
                load_timeout=config.load_timeout_s,
                run_timeout=config.engine_timeout_s,
            )
            self._engine.load()
        return manifest, names

    async def _watch(self, engine: ProcessEngine) -> None:
        while engine.alive():  # noqa: ASYNC110 - a process gives no event
            await asyncio.sleep(_WATCH_S)
        self._fail(engine.ending())

    def _fail(self, reason: str) -> None:
        """Say why, become unhealthy, exit 1."""
        if self.life.state in {State.STOPPED, State.FAILED}:
            return
        self.failure = reason
        self.life.to(State.FAILED, reason)
        self.metrics.ready(False)
        self.should_exit = True


def bind(config: Config) -> socket.socket:
    """The listening socket.

    Raises:
        ServingError: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)  # from here on a health check waits instead of being refused
    except (OSError, UnicodeError) as error:
        listener.close()
        raise ServingError(
            f"cannot listen on {config.host}:{config.port}: {getattr(error, 'strerror', None) or error}"
        ) from None
    return listener


def main() -> int:
    """Run a server; its exit code."""
    try:
        config = configuration.load(os.environ)
        logs.setup()
        for line in configuration.unknown(os.environ):
            log.warning("%s", line)
        listener = bind(config)
        server = Server(config)
    except ServingError as error:
        print(f"serving: {error}", file=sys.stderr)  # noqa: T201 - why a process exits goes to stderr
        return ConfigError.exit_code if isinstance(error, ConfigError) else 1
    log.info("listening on %s:%d", *listener.getsockname()[:2])
    try:
        server.run(sockets=[listener])
    finally:
        server.close_engine()
    if server.failure:
        print(f"serving: {' '.join(server.failure.split())}", file=sys.stderr)  # noqa: T201 - see above
        return 1
    return 0

"""Local Vertex, put together: all parts on one event loop, behind listeners on loopback.

Listeners: REST (plain and TLS) for the AI Platform, Cloud Monitoring and Cloud Storage APIs and Local Vertex's own
``/local/v1``; gRPC (plain and TLS) for the first two. The TLS ports are for clients that insist on it.

Left out: listening anywhere but on loopback, and more than one process on a data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from google.protobuf import json_format

from vertex_deploy import __version__
from vertex_deploy.errors import LocalError
from vertex_deploy.local import listeners
from vertex_deploy.local.alerting import (
    AlertEngine,
    AlertPolicyService,
    Book,
    NotificationChannelService,
    Notifier,
    Outbox,
    SnoozeService,
    alert_routes,
)
from vertex_deploy.local.control.access import Addresses
from vertex_deploy.local.control.endpoints import EndpointService
from vertex_deploy.local.control.models import ModelService
from vertex_deploy.local.control.operations import Operations
from vertex_deploy.local.control.pools import DeploymentResourcePoolService
from vertex_deploy.local.control.quotas import QuotaBook
from vertex_deploy.local.control.registry import Registry
from vertex_deploy.local.daemon import Ports, Running, State
from vertex_deploy.local.data import ImageMap, LocalDataPlane, Timing
from vertex_deploy.local.listeners import LOOPBACK
from vertex_deploy.local.monitoring import MetricRecorder, MetricService, QuotaPoints, SeriesStore
from vertex_deploy.local.state import Store
from vertex_deploy.local.storage import ObjectStore, StorageApi, StoredBlobs
from vertex_deploy.local.wire import Wire, tls
from vertex_deploy.local.wire.rest import MAX_BODY, rest_handler
from vertex_deploy.local.wire.versions import operation_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_log = logging.getLogger(__name__)
_MANAGED_BUCKET = "caip-tenant-local-vertex"
_AIPLATFORM = "google.cloud.aiplatform"
_MONITORING = "google.cloud.monitoring"
_GRPC_GRACE_S = 2.0
_PRIVATE = 0o077
"""Nobody else reads what is kept: channels have passwords, and buckets are anybody's data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a Local Vertex is to run.

    Args:
        data: folder of all that it keeps.
        images: image references -> local commands.
        sample_period: seconds between two points of a metric (60 in the cloud).
        probe_scale: periods of probes, restart delays and a preempted replica's absence are multiplied by this.
        webhook_hosts: where notifications may be sent besides loopback.
        quotas: limits of quotas by their metric without the service; none: nothing has a limit.
        region: whose quotas have a limit in every project from the start.
        rest_port: port of the plain REST listener; 0 takes a free one. The other ports likewise.
    """

    data: Path
    images: ImageMap = field(default_factory=ImageMap)
    sample_period: float = 60.0
    probe_scale: float = 1.0
    webhook_hosts: frozenset[str] = frozenset()
    quotas: Mapping[str, int] = field(default_factory=dict)
    region: str = "us-central1"
    rest_port: int = 0
    grpc_port: int = 0
    rest_tls_port: int = 0
    grpc_tls_port: int = 0


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class LocalVertex:
    """A running Local Vertex; an async context manager.

    Args:
        settings: how to run.

    Attributes:
        ports: where it listens, once started.
        roots: bundle of roots for TLS clients, once started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._replica_env: dict[str, str] = {}  # filled once the gRPC port is known, before anything can be deployed
        self.ports = Ports()
        self.roots: Path | None = None

    async def __aenter__(self) -> Self:
        """Start; see ``start``."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; see ``stop``."""
        await self.stop()

    async def start(self) -> None:
        """Open everything; returns when requests are answered. Deployed models of an earlier run start meanwhile.

        Raises:
            LocalError: the data folder is in use or unreadable, or a port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Take no new requests, finish those under way, stop all replicas, write what was measured."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, stack = self._settings, self._stack
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack.callback(os.close, _lock(settings.data))
        clock = SystemClock()
        store = Store(settings.data / "control.db")
        stack.callback(store.close)
        registry = Registry(store, clock)
        projects = registry.projects
        rest_socket = listeners.bound(settings.rest_port, "--rest-port")
        rest_tls_socket = listeners.bound(settings.rest_tls_port, "--rest-tls-port")
        rest, rest_tls = rest_socket.getsockname()[1], rest_tls_socket.getsockname()[1]

        series = SeriesStore(settings.data / "monitoring")
        stack.callback(series.close)
        recorder = MetricRecorder(series, clock, sample_period=settings.sample_period, project_id=projects.id_of)
        _background(stack, recorder.run())
        quotas, metrics = self._measure(registry, series, clock)

        objects = ObjectStore(settings.data / "storage", clock)
        stack.callback(objects.close)
        storage = StorageApi(objects, project_id=projects.id_of)
        stack.callback(storage.close)

        data = LocalDataPlane(
            settings.images,
            recorder,
            log_dir=settings.data / "logs",
            storage_emulator_host=f"http://{LOOPBACK}:{rest}",
            extra_env=self._replica_env,
            resolve_endpoint=registry.resolve,
            timing=Timing(scale=settings.probe_scale),
        )
        stack.push_async_callback(data.close)

        operations = Operations(store, projects, clock, operation_in)
        interrupted = operations.end_interrupted()
        if interrupted:
            _log.warning("ended %d operations that the last stop interrupted", len(interrupted))
        stack.push_async_callback(operations.close)
        models = ModelService(registry, operations, StoredBlobs(objects), f"gs://{_MANAGED_BUCKET}")
        pools = DeploymentResourcePoolService(registry, operations, data, quotas=quotas)
        endpoints = EndpointService(
            registry,
            operations,
            data,
            models.managed_artifacts,
            Addresses(dedicated=f"localhost:{rest_tls}", http=f"http://{LOOPBACK}:{rest}"),
            pools=pools,
        )

        wire = Wire()
        both = ("v1", "v1beta1")
        wire.add(_AIPLATFORM, "ModelService", models, versions=both)
        wire.add(_AIPLATFORM, "EndpointService", endpoints, versions=both)
        wire.add(_AIPLATFORM, "DeploymentResourcePoolService", pools, versions=both)
        wire.add(_AIPLATFORM, "PredictionService", data.prediction_service, versions=both)
        wire.add(_AIPLATFORM, "google.longrunning.Operations", operations, versions=both)
        wire.add(_MONITORING, "MetricService", metrics, versions=("v3",))
        book = Book(store, clock, project_id=projects.id_of, project_number=projects.number)
        self._serve_alerting(wire, book, series, metrics)

        files = tls.ensure(settings.data / "tls")
        self.roots = files.roots
        app = web.Application(client_max_size=MAX_BODY, middlewares=[listeners.not_from_a_web_page])
        own = web.get("/local/v1/state", _state(registry))
        app.add_routes([*data.http_routes(), *storage.routes(), own, *alert_routes(book)])
        app.router.add_route("*", "/{path:.*}", rest_handler(wire))
        grpc_port, grpc_tls = await self._serve_grpc(wire, files)
        await listeners.serve_rest(app, (rest_socket, rest_tls_socket), files, stack)
        self.ports = Ports(rest=rest, rest_tls=rest_tls, grpc=grpc_port, grpc_tls=grpc_tls)
        _background(stack, endpoints.restore())

    async def _serve_grpc(self, wire: Wire, files: tls.TlsFiles) -> tuple[int, int]:
        wanted = self._settings.grpc_port, self._settings.grpc_tls_port
        server, (plain, secure) = listeners.grpc_ports(wire, files, wanted)
        self._replica_env["SERVING_MONITORING_ENDPOINT"] = f"http://{LOOPBACK}:{plain}"
        await server.start()
        self._stack.push_async_callback(server.stop, _GRPC_GRACE_S)
        return plain, secure

    def _measure(self, registry: Registry, series: SeriesStore, clock: SystemClock) -> tuple[QuotaBook, MetricService]:
        """The books of quotas, whose levels are published from now on, and the service that answers for all metrics."""
        settings, projects = self._settings, registry.projects
        period, quotas = settings.sample_period, QuotaBook(registry, settings.quotas)
        points = QuotaPoints(
            series, clock, quotas, region=settings.region, project_number=projects.number, sample_period=period
        )
        _background(self._stack, points.run())
        shortest = min(60.0, period)
        return quotas, MetricService(
            series, clock, project_id=projects.id_of, min_alignment=shortest, asked=points.asked
        )

    def _serve_alerting(self, wire: Wire, book: Book, series: SeriesStore, metrics: MetricService) -> None:
        """Serve policies, channels and snoozes, and evaluate the policies from now on."""
        settings = self._settings
        notifier = Notifier(hosts=settings.webhook_hosts, outbox=Outbox(book.store))
        self._stack.push_async_callback(notifier.close)
        notifier.restore(book.channels.get)
        minute = round(min(60.0, settings.sample_period) * 10**9)
        engine = AlertEngine(
            book, series, notifier, metric=metrics.metric, period=settings.sample_period, minute=minute
        )
        _background(self._stack, engine.run())
        for service, target in {
            "AlertPolicyService": AlertPolicyService(book, metrics.metric, engine, minute=minute),
            "NotificationChannelService": NotificationChannelService(book, hosts=settings.webhook_hosts),
            "SnoozeService": SnoozeService(book),
        }.items():
            wire.add(_MONITORING, service, target, versions=("v3",))


def _lock(data: Path) -> int:
    """Hold the data folder for this process; the lock goes with the process, however it ends.

    Raises:
        LocalError: another process has it.
    """
    held = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise LocalError(f"{data} is in use by another Local Vertex; stop it with: vertex-deploy local down") from None
    return held


def _background(stack: contextlib.AsyncExitStack, work: Any) -> None:
    task = asyncio.ensure_future(work)

    async def end() -> None:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        except Exception:  # noqa: BLE001 - it must not keep the rest from stopping
            _log.exception("a background task failed")

    stack.push_async_callback(end)


def _state(registry: Registry) -> Any:
    """``GET /local/v1/state``: every endpoint as the control plane has it, for ``local status``."""

    async def handle(_: web.Request) -> web.Response:
        found = [json_format.MessageToDict(type(item).pb(item)) for item in registry.endpoints()]
        return web.json_response({"endpoints": found})

    return handle


async def serve(settings: Settings, state: State, *, project: str, region: str) -> None:
    """Run until SIGTERM or SIGINT; the state file is there for as long as requests are answered.

    Args:
        settings: how to run.
        state: where to write that it runs.
        project: what ``local env`` is to name.
        region: likewise.

    Raises:
        LocalError: as ``LocalVertex.start``.
    """
    os.umask(_PRIVATE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with LocalVertex(settings) as vertex:
        running = Running(
            pid=os.getpid(),
            version=__version__,
            started=time.time(),
            data=str(settings.data.resolve()),
            roots=str(vertex.roots.resolve()) if vertex.roots else "",
            ports=vertex.ports,
            sample_period=settings.sample_period,
            project=project,
            region=region,
        )
        # Google's clients leave some 190,000 objects behind: a full collection stops every request for 100 ms and more,
        # which a rollout's latency gates would take for the model's. What exists now exists for good.
        gc.collect()
        gc.freeze()
        state.write(running)
        _log.info("ready: REST on port %d, gRPC on port %d", vertex.ports.rest, vertex.ports.grpc)
        try:
            await stop.wait()
        finally:
            state.remove()
            _log.info("stopping")

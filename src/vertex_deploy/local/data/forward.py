"""Carries one request from an endpoint to a replica and its answer back; the same for REST and gRPC.

What happens when a replica dies is a load balancer's: a connection that is refused never carried the request, so the
request is tried once more on another replica; a request that was in flight fails with UNAVAILABLE. It is not sent
again: nobody knows how far the model got, and a request that crashes a server would go on to crash the next one.

What is counted: every request that was given to a deployed model, under the status the client saw, including 429 and
503 for want of a replica. What the endpoint itself refuses (unknown endpoint, no split, not a PredictRequest, too
large) has no deployed model to be counted under, and the metrics have no series without one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import aiohttp
import grpc
from yarl import URL

from vertex_deploy.local.data.codes import grpc_code, http_status
from vertex_deploy.local.data.envelope import too_large
from vertex_deploy.local.data.faults import NO_EFFECT, decide
from vertex_deploy.local.seams import ApiError, Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from random import Random

    from vertex_deploy.local.data.deployed import DeployedModel, EndpointState
    from vertex_deploy.local.data.faults import FaultTable
    from vertex_deploy.local.data.replica import Replica
    from vertex_deploy.local.seams import Recorder

_CANCELLED: Final = 499
# Idle connections are closed before a server would close them: uvicorn does after 5 s, gunicorn after 2 s. A request
# sent at the moment its connection is closed would be lost, and cannot be repeated.
_KEEP_ALIVE_S: Final = 1.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """A container's answer: HTTP status, content type and body."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """What the client gets.

    Args:
        value: the answer.
        code: its HTTP status.
        predictions: predictions in it.
    """

    value: T
    code: int = 200
    predictions: int = 0


class Endpoints(Protocol):
    """Finds endpoints."""

    def find(self, name: str) -> EndpointState:
        """The endpoint of this resource name.

        Raises:
            ApiError: NOT_FOUND.
        """
        ...


class _Measure:
    """Times one request and writes it down once it is answered."""

    __slots__ = ("_model", "_recorder", "_started", "code", "model_ms", "predictions")

    def __init__(self, recorder: Recorder, model: DeployedModel, started: float) -> None:
        self._recorder = recorder
        self._model = model
        self._started = started
        self.code = 500
        self.model_ms = 0.0
        self.predictions = 0

    def write(self) -> None:
        plan = self._model.plan
        self._recorder.served(
            Served(
                endpoint=plan.endpoint,
                deployed_model_id=plan.deployed_model_id,
                code=self.code,
                total_ms=(perf_counter() - self._started) * 1000,
                model_ms=self.model_ms,
                predictions=self.predictions,
                spot=plan.spot,
            )
        )


class Stream:
    """An answer while it is being made.

    Args:
        model: who answers.
        response: the container's response, its headers read.
        deadline: when the request's time is up, by the event loop's clock.
    """

    def __init__(self, model: DeployedModel, response: aiohttp.ClientResponse, deadline: float) -> None:
        self.model = model
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self._response = response
        self._deadline = deadline

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, each as soon as it arrives.

        Raises:
            ApiError: the replica was lost, or the time is up.
        """
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    chunk = await self._response.content.readany()
            except (OSError, aiohttp.ClientError) as error:
                raise _upstream_error(error, self.model) from error
            if not chunk:
                return
            yield chunk


class _Lease:
    """One request's claim on a replica, which a retry moves to another."""

    __slots__ = ("replica",)

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        replica.begin()

    def move(self, replica: Replica) -> None:
        self.replica.end()
        self.replica = replica
        replica.begin()

    def end(self) -> None:
        self.replica.end()


def _upstream_error(error: Exception, model: DeployedModel) -> ApiError:
    if isinstance(error, TimeoutError):
        return ApiError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"Took too long to respond when processing endpoint_id: {model.plan.endpoint.rsplit('/', 1)[-1]}, "
            f"deployed_model_id: {model.id} (limit {model.plan.request_timeout:g} s).",
        )
    return ApiError(
        grpc.StatusCode.UNAVAILABLE,
        f"Deployed model {model.id}: the connection to its replica was lost ({error or type(error).__name__}).",
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, unless it is over the limit: then no more of it than that."""
    if response.content_length is not None and response.content_length > limit:
        raise too_large("response", response.content_length, limit)
    pieces: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > limit:
            raise too_large("response", None, limit)
        pieces.append(chunk)
    return b"".join(pieces)


class Forwarder:
    """Routes and forwards requests.

    Args:
        endpoints: finds endpoints.
        recorder: takes the measurements.
        faults: what is done to requests on purpose.
        random: weights, ties and faults are drawn from it.
        max_outstanding: requests that one replica may have been given and not answered; more are answered 429.
    """

    def __init__(
        self, endpoints: Endpoints, *, recorder: Recorder, faults: FaultTable, random: Random, max_outstanding: int
    ) -> None:
        self._endpoints = endpoints
        self._recorder = recorder
        self._faults = faults
        self._random = random
        self._max_outstanding = max_outstanding
        self._session: aiohttp.ClientSession | None = None

    def find(self, endpoint: str) -> EndpointState:
        """The endpoint; see ``Endpoints.find``."""
        return self._endpoints.find(endpoint)

    async def close(self) -> None:
        """Close the connections to replicas."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        endpoint: EndpointState,
        body: bytes,
        headers: Mapping[str, str],
        build: Callable[[DeployedModel, Reply], Result[T]],
        *,
        started: float,
    ) -> Result[T]:
        """Forward a request and read the whole answer.

        Args:
            endpoint: where it was sent.
            body: what the container gets.
            headers: what the container gets of the client's headers.
            build: makes the client's answer of the container's; may raise ApiError.
            started: ``time.perf_counter()`` when the request arrived.

        Raises:
            ApiError: as the client shall see it.
        """
        model = self._choose(endpoint)
        measure = _Measure(self._recorder, model, started)
        try:
            lease = self._lease(model)
            began = perf_counter()
            try:
                async with asyncio.timeout(model.plan.request_timeout):
                    response = await self._send(model, lease, body, headers)
                    async with response:
                        content = await _read(response, model.plan.max_bytes)
            except (OSError, aiohttp.ClientError) as error:
                raise _upstream_error(error, model) from error
            finally:
                lease.end()
                measure.model_ms = (perf_counter() - began) * 1000
            result = build(model, Reply(response.status, response.headers.get("Content-Type", ""), content))
            measure.code, measure.predictions = result.code, result.predictions
        except ApiError as error:
            measure.code = http_status(error.code)
            raise
        except asyncio.CancelledError:
            measure.code = _CANCELLED
            raise
        finally:
            measure.write()
        return result

    @asynccontextmanager
    async def stream(
        self, endpoint: EndpointState, body: bytes, headers: Mapping[str, str], *, started: float
    ) -> AsyncIterator[Stream]:
        """Forward a request and give out the answer while it is being made; arguments as in ``call``.

        The size of a streamed answer is not limited, its duration is. It counts as answered when the block ends.

        Raises:
            ApiError: as the client shall see it.
        """
        model = self._choose(endpoint)
        measure = _Measure(self._recorder, model, started)
        deadline = asyncio.get_running_loop().time() + model.plan.request_timeout
        try:
            lease = self._lease(model)
            began = perf_counter()
            try:
                try:
                    async with asyncio.timeout_at(deadline):
                        response = await self._send(model, lease, body, headers)
                except (OSError, aiohttp.ClientError) as error:
                    raise _upstream_error(error, model) from error
                async with response:
                    measure.code = response.status
                    yield Stream(model, response, deadline)
            finally:
                lease.end()
                measure.model_ms = (perf_counter() - began) * 1000
        except ApiError as error:
            measure.code = http_status(error.code)
            raise
        except (asyncio.CancelledError, GeneratorExit, ConnectionError):
            # The client has left; the container's own connection errors came as ApiError.
            measure.code = _CANCELLED
            raise
        finally:
            measure.write()

    def _choose(self, endpoint: EndpointState) -> DeployedModel:
        if not endpoint.split:
            raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, f"Endpoint {endpoint.name} doesn't have traffic_split.")
        chosen = endpoint.split.choose(self._random)
        model = endpoint.models.get(chosen)
        if model is None:
            raise ApiError(
                grpc.StatusCode.UNAVAILABLE, f"Deployed model {chosen} of {endpoint.name} has no healthy replica."
            )
        return model

    def _lease(self, model: DeployedModel) -> _Lease:
        # Choosing and counting in one go: a replica cannot begin to drain in between.
        return _Lease(model.pick(self._random, max_outstanding=self._max_outstanding))

    async def _send(
        self, model: DeployedModel, lease: _Lease, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send to the leased replica, or to another if that one refuses the connection; the answer's headers."""
        await self._fault(model)
        try:
            return await self._post(lease, model.route, body, headers)
        except aiohttp.ClientConnectorError:
            lease.move(model.pick(self._random, max_outstanding=self._max_outstanding, exclude=lease.replica))
            return await self._post(lease, model.route, body, headers)

    async def _post(self, lease: _Lease, route: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            # No limit of its own: max_outstanding is the limit. Bodies pass as they are.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return await self._session.post(
            URL.build(scheme="http", host="127.0.0.1", port=lease.replica.port, path=route, encoded=True),
            data=body,
            headers=headers,
            allow_redirects=False,
        )

    async def _fault(self, model: DeployedModel) -> None:
        if model.faults_version != self._faults.version:
            model.faults, model.faults_version = self._faults.matching(model.plan), self._faults.version
        effect = decide(model.faults, self._random) if model.faults else NO_EFFECT
        if effect.delay:
            await asyncio.sleep(effect.delay)
        if effect.code is not None:
            raise ApiError(
                grpc_code(effect.code),
                f"Fault set on purpose: deployed model {model.id} fails with HTTP {effect.code}.",
            )

"""What is served: RPCs bound to the methods of service objects, whichever socket a request comes through."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import grpc
from google.longrunning import operations_pb2

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire.aside import Aside
from vertex_deploy.local.wire.routes import Routes
from vertex_deploy.local.wire.tables import MIXINS, HttpRule, Message, Rpc, rpcs
from vertex_deploy.local.wire.versions import from_native, operation_in, to_native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a handler may know about the call besides its request.

    Args:
        transport: which listener it came through.
        method: full gRPC name, /package.Service/Method.
        version: API version called ("v1", "v1beta1", "v3"); "" where the path has none (/ui, operations over gRPC).
        headers: HTTP headers or gRPC metadata, names in lower case.
        query: REST query parameters, in order.
        body: REST body as it came, or b"".
        call: grpc's own context, or None.
    """

    transport: Literal["rest", "grpc"]
    method: str
    version: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    call: Any = None

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """Send metadata ahead of the response, as grpc's context does; REST answers of the wire carry none."""
        if self.call is not None:
            await self.call.send_initial_metadata(metadata)


@dataclass(frozen=True, slots=True)
class Bound:
    """One RPC of one API version and the method that answers it (None: UNIMPLEMENTED).

    Args:
        rpc: in the version called.
        handler: bound method of the service object.
        native: request and response types of the handler, where they are another version's.
        aside: does what takes long with a request's size.
    """

    rpc: Rpc
    handler: Any
    native: tuple[Message, Message] | None = None
    aside: Aside = field(default_factory=Aside)

    def check_served(self) -> None:
        """Refuse what nothing answers, before its request is read.

        Raises:
            ApiError: UNIMPLEMENTED.
        """
        if self.handler is None or self.rpc.streams_request:
            raise ApiError(
                grpc.StatusCode.UNIMPLEMENTED, f"{self.rpc.path.strip('/')} is not implemented by Local Vertex."
            )

    async def _request(self, pb: Any) -> Any:
        self.check_served()
        if self.native is None:
            return self.rpc.request.wrap(pb)
        native = self.native[0]
        return native.wrap(await self.aside.run(pb.ByteSize(), partial(to_native, pb, native.pb_cls)))

    def _response(self, message: Any, context: Context) -> Any:
        if self.native is not None:
            pb = self.native[1].pb(message)
            if not isinstance(pb, operations_pb2.Operation):
                return from_native(pb, self.rpc.response.pb_cls)
        pb = self.rpc.response.pb(message)
        if isinstance(pb, operations_pb2.Operation) and context.version:
            return operation_in(pb, context.version)
        return pb

    async def call(self, pb: Any, context: Context) -> Any:
        """Answer one request.

        Args:
            pb: request, the protobuf message of the version called.
            context: of the call.

        Returns:
            Response, the protobuf message of the version called.

        Raises:
            ApiError: whatever the handler raised; INTERNAL for anything unexpected, which is logged.
        """
        try:
            return self._response(await self.handler(await self._request(pb), context), context)
        except ApiError:
            raise
        except Exception as error:
            raise _internal(self.rpc) from error

    async def stream(self, pb: Any, context: Context) -> AsyncIterator[Any]:
        """Answer one request with a stream; arguments and errors as for ``call``."""
        try:
            async for message in self.handler(await self._request(pb), context):
                yield self._response(message, context)
        except ApiError:
            raise
        except Exception as error:
            raise _internal(self.rpc) from error


def _internal(rpc: Rpc) -> ApiError:
    _log.exception("%s failed", rpc.path)
    return ApiError(grpc.StatusCode.INTERNAL, "Internal error encountered. Local Vertex's log has the traceback.")


@dataclass(frozen=True, slots=True)
class Route:
    """Where an HTTP path leads."""

    bound: Bound
    rule: HttpRule
    version: str


def _path_version(uri: str) -> str:
    first = uri.split("/")[1]
    return first if first.startswith("v") else ""


class Wire:
    """The registry of all services; ``rest`` and ``rpc`` serve it.

    Example:
        >>> wire = Wire()
        >>> wire.add("google.cloud.monitoring", "MetricService", metric_service, versions=("v3",))  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.methods: dict[str, Bound] = {}
        self.routes: Routes[Route] = Routes()
        self.aside = Aside()

    def add(self, package: str, service: str, target: object | None, *, versions: Sequence[str] = ("v1",)) -> None:
        """Serve a service object.

        Args:
            package: import path of the client without version, such as ``google.cloud.aiplatform``.
            service: ``EndpointService``, or the full name of a service in ``MIXINS``, whose HTTP rules are those that
                the package's EndpointService carries.
            target: has one method for each RPC it implements; None answers UNIMPLEMENTED to all, which says more than
                an unknown path does.
            versions: first the one whose messages ``target`` takes, then those converted to it.

        Raises:
            ValueError: ``target`` has no method for any RPC of the service.
        """
        mixin = service in MIXINS
        native = {rpc.name: rpc for rpc in self._of(package, versions[0], service, mixin=mixin)}
        if target is not None and not any(hasattr(target, rpc.handler) for rpc in native.values()):
            raise ValueError(f"{type(target).__name__} implements no RPC of {service}")
        for version in versions:
            for rpc in self._of(package, version, service, mixin=mixin):
                own = native.get(rpc.name)
                handler = getattr(target, rpc.handler, None) if own else None
                converts = own is not None and version != versions[0] and not mixin
                bound = Bound(rpc, handler, (own.request, own.response) if own and converts else None, self.aside)
                self.methods.setdefault(rpc.path, bound)
                for rule in rpc.http:
                    self.routes.add(rule.method, rule.uri, Route(bound, rule, _path_version(rule.uri)))

    @staticmethod
    def _of(package: str, version: str, service: str, *, mixin: bool) -> list[Rpc]:
        carrier = "EndpointService" if mixin else service
        found = rpcs(f"{package}_{version}", carrier)
        return [
            rpc for rpc in found if (rpc.service == service if mixin else rpc.service.rpartition(".")[2] == service)
        ]

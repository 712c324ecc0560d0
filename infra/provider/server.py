"""Pulumi's ResourceProvider protocol over gRPC: unpack, ask the tables or a driver, pack. No decision is made here.

The protocol is ``pulumirpc.ResourceProvider`` of provider.proto, with the messages that the ``pulumi`` package ships. A
preview answers from the tables alone: no client is made and no call leaves. Errors are one line; an operation that
failed half way answers with ``ErrorResourceInitFailed``, which lets the engine keep what is there.

Left out, answered UNIMPLEMENTED: Parameterize, Construct, Call, Invoke, List.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import traceback
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2
from grpc_status import rpc_status
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as proto

from infra.provider import PACKAGE, VERSION, config, replies
from infra.provider.drivers.base import Cloud, Driver, Incomplete, Request
from infra.provider.drivers.deployed_model import DeployedModelDriver
from infra.provider.drivers.model import ModelDriver
from infra.provider.drivers.traffic_split import TrafficSplitDriver
from infra.provider.properties import Diff, diff
from infra.provider.resources import deployed_model, model, traffic_split
from infra.provider.resources.base import Context
from infra.provider.schema import schema
from infra.provider.values import UNKNOWN, decode, encode, redact
from vertex_deploy.errors import UsageError, VertexDeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from infra.provider.resources.base import Definition, Inputs
    from infra.provider.values import Path

# Deployments take up to hours and each one holds a thread while it waits; the engine bounds how many run at once.
_THREADS = 256
_MAX_MESSAGE = 400 * 1024 * 1024
"""Bytes; the engine's own limit."""

_MODULES: tuple[tuple[Definition, Callable[..., Inputs], Callable[[Cloud], Driver]], ...] = (
    (model.MODEL, model.preview, ModelDriver),
    (deployed_model.DEPLOYED_MODEL, deployed_model.preview, DeployedModelDriver),
    (traffic_split.TRAFFIC_SPLIT, traffic_split.preview, TrafficSplitDriver),
)
DEFINITIONS = {definition.token: definition for definition, _, _ in _MODULES}
_PREVIEWS = {definition.token: preview for definition, preview, _ in _MODULES}
_DRIVERS = {definition.token: driver for definition, _, driver in _MODULES}


def _kind(request: Any) -> str:
    """The type token: a field of newer engines, part of the URN for all (urn:pulumi:STACK::PROJECT::TYPES::NAME)."""
    token = request.type or request.urn.split("::")[2].rpartition("$")[2]
    if token not in DEFINITIONS:
        raise UsageError(f"{token}: there is no such resource; this provider has {', '.join(DEFINITIONS)}")
    return str(token)


def _name(request: Any) -> str:
    return str(request.name or request.urn.partition("::")[2].split("::", 2)[-1])


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method raise the project's errors: they end the call with a status."""

    @functools.wraps(method)
    def answer(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        secrets = _Secrets()
        try:
            return method(self, request, secrets)
        except Incomplete as error:
            shown = self.shown(secrets.paths)
            status = replies.init_failed(error, secrets.redact(str(error)), shown)
        except VertexDeployError as error:
            status = replies.error_status(error, secrets.redact(str(error)))
        except Exception as error:  # noqa: BLE001 - the engine must get an answer; the traceback goes to its log
            sys.stderr.write(secrets.redact(traceback.format_exc()))
            text = f"{method.__name__}: {type(error).__name__}: {error} (a bug in the provider {PACKAGE})"
            status = replies.error_status(VertexDeployError(), secrets.redact(text))
        return context.abort_with_status(rpc_status.to_status(status))  # raises

    return answer


class _Secrets:
    """What of one call's values is secret."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self._seen: list[tuple[Inputs, frozenset[Path]]] = []

    def read(self, struct: Any, *, shown: bool = True) -> Inputs:
        """Decode a property map and remember its secrets; with ``shown``, what is answered has them too."""
        values, paths = decode(struct)
        self._seen.append((values, paths))
        if shown:
            self.paths |= paths
        return values

    def redact(self, text: str) -> str:
        """A text without any secret of this call."""
        for values, paths in self._seen:
            text = redact(text, values, paths)
        return text


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider instance: the engine starts a process for each.

    Args:
        cloud: makes the calls; tests pass their own. Configure gives it the address.
    """

    def __init__(self, cloud: Cloud | None = None) -> None:
        self.cloud = cloud or Cloud()
        self._config: Inputs = {}
        self._secrets = True

    def shown(self, paths: Iterable[Path]) -> frozenset[Path]:
        """The secret paths, if the engine takes secrets at all (those of the last years do)."""
        return frozenset(paths) if self._secrets else frozenset()

    # --- the provider itself ----------------------------------------------------------------------------------------

    @_answers
    def Handshake(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802 - the protocol's names, here and below
        """Say what is supported before anything else."""
        del request, secrets
        return proto.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=False)

    @_answers
    def GetPluginInfo(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """The version."""
        del request, secrets
        return plugin_pb2.PluginInfo(version=VERSION)

    @_answers
    def Attach(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """An engine that was started after us says where it is; nothing is asked of it."""
        del request, secrets
        return empty_pb2.Empty()

    @_answers
    def GetSchema(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """The package schema."""
        del secrets
        if request.version:
            raise UsageError(f"there is no version {request.version} of the schema; ask for 0")
        return proto.GetSchemaResponse(schema=json.dumps(schema(DEFINITIONS.values())))

    @_answers
    def GetMapping(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """No other ecosystem's names map to ours."""
        del request, secrets
        return proto.GetMappingResponse()

    @_answers
    def GetMappings(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """See GetMapping."""
        del request, secrets
        return proto.GetMappingsResponse()

    @_answers
    def CheckConfig(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Check the provider's configuration and fill it from the environment."""
        inputs, failures = config.check_config(secrets.read(request.news))
        return replies.check_response(inputs, failures, self.shown(secrets.paths))

    @_answers
    def DiffConfig(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Any change is an update: resources keep their own project and region and say themselves what is replaced."""
        olds = secrets.read(request.old_inputs if request.HasField("old_inputs") else request.olds)
        changes = diff(config.CONFIG, olds, secrets.read(request.news), ignore=request.ignoreChanges)
        return replies.diff_response(Diff(changes))

    @_answers
    def Configure(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Take the configuration. Values may be unknown in a preview."""
        if request.HasField("args"):
            given = secrets.read(request.args)
        else:
            prefix = f"{PACKAGE}:config:"
            given = {key.removeprefix(prefix): value for key, value in request.variables.items()}
        inputs, failures = config.check_config(given)
        if failures:
            raise UsageError("; ".join(f"{failure.property}: {failure.reason}" for failure in failures))
        self._config = inputs
        self._secrets = bool(request.acceptSecrets)
        self.cloud.address = config.address(inputs)
        return proto.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=False
        )

    @_answers
    def Cancel(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """End every wait; the calls that wait answer with what there is."""
        del request, secrets
        self.cloud.cancelled.set()
        return empty_pb2.Empty()

    # --- resources --------------------------------------------------------------------------------------------------

    @_answers
    def Check(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Check inputs; errors name the property."""
        definition = DEFINITIONS[_kind(request)]
        news, olds = secrets.read(request.news), secrets.read(request.olds, shown=False)
        given = Context(urn=request.urn, name=_name(request), config=self._config, olds=olds)
        inputs, failures = definition.check(news, given)
        return replies.check_response(inputs, failures, self.shown(secrets.paths))

    @_answers
    def Diff(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Which properties differ, and which of them need a new resource."""
        definition = DEFINITIONS[_kind(request)]
        state = secrets.read(request.olds)
        olds = self._inputs(request, definition, secrets, state)
        found = definition.diff(olds, secrets.read(request.news), request.ignoreChanges)
        return replies.diff_response(found, stables=definition.names)

    @_answers
    def Create(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Create, or say what creating would give."""
        kind, news = _kind(request), secrets.read(request.properties)
        if request.preview:
            return proto.CreateResponse(properties=self._encode(_PREVIEWS[kind]({}, news, None), secrets))
        ident, made = self._driver(kind).create(news, Request(request.urn, request.timeout))
        return proto.CreateResponse(id=ident, properties=self._encode(made, secrets))

    @_answers
    def Read(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Read what is there: a refresh, or an import when only the id is given."""
        kind = _kind(request)
        state, inputs = secrets.read(request.properties), secrets.read(request.inputs)
        found = self._driver(kind).read(request.id, state, inputs)
        if found is None:
            return proto.ReadResponse()
        return proto.ReadResponse(
            id=found.ident,
            properties=self._encode(found.properties, secrets),
            inputs=self._encode(found.inputs, secrets),
        )

    @_answers
    def Update(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Change in place, or say what changing would give."""
        kind = _kind(request)
        state = secrets.read(request.olds, shown=False)
        olds = self._inputs(request, DEFINITIONS[kind], secrets, state)
        news = secrets.read(request.news)
        if request.preview:
            return proto.UpdateResponse(properties=self._encode(_PREVIEWS[kind](olds, news, state), secrets))
        made = self._driver(kind).update(request.id, state, olds, news, Request(request.urn, request.timeout))
        return proto.UpdateResponse(properties=self._encode(made, secrets))

    @_answers
    def Delete(self, request: Any, secrets: _Secrets) -> Any:  # noqa: N802
        """Delete."""
        state = secrets.read(request.properties)
        self._driver(_kind(request)).delete(request.id, state, Request(request.urn, request.timeout))
        return empty_pb2.Empty()

    # --- plumbing ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _inputs(request: Any, definition: Definition, secrets: _Secrets, state: Inputs) -> Inputs:
        """The old inputs; of engines that do not send them, what the state has of them."""
        if request.HasField("old_inputs"):
            return secrets.read(request.old_inputs)
        return {key: value for key, value in state.items() if key in definition.inputs}

    def _encode(self, values: Inputs, secrets: _Secrets) -> Any:
        return encode(values, self.shown(secrets.paths))

    def _driver(self, kind: str) -> Driver:
        if UNKNOWN in self._config.values():
            raise UsageError("the provider's configuration is not known yet: its values come from other resources")
        return _DRIVERS[kind](self.cloud)


def serve(arguments: Sequence[str]) -> None:
    """Run as a plugin: listen on loopback, print the port, serve until the engine is gone.

    Args:
        arguments: of the command line; the engine's address and flags, which nothing here needs.
    """
    del arguments
    provider = Provider()
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="rpc"),
        options=[
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.max_send_message_length", _MAX_MESSAGE),
            ("grpc.so_reuseport", 0),
        ],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    # Ctrl-C reaches the whole group: the engine then cancels and waits for answers, so this must not die of it.
    signal.signal(signal.SIGINT, lambda *_: provider.cloud.cancelled.set())
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while not stopped.wait(1.0) and os.getppid() == parent:
        pass
    provider.cloud.cancelled.set()
    server.stop(grace=5.0).wait()

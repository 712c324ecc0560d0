"""What RPCs a Google service has, read from its installed client: names, messages, HTTP rules. None is written by hand.

Names and messages come from the client's gRPC transport, which is given a channel that records what it is asked for;
HTTP rules come from its REST transport, or from the discovery document where it has none (Cloud Monitoring).
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import empty_pb2, message_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Services that every client mixes into its own: their transports carry no usable message types, their own modules do.
MIXINS: Mapping[str, str] = {
    "google.longrunning.Operations": "google.longrunning.operations_pb2",
    "google.cloud.location.Locations": "google.cloud.location.locations_pb2",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message type, whether the client has it as proto-plus or as a raw protobuf class.

    Args:
        cls: the class that handlers see.
        plus: whether ``cls`` is proto-plus.
    """

    cls: Any
    plus: bool

    @classmethod
    def of(cls, found: Any) -> Message:
        """Wrap a proto-plus or protobuf class."""
        return cls(found, hasattr(found, "pb"))

    @property
    def pb_cls(self) -> Any:
        """The protobuf class underneath."""
        return self.cls.pb() if self.plus else self.cls

    @property
    def descriptor(self) -> Any:
        """The protobuf descriptor."""
        return self.pb_cls.DESCRIPTOR

    def decode(self, data: bytes) -> Any:
        """Bytes to what handlers see."""
        return self.cls.deserialize(data) if self.plus else self.cls.FromString(data)

    def encode(self, message: Any) -> bytes:
        """What handlers return to bytes; a raw protobuf message is taken as well."""
        return bytes(self.pb(message).SerializeToString())

    def pb(self, message: Any) -> Any:
        """The protobuf message in what handlers see."""
        return self.cls.pb(message) if self.plus and isinstance(message, self.cls) else message

    def wrap(self, pb: Any) -> Any:
        """What handlers see, around a protobuf message."""
        return self.cls.wrap(pb) if self.plus else pb


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One HTTP binding: method in capitals, path template, request field that the body holds ("*": the rest; None)."""

    method: str
    uri: str
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of a service."""

    service: str
    name: str
    request: Message
    response: Message
    http: tuple[HttpRule, ...] = ()
    streams_request: bool = False
    streams_response: bool = False

    @property
    def path(self) -> str:
        """The gRPC path, /package.Service/Method."""
        return f"/{self.service}/{self.name}"

    @property
    def handler(self) -> str:
        """The name of the method that implements it, as in Google's clients."""
        return snake(self.name)


def snake(name: str) -> str:
    """``RawPredict`` -> ``raw_predict``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class _Recorder(grpc.Channel):  # type: ignore[misc] # grpc has no types
    """A channel that only remembers which stubs are made on it."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, Any, Any]] = {}

    def _note(self, shape: str, method: str, serializer: Any, deserializer: Any) -> Callable[..., None]:
        self.seen[method] = (shape, serializer, deserializer)
        return lambda *_args, **_kwargs: None

    # grpc's signature: interceptors pass these by position.
    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Callable[..., None]:
        """Remember an RPC of one request and one response."""
        return self._note("unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Callable[..., None]:
        """Remember an RPC that streams its response."""
        return self._note("unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Callable[..., None]:
        """Remember an RPC that streams its request."""
        return self._note("stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Callable[..., None]:
        """Remember an RPC that streams both ways."""
        return self._note("stream_stream", method, request_serializer, response_deserializer)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """Nothing to watch."""

    def unsubscribe(self, callback: Any) -> None:
        """Nothing to stop watching."""

    def close(self) -> None:
        """Nothing to close."""


@cache
def rpcs(package: str, service: str) -> tuple[Rpc, ...]:
    """All RPCs of one service and of what is mixed into it.

    Args:
        package: import path with the version, such as ``google.cloud.aiplatform_v1``.
        service: name without package, such as ``EndpointService``.

    Returns:
        RPCs in the order of their names. Those mixed in (``Rpc.service`` in ``MIXINS``) have messages of their own.
    """
    home = f"{package}.services.{snake(service)}.transports"
    transport = getattr(importlib.import_module(f"{home}.grpc"), f"{service}GrpcTransport")
    recorder = _Recorder()
    made = transport(channel=recorder)
    # The transport puts an interceptor around its channel that makes stubs only when they are called: take it off.
    made._logged_channel, made._stubs = recorder, {}  # noqa: SLF001 - there is no public way to the stubs' codecs
    for klass in type(made).__mro__:
        for name, value in vars(klass).items():
            if isinstance(value, property) and not name.startswith("_"):
                getattr(made, name)
    rules = _rest_rules(home, service)
    found = []
    for path, (shape, serializer, deserializer) in sorted(recorder.seen.items()):
        owner, _, method = path.strip("/").partition("/")
        messages = _messages(owner, method, serializer, deserializer)
        if messages is None:
            continue
        client, _, server = shape.partition("_")
        found.append(
            Rpc(
                service=owner,
                name=method,
                request=messages[0],
                response=messages[1],
                http=rules(method),
                streams_request=client == "stream",
                streams_response=server == "stream",
            )
        )
    if not any(rpc.http for rpc in found):
        found = _with_discovery(package, found)
    return tuple(found)


def _messages(owner: str, method: str, serializer: Any, deserializer: Any) -> tuple[Message, Message] | None:
    if owner in MIXINS:
        services = importlib.import_module(MIXINS[owner]).DESCRIPTOR.services_by_name
        described = services[owner.rpartition(".")[2]].methods_by_name[method]
        classes = (message_factory.GetMessageClass(d) for d in (described.input_type, described.output_type))
        request, response = (Message.of(found) for found in classes)
        return request, response
    request_cls, response_cls = getattr(serializer, "__self__", None), getattr(deserializer, "__self__", None)
    if request_cls is None:
        return None  # a raw request: in Google's clients only IAM's, which is left out
    return Message.of(request_cls), Message.of(response_cls or empty_pb2.Empty)


def _rest_rules(home: str, service: str) -> Callable[[str], tuple[HttpRule, ...]]:
    try:
        base = importlib.import_module(f"{home}.rest_base")
    except ModuleNotFoundError:
        return lambda _method: ()
    transport = getattr(base, f"_Base{service}RestTransport")

    def rules(method: str) -> tuple[HttpRule, ...]:
        options: list[dict[str, str]] = getattr(getattr(transport, f"_Base{method}", None), "_get_http_options", list)()
        return tuple(HttpRule(rule["method"].upper(), rule["uri"], rule.get("body")) for rule in options)

    return rules


# --- discovery documents --------------------------------------------------------------------------------------------


def _discovered(node: Mapping[str, Any], resource: str = "") -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(resource, verb, method) of every method below a node."""
    for verb, method in node.get("methods", {}).items():
        yield resource, verb, method
    for name, child in node.get("resources", {}).items():
        yield from _discovered(child, name)


def _candidates(resource: str, verb: str) -> set[str]:
    """What an RPC behind ``resource.verb`` may be called.

    timeSeries.createService is CreateServiceTimeSeries, notificationChannels.sendVerificationCode is
    SendNotificationChannelVerificationCode: the noun goes last, or after the verb's first word.
    """
    verb = {"patch": "update"}.get(verb, verb)
    plural = resource[:1].upper() + resource[1:]
    stems = {plural, re.sub(r"ies$", "y", plural), re.sub(r"s$", "", plural)}
    first = re.match("[a-z]*", verb)[0]  # type: ignore[index] # matches anything
    rest = verb[len(first) :]
    return {name for stem in stems for name in (f"{first.title()}{rest}{stem}", f"{first.title()}{stem}{rest}")}


@cache
def _document(package: str) -> Mapping[str, Any]:
    api, _, version = package.rpartition(".")[2].partition("_")
    documents = resources.files("googleapiclient.discovery_cache") / "documents"
    document: Mapping[str, Any] = json.loads((documents / f"{api}.{version}.json").read_text())
    return document


def _with_discovery(package: str, found: list[Rpc]) -> list[Rpc]:
    """The same RPCs with the HTTP rules of the discovery document."""
    by_name = {rpc.name: rpc for rpc in found}
    rules: dict[str, list[HttpRule]] = {}
    for resource, verb, method in _discovered(_document(package)):
        for name in _candidates(resource, verb) & by_name.keys():
            rules.setdefault(name, []).append(_rule(by_name[name], method))
    return [
        Rpc(
            service=rpc.service,
            name=rpc.name,
            request=rpc.request,
            response=rpc.response,
            http=tuple(rules.get(rpc.name, ())),
            streams_request=rpc.streams_request,
            streams_response=rpc.streams_response,
        )
        for rpc in found
    ]


def _rule(rpc: Rpc, method: Mapping[str, Any]) -> HttpRule:
    fields = rpc.request.descriptor.fields_by_name
    body = None
    if "request" in method:
        sent = method["request"]["$ref"]
        holder = next((f.name for f in fields.values() if f.message_type and f.message_type.name == sent), None)
        body = "*" if sent == rpc.request.descriptor.name else holder

    def variable(match: re.Match[str]) -> str:
        name = match[1]
        pattern = method["parameters"][name].get("pattern", "^[^/]+$")
        template = pattern.strip("^$").replace("[^/]+", "*").replace(".*", "**")
        field = snake(name)
        # A patch names the resource inside the body's field.
        path = field if field in fields or body is None else f"{body}.{field}"
        return f"{{{path}={template}}}"

    return HttpRule(method["httpMethod"], "/" + re.sub(r"\{\+?(\w+)\}", variable, method["path"]), body)

"""The gRPC front: a grpc.aio server whose generic handler serves what the wire has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire.dispatch import Bound, Context
from vertex_deploy.local.wire.errors import to_status
from vertex_deploy.local.wire.jsonpb import MAX_VALUES, too_many

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vertex_deploy.local.wire.dispatch import Wire

# As REST's bound (rest.MAX_BODY): narrower limits are the endpoints' own.
MAX_MESSAGE = 16 * 1024 * 1024
STATUS_KEY = "grpc-status-details-bin"


def _context(bound: Bound, call: Any) -> Context:
    package = bound.rpc.service.split(".")
    version = package[-2] if package[-2].startswith("v") and package[-2][1:2].isdigit() else ""
    headers = {key: value for key, value in call.invocation_metadata() or () if isinstance(value, str)}
    return Context(transport="grpc", method=bound.rpc.path, version=version, headers=headers, call=call)


async def _abort(call: Any, error: ApiError) -> None:
    told = ApiError(error.code, brief(error.message), error.details)
    await call.abort(told.code, told.message, ((STATUS_KEY, to_status(told).SerializeToString()),))


def brief(message: str, most: int = 2000) -> str:
    """A message that fits into a call's trailer, twice: clients take 8 KiB of metadata, and see another error above.

    Args:
        message: may quote what a client sent, or a container's whole answer.
        most: bytes that it may take in the trailer, where gRPC writes "%XX" for what is not printable ASCII.
    """
    size = 0
    for index, char in enumerate(message):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode(errors="replace"))
        if size > most:
            return message[:index] + "..."
    return message


def check_known(pb: Any) -> None:
    """Refuse a message with too many parts, or of a newer client with a field that this one's definition lacks.

    gRPC servers let such fields pass; here they would be kept, answered, and done nothing about. REST refuses them by
    their names.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if pb.ByteSize() > MAX_VALUES and _values(pb) > MAX_VALUES:  # one takes a byte at least
        raise too_many()
    known = type(pb)()
    known.CopyFrom(pb)
    known.DiscardUnknownFields()
    if known.ByteSize() != pb.ByteSize():
        message = f"{_unknown(pb, pb.DESCRIPTOR.name)} is not known to Local Vertex: the client's library is newer."
        raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)
    _check_times(pb, pb.DESCRIPTOR.name)


def _held(field: Any, value: Any) -> Sequence[Any]:
    """What a field of a message holds: its items, a map's values, or itself."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return list(value.values())
    return value if field.is_repeated else [value]


def _values(pb: Any) -> int:
    """Values in a message as JSON would have them; no more are counted than it takes to refuse it."""
    count, left = 1, [pb]
    while left and count <= MAX_VALUES:
        for field, value in left.pop().ListFields():
            held = _held(field, value)
            count += len(held)
            if field.message_type is not None and count <= MAX_VALUES:
                left.extend(item for item in held if hasattr(item, "ListFields"))
    return count


def _check_times(pb: Any, at: str) -> None:
    """Refuse times and durations out of their documented range, as JSON's parser does: Python's own times raise."""
    for field, value in pb.ListFields():
        if field.message_type is None:
            continue
        for item in _held(field, value):
            if isinstance(item, (timestamp_pb2.Timestamp, duration_pb2.Duration)):
                try:
                    item.ToJsonString()
                except ValueError as error:
                    message = f"Invalid value at '{at}.{field.name}': {error}"
                    raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, message) from None
            elif hasattr(item, "ListFields"):
                _check_times(item, f"{at}.{field.name}")


def _unknown(pb: Any, at: str) -> str:
    """Where the first unknown field is: the path of its message, and its number."""
    found = UnknownFieldSet(pb)
    if len(found):
        return f"{at}: field number {found[0].field_number}"
    for field, value in pb.ListFields():
        if field.message_type is None:
            continue
        for item in _held(field, value):
            if hasattr(item, "ListFields") and (below := _unknown(item, f"{at}.{field.name}")):
                return below
    return ""


def method_handler(bound: Bound) -> Any:
    """One RPC as grpc's method handler; predictions skip ``check_known``, which takes time with their size."""
    hot = bound.rpc.service.endswith(".PredictionService")

    async def unary(request: Any, call: Any) -> Any:
        try:
            bound.check_served()
            if not hot:
                await bound.aside.run(request.ByteSize(), partial(check_known, request))
            return await bound.call(request, _context(bound, call))
        except ApiError as error:
            await _abort(call, error)

    async def streamed(request: Any, call: Any) -> AsyncIterator[Any]:
        try:
            async for message in bound.stream(request, _context(bound, call)):
                yield message
        except ApiError as error:
            await _abort(call, error)

    async def refused(_requests: Any, call: Any) -> None:
        await call.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"{bound.rpc.path.strip('/')} is not implemented by Local Vertex."
        )

    rpc = bound.rpc
    codecs = {
        "request_deserializer": rpc.request.pb_cls.FromString,
        "response_serializer": rpc.response.pb_cls.SerializeToString,
    }
    if rpc.streams_request:
        make = grpc.stream_stream_rpc_method_handler if rpc.streams_response else grpc.stream_unary_rpc_method_handler
        return make(refused, **codecs)
    if rpc.streams_response:
        return grpc.unary_stream_rpc_method_handler(streamed, **codecs)
    return grpc.unary_unary_rpc_method_handler(unary, **codecs)


def _not_served(method: str) -> Any:
    """What grpc would answer to a method that nobody has, with its name; grpc says "Method not found!" alone."""

    async def refused(_requests: Any, call: Any) -> None:
        await call.abort(grpc.StatusCode.UNIMPLEMENTED, brief(f"Local Vertex serves no {method.strip('/')}."))

    return grpc.stream_stream_rpc_method_handler(refused)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    def __init__(self, wire: Wire) -> None:
        self._handlers = {path: method_handler(bound) for path, bound in wire.methods.items()}

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        return self._handlers.get(method) or _not_served(method)


def grpc_server(wire: Wire) -> Any:
    """A grpc.aio server of everything in the wire; the caller adds ports and starts it."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((_Handlers(wire),))
    return server

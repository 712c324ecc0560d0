"""v1beta1 on top of v1: messages are carried over by their JSON form. No I/O.

A field that v1 does not have is refused, never dropped. The other way, v1's answers always fit into v1beta1's messages.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory

from vertex_deploy.local.wire.errors import invalid
from vertex_deploy.local.wire.jsonpb import _UNKNOWN

_PREFIX = "google.cloud.aiplatform."


def to_native(pb: Any, native: Any) -> Any:
    """A v1beta1 request as v1's message.

    Args:
        pb: protobuf message of the version called.
        native: protobuf class of the version that handlers take.

    Raises:
        ApiError: INVALID_ARGUMENT naming a field that only v1beta1 has.
    """
    try:
        return json_format.ParseDict(json_format.MessageToDict(pb), native())
    except json_format.ParseError as error:
        found = _UNKNOWN.search(str(error))
        field = found["name"] if found else str(error)
        raise invalid(f"Field '{field}' of v1beta1 is not supported by Local Vertex.") from None


def from_native(pb: Any, target: Any) -> Any:
    """A v1 response as the message of the version called."""
    return json_format.ParseDict(json_format.MessageToDict(pb), target(), ignore_unknown_fields=True)


@cache
def _counterpart(full_name: str, version: str) -> Any:
    """The same message type in another version; None if it is not versioned or does not exist there."""
    if not full_name.startswith(_PREFIX):
        return None
    _, _, rest = full_name.removeprefix(_PREFIX).partition(".")
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(f"{_PREFIX}{version}.{rest}")
    except KeyError:
        return None
    return message_factory.GetMessageClass(found)


def _any_in(packed: Any, version: str) -> None:
    full_name = packed.type_url.rpartition("/")[2]
    target = _counterpart(full_name, version)
    if target is None or target.DESCRIPTOR.full_name == full_name:
        return
    held = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))()
    packed.Unpack(held)
    converted = any_pb2.Any()
    converted.Pack(from_native(held, target))
    packed.CopyFrom(converted)


def operation_in(operation: Any, version: str) -> Any:
    """A copy of an operation whose metadata and response are of this version's types ("v1" or "v1beta1")."""
    copy = type(operation)()
    copy.CopyFrom(operation)
    if copy.HasField("metadata"):
        _any_in(copy.metadata, version)
    if copy.HasField("response"):
        _any_in(copy.response, version)
    return copy

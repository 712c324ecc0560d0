"""Between JSON or query strings and protobuf messages, with the errors of Google's REST front end. No I/O."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from vertex_deploy.local.wire.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vertex_deploy.local.seams import ApiError

_UNKNOWN = re.compile(r'has no field named "(?P<name>[^"]*)" at "(?P<at>[^"]*)"')
_TRUE = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
# Query parameters of every Google API (discovery documents, "parameters"); none is a field of a request.
SYSTEM_PARAMETERS = frozenset(
    {
        "$.xgafv", "$alt", "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint",
        "quotaUser", "uploadType", "upload_protocol", "$prettyPrint",
    }
)  # fmt: skip

MAX_VALUES = 200_000
"""Values in a request. The largest that clients write, 200 time series with 200 buckets each, has some 85,000."""


class Style(NamedTuple):
    """How the client wants its JSON."""

    int_enums: bool = False
    pretty: bool = True


def style_of(query: Iterable[tuple[str, str]]) -> Style:
    """Read ``alt``/``$alt`` and ``prettyPrint``; an ``alt`` other than json (or sse for streams) is refused."""
    int_enums, pretty = False, True
    for key, value in query:
        if key in {"alt", "$alt"}:
            kind, _, options = value.partition(";")
            if kind not in {"json", "sse", "media"}:
                raise invalid(f"Invalid value for '{key}': '{value}'. Local Vertex answers json.")
            int_enums = int_enums or "enum-encoding=int" in options
        elif key in {"prettyPrint", "$prettyPrint"}:
            pretty = value.lower() != "false"
    return Style(int_enums, pretty)


def camel(path: str) -> str:
    """``traffic_split`` -> ``trafficSplit``; camel stays camel."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), path)


def _unknown(name: str, at: str) -> ApiError:
    where = f" at '{at}'" if at else ""
    return invalid(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def parse(data: Any, pb: Any, at: str = "") -> None:
    """Fill a protobuf message from decoded JSON.

    Args:
        data: what ``json.loads`` gave.
        pb: the message, filled in place.
        at: where in the request it lies, for the error.

    Raises:
        ApiError: INVALID_ARGUMENT with Google's words if a field is unknown or a value does not fit.
    """
    if not isinstance(data, dict) and not pb.DESCRIPTOR.full_name.startswith("google.protobuf."):
        raise invalid("Invalid JSON payload received. Expected an object.")
    try:
        json_format.ParseDict(data, pb, max_recursion_depth=60)
    except json_format.ParseError as error:
        found = _UNKNOWN.search(str(error))
        if found:
            # protobuf says Message.field.inner; Google says field.inner, from the request's root.
            inner = ".".join(found["at"].split(".")[1:])
            raise _unknown(found["name"], ".".join(part for part in (at, inner) if part)) from None
        raise invalid(f"Invalid value at '{at or pb.DESCRIPTOR.name}': {error}") from None


def loads(body: bytes) -> Any:
    """Decode a JSON body.

    Raises:
        ApiError: INVALID_ARGUMENT if it is not JSON (NaN and infinities are not) or has over ``MAX_VALUES`` values.
    """
    if not body:
        return {}
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    # A value follows the beginning, a bracket or a comma: where even commas in strings are few, nobody need count.
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) >= MAX_VALUES and _values(data) > MAX_VALUES:
        raise too_many()
    return data


def too_many() -> ApiError:
    """The refusal of a request with more than ``MAX_VALUES`` values."""
    return invalid(f"The request has more than {MAX_VALUES} values; Local Vertex reads no larger one.")


def _values(data: Any) -> int:
    """Values in decoded JSON, itself included; no more are counted than it takes to refuse it."""
    count, left = 1, [data]
    while left and count <= MAX_VALUES:
        held = left.pop()
        inner = list(held.values()) if isinstance(held, dict) else held
        count += len(inner)
        left.extend(item for item in inner if isinstance(item, dict | list))
    return count


def _no_constant(name: str) -> None:
    raise ValueError(f"Unexpected token. {name}")


def dumps(data: Any, style: Style) -> bytes:
    """Encode a JSON answer."""
    return json.dumps(data, indent=2 if style.pretty else None, ensure_ascii=False).encode() + b"\n"


def to_dict(pb: Any, style: Style = Style()) -> Any:  # noqa: B008 - an immutable tuple
    """A protobuf message as Google's JSON: camelCase, int64 as strings, defaults left out."""
    return json_format.MessageToDict(pb, use_integers_for_enums=style.int_enums)


def nest(bound: Mapping[str, str]) -> dict[str, Any]:
    """``{"endpoint.name": "x"}`` -> ``{"endpoint": {"name": "x"}}``."""
    tree: dict[str, Any] = {}
    for path, value in bound.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def query_fields(query: Iterable[tuple[str, str]], descriptor: Any) -> dict[str, Any]:
    """Query parameters as a tree for ``parse``: dotted names, camel or snake; repeated fields gather.

    Raises:
        ApiError: INVALID_ARGUMENT for a parameter that is no field of the request.
    """
    tree: dict[str, Any] = {}
    for key, value in query:
        if key in SYSTEM_PARAMETERS:
            continue
        *parents, leaf = key.split(".")
        node, at = tree, descriptor
        for parent in parents:
            field = _field(at, parent)
            if field is None or field.message_type is None:
                raise _unknown_parameter(key)
            node, at = node.setdefault(field.name, {}), field.message_type
        field = _field(at, leaf)
        if field is None:
            raise _unknown_parameter(key)
        converted = _scalar(field, value, key)
        if field.is_repeated:
            node.setdefault(field.name, []).append(converted)
        else:
            node[field.name] = converted
    return tree


def _unknown_parameter(key: str) -> ApiError:
    return invalid(
        f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter. '
        f"Field '{key}' could not be found in request message."
    )


def _field(descriptor: Any, name: str) -> Any:
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def _scalar(field: Any, value: str, key: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if value not in _TRUE:
            raise invalid(f"Invalid value at '{key}' (TYPE_BOOL), \"{value}\"")
        return _TRUE[value]
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask":
        # gcloud writes snake_case, the JSON mapping says camelCase; Google takes both.
        return camel(value)
    return value

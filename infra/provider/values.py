"""Property values as the engine sends them, and back: plain Python values, and beside them the paths that are secret.

The protocol carries a ``google.protobuf.Struct`` in which secrets, unknown values, outputs and resource references are
objects or strings with fixed signatures (https://pulumi-developer-docs.readthedocs.io, "Property values"). Everything
past this module sees ``None``, ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict`` and ``UNKNOWN``. No I/O, and
no import of pulumi: the tables are tested where it is not installed.

A secret inside a list marks the whole list, because items move; one in a map marks its key. Left out: assets, archives
and byte strings, which no property of this provider takes; they are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import struct_pb2

from vertex_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's signature, no secret
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_TOKEN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # noqa: S105 - as above
_UNKNOWN_TOKENS: Final = frozenset(
    {
        UNKNOWN_TOKEN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""What the engine writes for an unknown string, boolean, number, list, asset, archive and object
(``marshalUnknownProperty`` of its Go SDK); the one for strings is understood as any of them."""

Path = tuple[str, ...]
"""Keys from the top; what a list holds has the list's path."""


class _Unknown:
    """The type of ``UNKNOWN``."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""A value that is known only once another resource has been created. There is one of it: compare with ``is``."""


def has_unknown(value: Any) -> bool:
    """Whether any part of a value is unknown."""
    if isinstance(value, dict):
        return any(has_unknown(part) for part in value.values())
    if isinstance(value, list):
        return any(has_unknown(part) for part in value)
    return value is UNKNOWN


def decode(struct: struct_pb2.Struct) -> tuple[dict[str, Any], frozenset[Path]]:
    """Read a property map.

    Args:
        struct: as the engine sent it.

    Returns:
        The plain values, and the paths of those that are secret. Keys that start with ``__`` are the engine's own and
        are dropped.

    Raises:
        UsageError: an asset, an archive or another object with a signature that no property takes.
    """
    secrets: set[Path] = set()
    values = {key: _decode(value, (key,), secrets) for key, value in struct.fields.items() if not key.startswith("__")}
    return values, frozenset(secrets)


def _decode(value: struct_pb2.Value, path: Path, secrets: set[Path]) -> Any:  # noqa: PLR0911 - one return a kind
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN_TOKENS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item, path, secrets) for item in value.list_value.values]
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return _special(fields, path, secrets)
        inside = path if path in secrets else None
        return {key: _decode(item, inside or (*path, key), secrets) for key, item in fields.items()}
    return None


def _special(fields: Mapping[str, struct_pb2.Value], path: Path, secrets: set[Path]) -> Any:
    signature = fields[SIGNATURE].string_value
    if signature == SECRET:
        secrets.add(path)
        return _decode(fields["value"], path, secrets)
    if signature == OUTPUT:
        if "secret" in fields and fields["secret"].bool_value:
            secrets.add(path)
        return _decode(fields["value"], path, secrets) if "value" in fields else UNKNOWN
    if signature == RESOURCE:
        # A resource given where its id is meant. A component has none; an unknown one is written as an empty string
        # (``ResourceReference.IDString`` of the engine's Go SDK).
        return (_decode(fields["id"], path, secrets) or UNKNOWN) if "id" in fields else fields["urn"].string_value
    raise UsageError(f"{'.'.join(path)}: assets and archives are not taken here; give a gs:// address or a value")


def encode(values: Mapping[str, Any], secrets: Iterable[Path] = ()) -> struct_pb2.Struct:
    """Write a property map.

    Args:
        values: plain values; ``None`` is written as null, tuples as lists.
        secrets: paths that leave as secrets; one that the values do not have marks the nearest part above it that they
            do have, so that nothing secret leaves in clear because its neighbours changed shape.
    """
    wanted = {_existing(values, path) for path in secrets} - {()}
    struct = struct_pb2.Struct()
    for key, value in values.items():
        struct.fields[key].CopyFrom(_encode(value, (key,), wanted))
    return struct


def _existing(values: Any, path: Path) -> Path:
    reached: list[str] = []
    for key in path:
        if not isinstance(values, dict) or key not in values:
            break
        reached.append(key)
        values = values[key]
    return tuple(reached)


def _encode(value: Any, path: Path, secrets: set[Path]) -> struct_pb2.Value:
    plain = _plain(value, path, secrets)
    if path not in secrets:
        return plain
    wrapped = struct_pb2.Value()
    wrapped.struct_value.fields[SIGNATURE].string_value = SECRET
    wrapped.struct_value.fields["value"].CopyFrom(plain)
    return wrapped


def _plain(value: Any, path: Path, secrets: set[Path]) -> struct_pb2.Value:
    made = struct_pb2.Value()
    if value is None:
        made.null_value = struct_pb2.NULL_VALUE
    elif value is UNKNOWN:
        made.string_value = UNKNOWN_TOKEN
    elif isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, int | float):
        made.number_value = value
    elif isinstance(value, str):
        made.string_value = value
    elif isinstance(value, list | tuple):
        made.list_value.SetInParent()
        for item in value:
            # Items have their list's path, and the list is wrapped as a whole.
            made.list_value.values.append(_plain(item, path, secrets))
    else:
        made.struct_value.SetInParent()
        for key, item in value.items():
            inside = path if path in secrets else (*path, key)
            made.struct_value.fields[key].CopyFrom(
                _plain(item, inside, secrets) if inside == path else _encode(item, inside, secrets)
            )
    return made


def redact(text: str, values: Mapping[str, Any], secrets: Iterable[Path]) -> str:
    """A message without the secret values that it may quote.

    Args:
        text: an error message.
        values: the property map that the secrets are in.
        secrets: their paths.
    """
    for path in secrets:
        found: Any = values
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        # Longest first: one value may hold another.
        for leaf in sorted({str(leaf) for leaf in _leaves(found)}, key=len, reverse=True):
            if leaf:
                text = text.replace(leaf, "[secret]")
    return text


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None and value is not UNKNOWN and not isinstance(value, bool):
        yield value

"""Update masks, read masks, etags, and the refusal of fields that are left out. No I/O."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from vertex_deploy.local.control.refusals import invalid, unsupported
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

M = TypeVar("M")


def refuse_unsupported(message: Any, supported: Collection[str], what: str) -> None:
    """Refuse a request that sets a field which Local Vertex leaves out.

    Args:
        message: proto-plus message, as requested.
        supported: names of the fields that are acted on, or are output only.
        what: the message's place, for the error.

    Raises:
        ApiError: INVALID_ARGUMENT naming the first such field.
    """
    for field, _ in type(message).pb(message).ListFields():
        if field.name.rstrip("_") not in supported:
            raise unsupported(f"{what}.{field.name}")


def update(target: M, source: M, paths: Iterable[str], allowed: Collection[str]) -> list[str]:
    """Copy the masked fields of ``source`` into ``target``.

    Args:
        target: proto-plus message, changed in place.
        source: of the same type.
        paths: the mask, snake_case; a nested path is copied where it or a parent of it is allowed. "*" is all allowed.
        allowed: paths that may be updated.

    Returns:
        The paths copied.

    Raises:
        ApiError: INVALID_ARGUMENT for an empty mask and for a path that is not allowed.
    """
    wanted = list(dict.fromkeys(paths))
    if not wanted:
        raise invalid("update_mask is required and must name at least one field.")
    if wanted == ["*"]:
        wanted = sorted(allowed)
    for path in wanted:
        if not any(path == may or path.startswith(may + ".") for may in allowed):
            raise invalid(f"Field '{path}' in update_mask cannot be updated; allowed: {', '.join(sorted(allowed))}.")
    cls: Any = type(target)
    for path in wanted:
        _copy(cls.pb(target), cls.pb(source), path.split("."), path)
    return wanted


def _copy(target: Any, source: Any, path: list[str], whole: str) -> None:
    head, *rest = path
    field = target.DESCRIPTOR.fields_by_name.get(head)
    if field is None:
        raise invalid(f"Field '{whole}' in update_mask does not exist.")
    if rest and not field.is_repeated and field.message_type is not None:
        _copy(getattr(target, head), getattr(source, head), rest, whole)
        return
    if rest and not (field.message_type is not None and field.message_type.GetOptions().map_entry):
        raise invalid(f"Field '{whole}' in update_mask cannot be updated: '{head}' has no fields; name it as a whole.")
    if rest:
        # labels.key: one entry of a map.
        entries, given = getattr(target, head), getattr(source, head)
        key = ".".join(rest)
        if key in given:
            entries[key] = given[key]
        else:
            entries.pop(key, None)
        return
    target.ClearField(head)
    part = type(source)()
    part.CopyFrom(source)
    for other, _ in source.ListFields():
        if other.name != head:
            part.ClearField(other.name)
    target.MergeFrom(part)


def read(message: M, paths: Iterable[str]) -> M:
    """The message with only these top-level fields (a read mask); all of it where the mask is empty.

    Raises:
        ApiError: INVALID_ARGUMENT for a field that does not exist.
    """
    wanted = {path.partition(".")[0] for path in paths}
    if not wanted or "*" in wanted:
        return message
    pb = type(message).pb(message)  # type: ignore[attr-defined] # every M is proto-plus
    unknown = wanted - set(pb.DESCRIPTOR.fields_by_name)
    if unknown:
        raise invalid(f"Field '{min(unknown)}' in read_mask does not exist.")
    for field, _ in pb.ListFields():
        if field.name not in wanted:
            pb.ClearField(field.name)
    return message


def etag_of(message: Any, revision: str) -> str:
    """An etag that changes whenever the message does.

    Args:
        message: proto-plus, its etag field not counted.
        revision: anything that differs between two writes of the same content, such as the time.
    """
    pb = type(message).pb(message)
    bare = type(pb)()
    bare.CopyFrom(pb)
    bare.ClearField("etag")
    digest = hashlib.sha256(bare.SerializeToString(deterministic=True) + revision.encode()).digest()
    return base64.b64encode(digest[:30]).decode()


def check_etag(given: str, current: str) -> None:
    """Optimistic concurrency: an etag that is given must be the current one.

    Raises:
        ApiError: ABORTED.
    """
    if given and given != current:
        raise ApiError(
            grpc.StatusCode.ABORTED,
            f'The etag "{given}" does not match the current etag "{current}" of the resource; '
            "read it again and repeat the change.",
        )

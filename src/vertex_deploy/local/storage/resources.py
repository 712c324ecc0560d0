"""Buckets and objects as values and as the JSON of the real API; what of them may be written. Pure.

A field that changes how Cloud Storage behaves and that Local Vertex lacks is refused; output-only fields are ignored,
as in the real API.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from vertex_deploy.local.storage.errors import invalid, unsupported

OBJECT_WRITABLE = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
)
BUCKET_KEPT = ("cors", "iamConfiguration", "lifecycle", "softDeletePolicy", "versioning", "website")
"""Of a bucket: told back as they were written, and acted on by nothing. What would need them is refused."""
BUCKET_WRITABLE = (*BUCKET_KEPT, "labels", "location", "storageClass")
_OBJECT_REFUSED = ("contexts", "customerEncryption", "eventBasedHold", "kmsKeyName", "retention", "temporaryHold")
_BUCKET_REFUSED = (
    "autoclass",
    "billing",
    "customPlacementConfig",
    "defaultEventBasedHold",
    "encryption",
    "hierarchicalNamespace",
    "ipFilter",
    "logging",
    "objectRetention",
    "retentionPolicy",
)
_MAX_METADATA = 8192
_MAX_MASK = 100
"""Parentheses and slashes of a partial response: each may be a level."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket.

    Args:
        name: its name.
        project: project that it was created in.
        created: microseconds since the epoch.
        updated: microseconds since the epoch.
        metageneration: 1, and one more with every change of ``body``.
        body: the writable fields.
    """

    name: str
    project: str
    created: int
    updated: int
    metageneration: int
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def versioned(self) -> bool:
        """Whether its overwritten objects should stay as old versions."""
        return bool(self.body.get("versioning", {}).get("enabled"))

    def json(self, base: str) -> dict[str, Any]:
        """The resource as the API gives it; ``base`` is the URL of the server."""
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "selfLink": f"{base}/storage/v1/b/{self.name}",
            "projectNumber": "0",
            "name": self.name,
            "timeCreated": _time(self.created),
            "updated": _time(self.updated),
            "metageneration": str(self.metageneration),
            "etag": _etag(self.metageneration),
            "location": "US",
            "locationType": "multi-region" if self.body.get("location", "US") in _MULTI else "region",
            "storageClass": "STANDARD",
            **self.body,
        }


_MULTI = ("US", "EU", "ASIA")


@dataclass(frozen=True, slots=True)
class Object:
    """A live object.

    Args:
        bucket: its bucket.
        name: its name.
        generation: microseconds since the epoch when its content was written, unique in the server.
        metageneration: 1, and one more with every change of ``body``.
        size: bytes.
        crc32c: checksum, base64 of four bytes, big-endian.
        md5: base64, or "" for a composed object, which has none.
        content: name of the file that holds the content.
        created: microseconds since the epoch.
        updated: microseconds since the epoch.
        components: parts of a composed object, 0 if it was not composed.
        body: the writable fields.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    size: int
    crc32c: str
    md5: str
    content: str
    created: int
    updated: int
    components: int = 0
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Changes with content and with metadata."""
        return _etag(self.generation, self.metageneration)

    def json(self, base: str) -> dict[str, Any]:
        """The resource as the API gives it; ``base`` is the URL of the server."""
        path = f"b/{self.bucket}/o/{quote(self.name, safe='')}"
        out = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base}/storage/v1/{path}",
            "mediaLink": f"{base}/download/storage/v1/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(self.size),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": _time(self.created),
            "updated": _time(self.updated),
            "timeStorageClassUpdated": _time(self.created),
            "timeFinalized": _time(self.created),
            **self.body,
        }
        if self.md5:
            out["md5Hash"] = self.md5
        if self.components:
            out["componentCount"] = self.components
        return out


def _time(micros: int) -> str:
    at = datetime.fromtimestamp(micros // 1_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000 // 1000:03d}Z"


def _etag(*numbers: int) -> str:
    return base64.b64encode(".".join(map(str, numbers)).encode()).decode()


def writable(sent: dict[str, Any], kept: tuple[str, ...], *, bucket: bool = False) -> dict[str, Any]:
    """The fields of a request's resource that are kept.

    Args:
        sent: the JSON of the request.
        kept: ``OBJECT_WRITABLE`` or ``BUCKET_WRITABLE``.
        bucket: whether it is a bucket.

    Raises:
        StorageError: 501 for a feature that is left out, 400 for a value of the wrong type.
    """
    for name in _BUCKET_REFUSED if bucket else _OBJECT_REFUSED:
        value = sent.get(name)
        if value and not (isinstance(value, dict) and value.get("enabled") is False):
            raise unsupported(name)
    out = {name: sent[name] for name in kept if sent.get(name) is not None}
    for name, value in out.items():
        if name in ("metadata", "labels"):
            _check_strings(name, value)
        elif name in BUCKET_KEPT:
            if not isinstance(value, list if name == "cors" else dict):
                raise invalid(
                    f"Invalid value for {name}: {'a list' if name == 'cors' else 'an object'} is expected.", name
                )
        elif not isinstance(value, str):
            raise invalid(f"Invalid value for {name}: a string is expected.", name)
        elif not bucket and not (value.isprintable() and len(value) <= _MAX_METADATA):
            # Downloads carry it as a header: a line break would begin another.
            raise invalid(f"Invalid value for {name}: control characters cannot be in a header.", name)
    if bucket and "location" in out:
        out["location"] = out["location"].upper()
    return out


def _check_strings(name: str, value: object) -> None:
    if not isinstance(value, dict) or any(not isinstance(v, str) for v in value.values()):
        raise invalid(f"Invalid value for {name}: a map of strings is expected.", name)
    if sum(len(k) + len(v) for k, v in value.items()) > _MAX_METADATA:
        raise invalid(f"Invalid value for {name}: more than {_MAX_METADATA} characters.", name)


def patched(
    body: dict[str, Any], sent: dict[str, Any], kept: tuple[str, ...], *, bucket: bool = False
) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7386): null removes a field, and a key of a map.

    Raises:
        StorageError: as ``writable``.
    """
    out = dict(body)
    for name in kept:
        if name not in sent:
            continue
        if sent[name] is None:
            out.pop(name, None)
        elif isinstance(sent[name], dict) and isinstance(out.get(name, {}), dict):
            merged = {**out.get(name, {}), **sent[name]}
            out[name] = {k: v for k, v in merged.items() if v is not None}
        else:
            out[name] = sent[name]
    refused = _BUCKET_REFUSED if bucket else _OBJECT_REFUSED
    return writable(out | {k: sent[k] for k in refused if k in sent}, kept, bucket=bucket)


def partial(resource: Any, fields: str) -> Any:
    """A partial response: ``items(name,size),nextPageToken`` or ``items/name``.

    Raises:
        StorageError: 400, the mask cannot be read.
    """
    if fields.count("(") + fields.count("/") > _MAX_MASK:
        raise invalid(f"Invalid field selection {fields[:200]}", "fields")
    tree, rest = _mask(fields.replace(" ", ""), 0)
    if rest != len(fields.replace(" ", "")):
        raise invalid(f"Invalid field selection {fields[:200]}", "fields")
    return _pick(resource, tree)


_Mask = dict[str, Any]


def _mask(text: str, at: int) -> tuple[_Mask, int]:
    """Parse from ``at`` to the closing parenthesis or the end; an empty mask stands for everything below."""
    out: _Mask = {}
    while True:
        end = at
        while end < len(text) and text[end] not in "(),/":
            end += 1
        name, at = text[at:end], end
        below: _Mask = {}
        if not name:
            raise invalid(f"Invalid field selection {text[:200]}", "fields")
        if at < len(text) and text[at] == "/":
            # a/b(c),d: the path binds to one name, then the list goes on
            below, at = _path(text, at + 1)
        elif at < len(text) and text[at] == "(":
            below, at = _mask(text, at + 1)
            if at >= len(text) or text[at] != ")":
                raise invalid(f"Invalid field selection {text[:200]}", "fields")
            at += 1
        out[name] = {**out.get(name, {}), **below}
        if at < len(text) and text[at] == ",":
            at += 1
            continue
        return out, at


def _path(text: str, at: int) -> tuple[_Mask, int]:
    end = at
    while end < len(text) and text[end] not in ",)":
        if text[end] == "(":
            while end < len(text) and text[end] != ")":
                end += 1
        end += 1
    below, rest = _mask(text[at:end], 0)
    return below, at + rest


def _pick(resource: Any, mask: _Mask) -> Any:
    if not mask or "*" in mask:
        return resource
    if isinstance(resource, list):
        return [_pick(item, mask) for item in resource]
    if isinstance(resource, dict):
        return {k: _pick(v, mask[k]) for k, v in resource.items() if k in mask}
    return resource

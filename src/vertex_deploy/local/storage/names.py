"""Names of buckets and objects: what Cloud Storage allows. Pure.

Source: cloud.google.com/storage/docs/buckets#naming and .../objects#naming. Left out: proof of domain ownership for
names with dots.
"""

from __future__ import annotations

import ipaddress
import re

from vertex_deploy.local.storage.errors import StorageError, invalid

MAX_OBJECT_NAME = 1024
"""Bytes of an object's name in UTF-8."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MAX_PART = 63
_GS = re.compile(r"gs://([^/]+)(?:/(.*))?", re.DOTALL)


def check_bucket(name: str) -> str:
    """The name, if a bucket may have it.

    Raises:
        StorageError: 400.
    """
    bad = (
        not _BUCKET.fullmatch(name)
        or any(not 0 < len(part) <= _MAX_PART for part in name.split("."))
        or name.startswith("goog")
        or "google" in name
        or _is_address(name)
    )
    if bad:
        raise StorageError(400, "invalid", f"Invalid bucket name: '{name[:_MAX_PART]}'")
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_object(name: str) -> str:
    """The name, if an object may have it.

    Raises:
        StorageError: 400.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise invalid("The object name is not valid UTF-8.", "name") from None
    if not 0 < size <= MAX_OBJECT_NAME:
        raise invalid(f"The object name must have 1 to {MAX_OBJECT_NAME} bytes, not {size}.", "name")
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/") or {"\r", "\n", "\x00"} & set(name):
        raise invalid("The object name is not allowed.", "name")
    return name


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object name (or prefix, perhaps empty) of a gs:// URI.

    Raises:
        StorageError: 400, it is not one.
    """
    found = _GS.fullmatch(uri)
    if found is None:
        raise invalid(f"Not a gs:// URI: {uri[:MAX_OBJECT_NAME]}")
    return check_bucket(found[1]), found[2] or ""

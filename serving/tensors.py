"""Raw tensors to engine inputs. Pure.

Two kinds: float32 [3, height, width], taken as it is (already normalised); uint8 [height, width, 3], pixels that the
server normalises like an image's. Nested lists are the first kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving import images
from serving.errors import BadRequest

if TYPE_CHECKING:
    from serving.artifact.manifest import Manifest
    from serving.engines.base import Array

_MAX_DEPTH = 8  # of the shape that a message shows


def from_lists(value: Any, manifest: Manifest, *, strict: bool) -> Array:
    """Nested lists of numbers.

    Args:
        value: parsed JSON.
        manifest: says the shape.
        strict: look at every element: true, false or null occur in the request, which numpy would take for numbers.

    Raises:
        BadRequest: another shape, ragged, something that is no finite float32 number.
    """
    shape = _shape(value)
    if shape != manifest.input.shape:
        raise BadRequest(f"shape {shape}: {manifest.input.shape} is needed")
    try:
        array = np.array(value)
    except (ValueError, OverflowError, TypeError):
        raise BadRequest("ragged: lists of one level differ in length") from None
    if list(array.shape) != shape:
        raise BadRequest("ragged: lists of one level differ in length")
    if array.dtype.kind not in "iuf" or (strict and any(type(v) is bool for v in _flat(value))):
        raise BadRequest("something other than numbers")
    return _finite(array)


def from_bytes(data: bytes, dtype: str, shape: list[int], manifest: Manifest) -> Array:
    """Bytes in row-major order, little-endian.

    Args:
        data: decoded from base64.
        dtype: float32 or uint8.
        shape: as the client says it.
        manifest: says what is needed.

    Raises:
        BadRequest: another dtype, shape or length; nan or infinity.
    """
    channels, height, width = manifest.input.shape
    needed = {"float32": [channels, height, width], "uint8": [height, width, channels]}.get(dtype)
    if needed is None:
        raise BadRequest(f"dtype {dtype!r}: float32 or uint8 is needed")
    if shape != needed:
        raise BadRequest(f"shape {shape}: {dtype} needs {needed}")
    kind = np.dtype("<f4" if dtype == "float32" else "u1")
    count = channels * height * width
    if len(data) != count * kind.itemsize:
        raise BadRequest(f"{len(data)} bytes: {dtype} {shape} has {count * kind.itemsize}")
    array = np.frombuffer(data, kind).reshape(shape)
    return images.normalise(array, manifest.preprocess) if dtype == "uint8" else _finite(array)


def _finite(array: Any) -> Array:
    with np.errstate(over="ignore"):
        out: Array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(out).all():
        raise BadRequest("nan, infinity, or a number too large for float32")
    return out


def _shape(value: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list) and len(shape) < _MAX_DEPTH:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield value

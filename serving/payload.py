"""A request's body to engine inputs. Pure, and run in a thread: bytes in, arrays or one ``BadRequest`` out.

JSON: ``{"instances": [...], "parameters": {"top_k": 5}}``, where an instance is one of

- ``{"image": {"b64": "..."}}`` or ``{"b64": "..."}``: a JPEG, PNG or WebP
- ``{"tensor": {"b64": "...", "dtype": "float32" | "uint8", "shape": [...]}}``: see ``serving.tensors``
- ``{"tensor": [[[...]]]}`` or ``[[[...]]]``: nested lists of numbers

Anything else is an image's file itself (rawPredict: Vertex AI forwards such bodies as they are).

A request with a bad instance is refused whole, with all its bad instances named: half an answer is not an answer.
"""

from __future__ import annotations

import binascii
import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from serving import images, tensors
from serving.errors import BadRequest, UnsupportedMedia

if TYPE_CHECKING:
    from PIL import Image

    from serving.artifact.manifest import Manifest
    from serving.engines.base import Array

TOP_K = 5
_SHOWN = 10  # bad instances that a message names
_REQUEST_IMAGES = 4  # a request's images may hold so many times the pixels that one may
_KEY = re.compile(rb'"(?:[^"\\]++|\\.)*+"(\s*+:)?', re.DOTALL)
_SNIFFED = {"", "application/octet-stream", "application/x-www-form-urlencoded"}  # nothing, or a client's default


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask.

    Args:
        instances: in one request.
        pixels: of one image.
    """

    instances: int
    pixels: int


@dataclass(slots=True)
class Parsed:
    """A request that can be answered.

    Args:
        instances: float32 [3, height, width] each.
        where: what to call each in a message.
        top_k: classes to answer.
    """

    instances: list[Array]
    where: list[str]
    top_k: int


def parse(body: bytes, content_type: str, content_encoding: str, manifest: Manifest, limits: Limits) -> Parsed:
    """Read a request.

    Args:
        body: all of it.
        content_type: header, or "": then the first bytes decide.
        content_encoding: header, or "".
        manifest: says what the engine takes.
        limits: of this server.

    Raises:
        BadRequest: it cannot be answered.
        UnsupportedMedia: a type, charset or encoding that is not served.
    """
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia(f"Content-Encoding {content_encoding!r}: send the body as it is")
    kind, _, options = content_type.lower().partition(";")
    kind = kind.strip()
    if kind in {"image/jpeg", "image/jpg", "image/png", "image/webp"} or (kind in _SNIFFED and images.is_image(body)):
        try:
            image = images.open_header(body, max_pixels=limits.pixels)
            return Parsed([images.decode(image, manifest.preprocess)], ["image"], min(TOP_K, manifest.classes))
        except BadRequest as error:
            raise BadRequest(f"image: {error}") from None
    if kind == "application/json" or kind.endswith("+json") or kind in _SNIFFED:
        charset = options.partition("charset=")[2].strip().strip('"')
        if charset not in {"", "utf-8", "utf8", "us-ascii"}:
            raise UnsupportedMedia(f"charset {charset!r}: JSON is UTF-8")
        return _json(body, manifest, limits)
    raise UnsupportedMedia(f"Content-Type {content_type!r}: send application/json, image/jpeg, image/png or image/webp")


def _json(body: bytes, manifest: Manifest, limits: Limits) -> Parsed:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"malformed JSON: {error}" if body else "an empty body") from None
    if not isinstance(value, dict):
        raise BadRequest('not a JSON object; send {"instances": [...]}')
    keys = len(value)
    _known(value, "", ("instances", "parameters"))
    top_k = _top_k(value.get("parameters"), manifest.classes)
    keys += len(value.get("parameters") or ())
    instances = value.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRequest("instances: a list of at least one is needed")
    if len(instances) > limits.instances:
        raise BadRequest(f"instances: {len(instances)}, at most {limits.instances} are taken in one request")

    strict = any(word in body for word in (b"true", b"false", b"null"))
    reader = _Reader(manifest, limits, strict=strict)
    read = [reader.read(instance, f"instances[{i}]") for i, instance in enumerate(instances)]
    done = reader.finish(read)
    # orjson keeps the last of two equal keys. Everything here is known by now, so the keys can simply be counted.
    if sum(1 for match in _KEY.finditer(body) if match[1]) != keys + reader.keys:
        raise BadRequest(f"malformed JSON: {_twice(body)}")
    return Parsed(done, reader.where, top_k)


class _Reader:
    """Reads instances and collects what is wrong with them."""

    def __init__(self, manifest: Manifest, limits: Limits, *, strict: bool) -> None:
        self.manifest, self.limits, self.strict = manifest, limits, strict
        self.keys = 0
        self.pixels = 0
        self.where: list[str] = []
        self.problems: list[str] = []

    def read(self, value: Any, where: str) -> Image.Image | Array | None:
        """An image's header, or an array; None if it is bad."""
        self.where.append(where)
        try:
            return self._instance(value)
        except BadRequest as error:
            self.problems.append(f"{self.where[-1]}: {error}")
            return None

    def finish(self, read: list[Image.Image | Array | None]) -> list[Array]:
        """Decode the images, now that all headers are known to be within the limits."""
        if self.pixels > _REQUEST_IMAGES * self.limits.pixels:
            raise BadRequest(
                f"instances: {self.pixels} pixels in all, at most {_REQUEST_IMAGES * self.limits.pixels} are decoded "
                "in one request"
            )
        out: list[Array] = []
        for where, item in zip(self.where, read, strict=True):
            if item is None or hasattr(item, "dtype"):
                out.append(item)  # type: ignore[arg-type]  # None only beside a problem
            elif len(self.problems) < _SHOWN:
                try:
                    out.append(images.decode(item, self.manifest.preprocess))
                except BadRequest as error:
                    self.problems.append(f"{where}: {error}")
        if self.problems:
            more = len(self.problems) - _SHOWN
            raise BadRequest("; ".join(self.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
        return out

    def _instance(self, value: Any) -> Image.Image | Array:
        if isinstance(value, list):
            return tensors.from_lists(value, self.manifest, strict=self.strict)
        if not isinstance(value, dict):
            raise BadRequest('not an object; send {"image": {"b64": "..."}} or {"tensor": ...}')
        _known(value, "", ("image", "b64", "tensor"))
        self.keys += len(value)
        if len(value) != 1:
            raise BadRequest("exactly one of image, b64 and tensor is needed")
        name, inner = next(iter(value.items()))
        self.where[-1] += f".{name}"
        return self._tensor(inner) if name == "tensor" else self._image(inner, name)

    def _image(self, value: Any, name: str) -> Image.Image:
        if name == "image":
            if not isinstance(value, dict):
                raise BadRequest('not an object; send {"b64": "..."}')
            _known(value, "", ("b64",))
            self.keys += len(value)
            self.where[-1] += ".b64"
            value = value.get("b64")
        image = images.open_header(_base64(value), max_pixels=self.limits.pixels)
        self.pixels += image.width * image.height
        return image

    def _tensor(self, value: Any) -> Array:
        if isinstance(value, list):
            return tensors.from_lists(value, self.manifest, strict=self.strict)
        if not isinstance(value, dict):
            raise BadRequest('neither nested lists nor {"b64", "dtype", "shape"}')
        _known(value, "", ("b64", "dtype", "shape"))
        self.keys += len(value)
        dtype, shape = value.get("dtype", "float32"), value.get("shape")
        if not isinstance(dtype, str):
            raise BadRequest("dtype: float32 or uint8 is needed")
        if not isinstance(shape, list) or len(shape) > 8:  # noqa: PLR2004 - see tensors
            raise BadRequest("shape: a list of whole numbers is needed")
        sizes = [_whole(n) for n in shape]
        if None in sizes:
            raise BadRequest("shape: a list of whole numbers is needed")
        data = _base64(value.get("b64"), "b64: ")
        return tensors.from_bytes(data, dtype, [n for n in sizes if n is not None], self.manifest)


def _base64(value: Any, prefix: str = "") -> bytes:
    if not isinstance(value, str):
        raise BadRequest(f"{prefix}not a string of base64")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError):
        hint = ""
        if value[:5] == "data:":
            hint = "; leave out the data: prefix"
        elif "\n" in value:
            hint = "; leave out line breaks"
        elif "-" in value or "_" in value:
            hint = "; use the standard alphabet (+ and /)"
        raise BadRequest(f"{prefix}not base64{hint}") from None


def _whole(value: Any) -> int | None:
    """The whole number that a JSON number means, or None.

    Google's clients carry predict's JSON as google.protobuf.Value, whose only number is a double: 3 arrives as 3.0.
    """
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    return None


def _top_k(parameters: Any, classes: int) -> int:
    if parameters is None:
        return min(TOP_K, classes)
    if not isinstance(parameters, dict):
        raise BadRequest('parameters: not an object; send {"top_k": 5}')
    _known(parameters, "parameters: ", ("top_k",))
    top_k = parameters.get("top_k", min(TOP_K, classes))
    wanted = _whole(top_k)
    if wanted is None or not 1 <= wanted <= classes:
        raise BadRequest(f"parameters.top_k: a whole number from 1 to {classes} is needed")
    return wanted


def _known(value: dict[str, Any], prefix: str, known: tuple[str, ...]) -> None:
    for key in value:
        if key not in known:
            shown = key if len(key) <= 40 else key[:40] + "..."  # noqa: PLR2004 - enough to find it
            near = difflib.get_close_matches(key[:40], known, 1)
            raise BadRequest(
                f"{prefix}unknown key {shown!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")
            )


def _twice(body: bytes) -> str:
    """Which key an object has twice; slow, for the message only."""

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                raise BadRequest(f"the key {key[:40]!r} occurs twice in one object")
            seen.add(key)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except BadRequest as error:
        return str(error)
    return "a key occurs twice in one object"

"""Compressed images to engine inputs. Pure: bytes in, arrays out; Pillow releases the GIL while it decodes.

What is done with what people send: the first frame of an animation; EXIF orientation applied; 16-bit grey scaled to 8;
grey and palettes made RGB; CMYK converted as Pillow does; alpha dropped, as ``Image.convert("RGB")`` does in training
pipelines. Sizes are read from the header and judged before a pixel is decoded.

Left out: colour profiles (ICC), HEIC and AVIF.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from serving.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serving.artifact.manifest import Preprocess
    from serving.engines.base import Array

_FORMATS = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# The limit is ours (SERVING_MAX_PIXELS, judged on the header); Pillow's would warn below it and raise above.
Image.MAX_IMAGE_PIXELS = None


def is_image(data: bytes | bytearray) -> bool:
    """Whether the first bytes are those of a JPEG, PNG or WebP."""
    return (
        data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n" or (data[:4], data[8:12]) == (b"RIFF", b"WEBP")
    )


def open_header(data: bytes, *, max_pixels: int) -> Image.Image:
    """Read an image's header.

    Args:
        data: the file.
        max_pixels: width times height.

    Raises:
        BadRequest: not a JPEG, PNG or WebP, or too large.
    """
    if not is_image(data):
        raise BadRequest("not a JPEG, PNG or WebP image" if data else "empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception:  # noqa: BLE001 - on damaged files decoders raise anything
        raise BadRequest("a damaged image: its header cannot be read") from None
    width, height = image.size
    if width * height > max_pixels:
        raise BadRequest(f"{width} x {height} pixels: at most {max_pixels} are decoded; send a smaller image")
    return image


def decode(image: Image.Image, pre: Preprocess) -> Array:
    """Decode, resize, crop and normalise.

    Args:
        image: as ``open_header`` gave it.
        pre: of the manifest.

    Returns:
        float32 [3, crop, crop], contiguous.

    Raises:
        BadRequest: truncated or damaged.
    """
    try:
        return normalise(_pixels(image, pre), pre)
    except Exception as error:  # noqa: BLE001 - on damaged files decoders raise anything
        raise BadRequest(f"a damaged image: {' '.join(str(error).split())[:120] or type(error).__name__}") from None


def normalise(pixels: NDArray[np.uint8], pre: Preprocess) -> Array:
    """(pixel * scale - mean) / std, channels first.

    Args:
        pixels: uint8 [height, width, 3].
        pre: of the manifest.
    """
    out = np.empty((3, *pixels.shape[:2]), np.float32)
    for c in range(3):
        np.multiply(pixels[:, :, c], np.float32(pre.scale / pre.std[c]), out=out[c])
        out[c] -= np.float32(pre.mean[c] / pre.std[c])
    return out


def _pixels(image: Image.Image, pre: Preprocess) -> NDArray[np.uint8]:
    orientation = _orientation(image)
    if image.format == "JPEG":
        # libjpeg decodes at 1/2, 1/4 or 1/8 for a fraction of the cost; never below the size that is needed.
        share = pre.resize / min(image.size)
        image.draft(None, (max(1, int(image.width * share)), max(1, int(image.height * share))))
    image.load()
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    elif image.mode not in {"RGB", "L", "CMYK"}:
        image = image.convert("RGB")
    # Resizing the shorter side and cropping the centre is one resize of the centre.
    side = min(image.size) * pre.crop / pre.resize
    left, top = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize(
        (pre.crop, pre.crop), _RESAMPLE[pre.interpolation], box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])  # of the small square: the same as of the whole
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return int(value)
    except Exception:  # noqa: BLE001 - damaged EXIF does not make the picture worse
        return 1


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    wide = values.astype(np.float64)
    return (np.clip(wide, 0, 65535) / 257).round().astype(np.uint8)

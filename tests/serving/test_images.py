from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from serving import images
from serving.errors import BadRequest
from tests.serving.fakes import SIZE, image, manifest

PRE = manifest().preprocess


def decode(data, max_pixels=10_000):
    return images.decode(images.open_header(data, max_pixels=max_pixels), PRE)


def level(value):
    return (value - 127) / 128


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_each_format_gives_normalised_channels_first(fmt):
    got = decode(image((255, 0, 0), fmt=fmt))
    assert got.shape == (3, SIZE, SIZE)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert np.allclose(got.mean(axis=(1, 2)), [level(255), level(0), level(0)], atol=0.05)


@pytest.mark.parametrize(
    ("data", "red"),
    [
        (image(200, mode="L"), 200),
        (image((200, 10), mode="LA"), 200),
        (image((200, 0, 0, 3), mode="RGBA"), 200),
        (image((0, 255, 255, 0), mode="CMYK", fmt="JPEG"), 255),
        (image(1, mode="1"), 255),
        (image(0x8080, mode="I;16"), 128),
        (Image.new("RGB", (9, 9), (200, 9, 9)).quantize(4), 200),
    ],
    ids=["grey", "grey+alpha", "alpha", "cmyk", "bilevel", "16 bit", "palette"],
)
def test_every_mode_becomes_rgb(data, red):
    if isinstance(data, Image.Image):
        out = io.BytesIO()
        data.save(out, "PNG")
        data = out.getvalue()
    assert abs(decode(data)[0].mean() - level(red)) < 0.05


def test_alpha_is_dropped_as_convert_does():
    assert np.allclose(decode(image((200, 0, 0, 0), mode="RGBA"))[0], level(200))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (40, 40))
    upright.paste((255, 0, 0), (0, 0, 20, 20))  # the corner that must end up where exif_transpose puts it
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    upright.save(out, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(out)).resize((SIZE, SIZE)))[:, :, 0] > 127
    assert ((decode(out.getvalue())[0] > 0) == expected).all()


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue")]
    for fmt in ("WEBP", "PNG"):
        out = io.BytesIO()
        frames[0].save(out, fmt, save_all=True, append_images=frames[1:])
        got = decode(out.getvalue()).mean(axis=(1, 2))
        assert got[0] > 0.9
        assert got[2] < -0.9


def test_the_centre_is_cropped_as_resize_and_centre_crop_do():
    wide = Image.new("RGB", (30, 10), "blue")
    wide.paste((255, 0, 0), (10, 0, 20, 10))
    out = io.BytesIO()
    wide.save(out, "PNG")
    assert (decode(out.getvalue())[0] > 0.9).all()


def test_a_large_jpeg_decoded_at_a_fraction_agrees_with_the_whole():
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    jpeg, png = io.BytesIO(), io.BytesIO()
    blobs.save(jpeg, "JPEG", quality=95)
    blobs.save(png, "PNG")
    difference = np.abs(decode(jpeg.getvalue(), 10**6) - decode(png.getvalue(), 10**6))
    assert difference.mean() < 0.03


def test_a_bomb_is_refused_from_its_header():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(BadRequest, match="60000 x 60000 pixels: at most 10000"):
        images.open_header(data, max_pixels=10_000)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(fmt, share):
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (50, 50, 3), np.uint8)).save(out, fmt)
    with pytest.raises(BadRequest, match="damaged"):
        decode(out.getvalue()[: int(len(out.getvalue()) * share)])


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(BadRequest):
        decode(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_damage_anywhere_is_decoded_or_refused_but_nothing_else(fmt, data):
    damaged = bytearray(image((1, 2, 3), fmt=fmt, size=(20, 20)))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = decode(bytes(damaged))
    except BadRequest:
        return
    assert got.shape == (3, SIZE, SIZE)
    assert np.isfinite(got).all()

"""Photographs that ship in scikit-image and scikit-learn, as JPEG bytes."""

from __future__ import annotations

import io
from importlib.resources import files

from PIL import Image

# (package, file below it); the name in the summary is the file's stem.
SOURCES = (
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
)


def photographs() -> dict[str, bytes]:
    """JPEG bytes by name, in the order of ``SOURCES``; PNGs are re-encoded at quality 90."""
    found: dict[str, bytes] = {}
    for package, path in SOURCES:
        source = files(package).joinpath(path)
        data = source.read_bytes()
        if not path.endswith(".jpg"):
            with Image.open(io.BytesIO(data)) as image:
                out = io.BytesIO()
                image.convert("RGB").save(out, "JPEG", quality=90)
                data = out.getvalue()
        found[path.rsplit("/", 1)[-1].split(".")[0]] = data
    return found

"""Small stand-ins for the model: the same seams as the real ones, nothing patched."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from serving.artifact.manifest import File, Input, Machine, Manifest, Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from serving.engines.base import Array, Batch

SIZE = 8
SHA = "0" * 64


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "format": 1,
        "name": "fake",
        "version": "7",
        "engine": "eager",
        "architecture": "fake",
        "input": Input(shape=[3, SIZE, SIZE]),
        "preprocess": Preprocess(resize=10, crop=SIZE, interpolation="bicubic", mean=[127.0] * 3, std=[128.0] * 3),
        "classes": 3,
        "max_batch": 4,
        "labels": "labels.txt",
        "model": "model.safetensors",
        "check": "check.safetensors",
        "files": {n: File(sha256=SHA, bytes=0) for n in ("labels.txt", "model.safetensors", "check.safetensors")},
        "built_for": Machine(torch="2.13.0"),
    }
    return Manifest(**{**values, **changes})


def image(
    color: Any = (255, 0, 0), *, size: tuple[int, int] = (16, 12), fmt: str = "PNG", mode: str = "RGB", **save: Any
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, fmt, **save)
    return out.getvalue()


class FakeEngine:
    """Answers the mean of each channel; can be told to fail, and to wait until it is let go."""

    def __init__(self, fail: Callable[[Array], Exception | None] = lambda _: None) -> None:
        self.fail = fail
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.running = threading.Event()
        self.stage_seconds: dict[str, float] = {}

    def load(self) -> None: ...

    def run(self, batch: Batch) -> Array:
        self.running.set()
        assert self.go.wait(120)
        self.batches.append(len(batch))
        rows = np.stack(list(batch))
        error = self.fail(rows)
        if error is not None:
            raise error
        return rows.mean(axis=(2, 3))

    def close(self) -> None: ...


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.depths: list[int] = []
        self.staged: list[dict[str, float]] = []

    def batch(self, instances: int, seconds: float) -> None:
        self.batches.append(instances)

    def depth(self, instances: int) -> None:
        self.depths.append(instances)

    def stages(self, seconds: Mapping[str, float]) -> None:
        self.staged.append(dict(seconds))

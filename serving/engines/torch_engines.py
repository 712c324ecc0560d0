"""Eager PyTorch and AOTInductor packages; with ``serving.models`` and ``serving.build`` all that needs torch.

Left out: GPUs, torch.compile (a later engine), and half precision.
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch

from serving import models
from serving.artifact.machine import mismatch
from serving.engines.base import Shape
from serving.errors import BatchFailed, EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.artifact.manifest import Manifest
    from serving.engines.base import Array, Batch, Engine, Stage

_MAX_UNPACKED = 16 * 1024**3


def create(manifest: Manifest, folder: Path, *, max_batch: int, work_dir: str | None = None) -> Engine:
    """The engine that a manifest asks for; not loaded.

    Args:
        manifest: of the artifact.
        folder: its checked files.
        max_batch: largest batch that will be run.
        work_dir: where an AOTInductor package is unpacked; must allow execution. None: the temporary folder.
    """
    shape = shape_of(manifest, max_batch)
    if manifest.engine == "aoti":
        return AotiEngine(manifest, folder / manifest.model, shape, work_dir=work_dir)
    return EagerEngine(manifest.architecture, folder / manifest.model, shape)


def shape_of(manifest: Manifest, max_batch: int) -> Shape:
    """What the manifest's engine takes and gives."""
    channels, height, width = manifest.input.shape
    return Shape((channels, height, width), manifest.classes, max_batch)


class EagerEngine:
    """Runs an architecture of ``serving.models`` with weights from safetensors (no pickle).

    Args:
        architecture: key of ``models.ARCHITECTURES``.
        weights: safetensors file.
        shape: what goes in and comes out.
    """

    def __init__(self, architecture: str, weights: Path, shape: Shape) -> None:
        self._architecture, self._weights, self._shape = architecture, weights, shape
        self._model: torch.nn.Module | None = None
        self.stage_seconds: Mapping[Stage, float] = {}

    def load(self) -> None:
        """Build the network and fill it."""
        from safetensors import SafetensorError  # noqa: PLC0415 - only this engine needs it
        from safetensors.torch import load_file  # noqa: PLC0415

        model = models.create(self._architecture, classes=self._shape.classes)
        try:
            model.load_state_dict(load_file(self._weights), strict=True)
        except (SafetensorError, RuntimeError, OSError) as error:
            raise EngineError(f"{self._weights.name}: {_line(error)}") from None
        # Convolutions keep the format of their weights; on CPUs this one is the faster for batches.
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def run(self, batch: Batch) -> Array:
        """Logits of a batch."""
        if self._model is None:
            raise EngineError("the engine is not loaded")
        x = self._shape.guard(batch)
        started = time.perf_counter()
        try:
            with torch.inference_mode():
                logits: Array = self._model(torch.from_numpy(x)).numpy()
        except RuntimeError as error:
            raise BatchFailed(_line(error)) from error
        self.stage_seconds = {"vision_encoding": time.perf_counter() - started}
        return self._shape.guard_answer(logits, len(x))

    def close(self) -> None:
        """Drop the network."""
        self._model = None


class AotiEngine:
    """Runs an AOTInductor package.

    ``torch._C._aoti.AOTIModelPackageLoader`` is what ``torch._inductor.aoti_load_package`` wraps; using it directly
    saves the import of the compiler, about two seconds.

    Args:
        manifest: says what the package was built for.
        package: the .pt2 file.
        shape: what goes in and comes out.
        work_dir: where to unpack; None: the temporary folder.
    """

    def __init__(self, manifest: Manifest, package: Path, shape: Shape, *, work_dir: str | None = None) -> None:
        self._manifest, self._package, self._shape, self._work_dir = manifest, package, shape, work_dir
        self._loader: torch._C._aoti.AOTIModelPackageLoader | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.stage_seconds: Mapping[Stage, float] = {}

    def load(self) -> None:
        """Check the machine, unpack, link."""
        why_not = mismatch(self._manifest.built_for, torch=torch.__version__)
        if why_not:
            raise EngineError(f"{self._package.name}: {why_not}")
        # Unpacked by us rather than by the loader: into a folder that is ours to remove, names checked.
        self._folder = tempfile.TemporaryDirectory(prefix="serving-aoti-", dir=self._work_dir or None)
        try:
            root = unpack(self._package, Path(self._folder.name))
            self._loader = torch._C._aoti.AOTIModelPackageLoader(str(root), "model", False, 1, -1)  # noqa: SLF001 - see above
        except (RuntimeError, OSError, zipfile.BadZipFile) as error:
            hint = ""
            if "failed to map segment" in str(error):
                hint = "; the folder forbids execution (noexec): set SERVING_WORK_DIR to one that allows it"
            raise EngineError(f"{self._package.name}: {_line(error)}{hint}") from None

    def run(self, batch: Batch) -> Array:
        """Logits of a batch."""
        if self._loader is None:
            raise EngineError("the engine is not loaded")
        x = self._shape.guard(batch)
        started = time.perf_counter()
        try:
            (logits,) = self._loader.run([torch.from_numpy(x)])
        except (RuntimeError, ValueError) as error:
            raise BatchFailed(_line(error)) from error
        self.stage_seconds = {"vision_encoding": time.perf_counter() - started}
        return self._shape.guard_answer(np.ascontiguousarray(logits.numpy()), len(x))

    def close(self) -> None:
        """Unload and remove the unpacked files."""
        self._loader = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def unpack(package: Path, destination: Path) -> Path:
    """Unpack a .pt2 package below ``destination``; the folder that holds its contents.

    Raises:
        EngineError: a name leads out of the folder, or the contents are absurdly large.
    """
    with zipfile.ZipFile(package) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > _MAX_UNPACKED:
            raise EngineError(f"{package.name}: more than {_MAX_UNPACKED} bytes unpacked")
        for info in infos:
            parts = PurePosixPath(info.filename).parts
            if not parts or info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
                raise EngineError(f"{package.name}: holds {info.filename!r}, which leads out of its folder")
            archive.extract(info, destination)
    # The writer puts everything below one folder named after the file it wrote.
    entries = list(destination.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else destination


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__

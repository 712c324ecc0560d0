"""``manifest.json``: what an artifact holds, what it takes in, and the machine it was built for.

Pure: no I/O. The manifest is written by ``serving.build`` and read from storage, so unknown keys are tolerated (a
newer build may add some) and everything known is checked.

Left out: signatures. The digests catch damage, not malice: whoever can write the folder can run code in the server,
since an AOTInductor package is machine code. Guard the bucket.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serving.errors import ArtifactError

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class File(_Part):
    """One file of the artifact.

    Args:
        sha256: hex digest.
        bytes: size.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Input(_Part):
    """What the engine takes: a contiguous float32 tensor [n, channels, height, width].

    Args:
        shape: of one instance: 3, height, width.
        dtype: always float32.
        layout: always NCHW.
    """

    shape: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3)]
    dtype: Literal["float32"] = "float32"
    layout: Literal["NCHW"] = "NCHW"

    @model_validator(mode="after")
    def _rgb(self) -> Input:
        if self.shape[0] != 3:  # noqa: PLR2004 - red, green, blue
            raise ValueError("shape must be [3, height, width]")
        return self


class Preprocess(_Part):
    """How an image becomes an input: resize the shorter side, crop the centre, (pixel * scale - mean) / std.

    Args:
        resize: the shorter side, pixels.
        crop: height and width of the centre crop, pixels.
        interpolation: of the resize.
        mean: per channel, in units of ``pixel * scale``.
        std: per channel.
        scale: multiplies pixels 0..255 first; 1 for EfficientNet-Lite, 1/255 for torchvision's models.
    """

    resize: Annotated[int, Field(ge=1, le=4096)]
    crop: Annotated[int, Field(ge=1, le=4096)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]
    scale: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocess:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


class Machine(_Part):
    """What compiled code needs of the machine it runs on.

    Args:
        torch: version that compiled it; machine code links against exactly that one.
        arch: ``platform.machine()``.
        cpu_flags: instruction sets of the processor that it was compiled for.
    """

    torch: str
    arch: str = ""
    cpu_flags: list[str] = []


class Manifest(_Part):
    """The whole of ``manifest.json``.

    Args:
        format: of this file.
        name: the model's.
        version: the model's.
        engine: what runs it.
        architecture: key of ``serving.models.ARCHITECTURES``; the eager engine builds it.
        input: what the engine takes.
        preprocess: how images become that.
        classes: width of the logits.
        max_batch: largest batch that the engine was built and checked for.
        labels: file with one class name a line.
        model: file that the engine loads (``model.safetensors`` or ``model.pt2``).
        check: file with the logits of the reference input, to check every batch size at load.
        files: every file but the manifest, by name.
        built_for: the machine.
    """

    format: Literal[1]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: Annotated[str, Field(min_length=1, max_length=128)]
    engine: Literal["eager", "aoti"]
    architecture: str
    input: Input
    preprocess: Preprocess
    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    max_batch: Annotated[int, Field(ge=1, le=4096)]
    labels: str
    model: str
    check: str
    files: dict[str, File]
    built_for: Machine

    @field_validator("files")
    @classmethod
    def _names(cls, files: dict[str, File]) -> dict[str, File]:
        for name in files:
            # Names become paths below a temporary folder: no "..", no absolute path, no backslash, nothing hidden.
            if not _NAME.fullmatch(name) or name == MANIFEST:
                raise ValueError(f"{name!r} is not a plain relative file name")
        return files

    @model_validator(mode="after")
    def _whole(self) -> Manifest:
        for role in ("labels", "model", "check"):
            if getattr(self, role) not in self.files:
                raise ValueError(f"{role} names {getattr(self, role)!r}, which is not among files")
        if self.input.shape[1:] != [self.preprocess.crop] * 2:
            raise ValueError(f"crop {self.preprocess.crop} does not give an input of {self.input.shape}")
        return self


def parse(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: the file.
        where: its URI, for messages.

    Raises:
        ArtifactError: it is not a manifest that this server can run; the message names the first wrong key.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{where}: {key + ': ' if key else ''}{first['msg']}") from None

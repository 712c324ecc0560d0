"""The seam between the server and what runs the model, and the guard that every engine puts before its model.

Compiled packages do not check what they are given: channels-last strides, another dtype or another size give garbage
without an error (AOTInductor, torch 2.13). So the guard checks everything, every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from serving.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Batch = Array | Sequence[Array]


Stage = Literal["vision_encoding", "language_generation"]
"""What an engine may time apart: a classifier encodes, a vision-language model encodes and then generates."""


class Engine(Protocol):
    """Runs batches; used by one thread at a time.

    Attributes:
        stage_seconds: of the last batch that ran, seconds in each stage; a stage that did not run is absent.
    """

    stage_seconds: Mapping[Stage, float]

    def load(self) -> None:
        """Get ready to run; blocks, possibly for minutes.

        Raises:
            EngineError: it cannot; the message says why.
        """
        ...

    def run(self, batch: Batch) -> Array:
        """Logits of a batch.

        Args:
            batch: n instances of float32 [3, height, width], or one array of them; 1 <= n <= the largest batch.

        Returns:
            float32 [n, classes]; the caller's own.

        Raises:
            BatchFailed: this batch failed; others may not.
            EngineError: the engine is gone.
        """
        ...

    def close(self) -> None:
        """Free what ``load`` took; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Shape:
    """What an engine takes and gives.

    Args:
        instance: 3, height, width.
        classes: width of the logits.
        max_batch: instances.
    """

    instance: tuple[int, int, int]
    classes: int
    max_batch: int

    def guard(self, batch: Batch) -> Array:
        """The batch as one contiguous array.

        Raises:
            EngineError: wrong size, shape or dtype. The server checks requests long before, so this is a fault of ours.
        """
        n = len(batch)
        if not 1 <= n <= self.max_batch:
            raise EngineError(f"a batch of {n}: 1 to {self.max_batch} are allowed")
        for row in batch:
            if row.shape != self.instance or row.dtype != np.float32:
                raise EngineError(
                    f"an instance of {row.dtype} {list(row.shape)}: float32 {list(self.instance)} is needed"
                )
        # np.stack keeps the strides of its inputs, so its result needs the same treatment.
        return np.ascontiguousarray(batch if isinstance(batch, np.ndarray) else np.stack(batch))

    def guard_answer(self, logits: Array, n: int) -> Array:
        """The logits, if they are what was promised.

        Raises:
            EngineError: the engine answered with another shape or dtype.
        """
        if logits.shape != (n, self.classes) or logits.dtype != np.float32:
            raise EngineError(
                f"the engine answered {logits.dtype} {list(logits.shape)} to a batch of {n}: "
                f"float32 [{n}, {self.classes}] was promised"
            )
        return logits

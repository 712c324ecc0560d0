"""Logits to the answer's JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from serving.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.engines.base import Array


def render(logits: Array, labels: Sequence[str], where: Sequence[str], *, top_k: int) -> bytes:
    """``{"predictions": [{"classes": [...], "scores": [...]}, ...]}``, best class first.

    Args:
        logits: float32 [n, classes].
        labels: a name for each class.
        where: a name for each instance, for messages.
        top_k: classes to answer.

    Raises:
        BadRequest: an instance's logits are not finite: its numbers overflowed in the model.
    """
    bad = [name for name, row in zip(where, logits, strict=True) if not np.isfinite(row).all()]
    if bad:
        raise BadRequest("; ".join(f"{name}: numbers so large that the model overflows" for name in bad[:10]))
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    predictions = [
        {"classes": [labels[i] for i in order], "scores": np.ascontiguousarray(row[order])}
        for row, order in zip(scores, best, strict=True)
    ]
    return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)

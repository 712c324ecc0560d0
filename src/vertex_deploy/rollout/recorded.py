"""What a rollout measured, as the history that `rollout judge --history` reads: other gates can be tried on it. Pure.

In the order in which its own judge saw it, so the same gates come to the same verdict. Left out: that somebody
overruled a failed gate, after which the rollout had a new judge; one that reads the whole history stays the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vertex_deploy.metrics import codec
from vertex_deploy.rollout.judge.history import Entry
from vertex_deploy.rollout.machine import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.rollout.record import LogEntry


def recorded(log: Sequence[LogEntry], canary: str, weights: Sequence[int]) -> list[Entry]:
    """The intervals of a rollout's history; the first of each step says so, and when it began.

    Args:
        log: the whole history, oldest first.
        canary: deployed model id of the new version.
        weights: the canary's share at each step of the plan, in percent.
    """
    found: list[Entry] = []
    weight, bake = 0, False
    step: str | None = None
    began: datetime | None = None
    for entry in log:
        if entry.kind == "transition":
            weight = entry.data.get("split", {}).get(canary, weight)
            to = Phase(entry.data["to"])
            if to in {Phase.HOLDING, Phase.KEEPING_STABLE}:
                began, bake = datetime.fromtimestamp(entry.at, UTC), to is Phase.KEEPING_STABLE
                step = None if bake else f"{weight or weights[entry.data['step']]}%"
        intervals = [codec.from_json(item) for item in entry.data.get("intervals", ())]
        if intervals:
            measured = [Entry(interval, bake=bake) for interval in intervals]
            found += [replace(measured[0], step=step, began=began), *measured[1:]]
            step = began = None
    return found

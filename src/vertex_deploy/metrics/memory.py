"""A metric source in memory: a seam for tests and for replaying a recorded history. It calls nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from vertex_deploy.errors import CloudError
    from vertex_deploy.metrics.types import Interval


@dataclass(slots=True)
class MemorySource:
    """Gives the intervals it holds, or those that a function makes up for the time asked.

    Args:
        history: intervals in any order.
        produce: called with (stable, canary, since, until) instead of reading ``history``.
        failure: raised by the next reads, while set.
        lag: seconds after which nothing more is expected for a period.
        problem: why a custom metric is missing from what is read.
    """

    history: list[Interval] = field(default_factory=list)
    produce: Callable[[str, str, datetime, datetime], Sequence[Interval]] | None = None
    failure: Exception | None = None
    lag: float = 0.0
    problem: CloudError | None = None
    reads: int = 0

    def read(self, *, stable: str, canary: str, since: datetime, until: datetime) -> Sequence[Interval]:
        """See ``MetricSource``."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        if self.produce is not None:
            return self.produce(stable, canary, since, until)
        return sorted((i for i in self.history if since < i.end <= until), key=lambda i: i.end)

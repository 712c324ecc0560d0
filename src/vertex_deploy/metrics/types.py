"""What was measured: counts and latency histograms of two versions over the same stretch of time.

Plain frozen dataclasses: the judge is pure, and a recorded history reads back into the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vertex_deploy.errors import CloudError


@dataclass(frozen=True, slots=True)
class Histogram:
    """A latency distribution as Cloud Monitoring keeps it.

    Args:
        bounds: upper bounds of the buckets in ms, rising; the last bucket has none.
        counts: requests in each bucket; one more element than ``bounds``.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(f"{len(self.bounds)} bounds need {len(self.bounds) + 1} counts, not {len(self.counts)}")
        if any(a >= b for a, b in zip(self.bounds, self.bounds[1:], strict=False)):
            raise ValueError("histogram bounds must rise")

    @property
    def total(self) -> int:
        """Requests in all buckets."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class VersionSample:
    """What one version did in one interval.

    Args:
        requests: requests answered, errors and rejected ones included.
        errors: requests answered with 5xx.
        latency_ms: latencies of the interval, or None if not measured.
        gauges: means of custom metrics by name.
        rejected: requests answered with 4xx: the server blames the client, rightly or not.
    """

    requests: int
    errors: int
    latency_ms: Histogram | None = None
    gauges: Mapping[str, float] = field(default_factory=dict)
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """Both versions over ``(end - seconds, end]``; a version that was not measured is None, never zero."""

    end: datetime
    seconds: float
    stable: VersionSample | None
    canary: VersionSample | None


class MetricSource(Protocol):
    """Reads intervals; implementations: ``cloud_monitoring``, ``gauges`` (joins others to it), ``memory`` for tests."""

    @property
    def lag(self) -> float:
        """Seconds after which nothing more is expected for a period."""
        ...

    @property
    def problem(self) -> CloudError | None:
        """Why a custom metric is missing from what the last read gave; None where everything could be read."""
        ...

    def read(self, *, stable: str, canary: str, since: datetime, until: datetime) -> Sequence[Interval]:
        """Intervals in ``(since, until]``, oldest first; an interval with no data at all is absent.

        Args:
            stable: deployed model id of the old version; "" where it has no traffic and nothing is expected of it.
            canary: deployed model id of the new version.
            since: start, exclusive, with time zone.
            until: end, inclusive, with time zone.

        Raises:
            CloudError: the source cannot be reached or refuses.
        """
        ...

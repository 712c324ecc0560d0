"""From raw points of time series to intervals: pure, so that every odd arrival has a test.

Cloud Monitoring writes one point per series and sampling period (60 s in the cloud). The period is not configured
here; it is read off the points' own timestamps. What is late or missing stays missing:

- a version without a request count in a period is None, never zero requests;
- errors and rejected requests are zero only where the same version has a request count in that period; classes of codes
  are series of their own, so one may be late: latencies of more requests than were counted show it, and are waited for;
- a period that is still incomplete is held back until ``settle`` seconds have passed, then given as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from statistics import median
from typing import TYPE_CHECKING

from vertex_deploy.metrics.types import Histogram, Interval, VersionSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class CountPoint:
    """Requests of one version with one class of codes in ``(start, end]``; times in seconds since the epoch."""

    deployed_id: str
    start: float
    end: float
    count: int
    error: bool
    rejected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Latencies of one version in ``(start, end]``; times in seconds since the epoch."""

    deployed_id: str
    start: float
    end: float
    histogram: Histogram


@dataclass(slots=True)
class _Period:
    end: float
    counts: list[CountPoint] = field(default_factory=list)
    latencies: list[LatencyPoint] = field(default_factory=list)


def explicit_bounds(
    *, finite: int, growth: float = 0.0, scale: float = 0.0, width: float = 0.0, offset: float = 0.0
) -> tuple[float, ...]:
    """Upper bounds of Cloud Monitoring's exponential (``growth``) or linear (``width``) buckets.

    Source: google.api.Distribution.BucketOptions. Exponential bucket i (from 1) starts at scale * growth**(i-1); linear
    bucket i at offset + width * (i-1); there are ``finite`` of them, and one below and one above.
    """
    if growth:
        return tuple(scale * growth**i for i in range(finite + 1))
    return tuple(offset + width * i for i in range(finite + 1))


def histogram(bounds: Sequence[float], counts: Sequence[int]) -> Histogram:
    """A histogram; trailing buckets without requests may be left out of ``counts``, as the API does."""
    return Histogram(tuple(bounds), (*counts, *[0] * (len(bounds) + 1 - len(counts))))


def sampling_period(points: Iterable[CountPoint | LatencyPoint], default: float) -> float:
    """Seconds that a point covers: the median over the points, or ``default`` where none says."""
    lengths = [point.end - point.start for point in points if point.end > point.start]
    return median(lengths) if lengths else default


def intervals(
    counts: Sequence[CountPoint],
    latencies: Sequence[LatencyPoint],
    *,
    stable: str,
    canary: str,
    since: float,
    until: float,
    settle: float,
) -> list[Interval]:
    """Group points into periods and periods into intervals, oldest first.

    Args:
        counts: points of the request counts of both versions, in any order.
        latencies: points of their latency distributions.
        stable: deployed model id of the old version; "" where it has no traffic and nothing is expected of it.
        canary: deployed model id of the new version.
        since: seconds since the epoch; only periods that end after it are given.
        until: now, seconds since the epoch.
        settle: seconds after which nothing more is expected for a period.

    Returns:
        Consecutive intervals. The first incomplete period that may still get points ends the list, so that a reader
        that goes on from the last end misses nothing.
    """
    period = sampling_period([*counts, *latencies], default=60.0)
    # A series is written in order: a version that has a later point will not get an earlier one any more.
    newest = {name: _newest(counts, latencies, name) for name in (stable, canary) if name}
    found: list[Interval] = []
    for group in _periods(counts, latencies, period):
        if not since < group.end <= until:
            continue
        samples = {name: _sample(group, name) for name in (stable, canary)}
        awaited = any(not _complete(samples[name]) and group.end >= newest[name] for name in newest)
        if awaited and until - group.end < settle:
            break
        if samples[stable] is None and samples[canary] is None:
            continue
        found.append(
            Interval(
                end=datetime.fromtimestamp(group.end, UTC),
                seconds=period,
                stable=samples[stable],
                canary=samples[canary],
            )
        )
    return found


def _newest(counts: Sequence[CountPoint], latencies: Sequence[LatencyPoint], deployed_id: str) -> float:
    """End of the newest point up to which both series of a version have been written."""
    return min(
        max((p.end for p in series if p.deployed_id == deployed_id), default=-inf) for series in (counts, latencies)
    )


def _complete(sample: VersionSample | None) -> bool:
    if sample is None:
        return False
    if sample.latency_ms is None:
        return not sample.requests
    return sample.latency_ms.total <= sample.requests


def _periods(counts: Sequence[CountPoint], latencies: Sequence[LatencyPoint], period: float) -> list[_Period]:
    """Points whose ends lie within half a period of the first of them belong together: series need not tick in step."""
    groups: list[_Period] = []
    started = 0.0
    points: list[CountPoint | LatencyPoint] = [*counts, *latencies]
    for point in sorted(points, key=lambda p: p.end):
        if not groups or point.end - started >= period / 2:
            groups.append(_Period(end=point.end))
            started = point.end
        group = groups[-1]
        group.end = point.end
        if isinstance(point, CountPoint):
            group.counts.append(point)
        else:
            group.latencies.append(point)
    return groups


def _sample(group: _Period, deployed_id: str) -> VersionSample | None:
    counted = [point for point in group.counts if point.deployed_id == deployed_id]
    if not counted:
        return None
    return VersionSample(
        requests=sum(point.count for point in counted),
        errors=sum(point.count for point in counted if point.error),
        rejected=sum(point.count for point in counted if point.rejected),
        latency_ms=_merged([p.histogram for p in group.latencies if p.deployed_id == deployed_id]),
    )


def _merged(histograms: Sequence[Histogram]) -> Histogram | None:
    """The sum; None where there is none, or where their bounds differ and no sum would be true."""
    if not histograms or any(h.bounds != histograms[0].bounds for h in histograms):
        return None
    return Histogram(
        histograms[0].bounds, tuple(sum(column) for column in zip(*(h.counts for h in histograms), strict=True))
    )

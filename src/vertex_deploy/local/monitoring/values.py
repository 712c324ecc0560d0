"""Points and distributions of Cloud Monitoring, as plain values. No I/O and no messages (``messages`` converts).

Times are integer nanoseconds since the epoch, as in google.protobuf.Timestamp: floats would lose the exactness that
windows of DELTA points need.

Left out: exemplars, and ``Distribution.range`` (Cloud Monitoring does not keep it either).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NS = 1_000_000_000
"""Nanoseconds in a second."""


class Kind(StrEnum):
    """google.api.MetricDescriptor.MetricKind."""

    GAUGE = "GAUGE"
    DELTA = "DELTA"
    CUMULATIVE = "CUMULATIVE"


class Type(StrEnum):
    """google.api.MetricDescriptor.ValueType."""

    BOOL = "BOOL"
    INT64 = "INT64"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    DISTRIBUTION = "DISTRIBUTION"


NUMERIC = frozenset({Type.INT64, Type.DOUBLE})


class BucketMismatchError(ValueError):
    """Distributions whose buckets differ were to be added; Local Vertex does not resample."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The bucket layout of a distribution (google.api.Distribution.BucketOptions).

    Args:
        kind: ``explicit``, ``exponential`` or ``linear``.
        params: explicit: the bounds; exponential: (finite buckets, growth factor, scale); linear: (finite buckets,
            width, offset).
    """

    kind: str
    params: tuple[float, ...]

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of all buckets but the last, which has none; one fewer than there are buckets."""
        return _bounds(self.kind, self.params)

    @classmethod
    def exponential(cls, finite: int, growth: float, scale: float) -> Buckets:
        """Bounds ``scale * growth**i`` for i in 0..finite."""
        return cls("exponential", (finite, growth, scale))

    @classmethod
    def explicit(cls, bounds: Sequence[float]) -> Buckets:
        """The given bounds."""
        return cls("explicit", tuple(bounds))


@lru_cache(maxsize=256)
def _bounds(kind: str, params: tuple[float, ...]) -> tuple[float, ...]:
    if kind == "explicit":
        return params
    finite, step, start = int(params[0]), params[1], params[2]
    if kind == "exponential":
        return tuple(start * step**i for i in range(finite + 1))
    return tuple(start + step * i for i in range(finite + 1))


@dataclass(frozen=True, slots=True)
class Dist:
    """A distribution value.

    Args:
        count: values in the population.
        mean: their arithmetic mean; 0 if there are none.
        ssd: sum of squared deviations from the mean.
        buckets: the layout.
        counts: values in each bucket, ``len(buckets.bounds) + 1`` of them.
    """

    count: int
    mean: float
    ssd: float
    buckets: Buckets
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Iterable[float], buckets: Buckets) -> Dist:
        """The distribution of ``values``."""
        builder = DistBuilder(buckets)
        for value in values:
            builder.add(value)
        return builder.build()


class DistBuilder:
    """Counts values one at a time (Welford's update); cheap enough for the path of a request."""

    __slots__ = ("_bounds", "_buckets", "_count", "_counts", "_mean", "_ssd")

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._bounds = buckets.bounds
        self._counts = [0] * (len(self._bounds) + 1)
        self._count = 0
        self._mean = 0.0
        self._ssd = 0.0

    def add(self, value: float) -> None:
        """Count one value. A bucket is closed below and open above, as google.api.Distribution says."""
        self._counts[bisect_right(self._bounds, value)] += 1
        self._count += 1
        off = value - self._mean
        self._mean += off / self._count
        self._ssd += off * (value - self._mean)

    def build(self) -> Dist:
        """What was counted so far."""
        return Dist(self._count, self._mean, self._ssd, self._buckets, tuple(self._counts))


Value: TypeAlias = "bool | int | float | str | Dist"
Number: TypeAlias = "int | float"


@dataclass(frozen=True, slots=True)
class Point:
    """One point.

    Args:
        start: nanoseconds; equal to ``end`` for a gauge.
        end: nanoseconds.
        value: of the series' value type.
    """

    start: int
    end: int
    value: Value


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What identifies a time series: metric and monitored resource with all their labels, within a project."""

    project: str
    metric: str
    metric_labels: tuple[tuple[str, str], ...]
    resource: str
    resource_labels: tuple[tuple[str, str], ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: a key is looked up many times an evaluation."""
        parts = (self.project, self.metric, self.metric_labels, self.resource, self.resource_labels)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(
        cls,
        *,
        project: str,
        metric: str,
        metric_labels: Mapping[str, str],
        resource: str,
        resource_labels: Mapping[str, str],
    ) -> SeriesKey:
        """From mappings; an empty label is the same as none, as in Cloud Monitoring."""
        return cls(
            project,
            metric,
            tuple(sorted((k, v) for k, v in metric_labels.items() if v)),
            resource,
            tuple(sorted((k, v) for k, v in resource_labels.items() if v)),
        )


@dataclass(frozen=True, slots=True)
class Series:
    """A time series and its points, oldest first."""

    key: SeriesKey
    kind: Kind
    type: Type
    unit: str
    points: tuple[Point, ...]


def merge(dists: Sequence[Dist]) -> Dist:
    """Add distributions: counts by bucket, mean and spread by the parallel update (Chan et al.).

    Raises:
        BucketMismatchError: their bucket layouts differ.
        ValueError: there are none.
    """
    first = dists[0]
    if len(dists) == 1:
        return first
    if any(d.buckets is not first.buckets and d.buckets != first.buckets for d in dists):
        raise BucketMismatchError("distributions with different buckets cannot be combined")
    count = sum(d.count for d in dists)
    mean = sum(d.mean * d.count for d in dists) / count if count else 0.0
    ssd = sum(d.ssd + d.count * (d.mean - mean) ** 2 for d in dists)
    return Dist(count, mean, ssd, first.buckets, tuple(map(sum, zip(*(d.counts for d in dists), strict=True))))


def percentile(dist: Dist, percent: float) -> float:
    """The percentile by linear interpolation inside the bucket that holds it, as Cloud Monitoring estimates it.

    The underflow bucket is taken to begin at 0 (or at its bound, if that is negative), and a value in the overflow
    bucket is reported as the last bound: neither has a width.

    Args:
        dist: at least one value.
        percent: 0 to 100.
    """
    bounds = dist.buckets.bounds
    total = sum(dist.counts)
    if not bounds or not total:
        return dist.mean
    rank = total * percent / 100
    seen = 0
    for i, count in enumerate(dist.counts):
        if count and seen + count >= rank:
            low = bounds[i - 1] if i else min(0.0, bounds[0])
            high = bounds[i] if i < len(bounds) else bounds[-1]
            return low + (high - low) * max(rank - seen, 0.0) / count
        seen += count
    return bounds[-1]


def sample_percentile(values: Sequence[Number], percent: float) -> float:
    """The percentile of plain numbers by linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (rank - low))


def part(value: float | Dist, low: float, high: float) -> int | float | Dist:
    """The share of a DELTA value that falls between two fractions of its interval.

    Integers are split by rounding the running total, so that parts that cover the interval add up to the value.

    Args:
        value: what was counted over the whole interval.
        low: where the part begins, 0 to 1.
        high: where it ends, 0 to 1.
    """
    if low <= 0 and high >= 1:
        return value  # nearly every point: windows end where sample periods do
    if isinstance(value, Dist):
        counts = tuple(_rounded(c, low, high) for c in value.counts)
        count = sum(counts) if counts else _rounded(value.count, low, high)
        spread = value.ssd * count / value.count if value.count else 0.0
        return Dist(count, value.mean if count else 0.0, spread, value.buckets, counts)
    if isinstance(value, int):
        return _rounded(value, low, high)
    return value * (high - low)


def _rounded(count: int, low: float, high: float) -> int:
    return round(count * high) - round(count * low)


def between(points: Sequence[Point], after: int, until: int) -> Sequence[Point]:
    """Points whose end lies in ``(after, until]``; ``points`` are in order of their ends."""
    ends = [p.end for p in points]
    return points[bisect_right(ends, after) : bisect_right(ends, until)]

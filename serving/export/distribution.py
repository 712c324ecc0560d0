"""Durations as ``google.api.Distribution`` holds them: count, mean, squared deviation, and buckets. Pure.

Memory does not grow with the number of requests. Left out: exemplars, and other bucket layouts than this one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

FINITE_BUCKETS = 76
GROWTH = 2**0.25
SCALE_MS = 0.25
"""Exponential buckets from 0.25 ms to 131 s, each 19% wider than the one before: a percentile is at most 19% off."""

BOUNDS_MS = tuple(SCALE_MS * GROWTH**i for i in range(FINITE_BUCKETS + 1))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was recorded.

    Args:
        count: values; at least one.
        mean: of the values, ms.
        squares: sum of the squared deviations from the mean, ms^2.
        buckets: values below ``BOUNDS_MS[0]``, between each two bounds (the lower one included), and above.
    """

    count: int
    mean: float
    squares: float
    buckets: tuple[int, ...]


class Distribution:
    """Counts values as they come; not safe for several threads at once."""

    __slots__ = ("_buckets", "_count", "_mean", "_squares")

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._buckets = [0] * (FINITE_BUCKETS + 2)

    def add(self, value: float) -> None:
        """Count one value, ms."""
        self._count += 1
        # Welford's update: a sum of squares minus a square of sums would lose the digits that matter.
        off = value - self._mean
        self._mean += off / self._count
        self._squares += off * (value - self._mean)
        self._buckets[bisect_right(BOUNDS_MS, value)] += 1

    def snapshot(self) -> Snapshot | None:
        """What was counted; None where nothing was: absent is not zero."""
        if not self._count:
            return None
        return Snapshot(self._count, self._mean, self._squares, tuple(self._buckets))

"""Intervals for tests: exact numbers, or drawn with a seed."""

from __future__ import annotations

import math
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.spec.gates import Gate

if TYPE_CHECKING:
    import random

START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
BOUNDS = tuple(50 * 1.2**i for i in range(20))


def gate(**fields: Any) -> Gate:
    return Gate.model_validate(fields)


def minute(n: int) -> datetime:
    return START + timedelta(minutes=n)


def sample(requests: int, errors: int = 0, latency: Histogram | None = None, **gauges: float) -> VersionSample:
    return VersionSample(requests, errors, latency, gauges)


def interval(n: int, stable: VersionSample | None, canary: VersionSample | None, seconds: float = 60.0) -> Interval:
    """The n-th minute, from 1."""
    return Interval(minute(n), seconds, stable, canary)


def lognormal(requests: int, median_ms: float, rng: random.Random, sigma: float = 0.35) -> Histogram:
    counts = [0] * (len(BOUNDS) + 1)
    for _ in range(requests):
        counts[bisect_left(BOUNDS, math.exp(rng.gauss(math.log(median_ms), sigma)))] += 1
    return Histogram(BOUNDS, tuple(counts))


def drawn(
    n: int,
    rng: random.Random,
    *,
    requests: tuple[int, int] = (540, 60),
    rates: tuple[float, float] = (0.003, 0.003),
    medians: tuple[float, float] = (200.0, 200.0),
) -> Interval:
    """A random minute: (stable, canary) pairs."""
    made = [
        sample(count, sum(rng.random() < rate for _ in range(count)), lognormal(count, median, rng))
        for count, rate, median in zip(requests, rates, medians, strict=True)
    ]
    return interval(n, *made)

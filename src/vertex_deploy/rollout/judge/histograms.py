"""Latency histograms: adding, tails and quantiles. Pure; milliseconds.

Inside a bucket latencies are taken as spread evenly, as Cloud Monitoring's percentile aligners do; what a margin
accepts holds for a falling tail too (``tail_odds``). What a bucket cannot tell is never guessed in the canary's
disfavour: evidence counts only requests that are certainly above a limit.
"""

from __future__ import annotations

from bisect import bisect_left
from math import log
from statistics import NormalDist
from typing import TypeVar

from vertex_deploy.metrics.types import Histogram

# Counts, or counts that were weighted.
_N = TypeVar("_N", int, float)
_NORMAL = NormalDist()
# Smaller shares are none: what is left of requests long past.
_LEAST = 1e-9


def coarsen(histogram: Histogram, bounds: tuple[float, ...]) -> Histogram:
    """The same requests in fewer buckets; ``bounds`` is a subset of the histogram's."""
    if bounds == histogram.bounds:
        return histogram
    return Histogram(bounds, regrouped(histogram.bounds, histogram.counts, bounds))


def regrouped(old: tuple[float, ...], counts: tuple[_N, ...], bounds: tuple[float, ...]) -> tuple[_N, ...]:
    """Counts in the buckets between ``bounds``, a subset of the ``old`` ones."""
    if old == bounds:
        return counts
    found = [counts[0] - counts[0]] * (len(bounds) + 1)
    for edge, count in zip((*old, float("inf")), counts, strict=True):
        found[bisect_left(bounds, edge)] += count
    return tuple(found)


def common(first: Histogram, second: Histogram) -> tuple[Histogram, Histogram]:
    """Both in the buckets that they share: a new version may bring other buckets."""
    if first.bounds == second.bounds:
        return first, second
    shared = tuple(bound for bound in first.bounds if bound in set(second.bounds))
    return coarsen(first, shared), coarsen(second, shared)


def add(first: Histogram | None, second: Histogram | None) -> Histogram | None:
    """The requests of both; None counts as nothing."""
    if first is None or second is None:
        return first or second
    one, other = common(first, second)
    return Histogram(one.bounds, tuple(a + b for a, b in zip(one.counts, other.counts, strict=True)))


def certainly_above(histogram: Histogram, limit: float) -> int:
    """Requests in buckets that lie above ``limit`` as a whole."""
    return sum(histogram.counts[bisect_left(histogram.bounds, limit) + 1 :])


def above(histogram: Histogram, limit: float) -> float:
    """Requests above ``limit``, the bucket that holds it divided evenly; all of the last bucket, which has no end."""
    index = bisect_left(histogram.bounds, limit)
    rest = float(sum(histogram.counts[index + 1 :]))
    if index == len(histogram.bounds):
        return float(histogram.counts[-1])
    low = histogram.bounds[index - 1] if index else min(0.0, histogram.bounds[0])
    return rest + histogram.counts[index] * (histogram.bounds[index] - limit) / (histogram.bounds[index] - low)


def quantile(histogram: Histogram, q: float) -> float | None:
    """The latency below which a share ``q`` lies; the last bound where it is above it; None without requests."""
    total = histogram.total
    if not total or not histogram.bounds:
        return None
    rank, seen = q * total, 0
    for index, count in enumerate(histogram.counts[:-1]):
        if count and seen + count >= rank:
            low = histogram.bounds[index - 1] if index else min(0.0, histogram.bounds[0])
            return low + (histogram.bounds[index] - low) * (rank - seen) / count
        seen += count
    return histogram.bounds[-1]


def cut(bounds: tuple[float, ...], counts: tuple[float, ...], share: float) -> float | None:
    """The bound above which the share of requests is nearest to ``share``, in log odds.

    Args:
        bounds: as a histogram's.
        counts: as a histogram's; may be weighted, hence floats.
        share: wanted share above, in (0, 1).

    Returns:
        None where no bound has requests on both sides.
    """
    total, left, best = sum(counts), sum(counts), None
    target = log(share / (1 - share))
    for bound, count in zip(bounds, counts, strict=False):
        left -= count
        if total * 1e-9 < left < total * (1 - 1e-9):
            distance = abs(log(left / (total - left)) - target)
            if best is None or distance < best[0]:
                best = (distance, bound)
    return best[1] if best else None


def beyond(bounds: tuple[float, ...], counts: tuple[float, ...], factor: float) -> float | None:
    """The first bound that no request would reach if each took ``factor`` times as long; None where there is none."""
    filled = [index for index, count in enumerate(counts) if count]
    if not filled or filled[-1] == len(bounds):
        return None
    slowest = bounds[filled[-1]] * factor
    return next((bound for bound in bounds if bound >= slowest), None)


def within(histogram: Histogram, q: float, factor: float) -> float | None:
    """The largest bound within ``factor`` times quantile ``q``, wherever in its bucket that is; None without one."""
    rank, seen = q * histogram.total, 0
    for low, count in zip((0.0, *histogram.bounds), histogram.counts, strict=True):
        seen += count
        if count and seen >= rank:
            return max((bound for bound in histogram.bounds if 0 < bound <= low * factor), default=None)
    return None


def tail_odds(bounds: tuple[float, ...], counts: tuple[float, ...], limit: float, factor: float) -> float:
    """Odds ratio of exceeding ``limit`` that latencies ``factor`` times as long show against the given ones.

    A bucket does not say where in it its requests are. They are read as spread evenly and as a normal's tail, whose
    score of the share above moves evenly with the latency: the one is right for latencies that end sharply, the other
    for a tail that falls (a lognormal's, gamma's, exponential's or Pareto's falls less, and has a little more above).
    The reading that accepts more holds, so that a canary just within the margin is not failed for the shape of its
    latencies. What is to be better must show it by the normal's reading alone.

    Args:
        bounds: as a histogram's.
        counts: as a histogram's; may be weighted, hence floats.
        limit: one of the bounds.
        factor: above 0.
    """
    total, target = sum(counts), limit / factor
    index = min(bisect_left(bounds, target), len(bounds) - 1)
    low = bounds[index - 1] if index else min(0.0, bounds[0])
    # How much of the bucket lies below the target; all of a first bucket without width, which ends at 0 or less.
    reached = min(1.0, (target - low) / (bounds[index] - low)) if bounds[index] > low else 1.0
    below, inside, over = sum(counts[:index]) / total, counts[index] / total, sum(counts[index + 1 :]) / total
    shifted = over + inside * (1 - reached)
    # With nothing on one side there is no score.
    if reached < 1 and min(below, over) > _LEAST:
        score = reached * _NORMAL.inv_cdf(over) - (1 - reached) * _NORMAL.inv_cdf(below)
        shifted = max(shifted, _NORMAL.cdf(score)) if factor > 1 else _NORMAL.cdf(score)
    share = sum(counts[bounds.index(limit) + 1 :]) / total
    share, shifted = (min(max(value, _LEAST), 1 - _LEAST) for value in (share, shifted))
    return shifted / (1 - shifted) * (1 - share) / share

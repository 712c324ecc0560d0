"""Confidence bands for the plots of rates: what the counts of a stretch of time say about the rate behind them. Pure.

Each band is for one stretch by itself: looked at together, one in twenty misses. They are to look at; the judge does
not use them, because it looks at every minute and has evidence that stands that (see the guide to the judge).

Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22(158), 1927;
recommended for few requests and rates near zero by L. Brown, T. Cai, A. DasGupta, "Interval estimation for a binomial
proportion", Statistical Science 16(2), 2001.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Two-sided 95% of a normal distribution.
Z95 = 1.959963984540054
# A stretch is long enough with so many requests; or when it is a 24th of the plot, if fewer come.
_ENOUGH, _LONGEST = 100, 24
# Nothing shorter than this part of the plot can be told apart.
_SHORTEST = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What was counted in one interval.

    Args:
        start: seconds since the rollout began.
        end: the same.
        requests: requests answered; 0 where nothing was measured.
        bad: those of them that the rate is of.
    """

    start: float
    end: float
    requests: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate over one stretch, with its 95% band.

    Args:
        start: seconds since the rollout began.
        end: the same.
        requests: requests answered.
        rate: share of them, 0 to 1.
        low: lower end of the band.
        high: upper end of the band.
    """

    start: float
    end: float
    requests: int
    rate: float
    low: float
    high: float


def wilson(bad: int, requests: int, *, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        bad: how many, at most ``requests``.
        requests: out of how many; 0 says nothing, so that the interval is (0, 1).
        z: quantile of the normal distribution; 1.96 for 95%.
    """
    if not requests:
        return 0.0, 1.0
    whole = requests + z * z
    centre = (bad + z * z / 2) / whole
    half = z / whole * sqrt(bad * (requests - bad) / requests + z * z / 4)
    # Exact at the ends, where rounding would leave a trace.
    return (centre - half if bad else 0.0), (centre + half if bad < requests else 1.0)


def rates(counts: Iterable[Count], *, span: float) -> list[Rate]:
    """Rates over stretches that hold enough requests to say something, at a resolution that a plot can show.

    Args:
        counts: by time; a stretch never goes over an interval without requests.
        span: length of the plot, seconds.
    """
    found: list[Rate] = []
    open_: Count | None = None
    for count in counts:
        # A hair's gap between neighbours is rounding.
        apart = open_ is not None and count.start - open_.end > (count.end - count.start) / 2
        if open_ is not None and (apart or not count.requests):
            found.append(_rate(open_))
            open_ = None
        if not count.requests:
            continue
        open_ = count if open_ is None else _joined(open_, count)
        length = open_.end - open_.start
        if length >= span / _SHORTEST and (open_.requests >= _ENOUGH or length >= span / _LONGEST):
            found.append(_rate(open_))
            open_ = None
    return [*found, _rate(open_)] if open_ is not None else found


def _joined(a: Count, b: Count) -> Count:
    return Count(start=a.start, end=b.end, requests=a.requests + b.requests, bad=a.bad + b.bad)


def _rate(count: Count) -> Rate:
    low, high = wilson(count.bad, count.requests)
    rate = count.bad / count.requests
    return Rate(start=count.start, end=count.end, requests=count.requests, rate=rate, low=low, high=high)

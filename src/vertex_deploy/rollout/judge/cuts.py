"""Where a latency counts as slow against stable: the bucket bound nearest to stable's own quantile of late.

What is remembered of stable is of the past alone, so the cut is known before the minute that it judges. Minutes in
which only stable was measured teach as well: those before the split, and nights in which the canary had no traffic.
It leaves out evidence (``process``) and the shapes themselves (``histograms``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge import histograms

if TYPE_CHECKING:
    from vertex_deploy.metrics.types import Histogram

# Weight of the past in stable's recent behaviour, per interval.
MEMORY = 0.8
# Requests slower than stable's quantile that its recent past must be long enough for.
PLACED = 25.0


@dataclass(frozen=True, slots=True)
class Placing:
    """Where an interval is cut.

    Args:
        limit: requests above this bound are slow; None where no bound tells.
        odds: accepted odds ratio of a slow request; None where no margin is written.
        one_bucket: all of stable's requests lie in one bucket.
    """

    limit: float | None
    odds: float | None
    one_bucket: bool


@dataclass
class Recent:
    """Stable's latencies of late, older intervals counting less.

    Args:
        quantile: the gate's, such as 0.95.
    """

    quantile: float
    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = field(default=())

    def learn(self, stable: Histogram | None) -> None:
        """Take an interval of stable in; other buckets than before start anew."""
        if stable is None or not stable.total:
            return
        same = len(self.counts) == len(stable.counts) and self.bounds == stable.bounds
        old = self.counts if same else (0.0,) * len(stable.counts)
        # With little traffic, forget nothing before there are enough slow requests to place the cut by.
        keep = MEMORY if sum(old) * MEMORY * (1 - self.quantile) >= PLACED else 1.0
        self.bounds = stable.bounds
        self.counts = tuple(keep * a + b for a, b in zip(old, stable.counts, strict=True))

    def place(self, canary: Histogram, stable: Histogram, factor: float | None) -> Placing:
        """The cut for an interval, and the accepted odds of exceeding it.

        Without a past it is the cut of both versions together, which under equal latencies is as good as a fixed one:
        given what both did together, no version is the likelier one to be slow. Where no bound splits stable's
        requests, it lies beyond the bucket of all of them: only the canary's can be slow.

        Args:
            canary: of the interval.
            stable: of the interval, in the canary's buckets.
            factor: latencies so many times stable's are accepted; None: no margin is written.
        """
        bounds = stable.bounds
        past: tuple[float, ...] = ()
        if self.counts and set(bounds) <= set(self.bounds):
            past = histograms.regrouped(self.bounds, self.counts, bounds)
        else:
            past = tuple(float(a + b) for a, b in zip(canary.counts, stable.counts, strict=True))
        limit = histograms.cut(bounds, past, 1 - self.quantile)
        one_bucket = limit is None
        if limit is None:
            limit = histograms.beyond(bounds, past, max(1.0, factor or 1.0))
        odds = None if limit is None or factor is None else histograms.tail_odds(bounds, past, limit, factor)
        return Placing(limit, odds, one_bucket)

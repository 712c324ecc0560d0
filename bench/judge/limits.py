"""How fast any judge could be: what no test can beat that keeps alpha for every canary that meets the gate.

A gate that accepts a margin must not fail a canary that is just within it. So a test must tell what is simulated from
the pair of versions, among all that meet the gate, that is hardest to tell from it. Two facts bound every test, read at
every minute or not:

- Wald: if a test fails the worse canary with chance b and the accepted one with chance at most a, the mean number of
  minutes until it ends is at least d(b, a) / I, where d is the relative entropy of two coins and I that of a minute's
  requests.
- Neyman and Pearson: after n minutes no test fails the worse canary with a greater chance than the likelihood ratio
  test at level a does; so half of the detections cannot lie within n minutes if its power is less than half of b.

Errors are told by the two error rates, which may be anything as long as the margin holds. Latencies are told, as a gate
on p95 does, by the shares of requests above the bucket bound nearest to stable's p95; their odds may differ by what
latencies longer by the margin show. A test of whole shapes could be faster, but would fail canaries whose p95 is within
the gate. It leaves out how errors cluster, and what a gate that shares alpha with others needs more.

Sources: A. Wald, "Sequential tests of statistical hypotheses", 1945 (the lower bound on the mean number of
observations); J. Neyman, E. Pearson, "On the problem of the most efficient tests of statistical hypotheses", 1933.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import erfc, exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from bench.judge.scenarios import BOUNDS, MEDIAN_MS, MINUTES, SIGMA
from vertex_deploy.rollout.judge import histograms
from vertex_deploy.rollout.judge.likelihood import with_odds

if TYPE_CHECKING:
    from bench.judge.scenarios import Floats, Scenario

ERROR_MARGIN, LATENCY_MARGIN = 1.25, 1.10
"""What ``bench.judge.peers.gate_for`` accepts."""
_Z95 = 1.6448536269514722
_GRID = 2001


@dataclass(frozen=True)
class Hardest:
    """What is simulated beside the accepted pair of versions that is hardest to tell from it.

    Args:
        stable: share of stable's requests that are bad.
        canary: the canary's.
        accepted_stable: the same in the accepted pair.
        accepted_canary: the canary's there.
        stable_requests: stable's a minute.
        canary_requests: the canary's a minute.
    """

    stable: float
    canary: float
    accepted_stable: float
    accepted_canary: float
    stable_requests: float
    canary_requests: float

    @property
    def information(self) -> float:
        """Relative entropy of one minute, in nats."""
        return float(
            self.stable_requests * coin_entropy(self.stable, self.accepted_stable)
            + self.canary_requests * coin_entropy(self.canary, self.accepted_canary)
        )


def coin_entropy(share: float, other: float) -> float:
    """Relative entropy, in nats, of a coin that shows ``share`` against one that shows ``other``, in (0, 1)."""
    parts = ((share, other), (1 - share, 1 - other))
    return sum(p * log(p / q) for p, q in parts if p > 0)


def hardest(scenario: Scenario, *, margin: bool) -> Hardest:
    """The accepted pair that is hardest to tell from a scenario.

    Args:
        scenario: one in which the canary is worse from the first minute on.
        margin: whether the gate accepts one.

    Raises:
        ValueError: nothing is wrong with the canary, or not from the first minute on.
    """
    if scenario.null or scenario.shape != "flat" or scenario.canary_noise:
        raise ValueError(f"{scenario.name!r} is not a canary that is worse all the time: there is no limit to compute")
    requests = scenario.volume * (1 - scenario.weight), scenario.volume * scenario.weight
    if scenario.metric == "errors":
        factor = ERROR_MARGIN if margin else 1.0
        stable, canary = scenario.base, scenario.base * scenario.factor
        rates = np.linspace(stable, canary / factor, _GRID)
        pairs = [(rate, rate * factor) for rate in rates.tolist()]
    else:
        limit = cut_ms(scenario.base)
        stable, canary = slower(scenario.base, limit), slower(scenario.base * scenario.factor, limit)
        slowed = slower(scenario.base * LATENCY_MARGIN, limit) if margin else stable
        ratio = slowed / (1 - slowed) * (1 - stable) / stable
        rates = np.linspace(stable, with_odds(canary, 1 / ratio), _GRID)
        pairs = [(rate, with_odds(rate, ratio)) for rate in rates.tolist()]
    return min((Hardest(stable, canary, *pair, *requests) for pair in pairs), key=lambda pair: pair.information)


def slower(median_ms: float, than_ms: float) -> float:
    """Share of simulated requests with this median that take longer than ``than_ms``."""
    return erfc(log(than_ms / median_ms) / SIGMA / sqrt(2)) / 2


def cut_ms(median_ms: float) -> float:
    """The bucket bound nearest to p95, as our judge finds it in latencies with this median."""
    bounds = tuple(float(bound) for bound in BOUNDS)
    above = [1.0, *(slower(median_ms, bound) for bound in bounds), 0.0]
    found = histograms.cut(bounds, tuple(a - b for a, b in pairwise(above)), 0.05)
    if found is None:
        raise ValueError(f"no bucket bound lies within latencies with a median of {median_ms:g} ms")
    return found


def bad_a_minute(scenario: Scenario) -> float:
    """Bad requests of the canary a minute, as ``bench.judge.measure.bad_requests`` counts them."""
    rate = scenario.base * scenario.factor
    if scenario.metric == "latency":
        nominal = MEDIAN_MS * exp(_Z95 * SIGMA)
        rate = slower(scenario.base * scenario.factor, float(BOUNDS[int(np.searchsorted(BOUNDS, nominal))]))
    return scenario.volume * scenario.weight * rate


def least_mean(pair: Hardest, detected: float, alpha: float) -> float:
    """Wald's bound on the mean of minutes until the end, at the latest the hour's; one look a minute.

    Args:
        pair: what is to be told.
        detected: chance of failing the worse canary within the hour, at least ``alpha``.
        alpha: greatest chance of failing the accepted one.
    """
    return max(1.0, coin_entropy(detected, alpha) / pair.information)


def least_median(pair: Hardest, detected: float, alpha: float) -> int:
    """Neyman's and Pearson's bound on the median minute of detection; 60 where the hour is too short.

    Args:
        pair: what is to be told.
        detected: chance of failing the worse canary within the hour.
        alpha: greatest chance of failing the accepted one.
    """
    low, high = 0, MINUTES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(pair, middle, alpha) >= detected / 2 else (middle, high)
    return high


def power(pair: Hardest, minutes: int, alpha: float) -> float:
    """Power of the likelihood ratio test at level ``alpha`` on so many minutes with the requests that are expected."""
    stable = _counts(pair.stable, pair.accepted_stable, round(minutes * pair.stable_requests))
    canary = _counts(pair.canary, pair.accepted_canary, round(minutes * pair.canary_requests))
    worse, accepted = (np.add.outer(one, other).ravel() for one, other in zip(stable, canary, strict=True))
    order = np.argsort(accepted - worse, kind="stable")
    level, reached = np.exp(accepted[order]).cumsum(), np.exp(worse[order]).cumsum()
    # Between two outcomes the test draws lots: straight lines.
    return float(np.interp(alpha, np.concatenate([[0.0], level]), np.concatenate([[0.0], reached])))


def _counts(share: float, accepted: float, requests: int) -> tuple[Floats, Floats]:
    """Log chances of each count of bad requests under both shares; counts that neither would show are left out."""
    counts = np.arange(requests + 1)
    logs = np.concatenate([[0.0], np.log(counts[1:])]).cumsum()
    ways = logs[-1] - logs - logs[::-1]
    one, other = (ways + counts * log(p) + (requests - counts) * log(1 - p) for p in (share, accepted))
    kept = np.maximum(one, other) > log(1e-9)
    return one[kept], other[kept]

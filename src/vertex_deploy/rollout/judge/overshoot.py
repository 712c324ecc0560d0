"""Wagers that do not win more than they need.

An e-process that ends at 40 where 20 was enough has wasted half of its false alarm budget. Here the winnings above what
is needed are taken from the outcomes that have too much and spread over the others, all by the same factor, so that the
mean under the null stays what it was. The more one interval tells, the more that gains.

Pure arithmetic on one interval. It leaves out nulls whose distribution is not known: means of custom metrics, and
counts that the user calls overdispersed.

Source: L. Fischer, A. Ramdas, "Improving Wald's (approximate) sequential probability ratio test by avoiding overshoot",
arXiv 2410.16076, 2024 ("sequential boosting").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import exp, log, log1p
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge.likelihood import (
    binomial_chances,
    hypergeometric_chances,
    log_normaliser,
    log_sum,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Wealth this far (in logs) below what is needed gains nothing a double could show.
_FAR = 35.0


@dataclass(frozen=True, slots=True)
class Chances:
    """What one interval's count could have been under the null, and what each alternative would have made of it.

    Args:
        lowest: the smallest count with a chance worth naming.
        chances: under the null, of ``lowest``, ``lowest + 1``, and so on; they sum to 1.
        slopes: per alternative, how much its log ratio grows with each bad request; above 0.
        intercepts: per alternative, its log ratio at a count of 0.
    """

    lowest: int
    chances: Sequence[float]
    slopes: Sequence[float]
    intercepts: Sequence[float]


def of_table(*, canary: int, stable: int, bad: int, null: float, alternatives: Sequence[float]) -> Chances:
    """Of the canary's bad requests, given those of both versions.

    Args:
        canary: requests of the canary, above 0.
        stable: requests of stable, above 0.
        bad: bad requests of both, neither none nor all.
        null: odds ratio canary/stable that is tolerated.
        alternatives: larger odds ratios.
    """
    lowest, chances = hypergeometric_chances(canary, stable, bad, null)
    base = log_normaliser(canary, stable, bad, null)
    return Chances(
        lowest,
        chances,
        [log(odds / null) for odds in alternatives],
        [base - log_normaliser(canary, stable, bad, odds) for odds in alternatives],
    )


def of_limit(*, requests: int, null: float, alternatives: Sequence[float]) -> Chances:
    """Of the canary's bad requests against a limit.

    Args:
        requests: of the canary.
        null: share of bad requests that is tolerated, in (0, 1).
        alternatives: larger shares.
    """
    lowest, chances = binomial_chances(requests, null)
    slopes = [log(share / null) + log1p(-null) - log1p(-share) for share in alternatives]
    return Chances(lowest, chances, slopes, [requests * (log1p(-share) - log1p(-null)) for share in alternatives])


def log_boost(could: Callable[[], Chances], invested: Sequence[float], needed: float) -> float:
    """Log of the factor by which all investments may grow besides, if none is paid more than ``needed``.

    The investments then pay min(b I(k), needed) at a count of k, where I is what they would pay without. b is chosen so
    that the mean under the null is what was invested. The payment rises with k, and k is stochastically smaller under
    any smaller odds, so the mean is at most that under all of the null.

    Args:
        could: gives the interval's distribution; not asked where the wealth is too far off.
        invested: log of the wealth on each alternative, before the interval.
        needed: wealth at which the null is rejected, less what is not invested.

    Returns:
        log b, at least 0; 0 where nothing can be paid too much.
    """
    wealth = log_sum(invested)
    if needed <= 0 or not log(needed) - _FAR < wealth < log(needed):
        return 0.0
    known = could()
    payments = _payments(known, invested, needed)
    if payments[-1] <= needed:
        return 0.0
    below = list(accumulate((c * p for c, p in zip(known.chances, payments, strict=True)), initial=0.0))
    above = list(accumulate(reversed(known.chances), initial=0.0))[::-1]
    total = exp(wealth)
    # Counts from ``first`` on are paid ``needed``; the fewer are paid in full, the less is left for the others.
    first = next(index for index, payment in enumerate(payments) if payment >= needed)
    boost = 1.0
    while first > 0 and below[first] > 0:
        boost = (total - needed * above[first]) / below[first]
        if boost * payments[first - 1] < needed:
            break
        first -= 1
    # Roundings in sums over thousands of terms stay below this.
    return max(0.0, log(boost) - 1e-9) if boost > 0 else 0.0


def _payments(could: Chances, invested: Sequence[float], needed: float) -> list[float]:
    """What the investments pay at each count, from the lowest up."""
    highest, most = could.lowest + len(could.chances) - 1, log(needed) + 200.0
    # From the top down: what gets too small for a double there is nothing; the other way it would be lost for good.
    terms = [
        exp(min(wealth + slope * highest + intercept, most))
        for wealth, slope, intercept in zip(invested, could.slopes, could.intercepts, strict=True)
    ]
    shrink = [exp(-slope) for slope in could.slopes]
    found = [sum(terms)]
    for _ in range(len(could.chances) - 1):
        terms = [term * factor for term, factor in zip(terms, shrink, strict=True)]
        found.append(sum(terms))
    return found[::-1]

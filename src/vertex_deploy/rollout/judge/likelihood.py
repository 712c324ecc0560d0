"""Likelihood ratios of one interval: the factors that an e-process multiplies.

Counts only, log space, standard library only. Given the requests of both versions and the sum of bad ones, the canary's
bad requests follow Fisher's noncentral hypergeometric distribution with the odds ratio canary/stable; whatever hits
both versions alike (an incident, the time of day, a change of split between intervals) cancels. Against a fixed limit
the canary's bad requests are binomial.

Sources: the mode is that of J. Liao, O. Rosen, "Fast and stable algorithms for computing and sampling from the
noncentral hypergeometric distribution", The American Statistician 55(4), 2001. Both families have a monotone
likelihood ratio: the ratio of a larger parameter to a smaller one has mean at most 1 under every parameter that is
smaller still.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, floor, inf, lgamma, log, log1p, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Terms below this share of the largest add nothing to a double.
_NEGLIGIBLE = 1e-17


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _mode(canary: int, stable: int, bad: int, odds: float) -> int:
    a = odds - 1
    b = bad - stable - (canary + bad + 2) * odds
    c = (canary + 1) * (bad + 1) * odds
    mode = floor(-2 * c / (b - sqrt(b * b - 4 * a * c)))
    return min(max(mode, bad - stable, 0), canary, bad)


@lru_cache(maxsize=4096)
def log_normaliser(canary: int, stable: int, bad: int, odds: float) -> float:
    """Log of the sum over k of C(canary, k) C(stable, bad - k) odds^k.

    Args:
        canary: requests of the canary.
        stable: requests of stable.
        bad: bad requests of both, at most ``canary + stable``.
        odds: odds ratio canary/stable, above 0.
    """
    mode = _mode(canary, stable, bad, odds)
    _, terms = _relative_chances(canary, stable, bad, odds, mode)
    return _log_choose(canary, mode) + _log_choose(stable, bad - mode) + mode * log(odds) + log(sum(terms))


def _relative_chances(canary: int, stable: int, bad: int, odds: float, mode: int) -> tuple[int, list[float]]:
    """The smallest count that matters, and from it up the chance of each over that of the mode."""
    low, high = max(0, bad - stable), min(canary, bad)
    up, term, k = [1.0], 1.0, mode
    while k < high and term > _NEGLIGIBLE:
        term *= (canary - k) * (bad - k) * odds / ((k + 1) * (stable - bad + k + 1))
        up.append(term)
        k += 1
    down: list[float] = []
    term, k = 1.0, mode
    while k > low and term > _NEGLIGIBLE:
        term *= k * (stable - bad + k) / ((canary - k + 1) * (bad - k + 1) * odds)
        down.append(term)
        k -= 1
    return k, down[::-1] + up


def hypergeometric_chances(canary: int, stable: int, bad: int, odds: float) -> tuple[int, list[float]]:
    """Fisher's noncentral hypergeometric distribution of the canary's bad requests.

    Args:
        canary: requests of the canary.
        stable: requests of stable.
        bad: bad requests of both, at most ``canary + stable``.
        odds: odds ratio canary/stable, above 0.

    Returns:
        The smallest count with a chance that a double can tell from 0 beside the others, and the chances from it up.
    """
    lowest, terms = _relative_chances(canary, stable, bad, odds, _mode(canary, stable, bad, odds))
    total = sum(terms)
    return lowest, [term / total for term in terms]


def binomial_chances(requests: int, share: float) -> tuple[int, list[float]]:
    """The binomial distribution of bad requests, as ``hypergeometric_chances`` gives it."""
    odds = share / (1 - share)
    mode = min(floor((requests + 1) * share), requests)
    up, term, k = [1.0], 1.0, mode
    while k < requests and term > _NEGLIGIBLE:
        term *= (requests - k) * odds / (k + 1)
        up.append(term)
        k += 1
    down: list[float] = []
    term, k = 1.0, mode
    while k > 0 and term > _NEGLIGIBLE:
        term *= k / ((requests - k + 1) * odds)
        down.append(term)
        k -= 1
    total = sum(up) + sum(down)
    return k, [term / total for term in down[::-1] + up]


def hypergeometric_log_ratios(
    *, canary: int, canary_bad: int, stable: int, stable_bad: int, null: float, alternatives: Sequence[float]
) -> tuple[float, ...]:
    """Log likelihood ratio of each odds ratio in ``alternatives`` against ``null``, given the table's margins.

    Args:
        canary: requests of the canary.
        canary_bad: bad ones among them.
        stable: requests of stable.
        stable_bad: bad ones among them.
        null: odds ratio canary/stable that is tolerated.
        alternatives: odds ratios tried instead; all above ``null`` (evidence against the canary) or all below (for it).

    Returns:
        One number an alternative; all 0 where the table says nothing (no requests of one version, nothing or all bad).
    """
    bad = canary_bad + stable_bad
    if not canary or not stable or not bad or bad == canary + stable:
        return (0.0,) * len(alternatives)
    base = canary_bad * log(null) - log_normaliser(canary, stable, bad, null)
    return tuple(canary_bad * log(odds) - log_normaliser(canary, stable, bad, odds) - base for odds in alternatives)


def binomial_log_ratios(*, requests: int, bad: int, null: float, alternatives: Sequence[float]) -> tuple[float, ...]:
    """Log likelihood ratio of each share of bad requests in ``alternatives`` against ``null``; shares in (0, 1)."""
    good, bad_null, good_null = requests - bad, log(null), log1p(-null)
    return tuple(bad * (log(share) - bad_null) + good * (log1p(-share) - good_null) for share in alternatives)


def betting_log_ratios(*, excess: float, lowest: float, stakes: Sequence[float]) -> tuple[float, ...]:
    """Log growth of a bettor who stakes a share of capital on ``excess`` being above zero.

    Args:
        excess: observed value; its mean is at most 0 under the null.
        lowest: the smallest value it can take, below 0.
        stakes: shares of the capital in (0, 1) lost where ``excess`` is ``lowest``.

    Source: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024.
    """
    scaled = max(excess, lowest) / -lowest
    return tuple(log1p(stake * scaled) for stake in stakes)


def log_sum(values: Sequence[float]) -> float:
    """``log(sum(exp(v)))`` without overflow; minus infinity for an empty or impossible sum."""
    top = max(values, default=-inf)
    return top if top == -inf else top + log(sum(exp(value - top) for value in values))


def with_odds(share: float, factor: float) -> float:
    """The share whose odds are ``factor`` times those of ``share``."""
    odds = share / (1 - share) * factor
    return odds / (1 + odds)

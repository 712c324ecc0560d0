"""E-processes: wealth that a fair game multiplies, read at any time.

The wealth starts at 1. While the null holds, its mean never rises above 1, so by Ville's inequality it ever reaches 1/a
with probability at most a: looking at it after every interval costs nothing. Part of the wealth stays uninvested and is
put in later (a little at every interval, more at every step), so that a canary which turns bad late, or only under more
load, does not first have to win back what a day of good behaviour lost.

Sources: J. Ville, "Etude critique de la notion de collectif", 1939; A. Ramdas, P. Grunwald, V. Vovk, G. Shafer,
"Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38(4), 2023; the mixture over starting
times is that of J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", New England Journal of Statistics in Data Science, 2023.
"""

from __future__ import annotations

from math import exp, inf, log, log1p
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge.likelihood import log_sum
from vertex_deploy.rollout.judge.overshoot import log_boost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.rollout.judge.overshoot import Chances

# Shares of the uninvested wealth put in at the first interval, and at the first of each later step.
FIRST, STEP = 0.8, 0.25
# At every other, POWER / (HELD + intervals so far): 2% at first, then less. So what is left falls as a power of time;
# of a share that stays at 2%, nothing would be left after a day.
POWER, HELD = 3, 150


class Process:
    """One e-process: a mixture over alternatives and starting times.

    Args:
        alternatives: how many alternatives are bet on, each with an equal part of every investment.
        needed: e-value at which the null is rejected, 1/a.
        all_at_once: invest everything at the first interval and again after ``restart``; for short windows.
    """

    def __init__(self, alternatives: int, needed: float, *, all_at_once: bool = False) -> None:
        self.needed = needed
        self._parts = alternatives
        self._all_at_once = all_at_once
        self.restart()

    def restart(self) -> None:
        """Back to wealth 1, nothing invested."""
        self._cash = 0.0
        self._invested = [-inf] * self._parts
        self._next = 1.0 if self._all_at_once else FIRST
        self._intervals = 0
        self.crossed = False

    def new_step(self) -> None:
        """Invest more at the next interval: the canary's load is about to change."""
        self._next = max(self._next, STEP)

    def multiply(
        self,
        log_ratios: Sequence[float],
        overdispersion: float = 1.0,
        could: Callable[[], Chances] | None = None,
    ) -> None:
        """Take one interval in.

        Args:
            log_ratios: log of each alternative's factor; the mean of each factor is at most 1 under the null.
            overdispersion: each factor is raised to the power 1/overdispersion, which keeps its mean at most 1.
            could: gives the interval's distribution under the null, where that is known: then nothing is won that is
                not needed, and the rest grows faster instead.
        """
        if self._next > 0 and self._cash > -inf:
            part = self._cash + log(self._next / self._parts)
            self._invested = [log_sum((old, part)) for old in self._invested]
            self._cash = self._cash + log1p(-self._next) if self._next < 1 else -inf
        self._intervals += 1
        self._next = 0.0 if self._all_at_once else POWER / (HELD + self._intervals)
        boost = 0.0
        if could is not None and overdispersion == 1 and not self.crossed:
            boost = log_boost(could, self._invested, self.needed - exp(self._cash))
        self._invested = [
            old + new / overdispersion + boost for old, new in zip(self._invested, log_ratios, strict=True)
        ]
        self.crossed = self.crossed or self.log_value >= log(self.needed)

    @property
    def log_value(self) -> float:
        """Log of the wealth now; once the null is rejected, what it would be without an end there."""
        return log_sum((self._cash, *self._invested))

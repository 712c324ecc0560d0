"""Which of the canary's intervals a limit may hold against it: none in which stable is over the limit too.

With little traffic there are intervals in which the canary alone answered. They say nothing of whether the trouble is
shared, so they wait for stable's next answer; or, if it gives none, for so many requests of the canary that its silence
is no chance. Left out: what the intervals are evidence of (``tails``), and the bake, in which stable has no traffic.
"""

from __future__ import annotations

from vertex_deploy.rollout.judge.cuts import MEMORY

# Bad requests that stable's recent past must be long enough for, were stable just at the limit.
ENOUGH = 3.0
# Requests of the canary in a row without one of stable. That is chance once in 190 times where the canary has 90% of
# the traffic, once in 70,000 where it has 80%.
ALONE = 50

Counts = tuple[int, int]
"""Requests, and bad ones among them."""


class Shared:
    """What stable did of late, and the canary's intervals that wait for its next answer.

    Args:
        share: of bad requests, at the limit.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._recent = (0.0, 0.0)
        self._waiting: list[Counts] = []

    def left(self, canary: Counts, stable: Counts) -> list[Counts]:
        """What may be held against the canary now.

        Args:
            canary: of an interval.
            stable: of the same; (0, 0) where it answered nothing, or nothing was measured.

        Returns:
            This interval and those that waited for it, or none of them.
        """
        over = self._over(*stable)
        if not over:
            self._waiting.append(canary)
        if not (over or stable[0] or sum(requests for requests, _ in self._waiting) >= ALONE):
            return []
        known, self._waiting = self._waiting, []
        return [] if over else known

    def _over(self, requests: int, bad: int) -> bool:
        # With little traffic, forget nothing before there were enough requests to show a few bad ones.
        keep = MEMORY if self._recent[0] * MEMORY * self._share >= ENOUGH else 1.0
        self._recent = (self._recent[0] * keep + requests, self._recent[1] * keep + bad)
        if not self._recent[0]:
            return False
        # One more bad request than seen: with little traffic, stable is not known to be within the limit.
        return bad > self._share * requests or self._recent[1] + 1 > self._share * self._recent[0]

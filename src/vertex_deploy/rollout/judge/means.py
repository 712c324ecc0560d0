"""Checks on custom metrics: one mean an interval and version, between known bounds.

A bettor stakes on the canary being over the limit, another on it being within; each stake is a fair game while the
opposite holds, however the metric drifts, since only its mean given the past matters. Against stable the stakes are
on the difference in the same interval, so that what moves both cancels.

Source: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024. It
leaves out the number of requests behind each mean: an interval counts as one observation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge.checks import SHOWN, Check, Finding, Look
from vertex_deploy.rollout.judge.likelihood import betting_log_ratios
from vertex_deploy.rollout.judge.process import Process
from vertex_deploy.rollout.judge.verdict import Outcome, digits

if TYPE_CHECKING:
    from vertex_deploy.metrics.types import VersionSample
    from vertex_deploy.rollout.judge.checks import Total
    from vertex_deploy.rollout.judge.intake import Placed

STAKES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)


@dataclass
class Mean(Check):
    """A custom metric's mean against a limit, or against stable times a factor.

    Args:
        limit: the absolute limit; None for a relative check.
        upper: True where values above the limit are bad.
    """

    limit: float | None = None
    upper: bool = True

    def __post_init__(self) -> None:
        low, high = self.gate.range or (0.0, 1.0)
        self._low, self._high = low, high
        factor = self.gate.factor
        self._factor = 1.0 if factor is None else factor
        corners = [self._excess(c, s) for c in (low, high) for s in (low, high)]
        # A wager needs room on both sides; a bound that is looser than need be is still a bound.
        self._lowest = min(*corners, -(high - low))
        self._highest = max(*corners, high - low)
        self._against = Process(len(STAKES), self.needed)
        self._for = Process(len(STAKES), SHOWN, all_at_once=True)
        self._clipped = 0

    def _excess(self, canary: float, stable: float) -> float:
        """By how much the canary is over the limit; negative within."""
        bound = self._factor * stable if self.limit is None else self.limit
        return canary - bound if self.upper else bound - canary

    def new_step(self) -> None:
        """Forget the window, invest anew; what must be shown must be shown again."""
        super().new_step()
        self._against.new_step()
        self._for.restart()

    def _add(self, total: Total, sample: VersionSample | None) -> None:
        # The mean that is shown is of the values that were weighed.
        if sample is not None and sample.requests and self.measured(sample):
            name = self.gate.metric
            total.add(replace(sample, gauges={name: self._inside(sample.gauges[name])}), name)

    def _inside(self, value: float) -> float:
        return min(max(value, self._low), self._high)

    def _weighed(self, sample: VersionSample) -> float:
        value = sample.gauges[self.gate.metric]
        self._clipped += not self._low <= value <= self._high
        return self._inside(value)

    def weigh(self, placed: Placed) -> None:
        """One wager each way; an interval without requests is no observation."""
        canary, stable = placed.interval.canary, placed.interval.stable
        if canary is None or not canary.requests or (self.limit is None and not (stable and stable.requests)):
            return
        compared = self._weighed(stable) if self.limit is None and stable else 0.0
        excess = self._excess(self._weighed(canary), compared)
        self._against.multiply(betting_log_ratios(excess=excess, lowest=self._lowest, stakes=STAKES))
        if placed.in_window:
            self._for.multiply(betting_log_ratios(excess=-excess, lowest=-self._highest, stakes=STAKES))

    def assess(self, look: Look) -> Finding:  # noqa: ARG002 - the same at every look
        """Proof either way, or none yet."""
        value = self.canary.gauge / self.canary.points if self.canary.points else None
        stable = self.stable.gauge / self.stable.points if self.stable.points else None
        bound = self.limit if self.limit is not None else None if stable is None else self._factor * stable
        side = "at most" if self.upper else "at least"
        against = (
            ""
            if self.limit is not None
            else f", stable's {digits(stable)}"
            if stable is not None
            else ", stable's unknown"
        )
        were = "value was" if self._clipped == 1 else "values were"
        clipped = f"; {self._clipped} {were} outside its range and clipped" if self._clipped else ""
        intervals = f"{self.canary.points} interval{'' if self.canary.points == 1 else 's'}"
        shown = "unknown" if value is None else digits(value)
        wanted = "unknown" if bound is None else digits(bound)
        said = (
            f"{self.gate.metric} of the canary is {shown} over {intervals}{against};"
            f" {side} {wanted} is accepted{clipped}"
        )

        def found(outcome: Outcome, text: str) -> Finding:
            return Finding(outcome, text, value, bound, stable)

        odds = f"evidence {exp(min(self.log_evidence(), 27.0)):.3g}:1 of {self.needed:.3g}:1 needed"
        if self._against.crossed:
            return found(Outcome.FAIL, f"{said}; proved not to be met ({odds})")
        if value is not None and bound is not None and (value > bound if self.upper else value < bound):
            return found(Outcome.CONTINUE, f"{said}; it is not met, but that is not proved yet ({odds})")
        if self._for.log_value < log(SHOWN):
            return found(Outcome.INSUFFICIENT, f"{said}; it looks met, but too few intervals to show it")
        return found(Outcome.PASS, f"{said}; shown to be met")

    def log_evidence(self) -> float:
        """Of the process against the canary."""
        return self._against.log_value

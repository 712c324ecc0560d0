"""What every check shares: the totals of a window, the look at a time, and the order in which an outcome is decided.

A check is one condition of one gate: against a limit, or against stable. ``tails`` holds those on error rates and
latency percentiles, ``means`` those on custom metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import exp, isfinite, log, nan
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge import histograms
from vertex_deploy.rollout.judge.intake import start_of
from vertex_deploy.rollout.judge.verdict import Kind, Outcome, Reading, Unit, Window
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from datetime import datetime

    from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
    from vertex_deploy.rollout.judge.intake import Placed
    from vertex_deploy.spec.gates import Gate

# Share of a step's time that may be missing and the step still pass.
MISSING = 0.1
# Requests an interval up to which a version that was not measured, while the other was, is taken to have had none: a
# metric without requests has no point. Above, the chance of none is below 1 in 20,000, and the point is missing.
QUIET = 10.0
# Odds at which "the canary is no worse than what the gate must detect" counts as shown.
SHOWN = 20.0
_CAP = 1e12


@dataclass(slots=True)
class Total:
    """Sums of one version over a window; ``latency`` in ms, ``gauge`` the sum of a custom metric's means."""

    requests: int = 0
    errors: int = 0
    rejected: int = 0
    latency: Histogram | None = None
    gauge: float = 0.0
    points: int = 0

    def add(self, sample: VersionSample, metric: str) -> None:
        """Add one interval."""
        self.requests += sample.requests
        self.errors += sample.errors
        self.rejected += sample.rejected
        self.latency = histograms.add(self.latency, sample.latency_ms)
        if metric in sample.gauges:
            self.gauge += sample.gauges[metric]
            self.points += 1


@dataclass(slots=True)
class Span:
    """The measured part of a step."""

    start: datetime | None = None
    end: datetime | None = None
    seconds: float = 0.0
    intervals: int = 0

    def add(self, interval: Interval) -> None:
        """Add one interval."""
        start = start_of(interval)
        self.start = min(self.start or start, start)
        self.end = max(self.end or interval.end, interval.end)
        self.seconds += interval.seconds
        self.intervals += 1


@dataclass(frozen=True, slots=True)
class Look:
    """When and where the checks are read.

    Args:
        now: time of the look; None before anything was measured.
        bake: all traffic is the canary's.
        since: when the current step began, as far as known.
    """

    now: datetime | None
    bake: bool
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check decided before the common rules: outcome, the numbers, and the sentence's middle."""

    outcome: Outcome
    explanation: str
    value: float | None = None
    threshold: float | None = None
    stable: float | None = None


@dataclass
class Check(ABC):
    """One condition of one gate.

    Args:
        gate: the gate.
        needed: e-value at which the check fails.
    """

    gate: Gate
    needed: float
    canary: Total = field(default_factory=Total)
    stable: Total = field(default_factory=Total)
    span: Span = field(default_factory=Span)
    last_measured: datetime | None = None
    kind: Kind = "absolute"
    quiet: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> Unit:
        """Of the reading's numbers."""
        if self.gate.custom:
            return ""
        return "share" if self.gate.quantile is None else "ms"

    def measured(self, sample: VersionSample | None) -> bool:
        """Whether this check's metric is in the sample."""
        if sample is None:
            return False
        if self.gate.custom:
            return isfinite(sample.gauges.get(self.gate.metric, nan))
        return self.gate.quantile is None or sample.latency_ms is not None

    def bad(self, counted: VersionSample | Total) -> int:
        """The requests that a gate on a rate counts as bad: those that failed, or those that were rejected."""
        return counted.rejected if self.gate.metric == "rejection_rate" else counted.errors

    def observe(self, placed: Placed) -> None:
        """Take an interval in: evidence from all, the window from those of the current step."""
        if placed.age >= self.gate.initial_delay:
            self._take(placed)
        # After it was weighed: an interval never decides by what it is judged itself.
        if placed.interval.stable is not None:
            self.learn(placed.interval.stable)

    def _take(self, placed: Placed) -> None:
        interval = placed.interval
        canary, stable = self.measured(interval.canary), self.measured(interval.stable)
        complete = canary and (self.kind == "absolute" or stable)
        if placed.in_window and canary != stable and not complete:
            silent = "stable" if canary else "canary"
            self.quiet[silent] = self.quiet.get(silent, 0.0) + interval.seconds
        if complete and (placed.one_split or self.kind == "absolute"):
            self.last_measured = max(self.last_measured or interval.end, interval.end)
            if placed.in_window:
                self.span.add(interval)
                self._add(self.canary, interval.canary)
                self._add(self.stable, interval.stable)
            self.weigh(placed)

    def _add(self, total: Total, sample: VersionSample | None) -> None:
        if sample is not None and self.measured(sample):
            total.add(sample, self.gate.metric)

    def new_step(self) -> None:
        """Forget the window; evidence goes on."""
        self.canary, self.stable, self.span, self.quiet = Total(), Total(), Span(), {}
        self.last_measured = None

    @property
    def accounted(self) -> float:
        """Seconds of the window that were measured, or in which one version plausibly had no requests."""
        few = QUIET * self.span.intervals
        idle = sum(
            seconds
            for version, seconds in self.quiet.items()
            if (self.canary if version == "canary" else self.stable).requests <= few
        )
        return self.span.seconds + idle

    def read(self, look: Look, missing: float) -> Reading:
        """The reading at a look; ``missing`` is the share of the step's time without measurements."""
        finding = self._decide(look, missing)
        by_points = self.gate.custom
        return Reading(
            gate=self.gate.label,
            metric=self.gate.metric,
            kind=self.kind,
            unit=self.unit,
            value=finding.value,
            threshold=finding.threshold,
            stable=finding.stable,
            window=Window(self.span.start, self.span.end, self.span.seconds),
            samples=self.canary.points if by_points else self.canary.requests,
            stable_samples=self.stable.points if by_points else self.stable.requests,
            evidence=exp(min(self.log_evidence(), log(_CAP))),
            evidence_needed=self.needed,
            outcome=finding.outcome,
            explanation=finding.explanation,
            dry_run=self.gate.dry_run,
            critical=self.gate.critical,
        )

    def _decide(self, look: Look, missing: float) -> Finding:
        """Proof first, then whether enough was measured, then the numbers."""
        found = self.assess(look)
        if found.outcome is Outcome.FAIL:
            return found
        short = self._too_little(look, missing)
        if short:
            return Finding(short[0], short[1], found.value, found.threshold, found.stable)
        return found

    def _too_little(self, look: Look, missing: float) -> tuple[Outcome, str] | None:
        metric, gate = self.gate.metric, self.gate
        last = self.last_measured or look.since
        age = (look.now - last).total_seconds() if look.now and last else None
        if self.last_measured is None or (age is not None and age > gate.no_data_after):
            silent = age is not None and age > gate.no_data_after
            who = "canary and stable" if self.kind == "relative" else "the canary"
            since = f" for {format_duration(float(round(age)))}" if age is not None and age >= 1 else ""
            text = f"{metric} of {who} was not measured{since}"
            if silent and gate.no_data == "fail":
                return Outcome.FAIL, f"{text}, and the gate fails without data"
            return Outcome.INSUFFICIENT, text
        if self.canary.requests < gate.min_requests:
            n = self.canary.requests
            return (
                Outcome.INSUFFICIENT,
                f"{metric}: the canary answered {n} requests in this step, {gate.min_requests} are needed",
            )
        if self.kind == "relative" and not self.stable.requests:
            return Outcome.INSUFFICIENT, f"{metric}: stable answered no requests in this step to compare with"
        if missing > MISSING:
            return Outcome.INSUFFICIENT, f"{metric}: {missing:.0%} of this step's time has no measurements"
        return None

    def learn(self, stable: VersionSample) -> None:  # noqa: B027 - most checks need nothing of stable's past
        """Remember what stable did, for the intervals after this one."""

    @abstractmethod
    def weigh(self, placed: Placed) -> None:
        """Update the evidence with one interval in which all that this check needs was measured."""

    @abstractmethod
    def assess(self, look: Look) -> Finding:
        """What evidence and numbers say, as if enough had been measured."""

    @abstractmethod
    def log_evidence(self) -> float:
        """Log of the e-value against the canary."""

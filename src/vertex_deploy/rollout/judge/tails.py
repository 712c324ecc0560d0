"""Checks on shares of bad requests: errors, or requests slower than a latency.

"p95 at most 500 ms" says that at most 5% of the requests take longer, so latency percentiles and error rates are
judged by the same two processes: a binomial one against a limit, and a hypergeometric one against stable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import ceil, exp, log
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge import histograms
from vertex_deploy.rollout.judge.checks import SHOWN, Check, Finding, Look
from vertex_deploy.rollout.judge.cuts import Recent
from vertex_deploy.rollout.judge.likelihood import (
    binomial_log_ratios,
    hypergeometric_log_ratios,
    log_sum,
    with_odds,
)
from vertex_deploy.rollout.judge.overshoot import of_limit, of_table
from vertex_deploy.rollout.judge.process import Process
from vertex_deploy.rollout.judge.shared import Counts, Shared
from vertex_deploy.rollout.judge.verdict import Kind, Outcome, digits
from vertex_deploy.spec.gates import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.metrics.types import VersionSample
    from vertex_deploy.rollout.judge.checks import Total
    from vertex_deploy.rollout.judge.intake import Placed

# How much worse than accepted the canary is supposed to be, as factors of odds; evidence is the mean over them.
WORSE = (1.5, 2.2, 3.5, 7.0, 18.0)
# Where neither version has errors there is nothing to compare: then a canary surely below this rate passes.
NEGLIGIBLE_ERRORS = 0.01
# Evidence this far against the canary holds a relative check back even if the window looks fine.
LEANING = 3.0
# Evidence above this is some, and not what rounding made of 1.
SOME = 1 + 1e-9
# A ``detect`` from which on "just accepted" is far enough from the regression to tell them apart.
CLEAR = 2.0
_CLOSE_TO_ONE = 0.99
# Requests of the canary, bad ones among them, requests of stable, bad ones among them.
Table = tuple[int, int, int, int]
_NOUNS = {"error_rate": "errors", "rejection_rate": "rejections"}


@dataclass
class Absolute(Check):
    """The canary's share of bad requests against a limit.

    Fails when the binomial e-process proves the canary over the limit. Intervals in which stable is over it too, or
    lately was, are no evidence (see ``shared``; unless ``if_stable_too: fail``). For error rates without a margin of
    their own, a canary that is over the limit fails as well when it is proved worse than stable, which works while
    stable hovers at the limit.

    What stable did before the split it does not use (there is no ``learn``): a limit needs no reference, and that
    stable was within it an hour ago says nothing of a minute in which both versions have an incident.
    """

    bake: bool = False

    def __post_init__(self) -> None:
        limit = self.gate.max or 0.0
        self._evidence = self.gate.evidence or Evidence()
        quantile = self.gate.quantile
        self._share = limit if quantile is None else 1 - quantile
        self._limit_ms = limit * 1000
        self._hold = self.gate.if_stable_too == "hold"
        self._against = Process(len(WORSE), self.needed)
        compares = quantile is None and self.gate.factor is None and self._hold
        self._versus = Process(len(WORSE), self.needed) if compares else None
        self._shared = Shared(self._share)
        self._whole = (0, 0)
        self._proved = ""

    def new_step(self) -> None:
        """Forget the window, invest anew."""
        super().new_step()
        self._against.new_step()
        if self._versus:
            self._versus.new_step()

    def weigh(self, placed: Placed) -> None:
        """One binomial factor, and one hypergeometric one where stable is compared with."""
        canary, stable = placed.interval.canary, placed.interval.stable
        if canary is None:
            return
        requests, bad = self._certain(canary)
        self._whole = (self._whole[0] + requests, self._whole[1] + bad)
        for counted in self._counted((requests, bad), stable):
            self._against_limit(*counted)
        if self._versus and stable and placed.one_split:
            self._compare(self._versus, canary, stable)
        if self._against.crossed:
            compared = self._hold and not self.bake
            self._proved = "counting only minutes in which stable was within it" if compared else "whatever stable did"
        elif self._versus and self._versus.crossed and (self._over(self.canary) or self._over_whole()):
            self._proved = "and worse than stable"

    def _counted(self, canary: Counts, stable: VersionSample | None) -> list[Counts]:
        if not self._hold or self.bake:
            return [canary]
        return self._shared.left(canary, self._certain(stable) if stable else (0, 0))

    def _against_limit(self, requests: int, bad: int) -> None:
        alternatives = [with_odds(self._share, factor) for factor in WORSE]
        ratios = binomial_log_ratios(requests=requests, bad=bad, null=self._share, alternatives=alternatives)
        could = partial(of_limit, requests=requests, null=self._share, alternatives=alternatives)
        self._against.multiply(ratios, self._evidence.overdispersion, could)

    def _compare(self, process: Process, canary: VersionSample, stable: VersionSample) -> None:
        table = (canary.requests, self.bad(canary), stable.requests, self.bad(stable))
        _weigh_table(process, table, self._evidence.odds, self._evidence.overdispersion)

    def _certain(self, sample: VersionSample) -> Counts:
        if self.gate.quantile is None:
            return sample.requests, self.bad(sample)
        if sample.latency_ms is None:
            return 0, 0
        return sample.latency_ms.total, histograms.certainly_above(sample.latency_ms, self._limit_ms)

    def _bad(self, total: Total) -> tuple[int, float]:
        """Requests and bad ones of a window, a bucket that holds the limit divided evenly."""
        if self.gate.quantile is None:
            return total.requests, float(self.bad(total))
        if total.latency is None:
            return 0, 0.0
        return total.latency.total, histograms.above(total.latency, self._limit_ms)

    def _over(self, total: Total) -> bool:
        requests, bad = self._bad(total)
        return bad > self._share * requests * (1 + 1e-9)

    def _over_whole(self) -> bool:
        return self._whole[1] > self._share * self._whole[0]

    def _value(self, total: Total) -> float | None:
        if self.gate.quantile is None:
            return self.bad(total) / total.requests if total.requests else None
        return histograms.quantile(total.latency, self.gate.quantile) if total.latency else None

    def _shown(self) -> bool:
        """Whether ``detect`` times the limit's odds are ruled out by the window."""
        requests, bad = self._bad(self.canary)
        null = with_odds(self._share, self._evidence.detect)
        alternatives = [with_odds(null, factor) for factor in _better(self._evidence.detect)]
        return _ruled_out(requests, ceil(bad), null, alternatives, self._evidence.overdispersion) >= log(SHOWN)

    def assess(self, look: Look) -> Finding:
        """Proof, then the window's value against the limit, then whether a real regression would have shown."""
        value, stable = self._value(self.canary), self._value(self.stable)
        limit = self._share if self.gate.quantile is None else self._limit_ms
        unit, metric = self.unit, self.gate.metric
        said = f"{metric} of the canary is {show(value, unit)} over {self.canary.requests} requests"
        of = f"the limit of {show(limit, unit)}"

        def found(outcome: Outcome, text: str) -> Finding:
            return Finding(outcome, text, value, limit, stable)

        odds = f"{exp(min(self.log_evidence(), 27.0)):.3g}:1 of {self.needed:.3g}:1"
        if self._proved:
            proved = "proved over" if self._over(self.canary) else "all minutes of the rollout together prove it over"
            return found(Outcome.FAIL, f"{said}; {proved} {of}, {self._proved} (evidence {odds} needed)")
        if self._over(self.canary):
            if self._hold and not look.bake and self.stable.requests and self._over(self.stable):
                return found(
                    Outcome.CONTINUE,
                    f"{said}, over {of}, but so is stable's {show(stable, unit)}: not held against the canary",
                )
            return found(Outcome.CONTINUE, f"{said}, over {of}, but that is not proved yet (evidence {odds} needed)")
        if not self._shown():
            worse = show(with_odds(self._share, self._evidence.detect), "share")
            what = (
                f"{worse} of {_NOUNS[self.gate.metric]}"
                if self.gate.quantile is None
                else f"{worse} of requests above {show(limit, unit)}"
            )
            return found(Outcome.INSUFFICIENT, f"{said}, within {of}, but too few to rule out {what}")
        return found(Outcome.PASS, f"{said}, within {of}")

    def log_evidence(self) -> float:
        """The stronger of the two processes."""
        both = [self._against.log_value]
        if self._versus:
            both.append(self._versus.log_value)
        return max(both)


@dataclass
class Relative(Check):
    """The canary's share of bad requests against stable's over the same minutes.

    For error rates bad is an error, for rejection rates an answer with 4xx. For latencies it is a request slower than a
    cut: the bucket bound nearest to stable's own quantile of the intervals before (``cuts``). The accepted odds are
    those that a stable slowed by the margin would show.
    """

    kind: Kind = field(default="relative")

    def __post_init__(self) -> None:
        self._evidence = self.gate.evidence or Evidence()
        # An improvement is a claim: it must be shown. That nothing got worse need only be shown up to ``detect``.
        self._improves = self.gate.better_than_stable is not None
        self._detect = 1.0 if self._improves else self._evidence.detect
        self._against = Process(len(WORSE), self.needed)
        self._for = Process(len(_better(self._detect)), SHOWN, all_at_once=True)
        self._recent = Recent(self.gate.quantile or 0.0)
        self._one_bucket = False

    def new_step(self) -> None:
        """Forget the window, invest anew; what must be shown must be shown again."""
        super().new_step()
        self._against.new_step()
        self._for.restart()

    def learn(self, stable: VersionSample) -> None:
        """Stable's latencies place the cut of the intervals to come."""
        if self.gate.quantile is not None:
            self._recent.learn(stable.latency_ms)

    def weigh(self, placed: Placed) -> None:
        """One hypergeometric factor against the canary, and one for it."""
        canary, stable = placed.interval.canary, placed.interval.stable
        if canary is None or stable is None:
            return
        table = self._latency_table(canary, stable) if self.gate.quantile else self._error_table(canary, stable)
        if table is None:
            return
        counts, odds = table
        spread = self._evidence.overdispersion
        _weigh_table(self._against, counts, odds, spread)
        if placed.in_window:
            bound = odds * self._detect
            better = [bound * factor for factor in _better(self._detect)]
            self._for.multiply(_table_ratios(counts, bound, better), spread)

    def _error_table(self, canary: VersionSample, stable: VersionSample) -> tuple[Table, float]:
        both = canary.requests + stable.requests
        bad, stable_bad = self.bad(canary), self.bad(stable)
        share = (bad + stable_bad) / both if both else 0.0
        odds = self._evidence.odds if self.gate.factor is None else _odds_of(share, self.gate.factor)
        return (canary.requests, bad, stable.requests, stable_bad), odds

    def _latency_table(self, canary: VersionSample, stable: VersionSample) -> tuple[Table, float] | None:
        if canary.latency_ms is None or stable.latency_ms is None or self.gate.quantile is None:
            return None
        one, other = histograms.common(canary.latency_ms, stable.latency_ms)
        placed = self._recent.place(one, other, self.gate.factor)
        self._one_bucket = placed.one_bucket
        limit, odds = placed.limit, placed.odds
        if limit is None:
            return None
        slow, stable_slow = histograms.certainly_above(one, limit), histograms.certainly_above(other, limit)
        return (one.total, slow, other.total, stable_slow), self._evidence.odds if odds is None else odds

    def _values(self) -> tuple[float | None, float | None]:
        if self.gate.quantile is None:
            one = self.bad(self.canary) / self.canary.requests if self.canary.requests else None
            return one, self.bad(self.stable) / self.stable.requests if self.stable.requests else None
        if self.canary.latency is None or self.stable.latency is None:
            return None, None
        one_h, other_h = histograms.common(self.canary.latency, self.stable.latency)
        return histograms.quantile(one_h, self.gate.quantile), histograms.quantile(other_h, self.gate.quantile)

    def assess(self, look: Look) -> Finding:  # noqa: ARG002 - the same at every look
        """Proof, then whether the evidence leans against the canary, then whether a regression is ruled out."""
        value, stable = self._values()
        factor = self._evidence.odds if self.gate.factor is None else self.gate.factor
        limit = None if stable is None else stable * factor
        unit, evidence = self.unit, exp(min(self.log_evidence(), 27.0))
        said = (
            f"{self.gate.metric} of the canary is {show(value, unit)}, stable's {show(stable, unit)}"
            f" (at most {factor:.4g} times that is accepted)"
        )
        odds = f"evidence {evidence:.3g}:1 of {self.needed:.3g}:1 needed"

        def found(outcome: Outcome, text: str) -> Finding:
            return Finding(outcome, text, value, limit, stable)

        if self._against.crossed:
            return found(Outcome.FAIL, f"{said}; proved worse than that ({odds})")
        # Rates of few errors scatter too much to be held against the limit as they are; quantiles do not.
        over = self.gate.quantile is not None and value is not None and limit is not None and value > limit
        if evidence > LEANING or (over and evidence > SOME):
            return found(Outcome.CONTINUE, f"{said}; it looks worse, but that is not proved yet ({odds})")
        if not self._shown():
            return found(Outcome.INSUFFICIENT, f"{said}; {self._lacking(factor)}")
        why = "shown to be met" if self._improves else f"nothing speaks against it ({odds})"
        if over:
            # The figure is a guess within a bucket; how many are slower than a bound is counted.
            why = f"that figure lies within a bucket, and no more of its requests are slow than accepted ({odds})"
        return found(Outcome.PASS, f"{said}; {why}")

    def _lacking(self, factor: float) -> str:
        if self._one_bucket:
            return "all of stable's lie in one bucket, too wide to tell by; give the gate a max as well"
        if self._improves:
            return "too little to show that improvement"
        return f"too little to rule out {self._detect * factor:.3g} times the odds of a bad request"

    def _shown(self) -> bool:
        if self.gate.quantile is not None:
            return self._within_bucket() if self._one_bucket else self._for.log_value >= log(SHOWN)
        # Two ways to pass, so each must be twice as sure.
        spread = self._evidence.overdispersion
        lower = [with_odds(NEGLIGIBLE_ERRORS, factor) for factor in _better(1.0)]
        requests, bad = self.canary.requests, self.bad(self.canary)
        fine = _ruled_out(requests, bad, NEGLIGIBLE_ERRORS, lower, spread) >= log(2 * SHOWN)
        return self._for.log_value >= log(2 * SHOWN) or (fine and not self._improves)

    def _within_bucket(self) -> bool:
        """Whether the canary's percentile lies within the margin of the lower end of the bucket that holds stable's."""
        quantile, one, other = self.gate.quantile or 0.0, self.canary.latency, self.stable.latency
        if one is None or other is None:
            return False
        one, other = histograms.common(one, other)
        bound = histograms.within(other, quantile, self.gate.factor or 1.0)
        if bound is None:
            return False
        null, slow = 1 - quantile, histograms.certainly_above(one, bound)
        lower = [with_odds(null, factor) for factor in _better(self._evidence.detect)]
        return _ruled_out(one.total, slow, null, lower, self._evidence.overdispersion) >= log(SHOWN)

    def log_evidence(self) -> float:
        """Of the process against the canary."""
        return self._against.log_value


def _table_ratios(table: Table, null: float, alternatives: Sequence[float]) -> tuple[float, ...]:
    """Log likelihood ratios of odds ratios against ``null``."""
    canary, canary_bad, stable, stable_bad = table
    return hypergeometric_log_ratios(
        canary=canary,
        canary_bad=canary_bad,
        stable=stable,
        stable_bad=stable_bad,
        null=null,
        alternatives=alternatives,
    )


def _weigh_table(process: Process, table: Table, null: float, overdispersion: float) -> None:
    """Evidence of one table against odds of at most ``null``."""
    canary, canary_bad, stable, stable_bad = table
    bad, worse = canary_bad + stable_bad, [null * factor for factor in WORSE]
    tells = canary and stable and 0 < bad < canary + stable
    could = partial(of_table, canary=canary, stable=stable, bad=bad, null=null, alternatives=worse) if tells else None
    process.multiply(_table_ratios(table, null, worse), overdispersion, could)


def _better(detect: float) -> tuple[float, ...]:
    """What the canary is supposed to be instead of the regression to be ruled out: just accepted, or far better."""
    return (1 / detect, 1 / (4 * detect)) if detect >= CLEAR else (1 / 2, 1 / 4, 1 / 16)


def _ruled_out(requests: int, bad: int, null: float, alternatives: Sequence[float], overdispersion: float) -> float:
    """Log e-value for a share of bad requests below ``null``."""
    ratios = binomial_log_ratios(requests=requests, bad=bad, null=null, alternatives=alternatives)
    return log_sum([ratio / overdispersion for ratio in ratios]) - log(len(ratios))


def _odds_of(share: float, factor: float) -> float:
    """Odds ratio of a rate ``factor`` times ``share`` against ``share``."""
    share = min(share, _CLOSE_TO_ONE, _CLOSE_TO_ONE / factor)
    return factor * (1 - share) / (1 - factor * share)


def show(value: float | None, unit: str) -> str:
    """A number with its unit, for a sentence."""
    if value is None:
        return "unknown"
    if unit == "share":
        return f"{value * 100:.3g}%"
    return f"{digits(value)} {unit}".rstrip()

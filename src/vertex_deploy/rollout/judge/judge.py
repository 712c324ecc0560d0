"""The judge: intervals in, verdicts out. Pure and deterministic: the same calls give the same verdicts.

The driver calls ``begin_step`` when a new split is in place, ``update`` with each interval as it is read, and
``look`` when time passed without one. Windows (values, minimum requests, gaps) are of the current step; evidence runs
over the whole rollout, so that the chance of a false alarm is at most ``alpha`` over all gates, steps and looks
together. After promotion ``begin_bake`` judges absolute limits alone.

It leaves out: reading metrics, clocks, and what to do about a verdict.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vertex_deploy.rollout.judge.checks import Check, Look
from vertex_deploy.rollout.judge.intake import Ledger, Step
from vertex_deploy.rollout.judge.means import Mean
from vertex_deploy.rollout.judge.tails import Absolute, Relative
from vertex_deploy.rollout.judge.verdict import Outcome, Reading, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from vertex_deploy.metrics.types import Interval
    from vertex_deploy.spec.gates import Gate

# From the worst to the best: what a rollout waits for decides.
_ORDER = (Outcome.INSUFFICIENT, Outcome.CONTINUE)


class Judge:
    """Judges a canary by gates.

    Args:
        gates: the conditions, as in the spec.
        alpha: chance of ever failing a canary that meets every gate, over the whole rollout.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1.
    """

    def __init__(self, gates: Sequence[Gate], *, alpha: float = 0.05) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is a probability between 0 and 1, not {alpha}")
        self.gates = tuple(gates)
        self.alpha = alpha
        self._ledger = Ledger()
        self._checks = [check for gate in self.gates for check in _checks(gate, self.gates, alpha)]

    def begin_step(self, name: str, at: datetime | None = None) -> None:
        """Start a new window: a new split is in place.

        Args:
            name: shown in verdicts, such as "10%".
            at: when the split was in place; the newest interval's end where absent.
        """
        self._begin(Step(name, at or self._ledger.newest))

    def begin_bake(self, at: datetime | None = None) -> None:
        """All traffic is the canary's from ``at`` on: judge absolute limits alone, until the judge is dropped."""
        self._begin(Step("bake", at or self._ledger.newest, bake=True))
        for check in self._checks:
            if isinstance(check, Absolute):
                check.bake = True

    def _begin(self, step: Step) -> None:
        self._ledger.steps.append(step)
        for check in self._checks:
            check.new_step()

    def update(self, interval: Interval) -> Verdict:
        """Take an interval in and judge.

        Args:
            interval: both versions over the same stretch of time; intervals may come late, twice or not at all.

        Returns:
            The verdict at the newest interval's end.
        """
        self.take(interval)
        return self.look()

    def take(self, interval: Interval) -> None:
        """Take an interval in without judging: many of them, of which only the last verdict is wanted.

        Args:
            interval: as for ``update``.
        """
        placed = self._ledger.take(interval)
        if placed:
            for check in self._checks:
                if not (self._ledger.step.bake and check.kind == "relative"):
                    check.observe(placed)

    def look(self, now: datetime | None = None) -> Verdict:
        """The verdict without a new interval.

        Args:
            now: time of the look, for gates that fail or wait without data; the newest interval's end where absent.
        """
        ledger = self._ledger
        moment = max((m for m in (now, ledger.newest) if m is not None), default=None)
        look = Look(moment, ledger.step.bake, ledger.step.start)
        pairs = [
            (
                check.gate,
                check.read(look, ledger.missing(check.span.start, check.accounted, check.gate.initial_delay)),
            )
            for check in self._checks
            if not (ledger.step.bake and check.kind == "relative")
        ]
        outcome, explanation = _combine(pairs, self.gates)
        ended, ended_why = _combine([(gate, _at_end(gate, reading)) for gate, reading in pairs], self.gates)
        return Verdict(
            outcome=outcome,
            explanation=explanation,
            readings=tuple(reading for _, reading in pairs),
            at=moment,
            step=ledger.step.name,
            notes=ledger.notes(),
            if_hold_ended=ended,
            if_hold_ended_why=ended_why,
        )


def replay(gates: Sequence[Gate], intervals: Iterable[Interval], *, alpha: float = 0.05) -> list[Verdict]:
    """The verdict after each interval of one step."""
    judge = Judge(gates, alpha=alpha)
    return [judge.update(interval) for interval in intervals]


def _checks(gate: Gate, gates: Sequence[Gate], alpha: float) -> list[Check]:
    """The checks of a gate, each with its part of alpha.

    alpha is divided among the gates by weight, then evenly among a gate's processes (a union bound). A dry run decides
    nothing and takes nothing; it is read as if it were the only other gate.
    """
    makers: list[Callable[..., Check]] = []
    processes = 0
    if gate.custom:
        makers += [
            partial(Mean, gate, limit=limit, upper=upper)
            for limit, upper in ((gate.max, True), (gate.min, False))
            if limit is not None
        ]
        if gate.factor is not None:
            makers.append(partial(Mean, gate, kind="relative", upper=gate.better == "lower"))
        processes = len(makers)
    else:
        if gate.max is not None:
            makers.append(partial(Absolute, gate))
            processes += 2 if gate.rate and gate.factor is None else 1
        if gate.factor is not None or (gate.evidence is not None and gate.max is None):
            makers.append(partial(Relative, gate))
            processes += 1
    deciding = sum(other.weight for other in gates if not other.dry_run)
    whole = deciding + gate.weight if gate.dry_run else deciding
    return [make(needed=whole * processes / (gate.weight * alpha)) for make in makers]


def _at_end(gate: Gate, reading: Reading) -> Reading:
    """A reading as it counts when the hold has ended: the gate's own policy on what is inconclusive."""
    if reading.outcome not in _ORDER or gate.inconclusive == "hold":
        return reading
    return replace(reading, outcome=Outcome.FAIL if gate.inconclusive == "fail" else Outcome.PASS)


def _combine(pairs: Sequence[tuple[Gate, Reading]], gates: Sequence[Gate]) -> tuple[Outcome, str]:
    """One outcome of all readings, and the sentence that says why."""
    deciding = [(gate, reading) for gate, reading in pairs if not gate.dry_run]
    if not deciding:
        why = "no gates" if not gates else "no gate that decides (all are dry runs or compare with stable)"
        return Outcome.INSUFFICIENT, f"{why}: nothing is measured, so nothing can pass"
    failed = [(gate, reading) for gate, reading in deciding if reading.outcome is Outcome.FAIL]
    for gate, reading in failed:
        if gate.critical:
            return Outcome.FAIL, reading.explanation
    weights = {id(gate): gate.weight for gate, _ in failed}
    whole = sum({id(gate): gate.weight for gate, _ in deciding}.values())
    if sum(weights.values()) > whole / 2:
        names = ", ".join(sorted({gate.label for gate, _ in failed}))
        return Outcome.FAIL, f"gates that fail ({names}) weigh {sum(weights.values()):g} of {whole:g}, more than half"
    for outcome in _ORDER:
        for _, reading in deciding:
            if reading.outcome is outcome:
                return outcome, reading.explanation
    extra = f"; failing without a veto: {', '.join(gate.label for gate, _ in failed)}" if failed else ""
    passing = f"all {len(deciding)} checks pass" if len(deciding) > 1 else "the one check passes"
    return Outcome.PASS, f"{passing}{extra}"

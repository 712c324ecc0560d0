"""What a controller knows of the two versions: it reads metrics, lets the judge see them, and loses none in a restart.

A judge is rebuilt from the history, so a new controller decides as the old one would have. Somebody who goes on from a
pause that a failing gate led to overrules that judge: another one starts there, with nothing seen of the canary and an
alpha of its own. Where a gate compares latencies, a judge is shown an hour of stable alone before it sees the canary:
before the first split what was measured then, after a pause what the history holds. It is no evidence, but says which
latencies are slow for stable; an absolute limit says that itself. Metrics that cannot be read are no evidence. Left
out: what follows from a verdict (``decide``), and committing it (``controller``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError
from vertex_deploy.metrics import codec
from vertex_deploy.rollout.judge.judge import Judge
from vertex_deploy.rollout.judge.verdict import Outcome
from vertex_deploy.rollout.machine import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.metrics.types import Interval, MetricSource, VersionSample
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.spec.gates import Gate

PREFLIGHT_WINDOW = 3600.0
"""Seconds in which stable should have been measured before a rollout starts."""
LEAD_IN = 3600.0
"""Seconds of stable alone that a judge sees before it sees the canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at the metrics.

    Args:
        intervals: what is new, oldest first.
        verdict: the judge's word, as JSON.
        problem: why metrics, or custom metrics alone, could not be read, or "".
    """

    intervals: tuple[Interval, ...]
    verdict: Mapping[str, Any]
    problem: str = ""


class Evidence:
    """The judge of one rollout and where it looks.

    Args:
        plan: the rollout's numbers.
        gates: what is judged.
        source_for: gives the metric source of an endpoint.
        log: reads the rollout's history.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        gates: Sequence[Gate],
        source_for: Callable[[str], MetricSource],
        log: Callable[[], Sequence[LogEntry]],
    ) -> None:
        self._plan = plan
        self.gates = tuple(gates)
        self._source_for = source_for
        self._log = log
        self._compared = any(gate.quantile is not None and (gate.factor or gate.max is None) for gate in self.gates)
        self._source: MetricSource | None = None
        self._judge: Judge | None = None

    def moved(self, record: Record, at: float) -> None:
        """A phase was entered: what was measured before belongs to another split."""
        if record.phase is Phase.PAUSED:
            # Whether the judge goes on from here is for the history to say.
            self._judge = None
        if self._judge is not None:
            self._tell(self._judge, record.phase, record.step, record.split.get(record.canary, 0), at)

    def measure(self, record: Record, now: float) -> Reading:
        """Read what is new and judge.

        Args:
            record: where the rollout is.
            now: seconds since the epoch.
        """
        judge = self._judge = self._judge or self.rebuilt(record.canary)
        until = _moment(now)
        problem = ""
        source = self.source(record.endpoint or "")
        try:
            intervals = (
                *self._lead_in(source, record),
                *source.read(
                    # While stable is only kept warm it has no traffic, and nothing is expected of it.
                    stable="" if record.bare else record.stable or "",
                    canary=record.canary,
                    since=_moment(max(record.measured_until, record.entered)),
                    until=until,
                ),
            )
        except CloudError as error:
            intervals, problem = (), str(error)
        else:
            problem = str(source.problem or "")
        for interval in intervals:
            judge.take(interval)
        return Reading(intervals=intervals, verdict=judge.look(until).to_json(), problem=problem)

    def _lead_in(self, source: MetricSource, record: Record) -> tuple[Interval, ...]:
        """Stable alone before the first split; it is committed with the rest, so a rebuilt judge sees it too."""
        if not self._compared or record.measured_until or record.phase is not Phase.HOLDING or not record.stable:
            return ()
        since, until = _moment(record.entered - LEAD_IN), _moment(record.entered)
        found = source.read(stable=record.stable, canary="", since=since, until=until)
        return tuple(replace(interval, canary=None) for interval in found)

    def last_hour(self, endpoint: str, stable: str, now: float) -> list[Interval]:
        """What was measured of stable in the last hour.

        Raises:
            CloudError: the metrics, or custom metrics, cannot be read at all.
        """
        since, source = _moment(now - PREFLIGHT_WINDOW), self.source(endpoint)
        found = source.read(stable=stable, canary="", since=since, until=_moment(now))
        if source.problem is not None:
            raise source.problem
        return [interval for interval in found if interval.stable is not None]

    def lacking(self, samples: Sequence[VersionSample]) -> tuple[str, ...]:
        """The custom metrics of gates that none of these has."""
        names = dict.fromkeys(gate.metric for gate in self.gates if gate.custom and not gate.dry_run)
        return tuple(name for name in names if not any(name in sample.gauges for sample in samples))

    def source(self, endpoint: str) -> MetricSource:
        """The metric source, made at the first call."""
        if self._source is None:
            self._source = self._source_for(endpoint)
        return self._source

    def rebuilt(self, canary: str) -> Judge:
        """A judge that has seen what the history holds."""
        judge = Judge(self.gates)
        weight = 0
        failed = False
        seen: list[Interval] = []
        for entry in self._log():
            if entry.kind == "transition":
                if Phase(entry.data["to"]) is Phase.PAUSED:
                    failed = judge.look(_moment(entry.at)).outcome is Outcome.FAIL
                elif failed:
                    judge, failed = self._another(seen), False
                weight = entry.data.get("split", {}).get(canary, weight)
                self._tell(judge, Phase(entry.data["to"]), entry.data["step"], weight, entry.at)
            for interval in entry.data.get("intervals", ()):
                # Read once, at the end: a reading costs as much as taking the interval in.
                seen.append(codec.from_json(interval))
                judge.take(seen[-1])
        return judge

    def _another(self, seen: Sequence[Interval]) -> Judge:
        """A judge after one that was overruled: it knows stable's last hour, and nothing of the canary."""
        judge = Judge(self.gates)
        if self._compared and seen:
            since = max(interval.end for interval in seen) - timedelta(seconds=LEAD_IN)
            for interval in seen:
                if interval.end > since:
                    judge.take(replace(interval, canary=None))
        return judge

    def _tell(self, judge: Judge, phase: Phase, step: int, weight: int, at: float) -> None:
        if phase is Phase.HOLDING:
            judge.begin_step(f"{weight or self._plan.weights[step]}%", _moment(at))
        elif phase is Phase.KEEPING_STABLE:
            judge.begin_bake(_moment(at))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

"""Custom metrics beside what an endpoint measures: each from a source of its own, joined into the same intervals.

``with_gauges`` (pure) is the join; ``JoinedSource`` asks. A custom metric that cannot be read takes nothing away from
the others: the intervals are held back until its source settles, then given without it, and ``problem`` says why. So a
broken Prometheus delays what is known of errors by at most ``Gauge.lag``, and never passes a gate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.types import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vertex_deploy.metrics.types import MetricSource, VersionSample

PROBE = 60.0
"""Seconds of the interval that is asked for where there is none yet, so that a source that is gone is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugePoint:
    """A value of a custom metric of one version.

    Args:
        deployed_id: of the version.
        name: of the metric.
        end: seconds since the epoch.
        value: in the metric's own unit.
        weight: values that it is the mean of: a distribution's count, 1 for a plain number.
    """

    deployed_id: str
    name: str
    end: float
    value: float
    weight: float = 1.0


class Gauge(Protocol):
    """Reads one custom metric; implementations: ``cloud_gauges``, ``prometheus``."""

    @property
    def name(self) -> str:
        """The gate's metric."""
        ...

    @property
    def lag(self) -> float:
        """Seconds after an interval's end until nothing more is expected for it."""
        ...

    def points(self, ids: Sequence[str], intervals: Sequence[Interval]) -> Sequence[GaugePoint]:
        """What was measured in these intervals; nothing for a version and interval without a measurement.

        Args:
            ids: deployed model ids.
            intervals: oldest first, never empty.

        Raises:
            CloudError: the source cannot be reached, refuses, or answers what is not one number.
        """
        ...


class JoinedSource:
    """A ``MetricSource`` with custom metrics in its samples.

    Args:
        base: requests, errors and latencies.
        gauges: custom metrics, each under a name of its own.
    """

    def __init__(self, base: MetricSource, gauges: Sequence[Gauge]) -> None:
        self._base = base
        self._gauges = tuple(gauges)
        self._problems: dict[str, CloudError] = {}

    @property
    def lag(self) -> float:
        """Seconds after which nothing more is expected for a period, of any source."""
        return max(self._base.lag, *(gauge.lag for gauge in self._gauges))

    @property
    def problem(self) -> CloudError | None:
        """See ``MetricSource``; of several that cannot be read, it may pass only where each of them may."""
        if not self._problems:
            return None
        lasting = [error for error in self._problems.values() if not error.transient]
        text = "; ".join(f"{name}: {error}" for name, error in self._problems.items())
        return CloudError(text, code=lasting[0].code if lasting else "UNAVAILABLE", transient=not lasting)

    def read(self, *, stable: str, canary: str, since: datetime, until: datetime) -> Sequence[Interval]:
        """See ``MetricSource``; a custom metric that cannot be read raises nothing, ``problem`` says it."""
        self._problems = {}
        found = self._base.read(stable=stable, canary=canary, since=since, until=until)
        asked = found or [Interval(until, PROBE, None, None)]
        points: list[GaugePoint] = []
        for gauge in self._gauges:
            try:
                points += gauge.points([name for name in (stable, canary) if name], asked)
            except CloudError as error:
                self._problems[gauge.name] = error
        settle = {gauge.name: gauge.lag for gauge in self._gauges}
        return with_gauges(found, points, settle=settle, ids=(stable, canary), until=until.timestamp())


def with_gauges(
    found: Sequence[Interval],
    points: Sequence[GaugePoint],
    *,
    settle: Mapping[str, float],
    ids: tuple[str, str],
    until: float,
) -> list[Interval]:
    """The intervals with the means of custom metrics, as far as they were measured.

    Args:
        found: from ``points.intervals``.
        points: in any order; values that are no number (NaN, infinite) or that nothing was counted for are left out.
        settle: of each metric, seconds after which nothing more is expected. A younger interval in which a version
            that had requests lacks its mean ends the list, unless that version has a later one: points of a series
            come in order.
        ids: deployed model ids of stable and canary.
        until: now, seconds since the epoch.
    """
    held: dict[tuple[str, str], list[GaugePoint]] = {}
    for point in points:
        if isfinite(point.value) and 0 < point.weight < inf:
            held.setdefault((point.deployed_id, point.name), []).append(point)
    newest = {key: max(point.end for point in series) for key, series in held.items()}
    out: list[Interval] = []
    for interval in found:
        end = interval.end.timestamp()
        samples: list[VersionSample | None] = []
        awaited = False
        for sample, deployed_id in zip((interval.stable, interval.canary), ids, strict=True):
            means = {}
            for name, patience in settle.items():
                key = (deployed_id, name)
                inside = [point for point in held.get(key, ()) if end - interval.seconds < point.end <= end]
                if inside:
                    total = sum(point.weight for point in inside)
                    means[name] = sum(point.value * point.weight for point in inside) / total
                elif sample is not None and sample.requests and end > newest.get(key, -inf):
                    awaited = awaited or until - end < patience
            samples.append(sample and replace(sample, gauges=means))
        if awaited:
            break
        out.append(replace(interval, stable=samples[0], canary=samples[1]))
    return out

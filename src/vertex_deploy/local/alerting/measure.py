"""From stored time series to the readings of a condition at one time. The store is only read.

A threshold looks at the window that ends now, ``(now - alignment period, now]``, as Cloud Monitoring slides it from
minute to minute. Without an aligner it looks at the newest point of the last minute. A ratio is formed of series with
the same labels; one that lacks its numerator, its denominator, or has a denominator of 0 has no value. In particular a
ratio of errors to requests has no value, not 0, while there are no errors and the numerator's metric writes none.

What lies between two points, of a cumulative metric or for ALIGN_INTERPOLATE, is known up to the newest: such a series
is looked at as of its newest point if that is less than a minute old, as the cloud looks at every one minutes late.
Otherwise a counter that is written seventeen seconds after each minute would seem to count less than a third.

Left out: points that arrive after the time they are of was evaluated are not evaluated again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.local.alerting.conditions import MINUTE, Absence, Reading
from vertex_deploy.local.monitoring import filters, query
from vertex_deploy.local.monitoring.values import Dist, Kind, Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.local.alerting.conditions import Condition, Policy, Selection, Threshold
    from vertex_deploy.local.monitoring.values import Point, SeriesKey

_Labels = tuple[tuple[tuple[str, str], ...], str, tuple[tuple[str, str], ...]]


class Source(Protocol):
    """What is read of the store of time series."""

    def keys(self, project: str, metric: str) -> list[SeriesKey]:
        """The series of a metric."""
        ...

    def points(self, key: SeriesKey, after: int, until: int) -> tuple[Point, ...]:
        """Points whose end lies in ``(after, until]``, oldest first."""
        ...

    def last(self, key: SeriesKey) -> Point | None:
        """The newest point of a series."""
        ...


@dataclass(frozen=True, slots=True)
class At:
    """When to measure: ``now`` and what counts as a minute, nanoseconds."""

    now: int
    minute: int = MINUTE


_Ident = tuple[str, str, "filters.Node", tuple[tuple[int, str, str, tuple[str, ...]], ...]]
MAX_REMEMBERED = 2000
"""Selections whose series are remembered; beyond, all are forgotten and found anew."""


class Meter:
    """Measures policies; what several of them need of one time is read and computed once.

    Which series a filter selects is remembered over time, since the labels of a series never change.

    Args:
        source: the time series.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._matched: dict[_Ident, tuple[list[SeriesKey], list[tuple[SeriesKey, SeriesKey]]]] = {}
        self._at = At(0)
        self._aligned: dict[tuple[SeriesKey, str, int, int], Series | None] = {}
        self._grouped: dict[tuple[object, ...], Series | None] = {}
        self._values: dict[_Ident, dict[_Labels, float]] = {}

    def measure(self, policy: Policy, at: At) -> list[list[Reading]]:
        """The readings of every condition of a policy, in the order of its conditions.

        Args:
            policy: compiled and legal.
            at: the time of the evaluation.

        Raises:
            ApiError: distributions with different buckets would have to be combined.
        """
        if at != self._at:
            self._at = at
            self._aligned.clear()
            self._grouped.clear()
            self._values.clear()
        return [self._measured(policy, condition) for condition in policy.conditions]

    def _measured(self, policy: Policy, condition: Condition) -> list[Reading]:
        now = self._at.now
        seen = self._seen(policy, condition)
        if isinstance(condition, Absence):
            known = {key: end for key, end in seen.items() if end >= policy.since}
            return [Reading(key, now - end >= condition.duration, None, end) for key, end in known.items()]
        values = self._compared(policy.project, condition)
        return [
            Reading(key, None if value is None else _violates(condition, value), value, end)
            for key, end in seen.items()
            for value in (values.get(_labels(key)),)
        ]

    def _matching(self, project: str, selection: Selection) -> list[tuple[SeriesKey, SeriesKey]]:
        """The series that a filter selects, each with the one that it goes into."""
        ident = _ident(project, selection)
        keys = self._source.keys(project, selection.metric.type)
        known = self._matched.get(ident)
        if known is not None and known[0] == keys:
            return known[1]
        found = [
            (key, query.result_key(key, selection.steps))
            for key in keys
            if filters.matches(selection.tree, query.subject(key))
        ]
        if len(self._matched) >= MAX_REMEMBERED:
            self._matched.clear()
        self._matched[ident] = (keys, found)
        return found

    def _seen(self, policy: Policy, condition: Condition) -> dict[SeriesKey, int]:
        """When each series, as it is after aggregation, last had data; without those that are given up."""
        out: dict[SeriesKey, int] = {}
        since = self._at.now - condition.forgotten(policy.auto_close)
        for key, result in self._matching(policy.project, condition.series):
            last = self._source.last(key)
            if last is not None and last.end > since:
                out[result] = max(out.get(result, 0), last.end)
        return out

    def _compared(self, project: str, condition: Threshold) -> dict[_Labels, float]:
        values = self._newest(project, condition.series)
        if condition.denominator is None:
            return values
        below = self._newest(project, condition.denominator)
        return {labels: value / below[labels] for labels, value in values.items() if below.get(labels)}

    def _newest(self, project: str, selection: Selection) -> dict[_Labels, float]:
        """The value of each series in the window that ends now."""
        ident = _ident(project, selection)
        if ident not in self._values:
            found = (
                (series.key, _value(series.points, selection.steps, self._at)) for series in self._run(ident, selection)
            )
            self._values[ident] = {_labels(key): value for key, value in found if value is not None}
        return self._values[ident]

    def _run(self, ident: _Ident, selection: Selection) -> list[Series]:
        steps, now = selection.steps, self._at.now
        window = max((step.period for step in steps), default=0) or self._at.minute
        matching = self._matching(ident[0], selection)
        if not steps:
            return [self._raw(key, selection, now - window) for key, _ in matching]
        groups: dict[SeriesKey, list[SeriesKey]] = {}
        for key, result in matching:
            # With a second step the result is that of both.
            groups.setdefault(query.result_key(key, steps[:1]) if steps[1:] else result, []).append(key)
        with query.same_buckets():
            found = [self._group(tuple(members), selection, window) for members in groups.values()]
        return query.run([series for series in found if series], steps[1:], start=now - window, end=now)

    def _group(self, members: tuple[SeriesKey, ...], selection: Selection, window: int) -> Series | None:
        """Series that the first reducer makes one."""
        step = selection.steps[0]
        ident = (members, step.aligner, step.period, step.reducer, step.group_by, window)
        if ident not in self._grouped:
            first = (self._first(key, selection, window) for key in members)
            found = query.reduced([series for series in first if series], step)
            self._grouped[ident] = found[0] if found else None
        return self._grouped[ident]

    def _first(self, key: SeriesKey, selection: Selection, window: int) -> Series | None:
        """A series after the first aligner."""
        step, start = selection.steps[0], self._at.now - window
        ident = (key, step.aligner, step.period, window)
        if ident not in self._aligned:
            # The first difference of a cumulative series needs the point before the window.
            before = 10 * self._at.minute if selection.metric.kind is Kind.CUMULATIVE else 0
            raw = self._raw(key, selection, start - before)
            if before or step.aligner == "ALIGN_INTERPOLATE":
                raw = replace(raw, points=_caught_up(raw.points, self._at))
            self._aligned[ident] = query.aligned(raw, step, start=start, end=self._at.now) if raw.points else None
        return self._aligned[ident]

    def _raw(self, key: SeriesKey, selection: Selection, after: int) -> Series:
        metric = selection.metric
        return Series(key, metric.kind, metric.value, metric.unit, self._source.points(key, after, self._at.now))


def _ident(project: str, selection: Selection) -> _Ident:
    steps = tuple((step.period, step.aligner, step.reducer, step.group_by) for step in selection.steps)
    return project, selection.metric.type, selection.tree, steps


def _caught_up(points: tuple[Point, ...], at: At) -> tuple[Point, ...]:
    """Points moved so that the newest ends now, where it is less than a minute old."""
    lag = at.now - points[-1].end if points else 0
    if not 0 < lag < at.minute:
        return points
    return tuple(replace(point, start=point.start + lag, end=point.end + lag) for point in points)


def _violates(condition: Threshold, value: float) -> bool:
    return value > condition.limit if condition.above else value < condition.limit


def _labels(key: SeriesKey) -> _Labels:
    return key.metric_labels, key.resource, key.resource_labels


def _value(points: Sequence[Point], steps: Sequence[object], at: At) -> float | None:
    last = points[-1] if points else None
    if last is None or (steps and last.end != at.now) or isinstance(last.value, Dist | str):
        return None
    return float(last.value)

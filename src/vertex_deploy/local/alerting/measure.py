"""From stored time series to the readings of a condition at one time. Pure: the store is only read.

A threshold looks at the window that ends now, ``(now - alignment period, now]``, as Cloud Monitoring slides it from
minute to minute. Without an aligner it looks at the newest point of the last minute. A ratio is formed of series with
the same labels; one that lacks its numerator, its denominator, or has a denominator of 0 has no value. In particular a
ratio of errors to requests has no value, not 0, while there are no errors and the numerator's metric writes none.

Left out: points that arrive after the time they are of was evaluated are not evaluated again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.local.alerting.conditions import MINUTE, Absence, Reading
from vertex_deploy.local.monitoring import filters, query
from vertex_deploy.local.monitoring.values import Dist, Kind, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


def measure(policy: Policy, source: Source, at: At) -> list[list[Reading]]:
    """The readings of every condition of a policy, in the order of its conditions.

    Args:
        policy: compiled and legal.
        source: the time series.
        at: the time of the evaluation.

    Raises:
        ApiError: distributions with different buckets would have to be combined.
    """
    return [_measured(policy, condition, source, at) for condition in policy.conditions]


def _measured(policy: Policy, condition: Condition, source: Source, at: At) -> list[Reading]:
    seen = _seen(policy, condition.series, source, at)
    if isinstance(condition, Absence):
        known = {key: end for key, end in seen.items() if end >= policy.since}
        return [Reading(key, at.now - end >= condition.duration, None, end) for key, end in known.items()]
    values = _values(policy, condition, source, at)
    return [
        Reading(key, None if value is None else _violates(condition, value), value, end)
        for key, end in seen.items()
        for value in (values.get(_labels(key)),)
    ]


def _violates(condition: Threshold, value: float) -> bool:
    return value > condition.limit if condition.above else value < condition.limit


def _matching(policy: Policy, selection: Selection, source: Source) -> Iterable[SeriesKey]:
    for key in source.keys(policy.project, selection.metric.type):
        if filters.matches(selection.tree, query.subject(key)):
            yield key


def _seen(policy: Policy, selection: Selection, source: Source, at: At) -> dict[SeriesKey, int]:
    """When each series, as it is after aggregation, last had data; those gone for longer than auto-close are left."""
    out: dict[SeriesKey, int] = {}
    for key in _matching(policy, selection, source):
        last = source.last(key)
        if last is not None and at.now - last.end < policy.auto_close:
            result = query.result_key(key, selection.steps)
            out[result] = max(out.get(result, 0), last.end)
    return out


def _labels(key: SeriesKey) -> _Labels:
    return key.metric_labels, key.resource, key.resource_labels


def _values(policy: Policy, condition: Threshold, source: Source, at: At) -> dict[_Labels, float]:
    values = _aligned(policy, condition.series, source, at)
    if condition.denominator is None:
        return values
    below = _aligned(policy, condition.denominator, source, at)
    return {labels: value / below[labels] for labels, value in values.items() if below.get(labels)}


def _aligned(policy: Policy, selection: Selection, source: Source, at: At) -> dict[_Labels, float]:
    """The value of each series in the window that ends now."""
    metric, steps = selection.metric, selection.steps
    window = max((step.period for step in steps), default=0) or at.minute
    # The first difference of a cumulative series needs the point before the window.
    before = window + 10 * at.minute if metric.kind is Kind.CUMULATIVE else 0
    raw = [
        Series(key, metric.kind, metric.value, metric.unit, source.points(key, at.now - window - before, at.now))
        for key in _matching(policy, selection, source)
    ]
    found = query.run(raw, steps, start=at.now - window, end=at.now)
    newest = ((series.key, _newest(series.points, steps, at)) for series in found)
    return {_labels(key): value for key, value in newest if value is not None}


def _newest(points: Sequence[Point], steps: Sequence[object], at: At) -> float | None:
    last = points[-1] if points else None
    if last is None or (steps and last.end != at.now) or isinstance(last.value, Dist | str):
        return None
    return float(last.value)

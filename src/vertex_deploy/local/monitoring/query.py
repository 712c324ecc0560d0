"""Aggregation of time series: what ListTimeSeries does between finding series and answering. Pure.

Left out: paging and messages (``service``), and finding series (``store`` and ``filters``).
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vertex_deploy.local.monitoring import alignment, errors, reduction
from vertex_deploy.local.monitoring.filters import FilterError, Subject, canonical
from vertex_deploy.local.monitoring.values import NS, BucketMismatchError, Kind, Series, SeriesKey, Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Aggregation:
    """google.monitoring.v3.Aggregation.

    Args:
        path: the field of the request, for messages: ``aggregation`` or ``secondaryAggregation``.
        period: nanoseconds; 0: not given.
        aligner: name of the aligner.
        reducer: name of the reducer.
        group_by: selectors that are kept by the reducer.
    """

    path: str
    period: int = 0
    aligner: str = "ALIGN_NONE"
    reducer: str = "REDUCE_NONE"
    group_by: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return self.aligner == "ALIGN_NONE" and self.reducer == "REDUCE_NONE"


LONGEST = 104 * 7 * 86_400 * NS
"""Longest alignment period, nanoseconds: two years."""


def check(
    steps: Sequence[Aggregation], kind: Kind, value_type: Type, *, min_period: int, max_period: int = LONGEST
) -> tuple[Kind, Type]:
    """The kind and value type of the result.

    Args:
        steps: primary, then secondary aggregation.
        kind: metric kind of the metric.
        value_type: its value type.
        min_period: smallest alignment period, nanoseconds (one minute in the cloud).
        max_period: longest one, nanoseconds.

    Raises:
        ApiError: INVALID_ARGUMENT, as the API says it, for the first step that is not legal.
    """
    for step in steps:
        if step.reducer != "REDUCE_NONE" and step.aligner == "ALIGN_NONE":
            why = "The aligner must be specified, and must not be ALIGN_NONE, when a cross-series reducer is specified."
            raise errors.field(f"{step.path}.perSeriesAligner", step.aligner, why)
        if step.aligner != "ALIGN_NONE" and step.period < min_period:
            least = "1 minute" if min_period == 60 * 10**9 else f"{min_period / 10**9:g}s"
            why = f"The alignment period must be greater than or equal to {least}."
            raise errors.field(f"{step.path}.alignmentPeriod", f"{step.period / 10**9:g}s", why)
        if step.aligner != "ALIGN_NONE" and step.period > max_period:
            why = f"The alignment period must be at most {max_period // NS}s."
            raise errors.field(f"{step.path}.alignmentPeriod", f"{step.period // NS}s", why)
        kind, value_type = alignment.check(step.aligner, kind, value_type, step.path)
        kind, value_type = reduction.check(step.reducer, kind, value_type, step.path)
        for name in step.group_by:
            try:
                canonical(name)
            except FilterError as error:
                raise errors.field(f"{step.path}.groupByFields", name, "The field is not a known label.") from error
    return kind, value_type


def run(series: Sequence[Series], steps: Sequence[Aggregation], *, start: int, end: int) -> list[Series]:
    """Align and reduce; series without a point in the interval are dropped.

    Args:
        series: raw series of one metric, points within ``(start, end]``.
        steps: legal (``check`` was called).
        start: nanoseconds, exclusive.
        end: nanoseconds, inclusive.

    Raises:
        ApiError: INVALID_ARGUMENT, distributions with different buckets would have to be combined.
    """
    out = [s for s in series if s.points]
    with same_buckets():
        for step in steps:
            if not step.empty:
                found = (aligned(s, step, start=start, end=end) for s in out)
                out = reduced([s for s in found if s], step)
    return sorted(out, key=lambda s: (s.key.resource, s.key.resource_labels, s.key.metric_labels))


@contextmanager
def same_buckets() -> Iterator[None]:
    """Refuse, as the API would, to combine distributions with different buckets.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    try:
        yield
    except BucketMismatchError as error:
        raise errors.invalid(f"{error}; Local Vertex does not resample them.") from error


def aligned(series: Series, step: Aggregation, *, start: int, end: int) -> Series | None:
    """One series, aligned; None if no window has data.

    Args:
        series: legal for the step's aligner.
        step: whose aligner is applied.
        start: nanoseconds, exclusive.
        end: nanoseconds, inclusive.

    Raises:
        BucketMismatchError: distributions of one window have different buckets.
    """
    points = alignment.align(series.points, step.aligner, series.kind, start=start, end=end, period=step.period)
    if not points:
        return None
    kind, value_type = alignment.check(step.aligner, series.kind, series.type, step.path)
    return replace(series, kind=kind, type=value_type, unit=_unit(step.aligner, series.unit), points=tuple(points))


def _unit(operation: str, unit: str) -> str:
    if operation == "ALIGN_RATE":
        return f"{unit or '1'}/s"
    return "1" if "_COUNT" in operation or "_FRACTION" in operation else unit


def subject(key: SeriesKey) -> Subject:
    """The series as filters and group_by_fields see it."""
    return Subject(key.project, key.metric, dict(key.metric_labels), key.resource, dict(key.resource_labels))


def reduced(series: Sequence[Series], step: Aggregation) -> list[Series]:
    """Aligned series, reduced within their groups by the step's reducer.

    Raises:
        BucketMismatchError: distributions have different buckets.
    """
    if step.reducer == "REDUCE_NONE":
        return list(series)
    fields = [canonical(name) for name in step.group_by]
    groups: defaultdict[tuple[str, ...], list[Series]] = defaultdict(list)
    for s in series:
        seen = subject(s.key)
        groups[s.key.resource, *(seen.get(f) for f in fields)].append(s)
    return [_one(members, step, frozenset(fields)) for members in groups.values()]


def _one(members: Sequence[Series], step: Aggregation, fields: frozenset[str]) -> Series:
    first = members[0]
    kind, value_type = reduction.check(step.reducer, first.kind, first.type, step.path)
    key = _kept(first.key, fields)
    points = reduction.reduce((m.points for m in members), step.reducer)
    return Series(key, kind, value_type, _unit(step.reducer, first.unit), tuple(points))


def _kept(key: SeriesKey, fields: frozenset[str]) -> SeriesKey:
    # The project is part of what a resource is: reduced series still carry it.
    kept = fields | {"resource.labels.project_id"}
    return replace(
        key,
        metric_labels=tuple(kv for kv in key.metric_labels if f"metric.labels.{kv[0]}" in kept),
        resource_labels=tuple(kv for kv in key.resource_labels if f"resource.labels.{kv[0]}" in kept),
    )


def result_key(key: SeriesKey, steps: Sequence[Aggregation]) -> SeriesKey:
    """What a series is called after aggregation: which result a raw series goes into."""
    for step in steps:
        if step.reducer != "REDUCE_NONE":
            key = _kept(key, frozenset(canonical(name) for name in step.group_by))
    return key

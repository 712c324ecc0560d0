"""Aligners of Cloud Monitoring: one series onto a grid of windows. Pure; legality is a table.

Windows end at the interval's end and at whole periods before it, as in ListTimeSeries; the oldest is cut at the
interval's start. A window is ``(start, end]``. A window without data gives no point.

ALIGN_DELTA and ALIGN_RATE share a point that crosses a border between the windows in proportion to the overlap (the
interpolation of the API's documentation), rounding so that integers add up; the other aligners give a point to the
window that holds its end.

Facts are from the enum descriptions of monitoring.v3. The kind of the result of ALIGN_MIN, MAX, SUM (the input's) and
of ALIGN_MEAN, COUNT, STDDEV (GAUGE) is inferred: the documentation names it only for the others.

Left out: ALIGN_PERCENT_CHANGE (it needs ten minutes of data before the interval); refused.
"""

from __future__ import annotations

import itertools
import statistics
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.monitoring.values import (
    NS,
    NUMERIC,
    Dist,
    Kind,
    Number,
    Point,
    Type,
    Value,
    merge,
    part,
    percentile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NUM = NUMERIC
_NUM_DIST = NUMERIC | {Type.DISTRIBUTION}
_NUM_BOOL = NUMERIC | {Type.BOOL}
_BOOL = frozenset({Type.BOOL})
_DIST = frozenset({Type.DISTRIBUTION})
_ANY = frozenset(Type)
_FLOW = frozenset({Kind.DELTA, Kind.CUMULATIVE})
_LEVEL = frozenset({Kind.GAUGE, Kind.DELTA})
_GAUGE = frozenset({Kind.GAUGE})


@dataclass(frozen=True, slots=True)
class Rule:
    """Where an aligner or reducer may be applied, and what comes out; None: the same as went in."""

    kinds: frozenset[Kind]
    types: frozenset[Type]
    kind: Kind | None = None
    type: Type | None = None


RULES: dict[str, Rule] = {
    "ALIGN_DELTA": Rule(_FLOW, _NUM_DIST, Kind.DELTA),
    "ALIGN_RATE": Rule(_FLOW, _NUM, Kind.GAUGE, Type.DOUBLE),
    "ALIGN_INTERPOLATE": Rule(_GAUGE, _NUM),
    "ALIGN_NEXT_OLDER": Rule(_GAUGE, _ANY),
    "ALIGN_MIN": Rule(_LEVEL, _NUM),
    "ALIGN_MAX": Rule(_LEVEL, _NUM),
    "ALIGN_MEAN": Rule(_LEVEL, _NUM, Kind.GAUGE, Type.DOUBLE),
    "ALIGN_COUNT": Rule(_LEVEL, _NUM_BOOL, Kind.GAUGE, Type.INT64),
    "ALIGN_SUM": Rule(_LEVEL, _NUM_DIST),
    "ALIGN_STDDEV": Rule(_LEVEL, _NUM, Kind.GAUGE, Type.DOUBLE),
    "ALIGN_COUNT_TRUE": Rule(_GAUGE, _BOOL, Kind.GAUGE, Type.INT64),
    "ALIGN_COUNT_FALSE": Rule(_GAUGE, _BOOL, Kind.GAUGE, Type.INT64),
    "ALIGN_FRACTION_TRUE": Rule(_GAUGE, _BOOL, Kind.GAUGE, Type.DOUBLE),
    **{f"ALIGN_PERCENTILE_{p}": Rule(_LEVEL, _DIST, Kind.GAUGE, Type.DOUBLE) for p in ("99", "95", "50", "05")},
}
"""Legal inputs and the result of each aligner but ALIGN_NONE, which changes nothing."""


Window = tuple[int, int]
"""Nanoseconds: start, exclusive, and end."""
MAX_WINDOWS = 1_000_000
"""Windows that one series is aligned to."""


def windows(start: int, end: int, period: int, first: int | None = None, last: int | None = None) -> list[Window]:
    """The windows of an interval, oldest first.

    Args:
        start: nanoseconds, exclusive.
        end: nanoseconds, inclusive.
        period: nanoseconds.
        first: windows that end before it are left out, as nothing is in them; an interval may begin in 1970.
        last: windows that begin then or later are left out.

    Raises:
        ApiError: INVALID_ARGUMENT, there are more than ``MAX_WINDOWS``.
    """
    count = -(-(end - start) // period)
    newest = 0 if last is None else max(0, (end - last) // period)
    oldest = count if first is None else min(count, (end - first) // period + 1)
    if oldest - newest > MAX_WINDOWS:
        raise errors.invalid(
            f"The interval has {oldest - newest} alignment periods; Local Vertex answers at most {MAX_WINDOWS}. "
            "Ask for a shorter interval or a longer period."
        )
    return [(max(start, end - (i + 1) * period), end - i * period) for i in reversed(range(newest, oldest))]


def check(aligner: str, kind: Kind, value_type: Type, path: str) -> tuple[Kind, Type]:
    """The kind and value type that an aligner gives.

    Args:
        aligner: its name.
        kind: metric kind of the series.
        value_type: its value type.
        path: field for the message, ``aggregation`` or ``secondaryAggregation``.

    Raises:
        ApiError: INVALID_ARGUMENT, the aligner cannot be applied or is not implemented.
    """
    if aligner == "ALIGN_NONE":
        return kind, value_type
    return outcome(RULES, aligner, kind, value_type, what="aligner", path=f"{path}.perSeriesAligner")


def outcome(
    rules: Mapping[str, Rule], name: str, kind: Kind, value_type: Type, *, what: str, path: str
) -> tuple[Kind, Type]:
    """The kind and value type that an aligner or a reducer (``what``) of a table gives.

    Raises:
        ApiError: INVALID_ARGUMENT, it is not in the table, or not for this kind and type.
    """
    rule = rules.get(name)
    if rule is None:
        raise errors.field(path, name, f"The {what} is not implemented by Local Vertex.")
    if kind not in rule.kinds or value_type not in rule.types:
        why = f"The {what} cannot be applied to metrics with kind {kind} and value type {value_type}."
        raise errors.field(path, name, why)
    return rule.kind or kind, rule.type or value_type


def align(points: Sequence[Point], aligner: str, kind: Kind, *, start: int, end: int, period: int) -> list[Point]:
    """Align one series.

    Args:
        points: oldest first, ends within ``(start, end]``.
        aligner: legal for this series (``check`` was called), not ALIGN_NONE.
        kind: metric kind of the points.
        start: nanoseconds, exclusive.
        end: nanoseconds, inclusive.
        period: nanoseconds.

    Returns:
        One point a window that has data, oldest first, ending where its window does.

    Raises:
        BucketMismatchError: distributions of one window have different buckets.
    """
    flow = aligner in ("ALIGN_DELTA", "ALIGN_RATE")
    if flow and kind is Kind.CUMULATIVE:
        points = _as_delta(points)
    if not points:
        return []
    grid = windows(start, end, period, points[0].start if flow else points[0].end, points[-1].end)
    if aligner == "ALIGN_INTERPOLATE":
        return _interpolated(points, grid)
    gauge = (RULES[aligner].kind or kind) is Kind.GAUGE
    out: list[Point] = []
    first = 0
    for low, high in grid:
        while first < len(points) and points[first].end <= low:
            first += 1
        if flow:
            value = _flow(points, first, low, high, rate=aligner == "ALIGN_RATE")
        else:
            held = _held(points, first, high)
            value = _FOLDS[aligner](held) if held else None
        if value is not None:
            out.append(Point(high if gauge else low, high, value))
    return out


def _held(points: Sequence[Point], first: int, high: int) -> list[Value]:
    held = []
    while first < len(points) and points[first].end <= high:
        held.append(points[first].value)
        first += 1
    return held


def _flow(points: Sequence[Point], first: int, low: int, high: int, *, rate: bool) -> Value | None:
    """What flowed between two times; None if no point overlaps."""
    shares: list[int | float | Dist] = []
    while first < len(points) and points[first].start < high:
        p = points[first]
        span = p.end - p.start
        shares.append(
            part(cast("int | float | Dist", p.value), max(low - p.start, 0) / span, min(high - p.start, span) / span)
        )
        first += 1
    if not shares:
        return None
    if isinstance(shares[0], Dist):
        return merge(cast("list[Dist]", shares))
    total = sum(cast("list[Number]", shares))
    return total * NS / (high - low) if rate else total


def _as_delta(points: Sequence[Point]) -> list[Point]:
    """Differences between neighbours of a cumulative series; a new start time is a reset and counts from zero."""
    out: list[Point] = []
    for before, now in itertools.pairwise(points):
        if now.start > before.start:
            out.append(Point(max(now.start, before.end), now.end, now.value))
        else:
            out.append(Point(before.end, now.end, _minus(now.value, before.value)))
    return [p for p in out if p.end > p.start]


def _minus(now: Value, before: Value) -> Value:
    if isinstance(now, Dist) and isinstance(before, Dist):
        count = now.count - before.count
        total = now.mean * now.count - before.mean * before.count
        mean = total / count if count else 0.0
        counts = tuple(a - b for a, b in zip(now.counts, before.counts, strict=True))
        return Dist(count, mean, max(now.ssd - before.ssd, 0.0), now.buckets, counts)
    return cast("Number", now) - cast("Number", before)


def _interpolated(points: Sequence[Point], grid: Sequence[Window]) -> list[Point]:
    out, ends = [], [point.end for point in points]
    for _, high in grid:
        at, beyond = bisect_right(ends, high) - 1, bisect_left(ends, high)
        if at < 0 or beyond == len(ends):
            continue
        before, after = points[at], points[beyond]
        a, b = cast("Number", before.value), cast("Number", after.value)
        value: Number = a if after.end == before.end else a + (b - a) * (high - before.end) / (after.end - before.end)
        out.append(Point(high, high, round(value) if isinstance(a, int) else value))
    return out


def _numbers(values: Sequence[Value]) -> list[Number]:
    return cast("list[Number]", list(values))


def _sum(values: Sequence[Value]) -> Value:
    if isinstance(values[0], Dist):
        return merge(cast("Sequence[Dist]", values))
    return sum(_numbers(values))


def _percentile(percent: float) -> Callable[[Sequence[Value]], Value | None]:
    def fold(values: Sequence[Value]) -> Value | None:
        merged = merge(cast("Sequence[Dist]", values))
        return percentile(merged, percent) if merged.count else None

    return fold


_FOLDS: dict[str, Callable[[Sequence[Value]], Value | None]] = {
    "ALIGN_NEXT_OLDER": lambda v: v[-1],
    "ALIGN_MIN": lambda v: min(_numbers(v)),
    "ALIGN_MAX": lambda v: max(_numbers(v)),
    "ALIGN_MEAN": lambda v: statistics.fmean(_numbers(v)),
    "ALIGN_COUNT": len,
    "ALIGN_SUM": _sum,
    "ALIGN_STDDEV": lambda v: statistics.pstdev([float(x) for x in _numbers(v)]),
    "ALIGN_COUNT_TRUE": lambda v: sum(1 for x in v if x is True),
    "ALIGN_COUNT_FALSE": lambda v: sum(1 for x in v if x is False),
    "ALIGN_FRACTION_TRUE": lambda v: sum(1 for x in v if x is True) / len(v),
    "ALIGN_PERCENTILE_99": _percentile(99),
    "ALIGN_PERCENTILE_95": _percentile(95),
    "ALIGN_PERCENTILE_50": _percentile(50),
    "ALIGN_PERCENTILE_05": _percentile(5),
}

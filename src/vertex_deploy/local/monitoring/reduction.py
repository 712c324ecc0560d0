"""Cross-series reducers of Cloud Monitoring: many aligned series to one. Pure; legality is a table.

Facts are from the enum descriptions of monitoring.v3; the kind of the result is inferred (SUM, MIN and MAX keep the
input's, all others give GAUGE).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, cast

from vertex_deploy.local.monitoring.alignment import Rule, outcome
from vertex_deploy.local.monitoring.values import (
    NUMERIC,
    Dist,
    Kind,
    Number,
    Point,
    Type,
    Value,
    merge,
    percentile,
    sample_percentile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_LEVEL = frozenset({Kind.GAUGE, Kind.DELTA})
_NUM = NUMERIC
_NUM_DIST = NUMERIC | {Type.DISTRIBUTION}
_BOOL = frozenset({Type.BOOL})

RULES: dict[str, Rule] = {
    "REDUCE_MEAN": Rule(_LEVEL, _NUM_DIST, Kind.GAUGE, Type.DOUBLE),
    "REDUCE_MIN": Rule(_LEVEL, _NUM),
    "REDUCE_MAX": Rule(_LEVEL, _NUM),
    "REDUCE_SUM": Rule(_LEVEL, _NUM_DIST),
    "REDUCE_STDDEV": Rule(_LEVEL, _NUM_DIST, Kind.GAUGE, Type.DOUBLE),
    "REDUCE_COUNT": Rule(_LEVEL, frozenset(Type), Kind.GAUGE, Type.INT64),
    "REDUCE_COUNT_TRUE": Rule(_LEVEL, _BOOL, Kind.GAUGE, Type.INT64),
    "REDUCE_COUNT_FALSE": Rule(_LEVEL, _BOOL, Kind.GAUGE, Type.INT64),
    "REDUCE_FRACTION_TRUE": Rule(_LEVEL, _BOOL, Kind.GAUGE, Type.DOUBLE),
    **{f"REDUCE_PERCENTILE_{p}": Rule(_LEVEL, _NUM_DIST, Kind.GAUGE, Type.DOUBLE) for p in ("99", "95", "50", "05")},
}
"""Legal inputs and the result of each reducer but REDUCE_NONE, which changes nothing."""


def check(reducer: str, kind: Kind, value_type: Type, path: str) -> tuple[Kind, Type]:
    """The kind and value type that a reducer gives.

    Args:
        reducer: its name.
        kind: metric kind of the aligned series.
        value_type: their value type.
        path: field for the message, ``aggregation`` or ``secondaryAggregation``.

    Raises:
        ApiError: INVALID_ARGUMENT, the reducer cannot be applied.
    """
    if reducer == "REDUCE_NONE":
        return kind, value_type
    return outcome(RULES, reducer, kind, value_type, what="reducer", path=f"{path}.crossSeriesReducer")


def reduce(series: Iterable[Sequence[Point]], reducer: str) -> list[Point]:
    """Reduce aligned series to one, point by point.

    Args:
        series: each oldest first, all on the same grid.
        reducer: legal for these series, not REDUCE_NONE.

    Returns:
        One point for each time at which any of the series has one, oldest first.

    Raises:
        BucketMismatchError: distributions have different buckets.
    """
    held: defaultdict[int, list[Point]] = defaultdict(list)
    for points in series:
        for point in points:
            held[point.end].append(point)
    gauge = RULES[reducer].kind is Kind.GAUGE
    out = []
    for end in sorted(held):
        value = _FOLDS[reducer]([p.value for p in held[end]])
        if value is not None:
            out.append(Point(end if gauge else min(p.start for p in held[end]), end, value))
    return out


def _numbers(values: Sequence[Value]) -> list[Number]:
    return cast("list[Number]", list(values))


def _merged(values: Sequence[Value]) -> Dist | None:
    return merge(cast("Sequence[Dist]", values)) if isinstance(values[0], Dist) else None


def _sum(values: Sequence[Value]) -> Value:
    merged = _merged(values)
    return sum(_numbers(values)) if merged is None else merged


def _mean(values: Sequence[Value]) -> Value | None:
    merged = _merged(values)
    if merged is None:
        return statistics.fmean(_numbers(values))
    return merged.mean if merged.count else None


def _stddev(values: Sequence[Value]) -> Value | None:
    merged = _merged(values)
    if merged is None:
        return statistics.pstdev([float(x) for x in _numbers(values)])
    return (merged.ssd / merged.count) ** 0.5 if merged.count else None


def _percentile(percent: float) -> Callable[[Sequence[Value]], Value | None]:
    def fold(values: Sequence[Value]) -> Value | None:
        merged = _merged(values)
        if merged is None:
            return sample_percentile(_numbers(values), percent)
        return percentile(merged, percent) if merged.count else None

    return fold


_FOLDS: dict[str, Callable[[Sequence[Value]], Value | None]] = {
    "REDUCE_MEAN": _mean,
    "REDUCE_MIN": lambda v: min(_numbers(v)),
    "REDUCE_MAX": lambda v: max(_numbers(v)),
    "REDUCE_SUM": _sum,
    "REDUCE_STDDEV": _stddev,
    "REDUCE_COUNT": len,
    "REDUCE_COUNT_TRUE": lambda v: sum(1 for x in v if x is True),
    "REDUCE_COUNT_FALSE": lambda v: sum(1 for x in v if x is False),
    "REDUCE_FRACTION_TRUE": lambda v: sum(1 for x in v if x is True) / len(v),
    "REDUCE_PERCENTILE_99": _percentile(99),
    "REDUCE_PERCENTILE_95": _percentile(95),
    "REDUCE_PERCENTILE_50": _percentile(50),
    "REDUCE_PERCENTILE_05": _percentile(5),
}

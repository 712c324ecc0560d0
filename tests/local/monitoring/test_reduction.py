"""Reducers and whole queries: groups, chains of two aggregations, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from vertex_deploy.local.monitoring.query import Aggregation, check, run
from vertex_deploy.local.monitoring.reduction import reduce
from vertex_deploy.local.monitoring.values import NS, Buckets, Dist, Kind, Point, Series, SeriesKey, Type
from vertex_deploy.local.seams import ApiError

M = 60 * NS
B = Buckets.explicit([10, 20])


@pytest.mark.parametrize(
    ("reducer", "values", "expected"),
    [
        ("REDUCE_SUM", [1, 2, 6], 9),
        ("REDUCE_MEAN", [1, 2, 6], 3.0),
        ("REDUCE_MIN", [4, 2, 6], 2),
        ("REDUCE_MAX", [4, 2, 6], 6),
        ("REDUCE_COUNT", ["a", "b"], 2),
        ("REDUCE_STDDEV", [2, 4], 1.0),
        ("REDUCE_COUNT_TRUE", [True, False, True], 2),
        ("REDUCE_COUNT_FALSE", [True, False, True], 1),
        ("REDUCE_FRACTION_TRUE", [True, False], 0.5),
        ("REDUCE_PERCENTILE_50", [1, 2, 4], 2.0),
        ("REDUCE_PERCENTILE_95", [0, 100], 95.0),
        ("REDUCE_SUM", [Dist.of([12], B), Dist.of([14], B)], Dist(2, 13.0, 2.0, B, (0, 2, 0))),
        ("REDUCE_MEAN", [Dist.of([12], B), Dist.of([14, 16], B)], 14.0),
        ("REDUCE_PERCENTILE_50", [Dist.of([12], B), Dist.of([14], B)], 15.0),
    ],
)
def test_a_reducer_combines_the_points_of_one_time(reducer: str, values: list[Any], expected: Any) -> None:
    assert [p.value for p in reduce([[Point(0, M, v)] for v in values], reducer)] == [expected]


def test_a_series_without_a_point_takes_no_part() -> None:
    reduced = reduce([[Point(0, M, 1), Point(M, 2 * M, 2)], [Point(M, 2 * M, 3)]], "REDUCE_SUM")
    assert [(p.end, p.value) for p in reduced] == [(M, 1), (2 * M, 5)]


def series(values: list[int], **labels: str) -> Series:
    key = SeriesKey.of(
        project="p",
        metric="custom.googleapis.com/x",
        metric_labels=labels,
        resource="global",
        resource_labels={"project_id": "p"},
    )
    points = tuple(Point(i * M, (i + 1) * M, v) for i, v in enumerate(values))
    return Series(key, Kind.DELTA, Type.INT64, "1", points)


def test_series_are_grouped_and_lose_the_other_labels() -> None:
    step = Aggregation("aggregation", M, "ALIGN_DELTA", "REDUCE_SUM", ("metric.label.code",))
    found = run(
        [series([1, 2], code="2xx", id="a"), series([3, 4], code="2xx", id="b"), series([5], code="5xx", id="a")],
        [step],
        start=0,
        end=2 * M,
    )
    assert [(s.key.metric_labels, [p.value for p in s.points]) for s in found] == [
        ((("code", "2xx"),), [4, 6]),
        ((("code", "5xx"),), [5]),
    ]
    assert found[0].key.resource_labels == (("project_id", "p"),)


def test_a_secondary_aggregation_works_on_the_result_of_the_first() -> None:
    steps = [
        Aggregation("aggregation", M, "ALIGN_RATE", "REDUCE_SUM", ()),
        Aggregation("secondaryAggregation", 2 * M, "ALIGN_MAX", "REDUCE_NONE", ()),
    ]
    (found,) = run([series([60, 120], id="a"), series([60, 60], id="b")], steps, start=0, end=2 * M)
    assert (found.kind, found.type, found.unit) == (Kind.GAUGE, Type.DOUBLE, "1/s")
    assert [p.value for p in found.points] == [3.0]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Aggregation("aggregation", M, "ALIGN_NONE", "REDUCE_SUM"), "perSeriesAligner.*must not be ALIGN_NONE"),
        (
            Aggregation("aggregation", 10 * NS, "ALIGN_SUM"),
            '"10s": The alignment period must be greater than or equal to 1 minute',
        ),
        (
            Aggregation("aggregation", M, "ALIGN_DELTA", "REDUCE_COUNT_TRUE"),
            "crossSeriesReducer.*kind DELTA and value type INT64",
        ),
        (
            Aggregation("aggregation", M, "ALIGN_DELTA", "REDUCE_SUM", ("metadata.x",)),
            'groupByFields had an invalid value of "metadata.x"',
        ),
    ],
)
def test_an_illegal_aggregation_is_refused(step: Aggregation, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        check([step], Kind.DELTA, Type.INT64, min_period=60 * NS)


def test_distributions_with_different_buckets_are_refused_not_guessed() -> None:
    one, two = series([1], id="a"), series([1], id="b")
    dists = [
        Series(s.key, Kind.DELTA, Type.DISTRIBUTION, "ms", (Point(0, M, Dist.of([1], b)),))
        for s, b in ((one, B), (two, Buckets.explicit([5])))
    ]
    with pytest.raises(ApiError, match="different buckets"):
        run(dists, [Aggregation("aggregation", M, "ALIGN_DELTA", "REDUCE_SUM")], start=0, end=M)

"""Aligners: tables of points in and points out, legality, and that windows lose nothing."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from google.cloud import monitoring_v3 as m
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.alignment import RULES, align, check, windows
from vertex_deploy.local.monitoring.reduction import check as check_reducer
from vertex_deploy.local.monitoring.values import NS, Buckets, Dist, Kind, Point, Type
from vertex_deploy.local.seams import ApiError

M = 60 * NS
B = Buckets.explicit([10, 20])


def gauge(*values: Any) -> list[Point]:
    """One point at the end of each minute."""
    return [Point(i * M, i * M, v) for i, v in enumerate(values, 1)]


def delta(*values: Any) -> list[Point]:
    """One point a minute; None leaves a gap."""
    return [Point((i - 1) * M, i * M, v) for i, v in enumerate(values, 1) if v is not None]


def cumulative(*values: Any) -> list[Point]:
    return [Point(0, i * M, v) for i, v in enumerate(values, 1)]


def test_windows_end_at_the_interval_and_the_oldest_is_cut() -> None:
    assert windows(0, 5 * M, 2 * M) == [(0, M), (M, 3 * M), (3 * M, 5 * M)]
    assert windows(0, 4 * M, 2 * M) == [(0, 2 * M), (2 * M, 4 * M)]


def test_windows_without_data_are_not_made() -> None:
    # Since 1970, by the second.
    now = 1_800_000_000 * NS
    assert windows(0, now, NS, now - 2 * NS, now - NS) == [
        (now - 3 * NS, now - 2 * NS),
        (now - 2 * NS, now - NS),
    ]
    assert windows(0, 4 * M, M, first=5 * M) == []
    with pytest.raises(ApiError, match="1800000000 alignment periods; Local Vertex answers at most 1000000"):
        windows(0, now, NS)


@pytest.mark.parametrize("aligner", ["ALIGN_DELTA", "ALIGN_RATE", "ALIGN_INTERPOLATE", "ALIGN_MEAN", "ALIGN_SUM"])
@pytest.mark.parametrize("gap", [0, 3])
def test_how_far_an_interval_reaches_beyond_the_data_changes_nothing(aligner: str, gap: int) -> None:
    kind = Kind.GAUGE if aligner in {"ALIGN_INTERPOLATE", "ALIGN_MEAN"} else Kind.DELTA
    points = delta(4, 2, None, 9) if kind is Kind.DELTA else gauge(4, 2, 3, 9)
    end = (4 + gap) * M
    near, far = (align(points, aligner, kind, start=start, end=end, period=M) for start in (-M, -(10**12) * M))
    assert near == far
    assert near


@pytest.mark.parametrize(
    ("aligner", "kind", "points", "expected"),
    [
        ("ALIGN_DELTA", Kind.DELTA, delta(1, 2, 3, 4), [3, 7]),
        ("ALIGN_DELTA", Kind.DELTA, delta(1, None, None, None), [1]),
        ("ALIGN_DELTA", Kind.CUMULATIVE, cumulative(5, 7, 8, 12), [2, 5]),
        ("ALIGN_RATE", Kind.DELTA, delta(60, 60, 0, 60), [1.0, 0.5]),
        ("ALIGN_INTERPOLATE", Kind.GAUGE, gauge(1, 2, 3, 8), [2, 8]),
        ("ALIGN_NEXT_OLDER", Kind.GAUGE, gauge("a", "b", "c", "d"), ["b", "d"]),
        ("ALIGN_MIN", Kind.GAUGE, gauge(4, 2, 3, 9), [2, 3]),
        ("ALIGN_MAX", Kind.DELTA, delta(4, 2, 3, 9), [4, 9]),
        ("ALIGN_MEAN", Kind.GAUGE, gauge(4, 2, 3, 9), [3.0, 6.0]),
        ("ALIGN_COUNT", Kind.GAUGE, gauge(True, False, True), [1, 2]),
        ("ALIGN_SUM", Kind.DELTA, delta(4, 2, 3, 9), [6, 12]),
        ("ALIGN_STDDEV", Kind.GAUGE, gauge(4, 2, 3, 9), [1.0, 3.0]),
        ("ALIGN_COUNT_TRUE", Kind.GAUGE, gauge(True, True, True, False), [2, 1]),
        ("ALIGN_COUNT_FALSE", Kind.GAUGE, gauge(True, True, True, False), [0, 1]),
        ("ALIGN_FRACTION_TRUE", Kind.GAUGE, gauge(True, True, True, False), [1.0, 0.5]),
        (
            "ALIGN_PERCENTILE_50",
            Kind.DELTA,
            delta(Dist.of([11], B), Dist.of([19], B), Dist.of([15] * 4, B), Dist.of([], B)),
            [15.0, 15.0],
        ),
        (
            "ALIGN_SUM",
            Kind.DELTA,
            delta(Dist.of([11], B), Dist.of([19], B)),
            [Dist(2, 15.0, 32.0, B, (0, 2, 0))],
        ),
        ("ALIGN_PERCENTILE_95", Kind.DELTA, delta(Dist.of([], B)), []),
    ],
)
def test_an_aligner_gives_one_point_a_window_that_has_data(
    aligner: str, kind: Kind, points: list[Point], expected: list[Any]
) -> None:
    end = points[-1].end if len(points) in (2, 3) else 4 * M
    aligned = align(points, aligner, kind, start=0, end=end, period=2 * M)
    assert [p.value for p in aligned] == expected
    assert all((end - p.end) % (2 * M) == 0 for p in aligned)


def test_a_point_across_a_border_is_shared_by_overlap() -> None:
    points = [Point(0, 2 * M, 10)]
    assert [p.value for p in align(points, "ALIGN_DELTA", Kind.DELTA, start=0, end=2 * M, period=M)] == [5, 5]
    late = align(points, "ALIGN_DELTA", Kind.DELTA, start=0, end=5 * M // 2, period=M)
    assert [(p.start, p.end, p.value) for p in late] == [
        (0, M // 2, 2),
        (M // 2, 3 * M // 2, 6),
        (3 * M // 2, 5 * M // 2, 2),
    ]


def test_a_reset_of_a_cumulative_series_counts_from_zero() -> None:
    points = [Point(0, M, 5), Point(0, 2 * M, 9), Point(2 * M + 1, 3 * M, 4)]
    aligned = align(points, "ALIGN_DELTA", Kind.CUMULATIVE, start=0, end=3 * M, period=3 * M)
    assert [p.value for p in aligned] == [8]


@given(
    st.lists(st.none() | st.integers(0, 10_000), min_size=1, max_size=20),
    st.integers(1, 500),
    st.integers(0, 100),
)
def test_the_sum_of_aligned_deltas_is_the_total(values: list[int | None], period: int, after: int) -> None:
    points = delta(*values)
    end = len(values) * M + after * NS
    aligned = align(points, "ALIGN_DELTA", Kind.DELTA, start=0, end=end, period=period * NS)
    assert sum(p.value for p in aligned if isinstance(p.value, int)) == sum(v for v in values if v is not None)


@given(st.lists(st.lists(st.floats(0, 40), max_size=8), min_size=1, max_size=8), st.integers(1, 300))
def test_aligned_distributions_keep_every_value(groups: list[list[float]], period: int) -> None:
    points = delta(*(Dist.of(g, B) for g in groups))
    aligned = align(points, "ALIGN_DELTA", Kind.DELTA, start=0, end=len(groups) * M, period=period * NS)
    assert sum(p.value.count for p in aligned if isinstance(p.value, Dist)) == sum(map(len, groups))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20), st.integers(1, 300), st.sampled_from(sorted(RULES)))
def test_every_aligner_ends_its_points_on_the_grid(values: list[int], period: int, aligner: str) -> None:
    kind = Kind.GAUGE if Kind.GAUGE in RULES[aligner].kinds else Kind.DELTA
    make = gauge if kind is Kind.GAUGE else delta
    types = RULES[aligner].types
    held: list[Any] = (
        values
        if Type.INT64 in types
        else [v > 50 for v in values]
        if Type.BOOL in types
        else [Dist.of([v], B) for v in values]
    )
    end = len(values) * M
    aligned = align(make(*held), aligner, kind, start=0, end=end, period=period * NS)
    ends = [p.end for p in aligned]
    assert ends == sorted(set(ends))
    assert all((end - e) % (period * NS) == 0 for e in ends)


@pytest.mark.parametrize(
    ("aligner", "kind", "value_type", "result"),
    [
        ("ALIGN_NONE", Kind.GAUGE, Type.STRING, (Kind.GAUGE, Type.STRING)),
        ("ALIGN_RATE", Kind.DELTA, Type.INT64, (Kind.GAUGE, Type.DOUBLE)),
        ("ALIGN_DELTA", Kind.CUMULATIVE, Type.DISTRIBUTION, (Kind.DELTA, Type.DISTRIBUTION)),
        ("ALIGN_PERCENTILE_95", Kind.DELTA, Type.DISTRIBUTION, (Kind.GAUGE, Type.DOUBLE)),
        ("ALIGN_SUM", Kind.DELTA, Type.INT64, (Kind.DELTA, Type.INT64)),
    ],
)
def test_an_aligner_may_change_kind_and_type(
    aligner: str, kind: Kind, value_type: Type, result: tuple[Kind, Type]
) -> None:
    assert check(aligner, kind, value_type, "aggregation") == result


@pytest.mark.parametrize(
    ("aligner", "kind", "value_type"),
    [
        ("ALIGN_RATE", Kind.GAUGE, Type.INT64),
        ("ALIGN_RATE", Kind.DELTA, Type.DISTRIBUTION),
        ("ALIGN_SUM", Kind.CUMULATIVE, Type.INT64),
        ("ALIGN_MEAN", Kind.DELTA, Type.DISTRIBUTION),
        ("ALIGN_PERCENTILE_99", Kind.GAUGE, Type.DOUBLE),
        ("ALIGN_COUNT_TRUE", Kind.GAUGE, Type.INT64),
        ("ALIGN_NEXT_OLDER", Kind.DELTA, Type.INT64),
    ],
)
def test_an_aligner_is_refused_in_the_words_of_the_api(aligner: str, kind: Kind, value_type: Type) -> None:
    with pytest.raises(ApiError) as caught:
        check(aligner, kind, value_type, "aggregation")
    assert caught.value.message == (
        f'Field aggregation.perSeriesAligner had an invalid value of "{aligner}": '
        f"The aligner cannot be applied to metrics with kind {kind} and value type {value_type}."
    )


def _documented(enum: Any, name: str) -> str:
    """What Google's own client says of a value of an enum."""
    text = " ".join(enum.__doc__.split()).replace("`", "")
    text = re.sub(r"\[(\w+)\]\[[\w.]+\]", r"\1", text)
    return re.split(r" [A-Z]+_[A-Z_]+(?:\d+)? \(\d+\): ", text.split(f" {name} (", 1)[1].split("): ", 1)[1])[0]


_WORDS = {
    "numeric": {Type.INT64, Type.DOUBLE},
    "boolean": {Type.BOOL},
    "distribution": {Type.DISTRIBUTION},
    "string": {Type.STRING},
}
_CAN_FLOW = {Type.INT64, Type.DOUBLE, Type.DISTRIBUTION}


def _expected(text: str, kind: Kind, value_type: Type) -> Type | None:
    """The value type that comes out of an aligner or reducer, by its description; None: it may not be applied."""
    found = re.search(
        r"valid for (?P<kinds>.*?) metrics(?: (?:with|of) (?P<types>.*?))?(?: values?| type| value_type)?\.", text
    )
    assert found, text
    words = re.findall(r"[a-z]+", (found["types"] or "").lower())
    types = set().union(*(_WORDS.get(word, set()) for word in words)) or set(Type)
    if kind is not Kind.GAUGE:
        types &= _CAN_FLOW
    if kind not in found["kinds"] or value_type not in types:
        return None
    if "same as the value_type of the input" in text:
        return value_type
    result = re.search(r"(?:value_type|value)(?: of the (?:aligned result|output))?(?: is)? (INT64|DOUBLE)", text)
    assert result, text
    return Type(result[1])


@pytest.mark.parametrize("aligner", [a.name for a in m.Aggregation.Aligner if a.name != "ALIGN_NONE"])
def test_aligners_are_legal_where_googles_reference_says_so(aligner: str) -> None:
    text = _documented(m.Aggregation.Aligner, aligner)
    for kind, value_type in itertools.product(Kind, Type):
        if kind is not Kind.GAUGE and value_type not in _CAN_FLOW:
            continue  # no metric is such
        try:
            found = check(aligner, kind, value_type, "aggregation")
        except ApiError:
            found = None
        if aligner == "ALIGN_PERCENT_CHANGE":
            assert found is None  # left out
        else:
            assert (found and found[1]) == _expected(text, kind, value_type), (kind, value_type, text)


@pytest.mark.parametrize("reducer", [r.name for r in m.Aggregation.Reducer if r.name != "REDUCE_NONE"])
def test_reducers_are_legal_where_googles_reference_says_so(reducer: str) -> None:
    text = _documented(m.Aggregation.Reducer, reducer)
    for kind, value_type in itertools.product(Kind, Type):
        if kind is not Kind.GAUGE and value_type not in _CAN_FLOW:
            continue
        try:
            found = check_reducer(reducer, kind, value_type, "aggregation")
        except ApiError:
            found = None
        assert (found and found[1]) == _expected(text, kind, value_type), (kind, value_type, text)


def test_an_aligner_that_is_left_out_is_named() -> None:
    with pytest.raises(ApiError, match=r"ALIGN_PERCENT_CHANGE.*not implemented"):
        check("ALIGN_PERCENT_CHANGE", Kind.GAUGE, Type.DOUBLE, "aggregation")

"""When incidents open and close, held against what a person computes from the points with numpy alone.

An hour of points is written minute by minute on the test's clock; the reference works on the whole hour as arrays and
knows nothing of the code under test: windows by slicing, percentiles by the cumulative count, durations by run lengths.
"""

from __future__ import annotations

import numpy as np
import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.monitoring.values import NS, Buckets, Dist, Point, SeriesKey

from .support import REPLICAS, T0, World, absence, aggregation, key, threshold, where

MINUTES = 60
LATENCIES = PREFIX + "prediction_latencies"
BOUNDS = (0.0, 50.0, 100.0, 200.0, 400.0, 800.0)
BUCKETS = Buckets.explicit(BOUNDS)
SEED = 20261121


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


async def replay(condition, series, *, kind="gauge", own=None, early=0, **more):
    """What happens to each series in an hour.

    Args:
        condition: of the policy.
        series: key -> one value a minute, None for no point.
        kind: what the values are: gauge, delta, or cumulative (value, minute of its start).
        own: descriptor of a custom metric that the condition is of.
        early: seconds before the end of a minute that its points are of.
        more: fields of the policy.

    Returns:
        Labels -> (minute of opening, minute of closing or None) of its incidents; minutes count from 1.
    """
    world = World()
    if own:
        request = m.CreateMetricDescriptorRequest(name="projects/proj-a", metric_descriptor=own)
        await world.metrics.create_metric_descriptor(request)
    await world.create(condition, **more)
    for minute in range(MINUTES):
        start = int(world.clock.time) * NS
        world.clock.time += 60
        end = int(world.clock.time) * NS
        points = []
        for of, values in series.items():
            value = values[minute]
            if value is None:
                continue
            if kind == "cumulative":
                value, began = value
                points.append((of, Point((T0 + began * 60) * NS - early * NS, end - early * NS, int(value))))
            else:
                points.append((of, Point(end if kind == "gauge" else start, end, value)))
        world.series.append(points, now=world.clock.time)
        world.engine.tick()
    found: dict[str, list[tuple[int, int | None]]] = {}
    for incident in sorted(world.book.incidents("proj-a"), key=lambda i: i.opened):
        name = incident.metric_labels.get("deployed_model_id", "")
        minutes = [(at // NS - T0) // 60 if at else None for at in (incident.opened, incident.closed)]
        found.setdefault(name, []).append(tuple(minutes))
    return found


def spans(violated, duration=1):
    """Incidents of one series by hand.

    Args:
        violated: one a minute: 1 violated, 0 not, nan no data. Without data nothing changes.
        duration: minutes of violation, side by side, that open one.
    """
    out, run, opened = [], 0, None
    for minute, now in enumerate(violated, 1):
        if np.isnan(now):
            continue
        run = run + 1 if now else 0
        if opened is None and run >= duration:
            opened = minute
        elif opened is not None and not now:
            out.append((opened, minute))
            opened = None
    return out + ([(opened, None)] if opened is not None else [])


def windows(values, length, of):
    """``of(window)`` for the ``length`` minutes that end with each minute; the first windows are shorter."""
    return np.array([of(values[max(0, end - length) : end]) for end in range(1, len(values) + 1)], dtype=float)


def compare(values, limit):
    """1, 0 or nan: above the limit, not, no data."""
    return np.where(np.isnan(values), np.nan, values > limit)


def only(found, name="1"):
    assert set(found) <= {name}
    return found.get(name, [])


GAUGE, COUNT = key(metric=REPLICAS), key(response_code="2xx")


def plain(aligner, seconds=60):
    return [{"alignment_period": {"seconds": seconds}, "per_series_aligner": aligner}]


@pytest.mark.parametrize("minutes", [0, 1, 2, 3, 5])
async def test_durations(rng, minutes):
    values = rng.integers(0, 10, MINUTES)
    found = await replay(
        threshold(text=where(REPLICAS), limit=3, minutes=minutes, aggregations=[]),
        {GAUGE: [int(v) for v in values]},
    )
    expected = spans(compare(values.astype(float), 3), max(minutes, 1))
    assert only(found) == expected
    assert expected


@pytest.mark.parametrize(
    ("aligner", "of"),
    [
        ("ALIGN_MEAN", np.mean),
        ("ALIGN_MAX", np.max),
        ("ALIGN_MIN", np.min),
        ("ALIGN_SUM", np.sum),
        ("ALIGN_STDDEV", np.std),
    ],
)
async def test_windows_over_sparse_points(rng, aligner, of):
    # A point in two of five minutes or so: windows of five minutes hold from none to five.
    values = np.where(rng.random(MINUTES) < 0.35, rng.integers(0, 20, MINUTES), np.nan)
    limit = {"ALIGN_SUM": 15, "ALIGN_STDDEV": 4}.get(aligner, 9)

    def fold(window):
        held = window[~np.isnan(window)]
        return of(held) if held.size else np.nan

    found = await replay(
        threshold(text=where(REPLICAS), limit=limit, minutes=2, aggregations=plain(aligner, 300)),
        {GAUGE: [None if np.isnan(v) else int(v) for v in values]},
    )
    expected = spans(compare(windows(values, 5, fold), limit), 2)
    assert only(found) == expected
    assert len(expected) > 1


@pytest.mark.parametrize("early", [0, 17, 43])
@pytest.mark.parametrize("length", [1, 5])
async def test_rates_across_resets_of_a_counter(rng, length, early):
    # It counts up, and begins anew twice: what it shows then is what came since, not less.
    flow = rng.integers(0, 60, MINUTES)
    shown, began, total = [], 0, 0
    for minute, amount in enumerate(flow):
        if minute in {20, 41}:
            total, began = 0, minute
        total += int(amount)
        shown.append((total, began))
    own = {"type": "custom.googleapis.com/done", "metric_kind": "CUMULATIVE", "value_type": "INT64"}
    of = SeriesKey.of(
        project="proj-a",
        metric=own["type"],
        metric_labels={},
        resource="global",
        resource_labels={"project_id": "proj-a"},
    )
    found = await replay(
        threshold(
            text='metric.type="custom.googleapis.com/done" AND resource.type="global"',
            limit=0.5,
            aggregations=plain("ALIGN_RATE", 60 * length),
        ),
        {of: shown},
        kind="cumulative",
        own=own,
        early=early,
    )
    # The first point has none before it: nothing is known of its minute.
    known = flow.astype(float)
    known[0] = np.nan
    rates = windows(known, length, lambda w: np.nansum(w) / (60 * length) if (~np.isnan(w)).any() else np.nan)
    expected = spans(compare(rates, 0.5))
    assert only(found, "") == expected
    assert len(expected) > 1


def percentile(counts, percent):
    """By the cumulative count: where ``percent`` of the values lie below, straight lines between the bounds."""
    below = np.concatenate([[0], np.cumsum(counts[1:-1])])  # at each bound; tests keep to the finite buckets
    wanted = below[-1] * percent / 100
    bucket = int(np.searchsorted(below, wanted, side="left"))
    bucket = max(bucket, int(np.flatnonzero(counts[1:-1])[0]) + 1)
    low, high = below[bucket - 1], below[bucket]
    return BOUNDS[bucket - 1] + (BOUNDS[bucket] - BOUNDS[bucket - 1]) * (wanted - low) / (high - low)


@pytest.mark.parametrize(("percent", "limit"), [(99, 390), (95, 190), (50, 75), (5, 12)])
async def test_percentiles_of_latency_over_three_minutes(rng, percent, limit):
    scale = np.tile(np.repeat([15, 110], 5), MINUTES // 10)
    samples = [np.minimum(rng.gamma(2, s, rng.integers(5, 40)), 799) for s in scale]
    found = await replay(
        threshold(text=where(LATENCIES), limit=limit, aggregations=plain(f"ALIGN_PERCENTILE_{percent:02}", 180)),
        {key(metric=LATENCIES, latency_type="total"): [Dist.of(s.tolist(), BUCKETS) for s in samples]},
        kind="delta",
    )
    counts = np.array([np.histogram(s, [-np.inf, *BOUNDS, np.inf])[0] for s in samples])
    values = windows(counts, 3, lambda w: percentile(w.sum(axis=0), percent))
    expected = spans(compare(values, limit))
    assert only(found) == expected
    assert len(expected) > 1


async def test_series_that_appear_and_vanish_in_a_sum_and_alone(rng):
    # Three replicas' counts: the second comes at 15 and goes at 40, the third comes at 30.
    counts = rng.integers(0, 10, (3, MINUTES)).astype(float)
    counts[1, :15] = counts[1, 40:] = counts[2, :30] = np.nan
    keys = [key("1", response_code=code) for code in ("2xx", "3xx", "4xx")]
    series = {of: [None if np.isnan(v) else int(v) for v in row] for of, row in zip(keys, counts, strict=True)}
    found = await replay(threshold(limit=13, aggregations=[aggregation()]), series, kind="delta")
    expected = spans(compare(np.nansum(counts, axis=0), 13))
    assert only(found) == expected
    assert len(expected) > 1
    # Alone, one that vanishes keeps its incident: nothing is known of it.
    apart = {key(str(n), metric=REPLICAS): series[of] for n, of in enumerate(keys, 1)}
    found = await replay(threshold(text=where(REPLICAS), limit=5, aggregations=[]), apart)
    assert found == {str(n): spans(compare(row, 5)) for n, row in enumerate(counts, 1)}


async def test_a_ratio_of_sums_with_gaps(rng):
    requests = rng.integers(0, 40, MINUTES)
    bad = np.where(rng.random(MINUTES) < 0.8, rng.binomial(requests, 0.2), 0).astype(float)
    # What is not counted is not written: neither errors nor requests.
    series = {
        key(response_code="5xx"): [int(n) or None for n in bad],
        key(response_code="2xx"): [int(n) or None for n in requests - bad],
    }
    found = await replay(
        threshold(
            text=where(extra='metric.label.response_code="5xx"'),
            limit=0.2,
            minutes=2,
            aggregations=[aggregation(120)],
            denominator_filter=where(),
            denominator_aggregations=[aggregation(120)],
        ),
        series,
        kind="delta",
    )
    errors, total = windows(bad, 2, np.sum), windows(requests.astype(float), 2, np.sum)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((errors == 0) | (total == 0), np.nan, errors / total)
    expected = spans(compare(ratio, 0.2), 2)
    assert only(found) == expected
    assert len(expected) > 1


@pytest.mark.parametrize("minutes", [2, 5])
async def test_absence(rng, minutes):
    there = rng.random(MINUTES) < 1 / minutes
    found = await replay(absence(minutes=minutes), {GAUGE: [1 if t else None for t in there]})
    first = int(np.flatnonzero(there)[0])
    since = np.array([minute - np.flatnonzero(there[: minute + 1])[-1] for minute in range(first, MINUTES)])
    expected = [
        (opened + first, closed if closed is None else closed + first)
        for opened, closed in spans((since >= minutes).astype(float))
    ]
    assert only(found) == expected
    assert len(expected) > 1


@pytest.mark.parametrize("trigger", [{"count": 2}, {"percent": 60}])
async def test_triggers(rng, trigger):
    values = rng.integers(0, 10, (4, MINUTES))
    series = {key(str(n), metric=REPLICAS): [int(v) for v in row] for n, row in enumerate(values, 1)}
    found = await replay(threshold(text=where(REPLICAS), limit=5, aggregations=[], trigger=trigger), series)
    violated = values > 5
    fires = violated.sum(axis=0) >= (2 if "count" in trigger else 0.6 * 4)
    assert found == {str(n): spans((row & fires).astype(float)) for n, row in enumerate(violated, 1)}


@pytest.mark.parametrize(("missing", "value"), [("INACTIVE", 0.0), ("ACTIVE", 1.0)])
async def test_missing_data_that_counts(rng, missing, value):
    values = np.where(rng.random(MINUTES) < 0.6, rng.integers(0, 10, MINUTES), np.nan)
    values[0] = 0
    found = await replay(
        threshold(
            text=where(REPLICAS),
            limit=4,
            minutes=2,
            aggregations=[],
            evaluation_missing_data=f"EVALUATION_MISSING_DATA_{missing}",
        ),
        {GAUGE: [None if np.isnan(v) else int(v) for v in values]},
    )
    violated = compare(values, 4)
    expected = spans(np.where(np.isnan(violated), value, violated), 2)
    assert only(found) == expected
    assert len(expected) > 1


async def test_an_incident_without_data_closes_after_auto_close():
    values = [9] * 5 + [None] * 50 + [9] * 5
    found = await replay(
        threshold(text=where(REPLICAS), limit=4, minutes=2, aggregations=[]),
        {GAUGE: values},
        alert_strategy={"auto_close": {"seconds": 1800}},
    )
    # Two bad minutes open it; thirty minutes after the last point, which is of minute 5, it closes; two more open one.
    assert only(found) == [(2, 35), (57, None)]


async def test_a_second_aggregation_works_on_the_result_of_the_first(rng):
    counts = rng.integers(0, 60, (2, MINUTES))
    series = {key(str(n), response_code="2xx"): [int(v) for v in row] for n, row in enumerate(counts, 1)}
    steps = [aggregation(60, "ALIGN_RATE", by=()), aggregation(300, "ALIGN_MAX", "REDUCE_NONE", ())]
    found = await replay(threshold(limit=1.7, aggregations=steps), series, kind="delta")
    expected = spans(compare(windows(counts.sum(axis=0) / 60, 5, np.max), 1.7))
    assert only(found, "") == expected
    assert len(expected) > 1


async def test_a_percentile_of_all_versions_distributions_together(rng):
    samples = [[rng.uniform(5, top, rng.integers(5, 30)) for _ in range(MINUTES)] for top in (150, 790)]
    samples[1] = [s if minute % 7 else None for minute, s in enumerate(samples[1])]
    keys = [key(str(n), metric=LATENCIES, latency_type="total") for n in (1, 2)]
    series = {
        of: [None if s is None else Dist.of(s.tolist(), BUCKETS) for s in row]
        for of, row in zip(keys, samples, strict=True)
    }
    steps = [aggregation(60, "ALIGN_DELTA", "REDUCE_SUM", ()), *plain("ALIGN_PERCENTILE_95")]
    found = await replay(threshold(text=where(LATENCIES), limit=650, aggregations=steps), series, kind="delta")

    def counts(*parts):
        held = np.concatenate([part for part in parts if part is not None])
        return np.histogram(held, [-np.inf, *BOUNDS, np.inf])[0]

    values = np.array([percentile(counts(*parts), 95) for parts in zip(*samples, strict=True)])
    expected = spans(compare(values, 650))
    assert only(found, "") == expected
    assert len(expected) > 1


async def test_both_conditions_of_a_policy_at_once(rng):
    many, slow = rng.integers(0, 10, MINUTES), rng.integers(0, 10, MINUTES)
    world = World()
    await world.create(
        threshold(text=where(REPLICAS), limit=4, aggregations=[]),
        threshold(limit=4, aggregations=[aggregation()]),
        combiner="AND",
    )
    opened = []
    for a, b in zip(many, slow, strict=True):
        opened.append(len(world.minute({COUNT: int(b)}, {GAUGE: int(a)})))
    assert opened == np.where((many > 4) & (slow > 4), 2, 0).tolist()

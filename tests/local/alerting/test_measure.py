"""What one evaluation reads: every series once, however many policies look at it."""

from __future__ import annotations

import itertools
from collections import Counter
from unittest.mock import patch

from vertex_deploy.local.alerting import measure
from vertex_deploy.local.monitoring import filters
from vertex_deploy.local.monitoring.values import NS

from .support import REPLICAS, World, absence, aggregation, key, threshold, where

POLICIES, SERIES = 30, 20
KEYS = [key(str(n), response_code="2xx") for n in range(SERIES)]


class Counting:
    """A source that counts what is asked of it."""

    def __init__(self, source):
        self.source, self.asked = source, Counter()

    def keys(self, project, metric):
        self.asked["keys"] += 1
        return self.source.keys(project, metric)

    def points(self, of, after, until):
        self.asked["points"] += 1
        return self.source.points(of, after, until)

    def last(self, of):
        self.asked["last"] += 1
        return self.source.last(of)


async def many(**more):
    """Policies whose filters and thresholds differ and that look at the same series."""
    world = World()
    counting = world.engine._meter._source = Counting(world.series)
    for n in range(POLICIES):
        extra = f'metric.label.response_code=one_of("2xx", "{n}xx")'
        await world.create(threshold(text=where(extra=extra), limit=float(n), **more))
    return world, counting


async def test_a_series_is_read_once_in_an_evaluation():
    world, counting = await many()
    for _ in range(2):
        world.minute(dict.fromkeys(KEYS, 5))
        assert counting.asked.pop("points") == SERIES
    # Those whose limit is below 5, for each version.
    assert len(world.open()) == 5 * SERIES


async def test_two_windows_read_it_twice():
    world, counting = await many()
    await world.create(threshold(aggregations=[aggregation(300)]))
    world.minute(dict.fromkeys(KEYS, 5))
    assert counting.asked["points"] == 2 * SERIES


async def test_a_filter_is_asked_about_a_series_once_and_about_new_ones_when_they_come():
    world, _ = await many()
    with patch.object(filters, "matches", side_effect=filters.matches) as asked:
        world.minute(dict.fromkeys(KEYS, 5))
        assert asked.call_count >= POLICIES * SERIES
        asked.reset_mock()
        world.minute(dict.fromkeys(KEYS, 5))
        assert not asked.call_count
        new = key("new", response_code="2xx")
        world.minute({**dict.fromkeys(KEYS, 5), new: 5})
        assert asked.call_count
    assert {"deployed_model_id": "new"} in [i.metric_labels for i in world.open()]


async def test_no_more_selections_are_remembered_than_the_bound(monkeypatch):
    monkeypatch.setattr(measure, "MAX_REMEMBERED", 10)
    world, _ = await many()
    world.minute(dict.fromkeys(KEYS, 5))
    assert len(world.engine._meter._matched) <= 10
    assert len(world.open()) == 5 * SERIES


async def test_what_was_measured_of_one_minute_is_not_taken_for_the_next():
    world, _ = await many()
    world.minute(dict.fromkeys(KEYS, 5))
    world.minute({KEYS[0]: 1, KEYS[1]: 100})
    # Of the second minute: 1 is above a limit of 0, 100 above all; the others say nothing and stay.
    opened = Counter(i.metric_labels["deployed_model_id"] for i in world.open())
    assert opened == {"0": 1, "1": POLICIES, **{str(n): 5 for n in range(2, SERIES)}}


async def test_kinds_of_conditions_share_what_they_read():
    world = World()
    counting = world.engine._meter._source = Counting(world.series)
    gauges = [key(str(n), metric=REPLICAS) for n in range(SERIES)]
    mean = [aggregation(120, "ALIGN_MEAN", "REDUCE_NONE", ())]
    for n in range(POLICIES):
        await world.create(threshold(text=where(REPLICAS), limit=float(n), aggregations=mean), absence(minutes=2))
    world.minute(gauges=dict.fromkeys(gauges, 3))
    assert counting.asked["points"] == SERIES
    assert len(world.open()) == 3 * SERIES


async def test_what_is_shared_is_what_each_policy_would_read_alone():
    world = World()
    reducers = ("REDUCE_NONE", "REDUCE_SUM", "REDUCE_MEAN", "REDUCE_COUNT", "REDUCE_PERCENTILE_95")
    for seconds, aligner, reducer in itertools.product((60, 180), ("ALIGN_DELTA", "ALIGN_RATE"), reducers):
        by = () if reducer in {"REDUCE_NONE", "REDUCE_SUM"} else ("metric.label.deployed_model_id",)
        first = aggregation(seconds, aligner, reducer, by)
        await world.create(
            threshold(aggregations=[first]),
            threshold(aggregations=[first], denominator_filter=where(), denominator_aggregations=[first]),
            threshold(
                aggregations=[
                    first,
                    aggregation(180, "ALIGN_NEXT_OLDER" if aligner == "ALIGN_RATE" else "ALIGN_MAX", "REDUCE_MAX", ()),
                ]
            ),
        )
    for minute in range(5):
        world.minute({of: (n * 7 + minute * 3) % 11 for n, of in enumerate(KEYS) if (n + minute) % 4})
        at = measure.At(int(world.clock.time) * NS)
        for compiled in world.engine._compiled.values():
            alone = measure.Meter(world.series).measure(compiled, at)
            assert world.engine._meter.measure(compiled, at) == alone
            assert any(reading.value is not None for readings in alone for reading in readings)

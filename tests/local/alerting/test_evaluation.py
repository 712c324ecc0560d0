"""Policies on stored series, minute by minute, through the service, the engine and what is kept."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from unittest.mock import Mock

import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import engine as engine_module
from vertex_deploy.local.alerting import machine
from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.monitoring.recorder import LATENCY_BUCKETS
from vertex_deploy.local.monitoring.values import NS, Dist, Point, SeriesKey
from vertex_deploy.local.state import Store

from .support import REPLICAS, T0, World, absence, aggregation, key, threshold, where

LATENCIES = PREFIX + "prediction_latencies"
OK, BAD = key(response_code="2xx"), key(response_code="5xx")
GAUGE = key(metric=REPLICAS)


@pytest.fixture
def world():
    return World()


async def test_a_count_above_its_limit_opens_and_a_lower_one_closes(world):
    created = await world.create(threshold(limit=10))
    assert not world.minute({OK: 6, BAD: 4})  # 10 is not above 10
    assert world.minute({OK: 6, BAD: 5})
    (incident,) = world.open()
    assert (incident.value, incident.policy) == (11.0, created.name)
    assert incident.condition == created.conditions[0].name
    # What the aggregation keeps of the labels, and no more.
    assert incident.metric_labels == {"deployed_model_id": "1"}
    assert not world.minute({OK: 1})
    (closed,) = world.book.incidents("proj-a")
    assert (closed.open, closed.value, closed.why) == (False, 1.0, "")
    assert (closed.opened, closed.closed) == ((T0 + 120) * NS, (T0 + 180) * NS)


@pytest.mark.parametrize(("code", "opens"), [("5xx", True), ("4xx", False)])
async def test_a_ratio_is_of_series_with_the_same_labels(world, code, opens):
    ratio = threshold(
        text=where(extra='metric.label.response_code="5xx"'),
        limit=0.1,
        denominator_filter=where(),
        denominator_aggregations=[aggregation()],
    )
    await world.create(ratio)
    other = key("2", response_code="2xx")  # has no errors: no numerator, no value
    assert bool(world.minute({OK: 8, key(response_code=code): 2, other: 100})) is opens
    if opens:
        assert world.open()[0].value == pytest.approx(0.2)
        assert world.open()[0].metric_labels == {"deployed_model_id": "1"}
        # No errors any more and so no value: as in the cloud, the incident stays unless missing data is inactive.
        assert world.minute({OK: 10, other: 100})


async def test_a_ratio_closes_without_errors_if_missing_data_is_inactive(world):
    await world.create(
        threshold(
            text=where(extra='metric.label.response_code="5xx"'),
            limit=0.1,
            minutes=1,
            denominator_filter=where(),
            denominator_aggregations=[aggregation()],
            evaluation_missing_data="EVALUATION_MISSING_DATA_INACTIVE",
        )
    )
    assert world.minute({OK: 8, BAD: 2})
    assert not world.minute({OK: 10})


async def test_a_window_of_five_minutes_slides_a_minute_at_a_time(world):
    await world.create(threshold(limit=10, aggregations=[aggregation(seconds=300)]))
    opened = [bool(world.minute({OK: n})) for n in (9, 1, 1, 0, 0, 0, 0)]
    # 9, 10, 11, 11, 11, 2, 1
    assert opened == [False, False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("aligner", "limit", "opens"),
    [("ALIGN_PERCENTILE_99", 300, True), ("ALIGN_PERCENTILE_50", 300, False), ("ALIGN_PERCENTILE_95", 300, True)],
)
async def test_a_percentile_of_latency(world, aligner, limit, opens):
    aggregations = [{"alignment_period": {"seconds": 60}, "per_series_aligner": aligner}]
    text = where(LATENCIES, 'metric.labels.latency_type="total"')
    await world.create(threshold(text=text, limit=limit, aggregations=aggregations))
    slow = Dist.of([50.0] * 90 + [500.0] * 10, LATENCY_BUCKETS)
    assert bool(world.minute({key(metric=LATENCIES, latency_type="total"): slow})) is opens


async def test_a_percentile_over_series_and_a_rate(world):
    await world.create(
        threshold(text=where(LATENCIES), limit=300, aggregations=[aggregation(reducer="REDUCE_PERCENTILE_99")]),
        threshold(limit=1, aggregations=[aggregation(aligner="ALIGN_RATE")]),
    )
    fast, slow = Dist.of([50.0] * 90, LATENCY_BUCKETS), Dist.of([500.0] * 10, LATENCY_BUCKETS)
    latencies = {key(metric=LATENCIES, latency_type=kind): d for kind, d in (("total", fast), ("model", slow))}
    world.minute({**latencies, OK: 90})
    assert {round(i.value, 1) for i in world.open()} >= {1.5}
    assert len(world.open()) == 2


async def test_a_gauge_is_compared_without_an_aligner_and_below(world):
    await world.create(threshold(text=where(REPLICAS), limit=2, aggregations=[], comparison="COMPARISON_LT"))
    assert not world.minute(gauges={GAUGE: 2})
    assert world.minute(gauges={GAUGE: 1})


async def test_a_cumulative_metric_is_differentiated_from_the_point_before(world):
    own = {"type": "custom.googleapis.com/done", "metric_kind": "CUMULATIVE", "value_type": "INT64"}
    request = m.CreateMetricDescriptorRequest(name="projects/proj-a", metric_descriptor=own)
    await world.metrics.create_metric_descriptor(request)
    text = 'metric.type="custom.googleapis.com/done" AND resource.type="global"'
    delta = [{"alignment_period": {"seconds": 60}, "per_series_aligner": "ALIGN_DELTA"}]
    await world.create(threshold(text=text, limit=10, aggregations=delta))
    of = SeriesKey.of(
        project="proj-a",
        metric="custom.googleapis.com/done",
        metric_labels={},
        resource="global",
        resource_labels={"project_id": "proj-a"},
    )
    opened = []
    for total in (100, 105, 120):
        world.clock.time += 60
        now = int(world.clock.time) * NS
        world.series.append([(of, Point(T0 * NS, now, total))], now=world.clock.time)
        world.engine.tick()
        opened.append(bool(world.open()))
    assert opened == [False, False, True]


async def test_absence_opens_when_a_series_falls_silent_and_closes_when_it_speaks(world):
    await world.create(absence(minutes=2))
    assert not world.minute()  # one that never reported is not absent
    assert not world.minute(gauges={GAUGE: 1})
    assert not world.minute()
    assert world.minute()
    assert world.open()[0].value is None
    assert not world.minute(gauges={GAUGE: 1})


async def test_an_absence_longer_than_auto_close_opens_and_closes_that_long_after(world):
    await world.create(absence(minutes=60), alert_strategy={"auto_close": {"seconds": 1800}})
    world.minute(gauges={GAUGE: 1})
    opened = [bool(world.minute()) for _ in range(100)]
    assert [minute for minute, now in enumerate(opened, 1) if now] == list(range(60, 90))
    assert world.book.incidents("proj-a")[0].why == machine.NO_DATA
    assert len(world.book.incidents("proj-a")) == 1


async def test_absence_needs_a_point_later_than_the_policy(world):
    world.minute(gauges={GAUGE: 1})
    world.minute()
    await world.create(absence(minutes=2))
    assert not world.minute()
    assert not world.minute()


async def test_a_restart_keeps_incidents_open_and_closes_them_later(tmp_path):
    world = World(Store(tmp_path / "db"))
    await world.create(threshold(limit=10))
    (before,) = world.minute({OK: 11})
    world.store.close()
    again = World(Store(tmp_path / "db"), world.series)
    again.clock.time = world.clock.time
    assert again.minute({OK: 12}) == [before]
    assert not again.minute({OK: 1})
    again.store.close()


async def test_a_deleted_policy_and_a_changed_condition_cancel_their_incidents(world):
    created = await world.create(threshold(limit=10), threshold(limit=11))
    world.minute({OK: 12})
    assert len(world.open()) == 2
    created.conditions[0].condition_threshold.threshold_value = 100
    await world.policies.update_alert_policy(m.UpdateAlertPolicyRequest(alert_policy=created))
    (kept,) = world.open()
    assert kept.condition == created.conditions[1].name
    await world.policies.delete_alert_policy(m.DeleteAlertPolicyRequest(name=created.name))
    assert not world.open()
    assert {i.why for i in world.book.incidents("proj-a")} == {engine_module.MODIFIED}


async def test_a_rename_keeps_incidents_and_how_far_durations_have_come(world):
    created = await world.create(threshold(limit=10, minutes=2))
    world.minute({OK: 12})
    created.display_name = "renamed"
    request = m.UpdateAlertPolicyRequest(alert_policy=created, update_mask={"paths": ["display_name"]})
    await world.policies.update_alert_policy(request)
    (incident,) = world.minute({OK: 12})
    await world.policies.update_alert_policy(request)
    assert world.minute({OK: 12}) == [incident]


async def test_a_disabled_policy_is_not_evaluated_and_its_incidents_close(world):
    created = await world.create(threshold(limit=10))
    world.minute({OK: 12})
    request = m.UpdateAlertPolicyRequest(
        alert_policy={"name": created.name, "enabled": False}, update_mask={"paths": ["enabled"]}
    )
    await world.policies.update_alert_policy(request)
    assert not world.open()
    assert not world.minute({OK: 12})
    request.alert_policy.enabled = True
    await world.policies.update_alert_policy(request)
    assert world.minute({OK: 12})


async def test_one_policy_that_cannot_be_evaluated_does_not_keep_the_others(world, caplog):
    mixed = await world.create(
        threshold(
            text=where(LATENCIES),
            limit=1,
            aggregations=[
                aggregation(reducer="REDUCE_PERCENTILE_99", by=[]),
            ],
        )
    )
    await world.create(threshold(limit=10))
    other = replace(LATENCY_BUCKETS, params=(10, 2.0, 1.0))
    dists = {
        key("1", metric=LATENCIES, latency_type="total"): Dist.of([5.0], LATENCY_BUCKETS),
        key("2", metric=LATENCIES, latency_type="total"): Dist.of([5.0], other),
    }
    assert len(world.minute({**dists, OK: 12})) == 1
    assert f"{mixed.name} could not be evaluated: distributions with different buckets" in caplog.text


async def test_old_closed_incidents_go(world, monkeypatch):
    monkeypatch.setattr("vertex_deploy.local.alerting.book.MAX_CLOSED", 2)
    await world.create(threshold(limit=10))
    for _ in range(4):
        world.minute({OK: 12})
        world.minute({OK: 1})
    assert len(world.book.incidents("proj-a")) == 2
    assert len(world.store.scan("incidents")) == 2


async def test_what_could_not_be_written_happens_at_the_next_evaluation(world, monkeypatch, caplog):
    await world.create(threshold(limit=10))
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "put", Mock(side_effect=sqlite3.OperationalError("disk full")))
        assert not world.minute({OK: 12})
    assert "disk full" in caplog.text
    (incident,) = world.minute({OK: 12})
    assert [name for name, _, _ in world.store.scan("incidents")] == [f"projects/proj-a/alerts/{incident}"]

from __future__ import annotations

import json
from dataclasses import replace
from math import nan
from typing import Any

import pytest

from tests.rollout.world import World, spec_with
from vertex_deploy.metrics import codec
from vertex_deploy.rollout.judge.history import Entry, entry_to_json, parse_history, replay_entries
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.recorded import recorded
from vertex_deploy.rollout.requests import Verb

P95 = [
    {"metric": "error_rate", "max": "1%", "min_requests": 100},
    {"metric": "latency_p95", "worse_than_stable": "20%", "inconclusive": "ignore"},
]


def history_of(world: World) -> list[Entry]:
    record = world.record()
    return recorded(world.store().log(record.id), record.canary, plan_of(spec_of(record)).weights)


def test_what_a_rollout_measured_is_read_back_and_judged_as_it_was() -> None:
    world = World(spec=spec_with(gates=P95), errors=0.3)
    assert world.run().ending is Ending.ROLLED_BACK
    entries = history_of(world)
    assert parse_history(json.dumps([entry_to_json(entry) for entry in entries])) == entries
    verdict = world.record().verdict
    assert verdict is not None
    verdicts = replay_entries(entries, world.spec.rollout.gates)
    # Before the split nothing of the canary could be measured, and for how long is not told.
    assert verdicts[0].explanation == "error_rate of the canary was not measured"
    last = verdicts[-1]
    assert (last.outcome, last.explanation) == (verdict["outcome"], verdict["explanation"])


def test_each_step_has_its_name_when_it_began_and_the_bake_is_marked() -> None:
    world = World(spec=spec_with(gates=P95))
    assert world.run().ending is Ending.PROMOTED
    entries = history_of(world)
    log = world.store().log(world.record().id)
    held = [entry.at for entry in log if entry.data.get("to") in {Phase.HOLDING, Phase.KEEPING_STABLE}]
    begun = [entry for entry in entries if entry.began]
    assert [entry.began.timestamp() for entry in begun if entry.began] == pytest.approx(held)
    assert [(entry.step, entry.bake) for entry in begun] == [("10%", False), ("50%", False), (None, True)]
    verdicts = replay_entries(entries, world.spec.rollout.gates)
    assert list(dict.fromkeys(verdict.step for verdict in verdicts)) == ["10%", "50%", "bake"]


def test_a_step_that_is_held_again_after_a_pause_is_a_window_of_its_own() -> None:
    world = World()
    controller = world.start()
    controller.run(stop=lambda record: record.phase is Phase.HOLDING and record.measured_until > record.entered + 20)
    world.ask(Verb.PAUSE)
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.RESUME)
    assert controller.run().ending is Ending.PROMOTED
    entries = history_of(world)
    assert [entry.step for entry in entries if entry.step] == ["10%", "10%", "50%"]
    first = [entry.began is not None for entry in entries].index(True, 1)
    before, after = (v.readings[0].samples for v in replay_entries(entries, world.spec.rollout.gates)[first - 1 :][:2])
    assert before > after


def test_a_metric_that_was_no_number_is_left_out() -> None:
    world = World()
    world.run()
    sample: Any = history_of(world)[0].interval.stable
    interval = replace(history_of(world)[0].interval, stable=replace(sample, gauges={"rating": nan, "cost": 2.0}))
    assert entry_to_json(Entry(interval))["stable"]["gauges"] == {"cost": 2.0}
    assert codec.from_json(codec.to_json(interval)).stable is not None


def test_a_rollout_that_measured_nothing_has_an_empty_history() -> None:
    world = World(first=True)
    world.run()
    assert history_of(world) == []

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.rollout.world import BOUNDS, World, spec_with
from vertex_deploy.errors import CloudError
from vertex_deploy.metrics import codec
from vertex_deploy.rollout import evidence
from vertex_deploy.rollout.judge.tails import Relative
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.report import report_data
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vertex_deploy.metrics.types import Interval

RATING = {
    "metric": "rating",
    "better": "higher",
    "worse_than_stable": "10%",
    "range": [1, 5],
    "inconclusive": "ignore",
    "query": {"prometheus": 'avg(rating{v="{deployed_model_id}"})'},
}


def rated_world(**rollout: Any) -> World:
    return World(spec=spec_with(gates=[{"metric": "error_rate", "max": "1%", "min_requests": 100}, RATING], **rollout))


def warnings(world: World) -> list[str]:
    return [entry.text for entry in world.store().log(world.record().id) if entry.kind == "warning"]


def paused_by_a_gate() -> World:
    world = World(spec=spec_with(on_failure="pause"), errors=0.2)
    assert world.run().phase is Phase.PAUSED
    assert "a gate failed" in world.record().reason
    return world


@pytest.mark.parametrize("verb", [Verb.RESUME, Verb.PROMOTE, Verb.PROMOTE_FULL])
def test_going_on_after_a_failed_gate_judges_anew_from_there_and_says_so(verb: Verb) -> None:
    world = paused_by_a_gate()
    world.errors = 0.0
    world.ask(verb)
    assert world.run().ending is Ending.PROMOTED
    said = [entry.text for entry in world.store().log(world.record().id) if f"{verb} by" in entry.text]
    assert said == [f"{verb} by you@there; a gate had failed: a new judge starts here"]


def test_going_on_after_another_pause_keeps_the_judge() -> None:
    world = World()
    controller = world.start()
    controller.run(stop=lambda record: record.phase is Phase.HOLDING and bool(record.verdict))
    world.ask(Verb.PAUSE)
    assert controller.run().phase is Phase.PAUSED
    world.ask(Verb.PROMOTE)
    assert controller.run().ending is Ending.PROMOTED
    assert not any("new judge" in entry.text for entry in world.store().log(world.record().id))


def test_a_controller_that_was_killed_after_the_resume_judges_anew_as_well() -> None:
    world = paused_by_a_gate()
    world.errors = 0.0
    world.ask(Verb.RESUME)
    world.start().run(stop=lambda record: record.phase is Phase.HOLDING and bool(record.verdict))
    assert world.run().ending is Ending.PROMOTED


def test_what_is_still_bad_after_the_resume_fails_again() -> None:
    world = paused_by_a_gate()
    world.ask(Verb.RESUME)
    assert world.run().phase is Phase.PAUSED
    assert world.phases().count("holding") == 2


def test_a_custom_metric_that_stable_never_had_is_said_before_anything_changes() -> None:
    world = rated_world()
    assert world.run().ending is Ending.PROMOTED
    (said,) = warnings(world)
    assert "stable has no values of rating in the last hour" in said


def test_a_custom_metric_that_stable_never_had_refuses_the_start_where_the_spec_says_so() -> None:
    world = rated_world(on_missing_metrics="refuse")
    assert world.run().ending is Ending.FAILED
    assert "no values of rating" in world.record().reason
    assert world.target.deploys == 0


def test_a_custom_metric_that_stable_has_is_not_warned_of() -> None:
    world = rated_world()
    produce = world.source.produce

    def rated(stable: str, canary: str, since: datetime, until: datetime) -> Sequence[Interval]:
        assert produce is not None
        found = produce(stable, canary, since, until)
        return [replace(i, stable=i.stable and replace(i.stable, gauges={"rating": 4.5})) for i in found]

    world.source.produce = rated
    world.run()
    assert warnings(world) == []


@pytest.mark.parametrize("silent", [False, True])
def test_a_custom_metric_that_cannot_be_read_is_warned_of_once_with_and_without_intervals(silent: bool) -> None:
    world = World()
    controller = world.start()
    controller.run(stop=lambda record: record.phase is Phase.HOLDING)
    world.source.problem = CloudError("rating: UNAVAILABLE", code="UNAVAILABLE")
    if silent:
        world.source.produce = lambda *_: []
    controller.run(stop=lambda record: record.phase is Phase.HOLDING and record.step == 1)
    assert warnings(world) == ["metrics could not be read: rating: UNAVAILABLE"]


def test_a_hold_that_goes_on_without_a_gate_says_so() -> None:
    world = rated_world()
    assert world.run().ending is Ending.PROMOTED
    steps = [entry.text for entry in world.store().log(world.record().id) if entry.data.get("event") == "passed"]
    assert len(steps) == 2
    assert all(text.startswith("the hold is over; inconclusive, which its gate ignores: rating") for text in steps)


P95 = [
    {"metric": "error_rate", "max": "1%", "min_requests": 100},
    {"metric": "latency_p95", "worse_than_stable": "20%", "inconclusive": "ignore"},
]


def lead_in(world: World) -> list[Any]:
    return [
        item
        for entry in world.store().log(world.record().id)
        for item in entry.data.get("intervals", ())
        if item["canary"] is None
    ]


def test_where_latencies_are_compared_the_judge_is_shown_stable_before_the_split_once() -> None:
    world = World(spec=spec_with(gates=P95))
    controller = world.start()
    controller.run(stop=lambda record: record.phase is Phase.HOLDING and record.measured_until > record.entered)
    split = world.record().entered
    ends = [codec.from_json(item).end.timestamp() for item in lead_in(world)]
    assert len(ends) == len(set(ends)) > 0
    assert split - evidence.LEAD_IN < min(ends) <= max(ends) <= split
    assert controller._evidence._judge is not None
    kept = controller._evidence._judge.look().to_json()
    again = world.start()
    assert again._evidence.rebuilt(again.record.canary).look().to_json() == kept
    assert world.run().ending is Ending.PROMOTED
    assert len(lead_in(world)) == len(ends)


def test_the_judge_that_starts_after_an_overruled_one_knows_stable_and_nothing_of_the_canary() -> None:
    world = World(spec=spec_with(gates=P95, on_failure="pause"), errors=0.2)
    assert world.run().phase is Phase.PAUSED
    before = [codec.from_json(i) for e in world.store().log(world.record().id) for i in e.data.get("intervals", ())]
    world.errors = 0.0
    world.ask(Verb.RESUME)
    controller = world.start()
    controller.run(stop=lambda record: record.phase is Phase.HOLDING)
    judge = controller._evidence.rebuilt(controller.record.canary)
    (latency,) = [check for check in judge._checks if isinstance(check, Relative)]
    assert latency._recent.bounds == BOUNDS
    since = before[-1].end - timedelta(seconds=evidence.LEAD_IN)
    taken = [interval for _, _, interval in judge._ledger._taken]
    assert taken == [replace(interval, canary=None) for interval in before if interval.end > since]
    assert any(interval.canary for interval in before)
    readings = judge.look().readings
    assert [(reading.samples, reading.stable_samples, reading.evidence) for reading in readings] == [(0, 0, 1.0)] * 2
    assert world.run().ending is Ending.PROMOTED


def test_a_stable_of_long_ago_is_not_what_the_judge_after_an_overruled_one_knows() -> None:
    world = World(spec=spec_with(gates=P95, steps=[{"weight": 10, "hold": "2h"}, {"weight": 100}], poll="5m"))
    world.start().run(stop=lambda record: record.measured_until > record.entered + 2 * evidence.LEAD_IN - 600)
    controller = world.start()
    seen = [codec.from_json(i) for e in world.store().log(world.record().id) for i in e.data.get("intervals", ())]
    ends = [interval.end for _, _, interval in controller._evidence._another(seen)._ledger._taken]
    # All of the last hour, and nothing before it.
    longest = max(interval.seconds for interval in seen)
    assert evidence.LEAD_IN - longest <= (max(ends) - min(ends)).total_seconds() < evidence.LEAD_IN
    assert min(interval.end for interval in seen) < min(ends)
    assert max(ends) == seen[-1].end


def test_without_a_comparison_of_latencies_nothing_before_the_split_is_read() -> None:
    world = World()
    assert world.run().ending is Ending.PROMOTED
    assert lead_in(world) == []


def test_the_report_leaves_out_what_was_before_the_rollout() -> None:
    world = World(spec=spec_with(gates=P95))
    assert world.run().ending is Ending.PROMOTED
    data = report_data(world.store(), world.record())
    assert min(interval["seconds"] for interval in data["intervals"]) > 0
    assert len(lead_in(world)) > 0

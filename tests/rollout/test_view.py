from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.rollout.world import World, spec_with, step, step_to
from vertex_deploy.rollout.lease import Lease
from vertex_deploy.rollout.machine import Phase
from vertex_deploy.rollout.plan import plan_of
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.view import GateView, Share, View, evidence_bar, lines, never_begun, quantity, view_of
from vertex_deploy.spec.models import Replicas


def view(world: World, *, driven: bool = False) -> View:
    holder = Lease(host="box", pid=42, born=0, token="t", expires=0.0) if driven else None
    return view_of(world.record(), plan_of(world.spec), now=world.clock.now(), holder=holder)


def text(world: World, *, driven: bool = False) -> str:
    """The lines, with the ids that differ from run to run named."""
    record = world.record()
    found = "\n".join(lines(view(world, driven=driven)))
    return found.replace(record.canary, "CANARY").replace(record.id, "ROLLOUT")


def report_replicas(world: World, available: int) -> None:
    """Make the target say of every deployed model how many replicas answer."""
    world.target.deployed = tuple(replace(deployed, available=available) for deployed in world.target.deployed)


def test_a_hold_shows_step_time_left_split_and_readings() -> None:
    world = World()
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING or world.clock.now() - controller.record.entered < 30:
        step(controller)
    assert text(world, driven=True) == (
        "lite0  holding  step 1 of 3 (10%)  30s left\n"
        "├─ split is 111: 90%, CANARY: 10%; holding for 1m\n"
        "├─ endpoint 1\n"
        "│  ├─ stable ██████████████████··  90%  111  m@1  replicas unknown\n"
        "│  └─ canary ██··················  10%  CANARY  m@2  replicas unknown\n"
        "├─ gates, with the evidence against the new version\n"
        "│  └─ ✔ error_rate  absolute  ·········· 1 of 40  0%, limit 1%, stable 0%, 200 requests: pass\n"
        "└─ ROLLOUT, started 2027-01-15T08:00:00Z, driven by pid 42 on box"
    )


def test_a_split_that_is_not_as_it_should_be_shows_both() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    world.target.change_split({"111": 70, controller.record.canary: 30})
    controller.run()
    assert "│  ├─ stable ██████████████······  70%  (desired 90%)  111  m@1  replicas unknown" in text(world)
    assert "paused" in text(world)
    assert view(world).exit_code == 12
    assert (
        "\n├─ go on: `rollout resume` (the step anew) or `rollout promote` (the next one); back: `rollout abort`\n"
        in text(world)
    )


def test_replicas_are_those_of_the_last_look_and_change_without_an_entry_in_the_history() -> None:
    world = World(spec=spec_with())
    world.spec = world.spec.model_copy(
        update={"target": world.spec.target.model_copy(update={"replicas": Replicas(min=2, max=10)})}
    )
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    entries = len(world.store().log(world.record().id))
    report_replicas(world, 3)
    controller._look()
    assert "111  m@1  3 replicas" in text(world)
    assert "CANARY  m@2  3 of 2..10 replicas" in text(world)
    assert [share.replicas for share in view(world).shares] == [3, 3]
    assert len(world.store().log(world.record().id)) == entries
    written = world.store().current()
    controller._look()
    assert world.store().current() == written


@pytest.mark.parametrize(
    ("share", "told"),
    [
        ({"replicas": 1}, "1 replica"),
        ({"replicas": 0, "replicas_min": 1, "replicas_max": 1}, "0 of 1 replica"),
        ({"replicas": 2, "replicas_min": 2, "replicas_max": 2}, "2 of 2 replicas"),
        ({"replicas_min": 2, "replicas_max": 2}, "replicas unknown"),
    ],
)
def test_replicas_are_told_against_what_the_spec_asks_for(share: dict[str, int], told: str) -> None:
    world = World()
    world.run()
    shown = Share(role="canary", id="222", model="m@2", desired=10, actual=10, **share)
    (line,) = [line for line in lines(replace(view(world), shares=(shown,))) if "222" in line]
    assert line.endswith(f"222  m@2  {told}")


def test_an_ended_rollout_shows_its_ending_and_the_verdict_it_ended_on() -> None:
    world = World(errors=0.3)
    world.run()
    found = view(world)
    assert (found.ending, found.exit_code, found.left) == ("rolled_back", 10, None)
    assert [gate.outcome for gate in found.gates] == ["fail"]
    assert text(world).startswith("lite0  rolled_back  step 1 of 3 (10%)\n├─ error_rate of the canary is")


def test_a_version_that_is_gone_at_the_end_is_not_said_to_have_unknown_replicas() -> None:
    world = World(errors=0.3)
    controller = world.start()
    step_to(controller, Phase.HOLDING)
    assert text(world).count("replicas unknown") == 2
    controller.run()
    assert "│  └─ canary ····················   0%  CANARY  m@2\n" in text(world)


def test_a_rollout_with_nothing_to_do_shows_no_version_that_was_never_deployed() -> None:
    world = World()
    world.run()
    serving = world.record().canary
    world.run()
    found = view(world)
    assert "has all the traffic already" in found.reason
    assert [(share.role, share.id, share.actual) for share in found.shares] == [("stable", serving, 100)]


def roles(world: World) -> list[tuple[str, str, int]]:
    canary = world.record().canary
    return [(share.role, share.id.replace(canary, "CANARY"), share.actual) for share in view(world).shares]


def test_a_version_that_has_all_traffic_is_promoted_while_stable_is_kept_and_stable_after_that() -> None:
    world = World()
    controller = world.start()
    step_to(controller, Phase.KEEPING_STABLE)
    assert roles(world) == [("stable", "111", 0), ("promoted", "CANARY", 100)]
    assert (
        "│  ├─ stable   ····················   0%  111  m@1  replicas unknown\n"
        "│  └─ promoted ████████████████████ 100%  CANARY  m@2  replicas unknown\n"
    ) in text(world)
    world.ask(Verb.PAUSE)
    controller.run()
    assert view(world).phase == "paused"
    assert roles(world)[1] == ("promoted", "CANARY", 100)
    world.ask(Verb.RESUME)
    controller.run()
    assert view(world).ending == "promoted"
    assert roles(world) == [("previous", "111", 0), ("stable", "CANARY", 100)]
    assert [share["role"] for share in view(world).to_json()["shares"]] == ["previous", "stable"]


def test_a_version_that_is_taken_back_after_promotion_is_the_canary_again() -> None:
    world = World(spec=spec_with(keep_stable="5m"))
    controller = world.start()
    step_to(controller, Phase.KEEPING_STABLE)
    world.ask(Verb.ROLLBACK)
    controller.run()
    assert roles(world) == [("stable", "111", 100), ("canary", "CANARY", 0)]


def test_the_first_version_of_an_endpoint_is_stable_once_it_serves() -> None:
    world = World(first=True)
    world.run()
    assert roles(world) == [("stable", "CANARY", 100)]


def test_exit_codes_of_the_other_endings() -> None:
    aborted = World(spec=spec_with(keep_stable="5m"))
    controller = aborted.start()
    step_to(controller, Phase.KEEPING_STABLE)
    assert view(aborted).exit_code == 0
    aborted.ask(Verb.ABORT)
    controller.run()
    assert view(aborted).exit_code == 11
    refused = World()
    refused.target.split = {}
    refused.run()
    assert (view(refused).ending, view(refused).exit_code) == ("failed", 6)


def test_quantities_carry_their_unit() -> None:
    assert quantity(0.0123, "share") == "1.23%"
    assert quantity(87.25, "ms") == "87.25 ms"
    assert quantity(10_000, "ms") == "10000 ms"
    assert quantity(9999.7, "") == "10000"
    assert quantity(None, "ms") == "not measured"


def test_gates_line_up_and_show_how_near_each_is_to_failing() -> None:
    world = World()
    world.run()
    gate = GateView(
        gate="error_rate",
        kind="absolute",
        outcome="continue",
        value="1.2%",
        limit="1%",
        stable="0.1%",
        samples=900,
        evidence=6.5,
        needed=40.0,
        explanation="",
        dry_run=False,
    )
    other = replace(gate, gate="latency_p95", kind="relative", outcome="insufficient", value="not measured", stable="")
    other = replace(other, limit="not measured", samples=0, evidence=1.0, needed=80.0)
    shown = lines(replace(view(world), gates=(gate, other)))
    assert shown[5:8] == [
        "├─ gates, with the evidence against the new version",
        "│  ├─ … error_rate   absolute  █████····· 6.5 of 40  1.2%, limit 1%, stable 0.1%, 900 requests: continue",
        "│  └─ ○ latency_p95  relative  ·········· 1 of 80  not measured, limit not measured, 0 requests: insufficient",
    ]


@pytest.mark.parametrize(
    ("evidence", "bar"),
    [(0.0, "····"), (1.0, "····"), (10.0, "██··"), (99.9, "███·"), (100.0, "████"), (1e12, "████")],
)
def test_an_evidence_bar_is_logarithmic_and_full_only_at_failure(evidence: float, bar: str) -> None:
    assert evidence_bar(evidence, 100.0, 4) == bar


def test_a_tree_has_no_branch_for_what_is_not_there_yet() -> None:
    world = World(first=True)
    world.start()
    assert [line[:2] for line in lines(view(world))] == ["li", "├─", "└─"]


def test_a_dry_run_says_that_it_decides_nothing() -> None:
    gate = {"metric": "error_rate", "max": "1%", "min_requests": 100, "dry_run": True}
    world = World(spec=spec_with(gates=[{"metric": "error_rate", "max": "5%"}, gate]), errors=0.02)
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING or world.clock.now() - controller.record.entered < 30:
        step(controller)
    assert [line.endswith("(dry run)") for line in text(world).splitlines() if "error_rate" in line] == [False, True]


def test_the_tree_in_the_guide_is_what_is_drawn() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/rollout.md").read_text(encoding="utf-8")
    shown = guide.split("```text\n")[1].split("\n```")[0]
    world = World(errors=0.02)
    controller = world.start()
    while controller.record.phase is not Phase.HOLDING or world.clock.now() - controller.record.entered < 20:
        step(controller)
    report_replicas(world, 1)
    controller._look()
    drawn = text(world, driven=True).replace("CANARY", "222").replace("ROLLOUT", "20270115-080000-3f2a9c01")
    assert shown == drawn


def test_a_rollout_that_was_never_begun_is_not_shown_as_one_that_lasts() -> None:
    world = World()
    record = world.start().record
    view = never_begun(view_of(record, plan_of(world.spec), now=world.clock.now()))
    assert (view.phase, view.ending) == ("preflight", "not_begun")
    assert lines(view)[0] == "lite0  not_begun"
    assert "nothing was done" in lines(view)[1]

"""Every command of ``rollout`` on a lockstep group, for people and as JSON, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.desk import GROUPED, REGIONS, SPEC, Desk
from vertex_deploy.rollout import engine
from vertex_deploy.rollout.lease import Lease

if TYPE_CHECKING:
    from pathlib import Path

PROD = ("--env", "prod")


def endings(said: Any) -> dict[str, str]:
    data = said.json
    assert data["group"] == "prod"
    return {member: view["ending"] for member, view in data["members"].items()}


def test_plan_says_what_every_member_would_do_and_changes_nothing(group: Desk) -> None:
    said = group.run("plan", *PROD)
    assert said.code == 0
    heads = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert heads == ["us:", "eu:"]
    data = group.run("plan", *PROD, "-o", "json").json
    assert {member: plan["outcome"] for member, plan in data["members"].items()} == {"us": "start", "eu": "start"}
    assert not group.root.exists()


def test_plan_exits_with_6_if_one_member_would_be_refused(group: Desk) -> None:
    group.worlds[REGIONS["eu"]].target.lacks = "pool p is not there; make it first"
    said = group.run("plan", *PROD, "-o", "json")
    assert said.code == 6
    plans = said.json["members"]
    assert (plans["us"]["outcome"], plans["eu"]["outcome"]) == ("start", "refuse")
    assert "pool p" in plans["eu"]["reason"]


def test_start_takes_all_to_the_end_and_every_command_shows_both(group: Desk, tmp_path: Path) -> None:
    said = group.run("start", *PROD, "-o", "json", "--report", str(tmp_path / "r.html"), "--plain")
    assert (said.code, endings(said)) == (0, {"us": "promoted", "eu": "promoted"})
    assert (tmp_path / "r-us.html").is_file()
    assert (tmp_path / "r-eu.html").is_file()
    assert {line.split()[1] for line in said.err.splitlines()} == {"us", "eu"}
    rollout = group.keeps("us").name

    tree = group.run("status", *PROD)
    assert (tree.code, tree.out.splitlines()[0]) == (0, "prod")
    assert endings(group.run("status", *PROD, "-o", "json")) == {"us": "promoted", "eu": "promoted"}
    assert group.run("status", *PROD, "--wait").code == 0
    watched = group.run("watch", *PROD)
    assert watched.code == 0
    assert watched.out.count("started by") == 2
    assert endings(group.run("watch", *PROD, "-o", "json")) == {"us": "promoted", "eu": "promoted"}

    listed = group.run("history", *PROD)
    assert [line.split()[:3] for line in listed.out.splitlines()] == [
        [rollout, "us", "promoted"],
        [rollout, "eu", "promoted"],
    ]
    data = group.run("history", *PROD, "-o", "json").json
    assert [view["id"] for member in ("us", "eu") for view in data["members"][member]] == [rollout, rollout]
    events = group.run("history", *PROD, "--id", rollout)
    assert {line.split()[1] for line in events.out.splitlines()} == {"us", "eu"}
    data = group.run("history", *PROD, "--id", rollout, "-o", "json").json
    assert all(log[-1]["data"]["to"] == "done" for log in data["members"].values())

    reports = group.run("report", *PROD)
    assert reports.out.splitlines() == [str(group.keeps(member) / "report.html") for member in ("us", "eu")]
    data = group.run("report", *PROD, "--id", rollout, "-o", "json").json
    assert {member: found["rollout"]["ending"] for member, found in data["members"].items()} == {
        "us": "promoted",
        "eu": "promoted",
    }


def test_tick_does_what_is_due_in_every_member_and_a_scheduler_comes_to_the_end(group: Desk) -> None:
    early = group.run("tick", *PROD)
    assert (early.code, early.out.startswith("nothing is due: us, eu: no rollout yet")) == (0, True)
    begun_on_a_laptop(group)
    phases = []
    for _ in range(60):
        said = group.run("tick", *PROD, "-o", "json")
        phases.append({view["phase"] for view in said.json["members"].values()})
        if phases[-1] == {"done"}:
            break
        assert said.code == 0
        group.clock.time += 15
    assert {"holding"} in phases
    assert endings(said) == {"us": "promoted", "eu": "promoted"}
    again = group.run("tick", *PROD)
    assert (again.code, "nothing is due: no rollout is under way" in again.out) == (0, True)


def begun_on_a_laptop(group: Desk) -> None:
    """Started, and interrupted in its first sleep."""

    def interrupt() -> None:
        group.clock.meanwhile = lambda: None
        raise KeyboardInterrupt

    group.clock.meanwhile = interrupt
    said = group.run("start", *PROD, "--plain")
    assert said.code == 130
    assert "`vertex-deploy rollout start` goes on" in said.out.splitlines()[-1]


def test_start_after_an_interrupt_goes_on_with_all(group: Desk) -> None:
    begun_on_a_laptop(group)
    rollout = group.keeps("us").name
    said = group.run("start", *PROD, "-o", "json")
    assert endings(said) == {"us": "promoted", "eu": "promoted"}
    assert {view["id"] for view in said.json["members"].values()} == {rollout}
    assert all(world.target.deploys == 1 for world in group.worlds.values())


def test_retry_begins_again_in_all_what_one_member_took_back(group: Desk) -> None:
    eu = group.worlds[REGIONS["eu"]]
    eu.errors = 0.3
    said = group.run("start", *PROD, "-o", "json")
    assert (said.code, endings(said)) == (10, {"us": "rolled_back", "eu": "rolled_back"})
    first = group.keeps("us").name
    eu.errors = 0.0
    group.clock.time += 1
    said = group.run("retry", *PROD, "-o", "json", "--plain")
    assert (said.code, endings(said)) == (0, {"us": "promoted", "eu": "promoted"})
    assert f"again after {first}" in said.err
    refused = group.run("retry", *PROD)
    assert (refused.code, "nothing to try again" in refused.error) == (6, True)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_abort_by_nobody_else_takes_all_back(group: Desk, form: str) -> None:
    begun_on_a_laptop(group)
    said = group.run("abort", *PROD, "--plain", "-o", form)
    assert said.code == 11
    assert "abort by" in (said.out if form == "text" else said.err)
    assert all(world.target.split == {"111": 100} for world in group.worlds.values())


def test_status_wait_returns_when_whoever_drives_it_has_come_somewhere(group: Desk) -> None:
    begun_on_a_laptop(group)

    def tick() -> None:
        group.clock.meanwhile = lambda: None
        group.run("tick", *PROD)
        group.clock.time += 15
        group.clock.meanwhile = tick

    group.clock.meanwhile = tick
    said = group.run("status", *PROD, "--wait", "-o", "json")
    assert said.code == 0
    assert {view["phase"] for view in said.json["members"].values()} <= {"keeping_stable", "awaiting_group", "done"}


def test_status_wait_of_a_group_has_an_end_where_one_is_given(group: Desk) -> None:
    begun_on_a_laptop(group)
    said = group.run("status", *PROD, "--wait", "--timeout", "10m")
    assert said.code == 6
    assert said.error.startswith("us is still ")


def test_promote_where_nobody_waits_is_refused_and_an_approval_is_for_all(group: Desk) -> None:
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 100, "approval": True}]
    group.write(GROUPED | {"rollout": SPEC["rollout"] | {"steps": steps}})
    begun_on_a_laptop(group)
    early = group.run("promote", *PROD)
    assert early.code == 6
    assert early.error == "promote has no meaning: us is uploading, eu is uploading; see `rollout status`"
    while {view["phase"] for view in group.run("status", *PROD, "-o", "json").json["members"].values()} != {"holding"}:
        group.run("tick", *PROD)
        group.clock.time += 15
    unapproved = group.run("promote", *PROD)
    assert unapproved.code == 6
    assert "the step to 100% needs an approval; use `rollout promote --approver NAME`" in unapproved.error
    while group.run("tick", *PROD).code == 0:
        group.clock.time += 15
    waiting = group.run("status", *PROD, "--wait", "-o", "json")
    assert waiting.code == 12
    assert {view["phase"] for view in waiting.json["members"].values()} == {"awaiting_approval"}
    said = group.run("promote", *PROD, "--approver", "ada", "-o", "json")
    assert (said.code, endings(said)) == (0, {"us": "promoted", "eu": "promoted"})
    over = group.run("promote", *PROD, "--approver", "ada")
    assert (over.code, "no rollout is under way" in over.error) == (6, True)


@pytest.mark.parametrize("verb", ["start", "retry"])
def test_a_member_is_not_begun_alone(group: Desk, verb: str) -> None:
    said = group.run(verb, "--env", "us")
    assert (said.code, said.error) == (
        6,
        f"us goes in lockstep with prod; use `vertex-deploy rollout {verb} --env prod`",
    )
    assert not group.root.exists()


ALL = ("start", "plan", "retry", "status", "watch", "history", "abort", "rollback", "pause", "resume", "promote")


@pytest.mark.parametrize("verb", [*ALL, "tick", "report"])
def test_an_unknown_group_is_refused_with_those_that_are_there(group: Desk, verb: str) -> None:
    said = group.run(verb, "--env", "prd")
    assert said.code == 3
    assert "no environment 'prd'" in said.error
    assert "prod" in said.error


@pytest.mark.parametrize("verb", ["start", "plan", "status", "abort"])
def test_members_that_share_an_endpoint_are_refused(group: Desk, verb: str) -> None:
    same = {member: {"gcp": {"region": "us-central1"}} for member in REGIONS}
    group.file.write_text(json.dumps(GROUPED | {"environments": same}))
    said = group.run(verb, *PROD)
    assert said.code == 3
    assert "eu has the endpoint of us; give each a gcp.region or a target.endpoint.name of its own" in said.error


@pytest.mark.parametrize("verb", ["history", "report"])
def test_an_unknown_rollout_is_refused_with_those_that_are_there(group: Desk, verb: str) -> None:
    group.run("start", *PROD)
    said = group.run(verb, *PROD, "--id", "nope")
    assert said.code == 6
    assert said.error == f"no rollout 'nope' of prod; there is: {group.keeps('us').name}"


def test_what_was_measured_is_a_members_own(group: Desk) -> None:
    group.run("start", *PROD)
    said = group.run("history", *PROD, "--measured")
    assert (said.code, said.error) == (2, "--measured is of one member of prod; use --env us or --env eu")
    for member in REGIONS:
        assert group.run("history", "--env", member, "--measured").json[0]["step"] == "10%"


@pytest.mark.parametrize("verb", ["retry", "status", "watch", "abort", "rollback", "pause", "resume", "promote"])
def test_before_anything_was_begun_the_fix_is_named(group: Desk, verb: str) -> None:
    said = group.run(verb, *PROD)
    assert said.code == 6
    assert "rollout start" in said.error
    assert group.run("history", *PROD).out == "no rollouts yet\n"
    assert group.run("history", *PROD, "-o", "json").json == {"group": "prod", "members": {"us": [], "eu": []}}


@pytest.mark.parametrize("verb", [*ALL, "tick", "report"])
def test_a_member_whose_record_is_broken_is_named_and_the_other_can_still_be_taken_back(group: Desk, verb: str) -> None:
    begun_on_a_laptop(group)
    path = group.keeps("eu") / "record.json"
    path.write_text("{")
    said = group.run(verb, *PROD)
    assert said.code == 6
    assert said.error.startswith(f"{path}: not a rollout's record")
    assert group.run("abort", "--env", "us").code == 11
    assert group.worlds[REGIONS["us"]].target.split == {"111": 100}


@pytest.mark.parametrize("verb", ["watch", "pause"])
def test_ctrl_c_of_who_follows_a_group_ends_the_watching_only(group: Desk, verb: str) -> None:
    begun_on_a_laptop(group)
    while {view["phase"] for view in group.run("tick", *PROD, "-o", "json").json["members"].values()} != {"holding"}:
        group.clock.time += 5
    for member in REGIONS:
        store, now = engine.open_store(f"lite0@{member}", group.root), group.clock.now()
        store.acquire(Lease(host="elsewhere", pid=1, born=0, token=member, expires=now + 600), now)

    def interrupt() -> None:
        raise KeyboardInterrupt

    group.clock.meanwhile = interrupt
    said = group.run(verb, *PROD, "--plain")
    assert (said.code, said.out.splitlines()[-1]) == (130, "no longer watched: the rollout itself goes on")
    assert len(list((group.root / "lite0@us" / "requests").glob("*.json"))) == (verb == "pause")

"""Lockstep groups: who is in them, and what keeps environments from going together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.spec.examples import GOOD, examined, problems
from vertex_deploy.errors import SpecError
from vertex_deploy.spec import examine, group_of, load

if TYPE_CHECKING:
    from pathlib import Path

PAIR = GOOD + "  prod-us: {gcp: {region: us-east4}}\n  prod-eu: {gcp: {region: europe-west4}}\n"
STEPS = "rollout: {steps: [{weight: 10, hold: 1h}, {weight: 50, hold: 1h, %s}, {weight: 100}]}"


def grouped(lockstep: str, text: str = PAIR) -> str:
    return f"{text}lockstep: {lockstep}\n"


def test_a_group_is_read_with_its_environments_in_order() -> None:
    found = examined(grouped("{prod: [prod-us, prod-eu]}"))
    assert found.problems == ()
    assert found.groups == {"prod": ("prod-us", "prod-eu")}


@pytest.mark.parametrize("empty", ["", "{}", "null"])
def test_no_groups_are_no_problem(empty: str) -> None:
    found = examined(grouped(empty))
    assert found.problems == ()
    assert found.groups == {}


@pytest.mark.parametrize(
    ("lockstep", "says"),
    [
        (
            "[prod]",
            "deploy.yaml:27: lockstep: must be a mapping of groups, not a list; write lockstep: {prod: [prod-us",
        ),
        ("{prod: prod-us}", "deploy.yaml:27: lockstep.prod: must be a list of environments, not 'prod-us'"),
        ("{prod: [prod-us]}", "deploy.yaml:27: lockstep.prod: fewer than two environments; add one"),
        ("{prod: [prod-us, prod-uk]}", "lockstep.prod[1]: no environment 'prod-uk'; did you mean prod-us? (allowed"),
        ("{prod: [prod-us, 7]}", "lockstep.prod[1]: no environment 7; write environments' names"),
        ("{local: [prod-us, prod-eu]}", "lockstep.local: an environment has this name; call the group otherwise"),
        ("{a b: [prod-us, prod-eu]}", 'lockstep["a b"]: not a group\'s name'),
        ("{prod: [prod-us, prod-us]}", "lockstep.prod[1]: prod-us is twice in this group; an environment is in one"),
        ("{a: [prod-us, prod-eu], b: [local, prod-eu]}", "lockstep.b[1]: prod-eu is in group a, too"),
        ("{prod: [prod-us, local]}", None),
    ],
)
def test_what_is_no_group_is_named_with_its_place(lockstep: str, says: str | None) -> None:
    found = problems(grouped(lockstep))
    if says is None:
        assert found == []
    else:
        assert len(found) == 1
        assert says in found[0]


def test_members_with_other_weights_or_approvals_are_refused_and_other_holds_are_not() -> None:
    text = PAIR + f"  slow: {{gcp: {{region: us-west1}}, {STEPS % 'approval: false'}}}\n"
    assert problems(grouped("{prod: [prod-us, slow]}", text)) == []
    text = PAIR + f"  asks: {{gcp: {{region: us-west1}}, {STEPS % 'approval: true'}}}\n"
    (found,) = problems(grouped("{prod: [prod-us, asks]}", text))
    assert "lockstep.prod[1]: steps differ: asks has 10%, 50% after approval, 100%, prod-us has 10%, 50%, 100%" in found


def test_two_members_with_one_endpoint_are_refused_and_two_endpoints_of_one_region_are_not() -> None:
    (found,) = problems(grouped("{prod: [prod-us, twin]}", PAIR + "  twin: {gcp: {region: us-east4}}\n"))
    assert (
        "lockstep.prod[1]: twin has the endpoint of prod-us; give each a gcp.region or a target.endpoint.name" in found
    )
    other = PAIR + "  other: {gcp: {region: us-east4}, target: {endpoint: {name: second}}}\n"
    assert problems(grouped("{prod: [prod-us, other]}", other)) == []


def test_a_member_whose_traffic_is_pulumis_is_refused() -> None:
    split = "target: {traffic: pulumi, split: [{name: a, weight: 100}]}"
    text = PAIR + f"  static: {{gcp: {{region: us-west1}}, {split}}}\n"
    (found,) = problems(grouped("{prod: [prod-us, static]}", text))
    assert "lockstep.prod[1]: the traffic of static is Pulumi's" in found


def test_a_members_own_problem_is_reported_once_and_keeps_the_group_from_being_compared() -> None:
    text = PAIR + "  odd: {gcp: {region: us-west1}, rollout: {steps: []}}\n"
    found = problems(grouped("{prod: [prod-us, odd]}", text))
    assert len(found) == 1
    assert "lockstep" not in found[0]


def test_a_groups_name_is_no_environment_and_the_fix_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    path.write_text(grouped("{prod: [prod-us, prod-eu]}"))
    with pytest.raises(SpecError, match="prod is a lockstep group, not one environment; name one of prod-us, prod-eu"):
        load(path, "prod")
    assert examine(path, "prod").groups == {"prod": ("prod-us", "prod-eu")}
    assert group_of(path, "prod-us") == "prod"
    assert group_of(path, "local") == group_of(path, None) == ""


def test_a_base_that_its_environments_complete_is_no_problem_of_the_group(tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    text = PAIR.replace("gcp: {project: my-project, region: us-central1}\n", "gcp: {project: my-project}\n")
    path.write_text(
        grouped("{prod: [prod-us, prod-eu]}", text.replace("  local:\n", "  local:\n    gcp: {region: us-west1}\n"))
    )
    assert [load(path, member).gcp.region for member in examine(path).groups["prod"]]

# ruff: noqa: E501 - one case a line reads better than a wrapped table
from __future__ import annotations

import re

import pytest

from tests.spec.examples import GOOD, examined, problems, swap
from vertex_deploy.errors import SpecError, StateError, UsageError
from vertex_deploy.spec import AcceleratorSpec, Spec, examine, from_storage, load, to_storage

LINE = re.compile(r"deploy\.yaml:\d+: \S.*")


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "deploy.yaml").write_text(text)
        return "deploy.yaml"

    return write


def test_a_good_spec_loads_with_units_as_numbers(write):
    spec = load(write(GOOD))
    assert spec.rollout.steps[0].hold == 1800
    assert spec.rollout.keep_stable == 86400
    assert spec.rollout.gates[0].max == 0.005
    assert spec.target.machine.accelerator == AcceleratorSpec("L4", 1)
    assert spec.target.machine.accelerator.api_type == "NVIDIA_L4"


def test_an_environment_overrides_what_it_names_and_keeps_the_rest(write):
    path = write(GOOD)
    base, local = load(path), load(path, "local")
    assert [step.hold for step in local.rollout.steps] == [15, 15, None]
    assert local.rollout.keep_stable == 10
    assert local.rollout.gates == base.rollout.gates
    assert local.target == base.target


def test_null_in_an_environment_restores_the_default(write):
    spec = load(write(swap(("keep_stable: 10s", "keep_stable: null\n      poll: null"))), "local")
    assert spec.rollout.keep_stable == 86400
    assert spec.rollout.poll is None


def test_an_empty_environment_changes_nothing(write):
    path = write(GOOD + "  prod:\n")
    assert load(path, "prod") == load(path)


def test_an_unknown_environment_names_the_valid_ones(write):
    with pytest.raises(SpecError, match=r"deploy.yaml:20: environments: no environment 'locl'; did you mean local\?"):
        load(write(GOOD), "locl")


def test_what_only_environments_supply_may_be_missing_from_the_base():
    text = swap(
        ("{project: my-project, region", "{region"), ("  local:\n", "  local:\n    gcp: {project: my-project}\n")
    )
    assert examined(text, "local").spec is not None
    assert problems(text) == ["deploy.yaml:3: gcp.project: missing key; add project (Project id)"]


def test_an_environment_that_is_not_chosen_is_validated_too():
    text = GOOD + "  prod:\n    rollout: {keep_stabel: 1h}\n"
    for env in (None, "local", "prod"):
        assert [
            line for line in problems(text, env) if line.startswith("deploy.yaml:26: environments.prod.rollout.keep")
        ]


def test_values_that_only_clash_in_an_environment_name_it():
    found = problems(GOOD + "  cpu:\n    target: {machine: {type: n1-standard-4}}\n")
    assert len(found) == 1
    assert found[0].startswith(
        "deploy.yaml:11: target.machine.accelerator: n1-standard-4 cannot carry L4:1 (in environment cpu); allowed: T4:1"
    )


def test_all_problems_are_reported_at_once_in_the_order_of_the_file():
    text = swap(
        ("name: lite0", "name: Lite_0"),
        ("region: us-central1", "regoin: us-central1"),
        ("accelerator: L4:1", "accelerator: L5:1"),
        ("keep_stable: 24h", "keep_stable: 24"),
        ("      keep_stable: 10s", "      keep_stable: soon"),
    )
    found = problems(text)
    assert all(LINE.fullmatch(line) for line in found)
    fields = ["name", "gcp.region", "gcp.regoin", "target.machine.accelerator", "rollout.keep_stable"]
    fields.append("environments.local.rollout.keep_stable")
    assert [line.split(": ")[1] for line in found] == fields


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("- {metric: error_rate", "- {metrc: error_rate", r"16: rollout.gates\[0\].metrc: unknown key; did you mean metric\? \(allowed: "),
        ("- {metric: error_rate", "- {metrc: error_rate", r"16: rollout.gates\[0\].metric: missing key; add metric \("),
        ("name: lite0", "nme: lite0", r"1: name: missing key|2: nme: unknown key; did you mean name"),
        ("on_failure: rollback", "on_failure: rolback", r"18: rollout.on_failure: must be rollback or pause, not 'rolback'"),
        ("min: 2,", "min: two,", r"12: target.replicas.min: must be a whole number of at least 1, not 'two'"),
        ("min: 2,", "min: 2.5,", r"12: target.replicas.min: must be a whole number of at least 1, not 2.5"),
        ("min: 2,", "min: true,", r"12: target.replicas.min: must be a whole number of at least 1, not true"),
        ("spot: true", "spot: yes", r"11: target.machine.spot: must be true or false, not 'yes'"),
        ("weight: 50", "weight: 0", r"14: rollout.steps\[1\].weight: must be a whole number from 1 to 100, not 0"),
        ('WORKERS: "2"', "WORKERS: 2", r'7: container.env.WORKERS: must be text, not 2; write it in quotes: "2"'),
        ("keep_stable: 24h", "keep_stable: 24", r"19: rollout.keep_stable: 24 is not a duration; write a number with a unit"),
        ("max: 0.5%", "max: 5", r"16: rollout.gates\[0\]: max of error_rate is a share, not 5; write it with"),
        ("scale_on: {gpu_duty_cycle", "scale_on: {gpu_duty", r"12: target.replicas.scale_on.gpu_duty: unknown key; did you mean gpu_duty_cycle\?"),
        ("  steps: [{weight: 10, hold: 30m}, {weight: 50, hold: 30m}, {weight: 100}]", "  steps: 100", r"14: rollout.steps: must be a list; each entry: a mapping with the keys weight, hold, approval, not 100"),
        ("gcp: {project: my-project, region: us-central1}", "gcp: us-central1", r"3: gcp: must be a mapping with the keys project, region, not 'us-central1'"),
        ("type: vertex", "type: gke", r"9: target.type: must be vertex, not 'gke'"),
    ],
)  # fmt: skip
def test_messages_name_the_line_the_field_and_what_is_allowed(old, new, expected):
    found = problems(swap((old, new)))
    assert any(re.match(f"deploy.yaml:(?:{expected})", line) for line in found), found
    assert not [line for line in found if "pydantic" in line or "Input should" in line or "http" in line]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("environments: [local]\n", "deploy.yaml:20: environments: must be a mapping of environments, not a list"),
        ("environments: {local: 3}\n", "deploy.yaml:20: environments.local: must be a mapping of overrides, not 3"),
        (
            'environments: {"a b": {}}\n',
            'deploy.yaml:20: environments["a b"]: not an environment\'s name; write letters',
        ),
        ("environments: {a: {environments: {}}}\n", "deploy.yaml:20: environments.a.environments: unknown key"),
    ],
)
def test_the_environments_key_is_validated(section, expected):
    head = GOOD[: GOOD.index("environments:")]
    assert any(line.startswith(expected) for line in problems(head + section)), problems(head + section)


def test_a_gate_on_a_custom_metric_loads():
    gate = "- {metric: rating, min: 3.5, range: [0, 5], no_data_after: 10m, query: {cloud_monitoring: FILTER}}"
    gate = gate.replace("FILTER", """'metric.type="m" AND resource.type="global"'""")
    found = examined(swap(("- {metric: error_rate", gate + "\n    - {metric: error_rate")))
    assert found.problems == ()
    assert found.spec.rollout.gates[0].range == (0, 5)
    assert found.spec.rollout.gates[0].no_data_after == 600
    assert from_storage(to_storage(found.spec)) == found.spec


def test_a_bare_number_is_no_duration_inside_a_gate_either():
    found = problems(swap(("min_requests: 200", "no_data_after: 300")))
    assert len(found) == 1
    assert found[0].startswith("deploy.yaml:16: rollout.gates[0].no_data_after: 300 is not a duration; write a number")


@pytest.mark.parametrize("section", ["model:\n", "monitoring: null\n", "monitoring: {}\n"])
def test_an_empty_section_is_its_defaults(section):
    assert (
        problems(swap(("model: {artifact: gs://my-project-models/lite0/2, labels: {team: vision}}\n", section))) == []
    )


def test_an_empty_value_is_refused_as_forgotten():
    found = problems(swap(("keep_stable: 24h", "keep_stable:")))
    assert found[0].startswith("deploy.yaml:19: rollout.keep_stable: must be a duration such as 500ms")


def test_a_file_that_is_not_there_is_a_wrong_command_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load(tmp_path / "nope.yaml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_storage_reads_back_what_it_wrote(write):
    spec = load(write(GOOD), "local")
    stored = to_storage(spec)
    assert stored["target"]["machine"]["accelerator"] == "L4:1"
    assert stored["rollout"]["steps"][0] == {"weight": 10, "hold": "15s", "approval": False}
    assert from_storage(stored) == spec


def test_storage_passes_over_keys_of_another_version_that_people_may_not_write(write):
    stored = to_storage(load(write(GOOD)))
    stored["colour"] = "blue"
    stored["rollout"]["gates"][0]["mood"] = "good"
    assert from_storage(stored) == load("deploy.yaml")
    with pytest.raises(ValueError, match="colour"):
        Spec.model_validate(stored)


@pytest.mark.parametrize("data", [{}, {"name": 3}, {"name": object()}])
def test_storage_that_cannot_be_read_is_a_state_error(data):
    with pytest.raises(StateError, match="the stored spec cannot be read"):
        from_storage(data)


@pytest.mark.parametrize(
    ("text", "env", "name"),
    [
        ("name: a\ncolour: blue\n", None, "a"),
        ("name: a\nenvironments: {prod: {name: b, colour: blue}}\n", "prod", "b"),
        ("name: a\nenvironments: {prod: {}}\n", "prod", "a"),
        ("name: [a]\n", None, ""),
        ("colour: blue\n", None, ""),
        ("name: a\nname: b\n", None, ""),
        ("- a\n", None, ""),
        ("a: [\nname: b\n", None, "b"),
        ("name: 'b'  # ours\r\n<<<<<<< HEAD\r\n", "prod", "b"),
        ("<<<<<<< HEAD\nname: a\n=======\nname: b\n>>>>>>> theirs\n", None, ""),
        ("a: [\n  name: b\nname: B!\nname: [b]\nname: \"b'\n", None, ""),
        ("name: b\n\0", None, "b"),
    ],
)
def test_the_name_is_read_whatever_else_is_wrong(write, text, env, name):
    found = examine(write(text), env)
    assert (found.spec, found.name) == (None, name)
    assert found.problems

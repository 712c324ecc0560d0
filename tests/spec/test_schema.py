from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.spec.examples import GOOD, problems, swap
from vertex_deploy.spec.schema import COMMAND, build, schema_text

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(build())


def test_the_committed_schema_is_fresh():
    assert (ROOT / "deploy.schema.json").read_text() == schema_text(), f"stale: run {COMMAND}"


def test_the_schema_is_valid_draft_2020_12():
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))
    assert build()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_has_a_description_and_no_mapping_is_open():
    schema = build()
    for name, model in [("Spec", schema), *schema["$defs"].items()]:
        assert model["additionalProperties"] is False, name
        for field, value in model["properties"].items():
            assert value.get("description"), f"{name}.{field}"


def test_nothing_is_required_in_an_environment_but_what_its_lists_hold():
    schema = build()
    for name, model in schema["$defs"].items():
        assert not (name.startswith("Sparse") and "required" in model)
    sparse_steps = schema["$defs"]["SparseRollout"]["properties"]["steps"]["anyOf"][0]
    assert sparse_steps["items"] == {"$ref": "#/$defs/Step"}


def test_the_schema_accepts_what_load_accepts(validator):
    for text in (GOOD, swap(("keep_stable: 10s", "keep_stable: null")), GOOD + "  empty:\n"):
        assert not problems(text)
        assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("keep_stable: 24h", "keep_stable: 24"),
        ("keep_stable: 24h", "keep_stable: ''"),
        ("keep_stable: 24h", "keep_stabel: 24h"),
        ("accelerator: L4:1", "accelerator: L5:1"),
        ("weight: 50", "weight: 101"),
        ("on_failure: rollback", "on_failure: rolback"),
        ("name: lite0", "name: Lite"),
        ("name: lite0", "# no name"),
        ("keep_stable: 10s", "keep_stabel: 10s"),
        ("gpu_duty_cycle: 60", "gpu: 60"),
        ("worse_than_stable: 10%", "worse_than_stable: 10"),
    ],
)
def test_the_schema_refuses_what_load_refuses(validator, old, new):
    text = swap((old, new))
    assert problems(text)
    assert list(validator.iter_errors(yaml.safe_load(text)))

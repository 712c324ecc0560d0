"""The Python SDK says what the tables say, and writes properties under their names on the wire."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

import pulumi

from infra.provider import sdk
from infra.provider.config import CONFIG
from infra.provider.resources.deployed_model import DEPLOYED_MODEL
from infra.provider.resources.model import MODEL
from infra.provider.resources.traffic_split import TRAFFIC_SPLIT
from infra.provider.sdk import resources
from infra.provider.sdk.args import camel, on_the_wire

DEFINITIONS = {"Model": MODEL, "DeployedModel": DEPLOYED_MODEL, "TrafficSplit": TRAFFIC_SPLIT}


def objects(table):
    """Object types in a table, by the name of their type."""
    for prop in table.values():
        if prop.fields is not None:
            yield prop.ref, prop.fields
            yield from objects(prop.fields)
        elif prop.items is not None:
            yield from objects({"item": prop.items})


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_a_resource_takes_the_tables_inputs_and_has_its_outputs(kind):
    definition = DEFINITIONS[kind]
    taken = set(inspect.signature(getattr(sdk, kind)).parameters) - {"resource_name", "opts"}
    assert {camel(name) for name in taken} == set(definition.inputs)
    named = getattr(resources, f"_{kind}Props").__annotations__
    assert {camel(name) for name in named} == set(definition.inputs) | set(definition.outputs)
    assert set(definition.outputs) <= {camel(name) for name in dir(getattr(sdk, kind))}


def test_the_provider_takes_the_configuration():
    assert set(inspect.signature(sdk.Provider).parameters) - {"resource_name", "opts"} == set(CONFIG)


def test_nested_arguments_are_the_tables_object_types():
    found = {ref: fields for definition in DEFINITIONS.values() for ref, fields in objects(definition.inputs)}
    for ref, table in found.items():
        fields = dataclasses.fields(getattr(sdk, ref))
        assert {camel(field.name) for field in fields} == set(table)
        required = {camel(field.name) for field in fields if field.default is dataclasses.MISSING}
        assert required == {name for name, prop in table.items() if prop.required}


def test_maps_keep_their_keys_and_what_is_absent_is_left_out():
    container = sdk.Container(image_uri="i", env={"model_id": "x"}, health_probe=sdk.Probe(http_path="/h"))
    assert on_the_wire(container) == {
        "imageUri": "i",
        "env": {"model_id": "x"},
        "healthProbe": {"httpPath": "/h"},
    }


def test_a_program_registers_resources_and_passes_outputs_on():
    registered = {}

    class Mocks(pulumi.runtime.Mocks):
        def new_resource(self, args):
            registered[args.typ] = args.inputs
            return args.name, {**args.inputs, "versionName": "m@1", "deployedModelId": "7"}

        def call(self, args):
            raise AssertionError(args)

    pulumi.runtime.set_mocks(Mocks(), preview=False)

    @pulumi.runtime.test
    def program():
        model = sdk.Model("m", container=sdk.Container(image_uri="i", env={"version_name": "x"}))
        deployed = sdk.DeployedModel(
            "d", endpoint="e", model=model.version_name, machine=sdk.Machine(type="t", accelerator="L4:1")
        )
        shares = [sdk.Share(deployed_model_id=deployed.deployed_model_id, percent=100)]
        return sdk.TrafficSplit("s", endpoint="e", split=shares, owner="pulumi").urn

    program()
    assert registered["vertexdeploy:index:Model"] == {"container": {"imageUri": "i", "env": {"version_name": "x"}}}
    assert registered["vertexdeploy:index:DeployedModel"]["model"] == "m@1"
    assert registered["vertexdeploy:index:TrafficSplit"]["split"] == [{"deployedModelId": "7", "percent": 100}]

"""The three resources' checks, diffs, plans and previews, without a call."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from google.cloud import aiplatform_v1 as aip

from infra.provider import PACKAGE, VERSION
from infra.provider.config import check_config
from infra.provider.drivers import deployed_messages
from infra.provider.resources import deployed_model, model, traffic_split
from infra.provider.resources.base import Context
from infra.provider.schema import schema
from infra.provider.values import UNKNOWN, has_unknown

PARENT = "projects/p/locations/us-central1"
ENDPOINT = f"{PARENT}/endpoints/123"
IMAGE = "us-central1-docker.pkg.dev/p/r/app@sha256:" + "0" * 64
CONFIG = {"project": "p", "region": "us-central1"}


def check(definition, given, olds=None, name="My Model"):
    context = Context(urn="urn:pulumi:dev::p::t::n", name=name, config=CONFIG, olds=olds or {})
    return definition.check(given, context)


def failed(definition, given):
    return {failure.property: failure.reason for failure in check(definition, given)[1]}


def checked(definition, given, olds=None):
    inputs, failures = check(definition, given, olds)
    assert not failures, failures
    return inputs


def a_model(**more):
    return {"container": {"imageUri": IMAGE, **more.pop("container", {})}, **more}


def a_deployment(**more):
    return {"endpoint": ENDPOINT, "model": f"{PARENT}/models/m@1", "machine": {"type": "n1-standard-4"}, **more}


def a_split(*percents, **more):
    shares = [{"deployedModelId": str(n), "percent": percent} for n, percent in enumerate(percents, 1)]
    return {"endpoint": ENDPOINT, "split": shares, **more}


# --- Model -----------------------------------------------------------------------------------------------------------


def test_a_model_takes_project_region_and_id_from_where_they_are_known():
    inputs = checked(model.MODEL, a_model())
    assert (inputs["project"], inputs["region"], inputs["modelId"]) == ("p", "us-central1", "my-model")
    assert inputs["displayName"] == "my-model"
    assert inputs["owner"] == "pulumi"
    assert checked(model.MODEL, a_model(), olds={"modelId": "imported"})["modelId"] == "imported"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "container"),
        (a_model(container={"imageUri": "gcr.io/p/app"}), "container.imageUri"),
        (a_model(container={"imageUri": IMAGE.replace("us-central1", "europe-west4")}), "container.imageUri"),
        (a_model(container={"env": {"AIP_MODE": "x"}}), "container.env.AIP_MODE"),
        (a_model(container={"ports": [0]}), "container.ports[0]"),
        (a_model(container={"predictRoute": "p"}), "container.predictRoute"),
        (a_model(container={"predictRoute": "/p", "invokeRoutePrefix": "/*"}), "container.predictRoute"),
        (a_model(container={"deploymentTimeout": 7201}), "container.deploymentTimeout"),
        (a_model(container={"healthProbe": {"periodSeconds": 1}}), "container.healthProbe"),
        (a_model(container={"healthProbe": {"httpPath": "/", "tcpPort": 1}}), "container.healthProbe"),
        (a_model(artifactUri="s3://b"), "artifactUri"),
        (a_model(modelId="M"), "modelId"),
        (a_model(versionAliases=["Golden"]), "versionAliases[0]"),
        (a_model(versionAliases=["x"]), "versionAliases[0]"),
        (a_model(versionAliases=["golden", "golden"]), "versionAliases[1]"),
        (a_model(kmsKeyName="projects/p/locations/us/keyRings/r/cryptoKeys/k"), "kmsKeyName"),
        (a_model(displayName=""), "displayName"),
        (a_model(displayName="m" * 129), "displayName"),
        (a_model(labels={"a": "B"}), "labels.a"),
        (a_model(labels={"Team": "b"}), "labels.Team"),
        (a_model(labels={f"l{n}": "" for n in range(64)}), "labels"),
        (a_model(container={"env": {"1A": "x"}}), 'container.env["1A"]'),
        (a_model(container={"env": {f"V{n}": "" for n in range(201)}}), "container.env"),
        (a_model(container={"env": {"A": "x" * 131072}}), "container.env.A"),
        (a_model(container={"env": {f"V{n}": "x" * 131071 for n in range(5)}}), "container.env"),
        (a_model(container={"healthProbe": {"tcpPort": 1, "httpPort": 2}}), "container.healthProbe.httpPort"),
        (a_model(labels={model.CONTENT_LABEL: "x"}), f'labels["{model.CONTENT_LABEL}"]'),
        (a_model(owner="me"), "owner"),
    ],
)
def test_what_is_wrong_with_a_model_is_told_by_property(given, path):
    assert list(failed(model.MODEL, given)) == [path]


def test_a_multi_region_image_fits_the_regions_in_it():
    assert not failed(model.MODEL, a_model(container={"imageUri": IMAGE.replace("us-central1", "us")}))


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"description": "x"}, []),
        ({"artifactUri": "gs://b/2"}, []),
        ({"container": {"imageUri": IMAGE, "args": ["-v"]}}, []),
        ({"modelId": "other"}, ["modelId"]),
        ({"region": "us-east1", "container": {"imageUri": IMAGE.replace("us-central1", "us")}}, ["region"]),
        ({"kmsKeyName": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"}, ["kmsKeyName"]),
    ],
)
def test_a_model_is_replaced_for_its_name_and_its_key_alone(change, replaces):
    olds = checked(model.MODEL, a_model())
    found = model.MODEL.diff(olds, checked(model.MODEL, {**a_model(), **change}, olds))
    assert found.replaces == replaces
    assert found.changes
    assert set(found.properties) >= set(replaces)
    # One name cannot be there twice: the old one goes first.
    assert found.delete_first == (replaces == ["kmsKeyName"])


@pytest.mark.parametrize(
    ("old", "new", "plan"),
    [
        ({}, {"artifactUri": "gs://b/1"}, model.Plan(upload=True)),
        ({"description": "a"}, {"labels": {"a": "b"}}, model.Plan(upload=False, fields=("description", "labels"))),
        (
            {"versionAliases": ["ax", "default"]},
            {"versionAliases": ["bx"]},
            model.Plan(upload=False, add=("bx",), remove=("ax",)),
        ),
        ({"versionAliases": ["ax", "bx"]}, {"versionAliases": ["bx", "ax"]}, model.Plan(upload=False)),
        ({"owner": "rollout"}, {"owner": "rollout", "artifactUri": "gs://b/1"}, model.Plan(upload=False)),
    ],
)  # fmt: skip
def test_a_plan_uploads_for_new_content_only(old, new, plan):
    inputs = [checked(model.MODEL, a_model(**values)) for values in (old, new)]
    assert model.plan(*inputs) == plan


def test_a_touch_up_is_of_what_is_there_and_takes_only_our_own_aliases():
    olds, news = a_model(versionAliases=["ours"]), a_model(versionAliases=["new"], description="d")
    live = a_model(versionAliases=["by-hand", "ours", "new"], description="x")
    assert model.touch_up(olds, news, live) == model.Plan(upload=False, fields=("description",), remove=("ours",))
    assert model.touch_up(news, news, {**news, "versionAliases": ["by-hand"]}).add == ("new",)


def test_the_content_label_tells_resources_and_contents_apart():
    one = a_model(artifactUri="gs://b/1")
    assert model.marker("u", one) == model.marker("u", {**one, "description": "x"})
    assert len({model.marker("u", one), model.marker("v", one), model.marker("u", a_model())}) == 3


def test_a_preview_of_new_content_does_not_know_the_version():
    olds = checked(model.MODEL, a_model())
    state = {**olds, **model.outputs(f"{PARENT}/models/my-model", "1")}
    shown = model.preview(olds, {**olds, "artifactUri": "gs://b/1"}, state)
    assert (shown["name"], shown["versionName"]) == (f"{PARENT}/models/my-model", UNKNOWN)
    assert model.preview(olds, {**olds, "description": "x"}, state)["versionName"] == f"{PARENT}/models/my-model@1"


def test_outputs_of_a_version_that_is_there_hold_nothing_unknown():
    """Outside of a preview the engine refuses an answer that does, and loses what was made."""
    base = f"{PARENT}/models/my-model"
    assert not has_unknown(model.outputs(base, "1"))
    assert not has_unknown(model.outputs(base, "1", aip.Model(version_id="1")))
    coming = model.outputs(base, UNKNOWN)
    assert {key for key, value in coming.items() if value is UNKNOWN} == {"versionId", "versionName", "createTime"}


# --- DeployedModel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"endpoint": "endpoints/1"}, "endpoint"),
        ({"model": f"{PARENT}/models/m"}, "model"),
        ({"model": f"{PARENT}/models/m@golden"}, "model"),
        ({"machine": None}, "machine"),
        ({"machine": {}}, "machine.type"),
        ({"machine": {"type": "g2-standart-8"}}, "machine.type"),
        ({"machine": {"type": "g2-standard-8"}}, "machine.accelerator"),
        ({"machine": {"type": "g2-standard-8", "accelerator": "L4:2"}}, "machine.accelerator"),
        ({"machine": {"type": "g2-standard-8", "accelerator": "L5"}}, "machine.accelerator"),
        (
            {"machine": {"type": "a2-highgpu-2g", "accelerator": "A100:2", "gpuPartitionSize": "1g.5gb"}},
            "machine.gpuPartitionSize",
        ),
        (
            {"machine": {"type": "a2-highgpu-1g", "accelerator": "A100:1", "gpuPartitionSize": "3g.40gb"}},
            "machine.gpuPartitionSize",
        ),
        ({"machine": {"type": "n1-standard-4", "tpuTopology": "2x2"}}, "machine.tpuTopology"),
        ({"machine": {"type": "ct5lp-hightpu-4t", "tpuTopology": "big"}}, "machine.tpuTopology"),
        (
            {"machine": {"type": "n1-standard-4", "reservation": {"type": "specific", "key": "k", "values": []}}},
            "machine.reservation",
        ),
        (
            {"machine": {"type": "n1-standard-4", "reservation": {"type": "specific", "key": "k", "values": ["r"]}}},
            "machine.reservation.values[0]",
        ),
        ({"scaleOn": {"gpuDutyCycle": 60}}, "scaleOn.gpuDutyCycle"),
        ({"serviceAccount": "serving"}, "serviceAccount"),
        ({"displayName": "d" * 129}, "displayName"),
        ({"machine": {"type": "n1-standard-4", "reservation": {"type": "specific"}}}, "machine.reservation"),
        ({"machine": {"type": "n1-standard-4", "spot": True, "reservation": {"type": "any"}}}, "machine.reservation"),
        ({"replicas": {"min": 0}}, "replicas.min"),
        ({"replicas": {"min": 3, "max": 2}}, "replicas.max"),
        ({"replicas": {"min": 1, "required": 2}}, "replicas.required"),
        ({"scaleOn": {"gpuDutyCycle": 101}}, "scaleOn.gpuDutyCycle"),
        ({"pool": f"{PARENT}/deploymentResourcePools/a"}, "machine"),
        ({"machine": None, "pool": "projects/p/locations/us-east1/deploymentResourcePools/a"}, "pool"),
        ({"deployedModelId": "12345678901"}, "deployedModelId"),
        ({"trafic": 1}, "trafic"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_deployment_is_told_by_property(more, path):
    assert list(failed(deployed_model.DEPLOYED_MODEL, a_deployment(**more))) == [path]


def test_a_model_may_be_in_another_region_than_its_endpoint_as_the_api_says():
    assert "different location" in " ".join(aip.DeployedModel.__doc__.split())
    elsewhere = a_deployment(model="projects/p/locations/us-east1/models/m@1")
    assert not failed(deployed_model.DEPLOYED_MODEL, elsewhere)


@pytest.mark.parametrize(
    ("more", "replaces"),
    [
        ({"replicas": {"min": 2, "max": 4, "required": 1}}, []),
        ({"scaleOn": {"cpuUtilization": 60}}, []),
        ({"accessLogging": True}, ["accessLogging", "deployedModelId"]),
        ({"containerLogging": False}, []),
        ({"machine": {"type": "n1-standard-8"}}, ["deployedModelId", "machine"]),
        ({"machine": {"type": "n1-standard-4", "spot": True}}, ["deployedModelId", "machine"]),
        ({"machine": {"type": "n1-standard-4", "reservation": {"type": "any"}}}, ["deployedModelId", "machine"]),
        ({"model": f"{PARENT}/models/m@2"}, ["deployedModelId", "model"]),
        ({"serviceAccount": "a@b"}, ["deployedModelId", "serviceAccount"]),
        ({"model": UNKNOWN}, ["deployedModelId", "model"]),
    ],
)
def test_a_deployment_is_replaced_for_what_cannot_be_mutated(more, replaces):
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi"))
    news = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", **more), olds)
    found = deployed_model.DEPLOYED_MODEL.diff(olds, news)
    assert sorted(found.replaces) == replaces
    assert found.changes
    # Another id: the new one is up before the old one goes.
    assert not found.delete_first


def test_what_changes_in_place_is_what_the_api_says_it_can_mutate():
    request = aip.MutateDeployedModelRequest.__doc__
    masks = [path for paths in deployed_messages.MASKS.values() for path in paths]
    assert [path for path in masks if path.rpartition(".")[2] not in request] == []
    inputs = deployed_model.DEPLOYED_MODEL.inputs
    in_place = {key for key, prop in inputs.items() if not (prop.replace or prop.local)}
    assert in_place == set(deployed_messages.MASKS)


@pytest.mark.parametrize("more", [{"spot": False}, {"tpuTopology": ""}, {"accelerator": None}])
def test_a_machine_that_is_written_out_in_full_is_the_same_machine(more):
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi"))
    full = {**olds["machine"], **more}
    news = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", machine=full, accessLogging=False), olds)
    assert not deployed_model.DEPLOYED_MODEL.diff(olds, news).changes


def test_two_projects_have_two_models_of_one_name():
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi"))
    for project, replaces in (("42", []), ("another-project", ["model"])):
        moved = {**olds, "model": olds["model"].replace("projects/p/", f"projects/{project}/")}
        assert deployed_model.DEPLOYED_MODEL.diff(olds, moved).replaces == replaces


def test_an_id_chosen_by_the_program_means_the_old_one_goes_first():
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", deployedModelId="7"))
    found = deployed_model.DEPLOYED_MODEL.diff(olds, {**olds, "machine": {"type": "n1-standard-8"}})
    assert found.delete_first


def test_the_same_meaning_is_no_difference():
    gpu = {"type": "g2-standard-8", "accelerator": "l4"}
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", machine=gpu))
    news = {
        **olds,
        "endpoint": ENDPOINT.replace("projects/p/", "projects/42/"),
        "machine": {"type": "g2-standard-8", "accelerator": "NVIDIA_L4:1"},
        "replicas": {"min": 1, "max": 1},
    }
    assert not deployed_model.DEPLOYED_MODEL.diff(olds, news).changes


def test_a_rollouts_deployment_is_left_alone_but_for_where_it_is_and_who_owns_it():
    olds = checked(deployed_model.DEPLOYED_MODEL, a_deployment())
    assert olds["owner"] == "rollout"
    drifted = a_deployment(model=f"{PARENT}/models/m@2", machine={"type": "n1-standard-8"}, replicas={"min": 5})
    assert not deployed_model.DEPLOYED_MODEL.diff(olds, checked(deployed_model.DEPLOYED_MODEL, drifted, olds)).changes
    taken = checked(deployed_model.DEPLOYED_MODEL, {**drifted, "owner": "pulumi"}, olds)
    assert "model" in deployed_model.DEPLOYED_MODEL.diff(olds, taken).replaces
    moved = checked(deployed_model.DEPLOYED_MODEL, a_deployment(endpoint=f"{PARENT}/endpoints/9"), olds)
    assert deployed_model.DEPLOYED_MODEL.diff(olds, moved).replaces == ["endpoint"]


def test_the_id_follows_from_the_resource_and_its_fixed_properties():
    first = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi"))["deployedModelId"]
    assert len(first) == 10
    again = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", replicas={"min": 3}))
    assert again["deployedModelId"] == first
    other = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi", displayName="b"))
    assert other["deployedModelId"] != first
    imported = checked(deployed_model.DEPLOYED_MODEL, a_deployment(owner="pulumi"), a_deployment(deployedModelId="5"))
    assert imported["deployedModelId"] == "5"
    assert checked(deployed_model.DEPLOYED_MODEL, a_deployment(model=UNKNOWN))["deployedModelId"] is UNKNOWN


# --- TrafficSplit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (a_split(50, 40), "split"),
        ({"endpoint": ENDPOINT, "split": []}, "split"),
        (a_split(101), "split[0].percent"),
        (a_split(50, 50, endpoint="e"), "endpoint"),
        ({**a_split(100), "split": [{"deployedModelId": "1", "percent": 50}] * 2}, "split[1].deployedModelId"),
        ({**a_split(100), "split": [{"deployedModelId": "a", "percent": 100}]}, "split[0].deployedModelId"),
    ],
)
def test_what_is_wrong_with_a_split_is_told_by_property(given, path):
    assert list(failed(traffic_split.TRAFFIC_SPLIT, given)) == [path]


def test_a_split_counts_as_changed_only_where_it_is_pulumis():
    for owner, changed in (("rollout", []), ("pulumi", ["split"])):
        olds = checked(traffic_split.TRAFFIC_SPLIT, a_split(50, 50, owner=owner))
        found = traffic_split.TRAFFIC_SPLIT.diff(
            olds, checked(traffic_split.TRAFFIC_SPLIT, a_split(90, 10, owner=owner))
        )
        assert found.properties == changed
        assert not found.replaces


def test_the_order_of_shares_and_shares_of_nothing_do_not_count():
    olds = checked(traffic_split.TRAFFIC_SPLIT, a_split(90, 10, 0, owner="pulumi"))
    news = {**olds, "split": list(reversed(olds["split"][:2]))}
    assert not traffic_split.TRAFFIC_SPLIT.diff(olds, news).changes
    assert traffic_split.as_list(traffic_split.as_map(olds["split"])) == olds["split"][:2]


# --- provider --------------------------------------------------------------------------------------------------------


def test_configuration_comes_from_the_environment_where_it_is_absent():
    inputs, failures = check_config({"region": "r", "version": "0.1.0"}, {"GOOGLE_PROJECT": "p", "GOOGLE_REGION": "x"})
    assert inputs == {"project": "p", "region": "r", "version": "0.1.0"}
    assert not failures
    assert [f.property for f in check_config({"endpoint": "http://vertex.example"}, {})[1]] == ["endpoint"]


def test_the_schema_says_what_the_tables_say_and_its_references_hold():
    made = schema([model.MODEL, deployed_model.DEPLOYED_MODEL, traffic_split.TRAFFIC_SPLIT])
    text = json.dumps(made)
    for reference in set(text.split('"#/types/')[1:]):
        assert reference.partition('"')[0] in made["types"]
    deployed = made["resources"]["vertexdeploy:index:DeployedModel"]
    assert deployed["requiredInputs"] == ["endpoint", "model"]
    assert deployed["inputProperties"]["machine"]["replaceOnChanges"]
    assert "replaceOnChanges" not in deployed["inputProperties"]["replicas"]
    assert made["resources"]["vertexdeploy:index:Model"]["requiredInputs"] == ["container"]
    for kind in made["types"].values():
        assert set(kind.get("required", ())) <= set(kind["properties"])


def test_the_engine_finds_the_plugin_and_its_environment():
    root = Path(__file__).parents[3]
    plugin = root / "infra" / "provider"
    manifest = yaml.safe_load((plugin / "PulumiPlugin.yaml").read_text())
    environment = manifest["runtime"]["options"]["virtualenv"]
    assert (plugin / environment).resolve() == root / ".venv-infra"
    project = yaml.safe_load((root / "Pulumi.yaml").read_text())
    assert {"name": PACKAGE, "path": "infra/provider"} in project["plugins"]["providers"]
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"] == VERSION

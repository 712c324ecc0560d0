"""What the engine sends seldom, over gRPC: every input unknown, secret or wrong; pools; what is gone; calls at once."""

from __future__ import annotations

import copy
from concurrent import futures

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

import grpc
from pulumi.runtime.proto import provider_pb2 as proto

from infra.provider.properties import child
from infra.provider.server import DEFINITIONS
from infra.provider.values import OUTPUT, SIGNATURE, UNKNOWN, UNKNOWN_TOKEN, decode, encode
from tests.infra.google import Google
from vertex_deploy import gcp

from .conftest import LIMIT, MACHINE, PARENT, PREBUILT, container, model
from .engine import TIMEOUT, CheckFailed, Engine, Resource, secret, urn

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_PROBE = {"httpPath": "/h", "httpPort": 80, "periodSeconds": 10, "timeoutSeconds": 5, "initialDelaySeconds": 1}
WRITTEN_OUT = {
    "Model": {
        "project": "p",
        "region": "us-central1",
        "modelId": "m",
        "displayName": "M",
        "description": "d",
        "versionDescription": "v",
        "versionAliases": ["golden"],
        "labels": {"team": "shop"},
        "artifactUri": "gs://b/1",
        "kmsKeyName": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
        "container": {
            "imageUri": "us-central1-docker.pkg.dev/p/r/app",
            "command": ["a"],
            "args": ["b"],
            "env": {"A": "1"},
            "ports": [8080],
            "grpcPorts": [9000],
            "predictRoute": "/p",
            "healthRoute": "/h",
            "deploymentTimeout": 600,
            "sharedMemoryMb": 64,
            "startupProbe": {**_PROBE, "failureThreshold": 3, "successThreshold": 1},
            "healthProbe": {"exec": ["true"]},
            "livenessProbe": {"tcpPort": 80},
        },
        "owner": "pulumi",
    },
    "DeployedModel": {
        "endpoint": f"{PARENT}/endpoints/1",
        "model": f"{PARENT}/models/m@1",
        "deployedModelId": "5",
        "displayName": "d",
        "machine": {
            "type": "a2-highgpu-1g",
            "accelerator": "A100:1",
            "gpuPartitionSize": "1g.5gb",
            "spot": False,
            "reservation": {"type": "specific", "key": "k", "values": ["projects/p/zones/z/reservations/r"]},
        },
        "replicas": {"min": 1, "max": 2, "required": 1},
        "scaleOn": {"cpuUtilization": 50, "gpuDutyCycle": 50, "requestCountPerMinute": 50},
        "serviceAccount": "a@b",
        "accessLogging": True,
        "containerLogging": False,
        "owner": "pulumi",
        "undeployOthersOnDelete": True,
    },
    "TrafficSplit": {
        "endpoint": f"{PARENT}/endpoints/1",
        "split": [{"deployedModelId": "1", "percent": 60}, {"deployedModelId": "2", "percent": 40}],
        "owner": "pulumi",
    },
}
FREE = ("labels", "env")
"""Maps: their keys are the writer's."""


def paths(value, path=()):
    """Every path in a property map, but for the top."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (*path, key)
        yield from paths(below, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def put(value, path, new):
    made = copy.deepcopy(value)
    at(made, path[:-1])[path[-1]] = new
    return made


def words(path):
    written = ""
    for key in path:
        written = child(written, key)
    return written


EVERY = [(kind, path) for kind, inputs in WRITTEN_OUT.items() for path in paths(inputs)]


@pytest.fixture(scope="module")
def nowhere(local_vertex):
    """An engine whose provider would fail at its first call."""
    variables = {**local_vertex, gcp.AIPLATFORM_VARIABLE: "http://127.0.0.1:9"}
    made = Engine(variables, project="p", region="us-central1")
    for kind, inputs in WRITTEN_OUT.items():
        checked = decode(made.check(kind, kind, inputs))[0]
        outputs = dict.fromkeys(DEFINITIONS[f"vertexdeploy:index:{kind}"].outputs, "x")
        made.state[kind] = Resource(urn(kind, kind), "id", checked, {**checked, **outputs})
    yield made
    made.close()


def test_every_property_of_every_resource_is_tried():
    for token, definition in DEFINITIONS.items():
        # A deployment has a machine or a pool; the pool has tests of its own.
        assert set(WRITTEN_OUT[token.rpartition(":")[2]]) | {"pool"} == set(definition.inputs) | {"pool"}


@pytest.mark.parametrize(
    "unknown",
    [UNKNOWN_TOKEN, {SIGNATURE: OUTPUT}, {SIGNATURE: OUTPUT, "secret": True}],
    ids=["text", "output", "secret"],
)
def test_any_input_may_be_unknown_in_a_preview_and_then_is_a_difference(nowhere, unknown):
    for kind, path in EVERY:
        checked = nowhere.check(kind, kind, put(WRITTEN_OUT[kind], path, unknown))
        assert nowhere.diff(kind, kind, checked).changes == proto.DiffResponse.DIFF_SOME, path
        request = proto.CreateRequest(
            urn=urn(kind, kind), type=f"vertexdeploy:index:{kind}", properties=checked, preview=True
        )
        shown, secrets = decode(nowhere.stub.Create(request, timeout=TIMEOUT).properties)
        told = decode(nowhere.stub.Update(nowhere._update(kind, kind, checked, preview=True)).properties)[0]
        for outputs in (shown, told):
            assert at(outputs, path) is UNKNOWN, (kind, path)
        assert bool(secrets) == ("secret" in unknown), (kind, path)


def test_any_input_may_be_secret_and_is_the_same_input(nowhere):
    for kind, path in EVERY:
        inputs = WRITTEN_OUT[kind]
        checked = nowhere.check(kind, kind, put(inputs, path, secret(at(inputs, path))))
        # A secret in a list marks the list.
        kept = tuple(key for key in path if not isinstance(key, int))
        assert any(found == kept[: len(found)] for found in decode(checked)[1]), (kind, path)
        assert not nowhere.diff(kind, kind, checked).detailedDiff, (kind, path)


def outcome(engine, kind, given):
    """Checked inputs, and what was refused."""
    try:
        return engine.check(kind, kind, given), {}
    except CheckFailed as refused:
        return None, refused.failures


@pytest.mark.parametrize("wrong", [7.5, True, "\0", ["\0"], {"\0": "x"}, 2**62, float("inf"), float("nan")], ids=repr)
def test_an_input_of_a_wrong_type_is_told_by_its_path_or_is_right(nowhere, wrong):
    for kind, path in EVERY:
        checked, failures = outcome(nowhere, kind, put(WRITTEN_OUT[kind], path, wrong))
        # What it no longer agrees with may be named instead, as `max` is where `min` is above it.
        assert all(found.startswith(words(path[:1])) for found in failures), (path, failures)
        if not failures:
            nowhere.diff(kind, kind, checked)
            assert isinstance(wrong, str | list | dict | bool), (path, wrong)


def test_a_property_that_is_not_there_is_told_by_its_path(nowhere):
    for kind, path in [*((kind, ()) for kind in WRITTEN_OUT), *EVERY]:
        if isinstance(at(WRITTEN_OUT[kind], path), dict) and path[-1:] not in ((name,) for name in FREE):
            with pytest.raises(CheckFailed) as refused:
                nowhere.check(kind, kind, put(WRITTEN_OUT[kind], (*path, "zzz"), 1))
            assert list(refused.value.failures) == [words((*path, "zzz"))]


# --- what older engines and older states leave out --------------------------------------------------------------------


def test_an_engine_that_sends_neither_type_nor_name_nor_old_inputs_gets_the_same_answer(nowhere):
    for kind, old in nowhere.state.items():
        found = nowhere.stub.Diff(
            proto.DiffRequest(id="id", urn=old.urn, olds=encode(old.outputs), news=encode(old.inputs))
        )
        assert found.changes == proto.DiffResponse.DIFF_NONE, kind
        assert not found.detailedDiff


def test_a_state_from_before_a_default_was_written_is_updated_in_place(nowhere):
    for kind, dropped in (("DeployedModel", "undeployOthersOnDelete"), ("TrafficSplit", "owner"), ("Model", "owner")):
        old = nowhere.state[kind]
        before = {key: value for key, value in old.outputs.items() if key != dropped}
        found = nowhere.stub.Diff(proto.DiffRequest(id="id", urn=old.urn, olds=encode(before), news=encode(old.inputs)))
        assert (list(found.diffs), list(found.replaces)) == ([dropped], []), kind


# --- pools ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(local_vertex):
    """A pool, as pulumi-gcp makes it."""
    machines = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1}
    wanted = {"deploymentResourcePoolId": "shared", "deploymentResourcePool": {"dedicatedResources": machines}}
    google = Google(local_vertex["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"])
    google._done(google.call("POST", f"v1/{PARENT}/deploymentResourcePools", wanted))
    return f"{PARENT}/deploymentResourcePools/shared"


def test_a_model_on_a_pool_is_deployed_imported_changed_and_removed(engine, endpoint, endpoints, model_id, pool):
    engine.up("Model", "model", {"modelId": model_id, "container": {**container(), "imageUri": PREBUILT}})
    given = {"endpoint": endpoint, "model": engine.state["model"].outputs["versionName"], "pool": pool}
    given["owner"] = "pulumi"
    assert engine.up("DeployedModel", "d", given) == "create"
    assert engine.refresh("DeployedModel", "d")
    assert engine.preview("DeployedModel", "d", given)[0] == "same"
    imported = engine.import_("DeployedModel", "imported", engine.state["d"].ident)
    assert imported["pool"].endswith("/deploymentResourcePools/shared")
    assert "machine" not in imported
    assert engine.preview("DeployedModel", "imported", imported)[0] == "same"
    with pytest.raises(CheckFailed) as refused:
        engine.check("DeployedModel", "d", {**given, "machine": MACHINE, "replicas": {"min": 2}})
    assert set(refused.value.failures) == {"machine", "replicas"}
    assert engine.up("DeployedModel", "d", {**given, "containerLogging": False}) == "update"
    assert endpoints.get_endpoint(name=endpoint).deployed_models[0].disable_container_logging
    assert engine.preview("DeployedModel", "d", {**given, "pool": None, "machine": MACHINE})[0] == "replace"
    engine.delete("DeployedModel", "d")
    assert not endpoints.get_endpoint(name=endpoint).deployed_models


def test_a_custom_container_on_a_pool_is_refused_in_one_line(engine, endpoint, model_id, pool):
    engine.up("Model", "model", model(model_id))
    given = {"endpoint": endpoint, "model": engine.state["model"].outputs["versionName"], "pool": pool}
    with pytest.raises(grpc.RpcError) as refused:
        engine.up("DeployedModel", "d", given)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "'shared_resources' is not supported for Model" in refused.value.details()
    assert "d" not in engine.state


# --- gone -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(engine, endpoint, model_id):
    """A model, a deployment and its split, all Pulumi's."""
    engine.up("Model", "model", model(model_id))
    given = {"endpoint": endpoint, "machine": MACHINE, "owner": "pulumi"}
    given["model"] = engine.state["model"].outputs["versionName"]
    engine.up("DeployedModel", "d", given)
    share = {"deployedModelId": engine.state["d"].outputs["deployedModelId"], "percent": 100}
    engine.up("TrafficSplit", "t", {"endpoint": endpoint, "split": [share], "owner": "pulumi"})
    return {"TrafficSplit": "t", "DeployedModel": "d", "Model": "model"}


def test_what_is_gone_is_gone_from_a_refresh_and_deleted_already(engine, endpoint, endpoints, deployed):
    kept = dict(engine.state)
    for kind, name in deployed.items():
        engine.delete(kind, name)
    endpoints.delete_endpoint(name=endpoint).result(timeout=LIMIT)
    for others in (False, True):
        for kind, name in deployed.items():
            engine.state[name] = copy.deepcopy(kept[name])
            engine.state[name].outputs["undeployOthersOnDelete"] = others
            engine.delete(kind, name)
    for kind, name in deployed.items():
        engine.state[name] = kept[name]
        assert not engine.refresh(kind, name)
        assert not engine.read(kind, kept[name].ident).id


def test_each_resource_is_imported_by_its_id_alone_and_then_unchanged(engine, deployed):
    for kind, name in deployed.items():
        inputs = engine.import_(kind, f"imported-{name}", engine.state[name].ident)
        assert engine.preview(kind, f"imported-{name}", inputs)[0] == "same", kind
        with pytest.raises(grpc.RpcError) as wrong:
            engine.import_(kind, "wrong", "nonsense")
        assert "'nonsense' is not projects/P/locations/L/" in wrong.value.details()


# --- at once ----------------------------------------------------------------------------------------------------------


def at_once(*calls):
    with futures.ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


def test_what_the_engine_does_at_once_is_all_done(engine, endpoint, endpoints, deployed):
    """Deployments, their changes and a split on one endpoint: none of them loses another's."""
    given = engine.state["d"].inputs | {"deployedModelId": None}
    names = ("x", "y", "z")
    deploys = [lambda n=n: engine.up("DeployedModel", n, {**given, "displayName": n}) for n in names]
    assert at_once(*deploys) == ["create"] * 3
    first, second = (engine.state[n].outputs["deployedModelId"] for n in names[:2])
    grown = [{**given, "displayName": n, "replicas": {"min": 1, "max": 3}} for n in names]
    split = [{"deployedModelId": first, "percent": 30}, {"deployedModelId": second, "percent": 70}]
    changes = [lambda n=n, more=more: engine.up("DeployedModel", n, more) for n, more in zip(names, grown, strict=True)]
    changes.append(lambda: engine.up("TrafficSplit", "t", {"endpoint": endpoint, "split": split, "owner": "pulumi"}))
    assert at_once(*changes) == ["update"] * 4
    found = endpoints.get_endpoint(name=endpoint)
    assert dict(found.traffic_split) == {first: 30, second: 70}
    counts = {d.id: d.dedicated_resources.max_replica_count for d in found.deployed_models}
    assert [counts[engine.state[n].outputs["deployedModelId"]] for n in names] == [3, 3, 3]


def test_two_changes_of_one_deployment_at_once_leave_one_of_them_whole(engine, endpoint, endpoints, deployed):
    given = engine.state["d"].inputs
    at_once(
        lambda: engine.up("DeployedModel", "d", {**given, "replicas": {"min": 1, "max": 2}}),
        lambda: engine.up("DeployedModel", "d", {**given, "replicas": {"min": 1, "max": 3}}),
    )
    found = endpoints.get_endpoint(name=endpoint).deployed_models[0].dedicated_resources
    assert found.max_replica_count in (2, 3)

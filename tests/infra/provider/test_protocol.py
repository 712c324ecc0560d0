"""The provider as the engine drives it: a process, its port on stdout, gRPC, Local Vertex behind it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as proto

from infra.provider.resources.model import CONTENT_LABEL
from infra.provider.values import UNKNOWN, UNKNOWN_TOKEN, encode
from vertex_deploy import gcp

from .conftest import LIMIT, MACHINE, PARENT, PREBUILT, container, model
from .engine import PLUGIN, TIMEOUT, CheckFailed, Engine, InitFailed, secret

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def deployed_model(endpoint, version, **more):
    return {"endpoint": endpoint, "model": version, "machine": MACHINE, "owner": "pulumi", **more}


def split(endpoint, **more):
    shares = more.pop("shares")
    return {
        "endpoint": endpoint,
        "split": [{"deployedModelId": ident, "percent": percent} for ident, percent in shares.items()],
        **more,
    }


def on(endpoints, endpoint):
    """Ids on an endpoint, and its split."""
    found = endpoints.get_endpoint(name=endpoint)
    return [deployed.id for deployed in found.deployed_models], dict(found.traffic_split)


@pytest.fixture
def version(engine, model_id):
    """A model version, uploaded."""
    engine.up("Model", "model", model(model_id))
    return engine.state["model"].outputs["versionName"]


@pytest.fixture
def stable(engine, endpoint, version):
    """A deployed model that Pulumi owns; its id on the endpoint."""
    engine.up("DeployedModel", "stable", deployed_model(endpoint, version))
    return engine.state["stable"].outputs["deployedModelId"]


# --- the plugin ------------------------------------------------------------------------------------------------------


def test_the_plugin_tells_its_version_and_a_schema_of_three_resources(engine):
    assert engine.stub.GetPluginInfo(empty_pb2.Empty()).version == "0.1.0"
    schema = json.loads(engine.stub.GetSchema(proto.GetSchemaRequest()).schema)
    assert sorted(schema["resources"]) == [
        f"vertexdeploy:index:{kind}" for kind in ("DeployedModel", "Model", "TrafficSplit")
    ]
    assert engine.stub.GetMapping(proto.GetMappingRequest(key="terraform")).data == b""
    with pytest.raises(grpc.RpcError) as failed:
        engine.stub.Invoke(proto.InvokeRequest(tok="vertexdeploy:index:f"))
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_configuration_is_checked_and_never_replaces_the_provider(engine):
    news = encode({"endpoint": "http://example.com:80", "regoin": "x", "version": "0.1.0"})
    failures = engine.stub.CheckConfig(proto.CheckRequest(news=news)).failures
    assert {failure.property for failure in failures} == {"endpoint", "regoin"}
    found = engine.stub.DiffConfig(
        proto.DiffRequest(old_inputs=encode({"region": "us-central1"}), news=encode({"region": "europe-west4"}))
    )
    assert list(found.diffs) == ["region"]
    assert not found.replaces


def test_an_interrupt_from_the_terminal_does_not_end_the_plugin(engine):
    engine.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert engine.stub.GetPluginInfo(empty_pb2.Empty()).version == "0.1.0"


def test_a_plugin_ends_with_its_engine():
    engine = f"import subprocess as s; p = s.Popen([{sys.executable!r}, {str(PLUGIN)!r}, 'x'], stdout=s.PIPE); "
    script = engine + "p.stdout.readline(); print(p.pid)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    plugin = Path("/proc") / found.stdout.strip()
    deadline = time.monotonic() + LIMIT
    while runs(plugin):
        assert time.monotonic() < deadline, "the plugin runs on"
        time.sleep(0.1)


def runs(process):
    """Whether a process, by its folder in /proc, is neither gone nor a zombie."""
    try:
        return "Z" not in (process / "stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_plugin_that_is_terminated_ends(local_vertex):
    one = Engine(local_vertex, project="my-project", region="us-central1")
    one.close()
    assert one.process.returncode == 0


# --- previews --------------------------------------------------------------------------------------------------------


def test_a_preview_makes_no_call_and_knows_what_can_be_known(local_vertex):
    nowhere = Engine(
        {**local_vertex, "VERTEX_DEPLOY_AIPLATFORM_ENDPOINT": "http://127.0.0.1:9"}, project="p", region="us-central1"
    )
    try:
        step, shown = nowhere.preview("Model", "model", {"container": container()})
        assert step == "create"
        assert shown["name"] == "projects/p/locations/us-central1/models/model"
        assert shown["versionName"] is UNKNOWN
        endpoint = f"{PARENT}/endpoints/1"
        step, shown = nowhere.preview("DeployedModel", "d", deployed_model(endpoint, UNKNOWN_TOKEN))
        assert shown["deployedModelId"] is UNKNOWN
        step, shown = nowhere.preview("DeployedModel", "d", deployed_model(endpoint, f"{PARENT}/models/m@1"))
        assert shown["name"] == f"{endpoint}/deployedModels/{shown['deployedModelId']}"
        step, shown = nowhere.preview("TrafficSplit", "s", split(endpoint, shares={UNKNOWN_TOKEN: 100}))
        assert shown["observed"] is UNKNOWN
    finally:
        nowhere.close()


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_model_is_uploaded_versioned_and_deleted(engine, model_id):
    given = model(model_id, versionAliases=["golden"], labels={"team": "shop"})
    assert engine.up("Model", "model", given) == "create"
    name = f"{PARENT}/models/{model_id}"
    assert engine.state["model"].outputs["versionName"] == f"{name}@1"
    assert engine.up("Model", "model", given) == "same"

    words = {**given, "description": "better", "labels": {"team": "web"}, "versionAliases": ["silver"]}
    words["versionDescription"] = "second thoughts"
    assert engine.up("Model", "model", words) == "update"
    assert engine.state["model"].outputs["versionId"] == "1"
    imported = engine.import_("Model", "other", name)
    assert imported["description"] == "better"
    assert imported["versionDescription"] == "second thoughts"
    assert imported["labels"] == {"team": "web"}
    assert imported["versionAliases"] == ["silver"]

    content = {**words, "container": container("canary")}
    step, shown = engine.preview("Model", "model", content)
    assert (step, shown["versionId"]) == ("update", UNKNOWN)
    assert engine.up("Model", "model", content) == "update"
    assert engine.state["model"].outputs["versionId"] == "2"
    # Back to earlier content is back to its version: nothing is uploaded twice.
    assert engine.up("Model", "model", words) == "update"
    assert engine.state["model"].outputs["versionId"] == "1"

    assert engine.refresh("Model", "model")
    assert engine.preview("Model", "model", words)[0] == "same"
    engine.delete("Model", "model")
    assert not engine.read("Model", name).id


def test_an_interrupted_upload_is_taken_over_and_a_strangers_model_is_not(engine, model_id):
    engine.up("Model", "model", model(model_id))
    lost = engine.state.pop("model")
    engine.up("Model", "model", model(model_id))
    assert engine.state["model"].outputs["versionId"] == lost.outputs["versionId"] == "1"
    with pytest.raises(grpc.RpcError) as refused:
        engine.up("Model", "another", model(model_id))
    assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert f"pulumi import vertexdeploy:index:Model NAME {PARENT}/models/{model_id}" in refused.value.details()


def test_drift_is_seen_after_a_refresh_and_put_right(engine, model_id, local_vertex):
    given = model(model_id, description="ours")
    engine.up("Model", "model", given)
    client = gcp.model_client("us-central1", gcp.parse_address(local_vertex[gcp.AIPLATFORM_VARIABLE], "test"))
    name = engine.state["model"].outputs["versionName"]
    client.update_model(
        model={"name": name.partition("@")[0], "description": "theirs"}, update_mask={"paths": ["description"]}
    )
    engine.refresh("Model", "model")
    assert engine.preview("Model", "model", given)[0] == "update"
    engine.up("Model", "model", given)
    assert client.get_model(name=name).description == "ours"


def test_labels_of_the_model_itself_are_a_difference_that_an_update_removes(engine, model_id, local_vertex):
    given = model(model_id, labels={"team": "shop"})
    engine.up("Model", "model", given)
    client = gcp.model_client("us-central1", gcp.parse_address(local_vertex[gcp.AIPLATFORM_VARIABLE], "test"))
    name = engine.state["model"].outputs["versionName"]
    # What `Model.update` of the SDK does: it names no version.
    theirs = {"name": name.partition("@")[0], "labels": {"team": "theirs", "cost": "1"}}
    client.update_model(model=theirs, update_mask={"paths": ["labels"]})
    engine.refresh("Model", "model")
    assert engine.state["model"].inputs["labels"] == {"team": "shop", "cost": "1"}
    assert engine.up("Model", "model", given) == "update"
    engine.refresh("Model", "model")
    assert engine.preview("Model", "model", given)[0] == "same"
    assert set(client.get_model(name=name).labels) == {"team", CONTENT_LABEL}
    # A new version shows what the model has, and is rid of it by the update that uploads it.
    client.update_model(model=theirs, update_mask={"paths": ["labels"]})
    changed = {**given, "container": container("another")}
    assert engine.up("Model", "model", changed) == "update"
    engine.refresh("Model", "model")
    assert engine.preview("Model", "model", changed)[0] == "same"


def test_secrets_stay_secret_in_state_and_in_messages(engine, model_id):
    given = model(model_id)
    given["container"]["env"]["TOKEN"] = secret("s3cr3t-value")
    engine.up("Model", "model", given)
    path = ("container", "env", "TOKEN")
    assert path in engine.state["model"].secrets
    engine.refresh("Model", "model")
    assert path in engine.state["model"].secrets
    given["labels"] = {"a": secret("S3CR3T-VALUE")}
    with pytest.raises(CheckFailed) as refused:
        engine.check("Model", "model", given)
    assert "S3CR3T" not in str(refused.value)


# --- deployed models -------------------------------------------------------------------------------------------------


def test_replicas_change_in_place_and_a_machine_is_replaced(engine, endpoint, endpoints, version):
    given = deployed_model(endpoint, version)
    assert engine.up("DeployedModel", "d", given) == "create"
    first = engine.state["d"].outputs["deployedModelId"]
    assert on(endpoints, endpoint) == ([first], {})
    more = {**given, "replicas": {"min": 2, "max": 3}, "scaleOn": {"cpuUtilization": 70}, "containerLogging": False}
    assert engine.preview("DeployedModel", "d", more)[0] == "update"
    assert engine.up("DeployedModel", "d", more) == "update"
    resources = endpoints.get_endpoint(name=endpoint).deployed_models[0].dedicated_resources
    assert (resources.min_replica_count, resources.max_replica_count) == (2, 3)
    assert resources.autoscaling_metric_specs[0].target == 70
    assert engine.refresh("DeployedModel", "d")
    assert engine.preview("DeployedModel", "d", more)[0] == "same"

    other = {**more, "machine": {"type": "n1-standard-8"}}
    assert engine.up("DeployedModel", "d", other) == "replace"
    ids, _ = on(endpoints, endpoint)
    assert ids == [engine.state["d"].outputs["deployedModelId"]]
    assert ids != [first]
    engine.delete("DeployedModel", "d")
    assert on(endpoints, endpoint) == ([], {})


def test_a_model_of_another_region_is_deployed_read_and_removed(engine, endpoint, endpoints, model_id):
    engine.up("Model", "model", model(model_id, region="us-east1", container={**container(), "imageUri": PREBUILT}))
    version = engine.state["model"].outputs["versionName"]
    assert "/locations/us-east1/" in version
    given = deployed_model(endpoint, version)
    assert engine.up("DeployedModel", "d", given) == "create"
    assert engine.refresh("DeployedModel", "d")
    assert engine.preview("DeployedModel", "d", given)[0] == "same"
    engine.delete("DeployedModel", "d")
    assert on(endpoints, endpoint) == ([], {})
    engine.delete("Model", "model")


def test_an_interrupted_deployment_is_taken_over_not_repeated(engine, endpoint, endpoints, version):
    engine.up("DeployedModel", "d", deployed_model(endpoint, version))
    lost = engine.state.pop("d")
    engine.up("DeployedModel", "d", deployed_model(endpoint, version))
    assert engine.state["d"].ident == lost.ident
    assert len(on(endpoints, endpoint)[0]) == 1


def test_a_deployment_that_fails_is_an_error_and_leaves_no_state(engine, endpoint, endpoints, model_id):
    engine.up("Model", "broken", {"modelId": model_id, "container": container(EXIT="3")})
    with pytest.raises(grpc.RpcError) as failed:
        engine.up("DeployedModel", "d", deployed_model(endpoint, engine.state["broken"].outputs["versionName"]))
    assert "Model server exited unexpectedly" in failed.value.details()
    assert "\n" not in failed.value.details()
    assert "d" not in engine.state
    assert on(endpoints, endpoint)[0] == []


def test_a_deployment_that_takes_too_long_is_kept_and_finished_by_the_next_update(
    engine, endpoint, endpoints, model_id, start
):
    engine.up("Model", "slow", {"modelId": model_id, "container": container(**start.env)})
    given = deployed_model(endpoint, engine.state["slow"].outputs["versionName"])
    with pytest.raises(InitFailed, match=r"not done after 0\.5 s"):
        engine.up("DeployedModel", "d", given, timeout=0.5)
    assert "/operations/" in engine.state["d"].outputs["operation"]
    assert engine.refresh("DeployedModel", "d")
    engine.state["d"].init_errors = ["kept by the engine"]
    start.go()
    assert engine.up("DeployedModel", "d", given) == "update"
    assert engine.state["d"].outputs["operation"] == ""
    assert on(endpoints, endpoint)[0] == [engine.state["d"].outputs["deployedModelId"]]


def test_an_unfinished_deployment_that_then_fails_is_tried_again_and_can_be_destroyed(
    engine, endpoint, endpoints, model_id, start
):
    engine.up("Model", "slow", {"modelId": model_id, "container": container(**start.env, EXIT="3")})
    given = {**deployed_model(endpoint, engine.state["slow"].outputs["versionName"]), "owner": "rollout"}
    with pytest.raises(InitFailed):
        engine.up("DeployedModel", "d", given, timeout=0.3)
    first = engine.state["d"].outputs["operation"]
    start.go()
    with pytest.raises(grpc.RpcError) as failed:
        engine.up("DeployedModel", "d", given)
    assert "Model server exited unexpectedly" in failed.value.details()
    assert engine.state["d"].outputs["operation"] == first
    engine.delete("DeployedModel", "d")
    assert on(endpoints, endpoint)[0] == []


def test_cancellation_ends_the_wait_and_a_destroy_leaves_no_orphan(local_vertex, endpoint, endpoints, model_id, start):
    engine = Engine(local_vertex, project="my-project", region="us-central1")
    engine.up("Model", "slow", {"modelId": model_id, "container": container(**start.env)})
    given = deployed_model(endpoint, engine.state["slow"].outputs["versionName"])
    with futures.ThreadPoolExecutor(1) as thread:
        # The deployment is not done before start.go(): nothing but the cancellation ends this wait.
        thread.submit(lambda: (start.until_begun(), engine.cancel()))
        with pytest.raises(InitFailed, match="cancelled"):
            engine.up("DeployedModel", "d", given)
    engine.close()
    again = Engine(local_vertex, project="my-project", region="us-central1")
    again.state = engine.state
    with futures.ThreadPoolExecutor(1) as thread:
        deletion = thread.submit(again.delete, "DeployedModel", "d")
        time.sleep(0.5)
        start.go()
        deletion.result()
    assert on(endpoints, endpoint)[0] == []
    again.close()


def test_a_deployed_model_is_imported_by_its_name_and_then_unchanged(engine, stable):
    ident = engine.state["stable"].ident
    inputs = engine.import_("DeployedModel", "adopted", ident)
    assert inputs["deployedModelId"] == stable
    assert inputs["machine"] == MACHINE
    assert engine.preview("DeployedModel", "adopted", inputs)[0] == "same"
    with pytest.raises(grpc.RpcError) as failed:
        engine.import_("DeployedModel", "adopted", "stable")
    assert "is not projects/P/locations/L/endpoints/E/deployedModels/D" in failed.value.details()


def test_a_model_is_imported_at_the_version_that_its_id_names_or_at_its_default(engine, model_id):
    engine.up("Model", "model", model(model_id))
    engine.up("Model", "model", model(model_id, "newer", versionAliases=["default"]))
    base = f"{PARENT}/models/{model_id}"
    for ident, version, who in ((base, "2", "newer"), (f"{base}@1", "1", "stable"), (f"{base}@default", "2", "newer")):
        inputs = engine.import_("Model", "imported", ident)
        adopted = engine.state["imported"]
        assert (adopted.ident, adopted.outputs["versionId"]) == (base, version)
        assert inputs["container"]["env"]["WHO"] == who
        assert engine.refresh("Model", "imported")
        assert engine.preview("Model", "imported", inputs)[0] == "same"


def test_what_somebody_undeployed_is_made_again(engine, endpoint, endpoints, version, stable):
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=stable, traffic_split={}).result(timeout=LIMIT)
    assert not engine.refresh("DeployedModel", "stable")
    assert engine.up("DeployedModel", "stable", deployed_model(endpoint, version)) == "create"


# --- traffic ---------------------------------------------------------------------------------------------------------


def test_a_static_split_is_pulumis_drift_is_put_right_and_everything_goes(engine, endpoint, endpoints, version, stable):
    given = deployed_model(endpoint, version, displayName="b")
    engine.up("DeployedModel", "b", given)
    other = engine.state["b"].outputs["deployedModelId"]
    wanted = split(endpoint, shares={stable: 60, other: 40}, owner="pulumi")
    assert engine.up("TrafficSplit", "ab", wanted) == "create"
    assert on(endpoints, endpoint)[1] == {stable: 60, other: 40}
    endpoints.update_endpoint(
        endpoint={"name": endpoint, "traffic_split": {stable: 100}}, update_mask={"paths": ["traffic_split"]}
    )
    engine.refresh("TrafficSplit", "ab")
    assert engine.preview("TrafficSplit", "ab", wanted) == ("update", {**wanted, "observed": {stable: 60, other: 40}})
    engine.up("TrafficSplit", "ab", wanted)
    assert on(endpoints, endpoint)[1] == {stable: 60, other: 40}
    with pytest.raises(grpc.RpcError) as refused:
        engine.delete("DeployedModel", "b")
    assert "has 40% of the traffic" in refused.value.details()
    for kind, name in (("TrafficSplit", "ab"), ("DeployedModel", "b"), ("DeployedModel", "stable"), ("Model", "model")):
        engine.delete(kind, name)
    assert on(endpoints, endpoint) == ([], {})


def test_a_rollout_owns_what_pulumi_started(engine, endpoint, endpoints, version):
    program = {"endpoint": endpoint, "model": version, "machine": MACHINE, "undeployOthersOnDelete": True}
    engine.up("DeployedModel", "first", program)
    first = engine.state["first"].outputs["deployedModelId"]
    traffic = split(endpoint, shares={first: 100})
    engine.up("TrafficSplit", "split", traffic)
    assert on(endpoints, endpoint)[1] == {first: 100}

    # What a rollout does: deploy another, shift, remove the first.
    canary = {
        "id": "77",
        "model": version,
        "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-4"}, "min_replica_count": 1},
    }
    endpoints.deploy_model(endpoint=endpoint, deployed_model=canary).result(timeout=LIMIT)

    def shift(shares):
        mask = {"paths": ["traffic_split"]}
        endpoints.update_endpoint(endpoint={"name": endpoint, "traffic_split": shares}, update_mask=mask)

    shift({first: 50, "77": 50})
    for refreshed in (False, True):
        if refreshed:
            assert engine.refresh("TrafficSplit", "split")
            assert engine.refresh("DeployedModel", "first")
        assert engine.preview("TrafficSplit", "split", traffic)[0] == "same"
        assert engine.preview("DeployedModel", "first", {**program, "replicas": {"min": 2}})[0] == "same"
    assert engine.state["split"].outputs["observed"] == {first: 50, "77": 50}
    shift({"77": 100})
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=first, traffic_split={}).result(timeout=LIMIT)
    assert engine.refresh("DeployedModel", "first")
    assert engine.refresh("TrafficSplit", "split")
    assert engine.state["first"].outputs["deployed"] is False
    assert engine.preview("DeployedModel", "first", program)[0] == "same"
    assert engine.up("TrafficSplit", "split", traffic) == "same"
    assert on(endpoints, endpoint) == (["77"], {"77": 100})

    # Unless the spec says so: then the split is put right at once.
    static = {**traffic, "split": [{"deployedModelId": "77", "percent": 100}], "owner": "pulumi"}
    assert engine.preview("TrafficSplit", "split", static)[0] == "update"
    engine.up("TrafficSplit", "split", traffic)

    # A teardown leaves nothing behind.
    engine.delete("TrafficSplit", "split")
    engine.delete("DeployedModel", "first")
    assert on(endpoints, endpoint) == ([], {})


def test_a_first_split_does_not_overwrite_a_rollouts(engine, endpoint, endpoints, stable):
    mask = {"paths": ["traffic_split"]}
    engine.up("DeployedModel", "b", {**engine.state["stable"].inputs, "displayName": "b", "deployedModelId": "12"})
    endpoints.update_endpoint(endpoint={"name": endpoint, "traffic_split": {stable: 100}}, update_mask=mask)
    engine.up("TrafficSplit", "split", split(endpoint, shares={"12": 100}))
    assert on(endpoints, endpoint)[1] == {stable: 100}
    assert engine.state["split"].outputs["observed"] == {stable: 100}


def test_a_split_that_the_api_refuses_is_one_line_with_its_code(engine, endpoint):
    with pytest.raises(grpc.RpcError) as refused:
        engine.up("TrafficSplit", "split", split(endpoint, shares={"5": 100}, owner="pulumi"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "not deployed" in refused.value.details()

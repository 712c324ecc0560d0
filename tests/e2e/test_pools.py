"""DeploymentResourcePools: the unmodified SDK, gcloud, and a rollout onto one, with real server processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.waiting import PATIENCE

from .conftest import IMAGE, SERVER, Cli
from .rollouts import Rollouts
from .test_local_sdk import PARENT, call, finished, python

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SHARED = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"


@pytest.fixture(scope="module")
def vertex(tmp_path_factory):
    cli = Cli(tmp_path_factory.mktemp("pools"))
    cli.up("--image", f"{SHARED}={sys.executable} {SERVER}")
    yield cli
    cli.down()


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_unmodified_sdk_deploys_models_of_two_endpoints_onto_one_pool(vertex, transport):
    server = vertex.json("status")["server"]
    address = server["rest"] if transport == "rest" else f"localhost:{server['ports']['grpc_tls']}"
    seen = python(vertex, "pool_flow.py", transport, address, SHARED, IMAGE)
    assert f"pool-{transport}" in seen["listed"]
    assert seen["on_pool"] == 3
    assert (seen["answers"], seen["other"]) == (["one", "two"], "two")
    assert "may only be specified for models" in seen["custom"]
    assert "undeploy them first" in seen["in_use"]
    assert seen["replicas"] == 2
    assert f"pool-{transport}" not in seen["left"]


def test_gcloud_makes_shows_and_deletes_a_pool(vertex, tmp_path):
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not on PATH")
    extra = {"CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    environment = {**os.environ, **vertex.json("env"), **extra}
    environment.pop("VIRTUAL_ENV", None)

    def gcloud(verb, *arguments):
        command = ["gcloud", "beta", "ai", "deployment-resource-pools", verb, *arguments]
        command += ["--region=us-central1", "--format=json"]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout) if found.stdout.strip() else None

    gcloud("create", "from-gcloud", "--machine-type=n1-standard-4", "--min-replica-count=1", "--max-replica-count=3")
    assert gcloud("describe", "from-gcloud")["dedicatedResources"]["maxReplicaCount"] == 3
    assert "from-gcloud" in [item["name"].rpartition("/")[2] for item in gcloud("list")]
    assert "deployedModelRefs" not in (gcloud("query-deployed-models", "from-gcloud") or {})
    gcloud("delete", "from-gcloud")
    assert "from-gcloud" not in [item["name"].rpartition("/")[2] for item in gcloud("list")]


def test_a_rollout_onto_a_pool_waits_for_the_pool_and_then_moves_all_traffic(vertex):
    rollout = {"steps": [{"weight": 50, "hold": "3s"}, {"weight": 100}], "keep_stable": "1s", "gates": []}
    rollouts = Rollouts(vertex, "pooled", rollout)

    def write(who):
        rollouts.write(who)
        path = Path(vertex.folder / "pooled.yaml")
        spec = yaml.safe_load(path.read_text())
        spec["container"]["image"] = SHARED
        spec["target"] = {"type": "vertex", "pool": "rollouts"}
        path.write_text(yaml.safe_dump(spec))

    write("one")
    code, out = rollouts.run("plan")
    assert code != 0
    assert "there is no DeploymentResourcePool rollouts in us-central1; make it" in out
    server = vertex.json("status")["server"]
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 2, "maxReplicaCount": 2}
    body = {"deploymentResourcePoolId": "rollouts", "deploymentResourcePool": {"dedicatedResources": resources}}
    _, operation = call(server, "POST", f"{PARENT}/deploymentResourcePools", body)
    pool = finished(server, operation)["response"]["name"]
    for who in ("one", "two"):
        write(who)
        code, found = rollouts.json("start")
        assert (code, found["ending"]) == (0, "promoted"), found
    _, on_pool = call(server, "GET", f"/v1/{pool}:queryDeployedModels")
    assert on_pool["totalDeployedModelCount"] == 1
    (endpoint,) = {ref["endpoint"] for ref in on_pool["deployedModelRefs"]}
    _, answer = call(server, "POST", f"/v1/{endpoint}:predict", {"instances": [1]})
    assert answer["predictions"][0]["who"] == "two"

    def replicas():
        (model,) = next(e for e in vertex.json("status")["endpoints"] if e["name"] == endpoint)["deployedModels"]
        return len(model["replicas"])

    assert replicas() == 2
    path = f"/v1/{pool}?updateMask=dedicatedResources.minReplicaCount,dedicatedResources.maxReplicaCount"
    body = {"dedicatedResources": {"minReplicaCount": 3, "maxReplicaCount": 3}}
    _, operation = call(server, "PATCH", path, body)
    assert "error" not in finished(server, operation)
    assert replicas() == 3

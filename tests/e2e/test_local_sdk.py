"""The unmodified SDK and gcloud against Local Vertex with real server processes."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from vertex_deploy.local.daemon import alive

from .conftest import IMAGE, Cli
from .rollouts import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
REQUESTS = 600
SHARE = 0.1


def python(cli, script, *arguments):
    found = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *arguments],
        env={**os.environ, **cli.json("env")},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    return json.loads(found.stdout.splitlines()[-1])  # the SDK prints its progress before


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_unmodified_sdk_takes_a_model_from_upload_to_deletion(vertex, transport, tell):
    server = vertex.json("status")["server"]
    address = server["rest"] if transport == "rest" else f"localhost:{server['ports']['grpc_tls']}"
    seen = python(vertex, "sdk_flow.py", transport, address, IMAGE, f"gs://artifacts-{transport}/m/1")
    assert seen["versions"] == ["1", "2"]
    # A figure, not a limit: it is a second or two, and as long as it takes on a machine that does much else.
    tell(f"the SDK deployed a model over {transport} in {seen['deploy_seconds']:.1f} s")
    assert seen["canary_split"] == [10, 90]
    sigma = math.sqrt(REQUESTS * SHARE * (1 - SHARE))
    counted = seen["canary"][-1]
    assert sum(counted.values()) == REQUESTS
    assert abs(counted["canary"] - REQUESTS * SHARE) <= 3 * sigma, seen["canary"]
    assert seen["answer"] == [2, True, True]
    assert seen["artifacts"].startswith("gs://caip-tenant-local-vertex/")
    assert seen["promoted"] == {"canary": 20}
    assert "is deployed or being deployed at the following Endpoint(s)" in seen["delete_deployed"]
    assert seen["after_undeploy"] == [1, [100]]
    assert "Model server exited unexpectedly" in seen["broken"]
    assert "cannot load the model" in seen["broken"]
    assert seen["left"] == [0, 0]


def test_gcloud_takes_a_model_from_upload_to_deletion(vertex, tmp_path):
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not on PATH")
    extra = {"CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    environment = {**os.environ, **vertex.json("env"), **extra}
    # gcloud brings its own Python.
    environment.pop("VIRTUAL_ENV", None)

    def gcloud(*arguments, fmt="json"):
        command = ["gcloud", "ai", *arguments, "--region=us-central1", f"--format={fmt}"]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout) if fmt == "json" and found.stdout.strip() else found.stdout

    gcloud(
        "models", "upload", "--display-name=g", f"--container-image-uri={IMAGE}", "--container-env-vars=WHO=g",
        "--container-predict-route=/p", "--container-health-route=/h",
    )  # fmt: skip
    model = gcloud("models", "list", "--filter=displayName=g")[0]["name"].rpartition("/")[2]
    gcloud("endpoints", "create", "--display-name=g")
    endpoint = gcloud("endpoints", "list", "--filter=displayName=g")[0]["name"].rpartition("/")[2]
    gcloud(
        "endpoints", "deploy-model", endpoint, f"--model={model}", "--display-name=d", "--machine-type=n1-standard-2",
        "--traffic-split=0=100",
    )  # fmt: skip
    request = tmp_path / "request.json"
    request.write_text('{"instances": [1]}')
    answer = gcloud("endpoints", "predict", endpoint, f"--json-request={request}")
    assert answer["predictions"][0]["who"] == "g"
    found = gcloud("endpoints", "describe", endpoint)
    deployed = found["deployedModels"][0]["id"]
    assert found["trafficSplit"] == {deployed: 100}
    gcloud("endpoints", "update", endpoint, "--display-name=renamed", f"--traffic-split={deployed}=100")
    assert gcloud("endpoints", "describe", endpoint)["displayName"] == "renamed"
    gcloud("endpoints", "undeploy-model", endpoint, f"--deployed-model-id={deployed}")
    gcloud("endpoints", "delete", endpoint)
    gcloud("models", "delete", model)
    assert model not in [entry["name"].rpartition("/")[2] for entry in gcloud("models", "list")]


# --- the command line ------------------------------------------------------------------------------------------------


def call(server, method, path, body=None):
    """One REST request; status and content."""
    request = urllib.request.Request(
        f"{server['rest']}{path}", json.dumps(body).encode() if body is not None else None, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def finished(server, operation):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _, found = call(server, "GET", f"/v1/{operation['name']}")
        if found.get("done"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{operation['name']} is not done")


PARENT = "/v1/projects/my-project/locations/us-central1"


def deployed(server, who):
    """Upload and deploy over plain REST; name of the endpoint and id of the deployed model."""
    spec = {"imageUri": IMAGE, "predictRoute": "/p", "healthRoute": "/h", "env": [{"name": "WHO", "value": who}]}
    model = {"displayName": who, "containerSpec": spec}
    _, operation = call(server, "POST", f"{PARENT}/models:upload", {"model": model})
    name = finished(server, operation)["response"]["model"]
    _, operation = call(server, "POST", f"{PARENT}/endpoints", {"displayName": who})
    endpoint = finished(server, operation)["response"]["name"]
    resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
    body = {"deployedModel": {"model": name, "dedicatedResources": resources}, "trafficSplit": {"0": 100}}
    _, operation = call(server, "POST", f"/v1/{endpoint}:deployModel", body)
    return endpoint, finished(server, operation)["response"]["deployedModel"]["id"]


def test_status_logs_and_faults_show_and_break_what_runs(vertex):
    server = vertex.json("status")["server"]
    endpoint, ident = deployed(server, "broken-on-purpose")
    found = next(e for e in vertex.json("status")["endpoints"] if e["name"] == endpoint)
    assert found["deployedModels"][0]["traffic"] == 100
    assert [replica["healthy"] for replica in found["deployedModels"][0]["replicas"]] == [True]
    assert "1/1 healthy" in vertex.run("status").stdout
    assert "ready: REST" in vertex.run("logs").stdout
    assert vertex.run("logs", "--deployed-model", ident).returncode == 0
    assert ident in vertex.run("logs", "--deployed-model", "7", check=False).stderr

    vertex.run("fault", "broken-on-purpose", "--fail", "100%", "--code", "503")
    assert call(server, "POST", f"/v1/{endpoint}:predict", {"instances": [1]})[0] == 503
    assert "503" in vertex.run("fault").stdout
    vertex.run("fault", "--clear")
    assert call(server, "POST", f"/v1/{endpoint}:predict", {"instances": [1]})[0] == 200
    vertex.run("fault", ident, "--kill-replica")
    assert vertex.run("fault", ident, "--fail", "20", check=False).returncode == 2


def test_a_second_one_in_the_same_directory_is_refused(vertex):
    found = vertex.run("up", check=False)
    assert found.returncode == 5
    assert "is up already" in found.stderr


def test_an_image_without_a_command_is_refused_with_the_fix(vertex):
    server = vertex.json("status")["server"]
    image = "us-central1-docker.pkg.dev/p/r/unmapped"
    _, operation = call(
        server, "POST", f"{PARENT}/models:upload", {"model": {"displayName": "u", "containerSpec": {"imageUri": image}}}
    )
    model = finished(server, operation)["response"]["model"]
    _, operation = call(server, "POST", f"{PARENT}/endpoints", {"displayName": "u"})
    endpoint = finished(server, operation)["response"]["name"]
    resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
    body = {"deployedModel": {"model": model, "dedicatedResources": resources}}
    _, operation = call(server, "POST", f"/v1/{endpoint}:deployModel", body)
    error = finished(server, operation)["error"]
    assert "--image" in error["message"]
    assert image in error["message"]


def test_kept_data_is_there_and_runs_again_after_a_crash(tmp_path):
    cli = Cli(tmp_path)
    server = cli.up("--data", "kept")
    endpoint, ident = deployed(server, "kept")
    os.kill(server["pid"], 9)
    until(lambda: not alive(server["pid"]))
    server = cli.up("--data", "kept")
    try:
        predict = "POST", f"/v1/{endpoint}:predict", {"instances": [1]}
        # What was deployed starts while requests are answered already.
        until(lambda: call(server, *predict)[0] == 200)
        status, answer = call(server, *predict)
        assert (status, answer["deployedModelId"]) == (200, ident)
        assert answer["predictions"][0]["who"] == "kept"
    finally:
        stopped = cli.json("down", "--data", "kept")
    assert stopped["data"] == str(tmp_path / "kept")
    assert cli.run("status", check=False).returncode == 5


def test_without_data_nothing_is_left(tmp_path):
    cli = Cli(tmp_path)
    folder = Path(cli.up()["data"])
    assert folder.is_dir()
    cli.run("down")
    assert not folder.exists()

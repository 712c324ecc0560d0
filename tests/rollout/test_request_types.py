"""Every request that a rollout sends, held against Google's own types: an unknown field, path or parameter is refused.

What goes over gRPC is made into the message that the client's method takes, which refuses what it does not know; what
goes over REST (incidents, Pub/Sub, Secret Manager) is held against the discovery documents. Left out: Cloud Storage,
whose client builds its own requests (``test_gcs`` has a bucket), and what the values mean (the end-to-end tests).
"""

from __future__ import annotations

import base64
import re
import typing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.cloud import aiplatform_v1 as aip
from google.cloud import monitoring_v3
from google.longrunning import operations_pb2

from tests.infra.discovery import document, findings
from tests.rollout.notify.test_notify import NOW, message
from tests.rollout.world import spec_with
from vertex_deploy.gcp import Caller
from vertex_deploy.metrics.cloud_gauges import CloudGauge
from vertex_deploy.metrics.cloud_monitoring import CloudMonitoringSource, SeriesReader
from vertex_deploy.metrics.quota import QuotaSource
from vertex_deploy.metrics.types import Interval
from vertex_deploy.release import build_release
from vertex_deploy.rollout.alert_clients import MonitoringAlerts, incident_of
from vertex_deploy.rollout.alerting import policies_for
from vertex_deploy.rollout.notify.channels import PubSub
from vertex_deploy.rollout.quota import needs
from vertex_deploy.secrets import resolve
from vertex_deploy.targets.pools import check_pool
from vertex_deploy.targets.vertex import VertexTarget

GATES = [
    {"metric": "error_rate", "max": "1%"},
    {"metric": "latency_p95", "max": "300ms"},
    {"metric": "latency_p90", "max": "300ms"},
    {
        "metric": "rating",
        "min": 3,
        "range": [1, 5],
        "query": {"cloud_monitoring": 'metric.type="custom.googleapis.com/rating" AND resource.type="global"'},
    },
]
SPEC = spec_with(gates=GATES)
RELEASE = build_release(SPEC)
ENDPOINT = "projects/p/locations/us-central1/endpoints/7"
POOL = "projects/p/locations/us-central1/deploymentResourcePools/shared"
CLIENTS = {
    "endpoints": aip.EndpointServiceClient,
    "models": aip.ModelServiceClient,
    "pools": aip.DeploymentResourcePoolServiceClient,
    "metrics": monitoring_v3.MetricServiceClient,
    "alerts": monitoring_v3.AlertPolicyServiceClient,
}


class Typed:
    """Stands for one of Google's clients: makes each request the message that the real method takes.

    Args:
        kind: the client.
        sent: gets the messages.
        answers: by method; an empty list where absent.
    """

    def __init__(self, kind: type, sent: list[Any], **answers: Any) -> None:
        self.kind, self.sent, self.answers = kind, sent, answers

    def __getattr__(self, name: str) -> Any:
        wanted = request_type(getattr(self.kind, name))

        def call(*, request: Any, retry: Any, timeout: float) -> Any:
            assert retry is None
            assert timeout > 0
            whole = not isinstance(request, dict)
            self.sent.append(request if whole else wanted(**request) if wanted in PLAIN else wanted(request))
            assert isinstance(self.sent[-1], wanted)
            return self.answers.get(name, [])

        return call


PLAIN = (operations_pb2.GetOperationRequest,)
"""Messages without proto-plus around them."""


def request_type(method: Any) -> type:
    """What a method of a client takes: ``Union[REQUEST, dict]`` by its signature; the mixins do not say."""
    if method.__name__ == "get_operation":
        return operations_pb2.GetOperationRequest
    (found,) = [kind for kind in typing.get_args(typing.get_type_hints(method)["request"]) if hasattr(kind, "pb")]
    return typing.cast("type", found)


@pytest.fixture
def sent() -> list[Any]:
    return []


def begun() -> Any:
    return SimpleNamespace(operation=operations_pb2.Operation(name=f"{ENDPOINT}/operations/1"))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"endpoint": {"name": ENDPOINT, "traffic_spilt": {"1": 100}}},
        {"endpoint": {"name": ENDPOINT}, "update_masks": {"paths": ["traffic_split"]}},
        {"endpoint": {"name": ENDPOINT}, "update_mask": {"path": ["traffic_split"]}},
    ],
)
def test_a_field_that_the_api_does_not_have_is_refused_at_every_depth(spoiled: dict[str, Any], sent: list[Any]) -> None:
    client = Typed(aip.EndpointServiceClient, sent)
    with pytest.raises(ValueError, match=r"[Uu]nknown field|no .*field|traffic_spilt|path"):
        client.update_endpoint(request=spoiled, retry=None, timeout=1.0)


def test_what_moves_traffic_is_of_vertex_ais_own_types(sent: list[Any]) -> None:
    target = VertexTarget(SPEC, RELEASE, caller=Caller(sleep=lambda _seconds: None))
    done = {name: begun() for name in ("create_endpoint", "deploy_model", "undeploy_model", "upload_model")}
    done |= {
        "get_endpoint": aip.Endpoint(name=ENDPOINT),
        "get_operation": operations_pb2.Operation(name="o"),
        "update_endpoint": aip.Endpoint(),
    }
    target._clients = {kind: Typed(CLIENTS[kind], sent, **done) for kind in ("endpoints", "models")}
    target.find_endpoint()
    target.create_endpoint()
    target.observe(ENDPOINT)
    target.find_model()
    target.start_upload()
    target.start_deploy(ENDPOINT, model="projects/p/locations/us-central1/models/m@1", deployed_id="12", first=True)
    target.start_undeploy(ENDPOINT, "12")
    target.set_split(ENDPOINT, {"1": 90, "12": 10}, etag="e")
    target.poll(f"{ENDPOINT}/operations/1")
    assert {type(request).__name__ for request in sent} == {
        "ListEndpointsRequest",
        "CreateEndpointRequest",
        "GetEndpointRequest",
        "ListModelVersionsRequest",
        "UploadModelRequest",
        "DeployModelRequest",
        "UndeployModelRequest",
        "UpdateEndpointRequest",
        "GetOperationRequest",
    }


def test_what_asks_for_a_pool_is_of_vertex_ais_own_types(sent: list[Any]) -> None:
    of_pool = SimpleNamespace(pages=[SimpleNamespace(deployed_model_refs=[])])
    clients = {kind: Typed(CLIENTS[kind], sent) for kind in ("endpoints", "models")}
    clients["pools"] = Typed(CLIENTS["pools"], sent, query_deployed_models=of_pool)
    image = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"
    check_pool(POOL, image, call=Caller(), client=clients.__getitem__)
    assert [type(request).__name__ for request in sent] == [
        "GetDeploymentResourcePoolRequest",
        "QueryDeployedModelsRequest",
    ]


@pytest.mark.parametrize("private", [False, True])
def test_what_reads_metrics_and_quotas_is_of_cloud_monitorings_own_types(sent: list[Any], private: bool) -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    client = Typed(CLIENTS["metrics"], sent)
    reader = SeriesReader("p", client=client)
    source = CloudMonitoringSource(endpoint=ENDPOINT, private=private, reader=reader)
    source.read(stable="1", canary="2", since=now - timedelta(hours=1), until=now)
    gauge = CloudGauge(name="rating", query='metric.type="m"', reader=reader)
    gauge.points(["1", "2"], [Interval(now, 60.0, None, None)])
    wanted = [charge.quota for charge in needs(SPEC) if charge.quota is not None]
    assert wanted
    QuotaSource("p", "us-central1", client=client).levels(wanted, NOW)
    assert {type(request).__name__ for request in sent} == {"ListTimeSeriesRequest"}
    assert len(sent) == 6
    for request in sent:
        assert request.name == "projects/p"
        assert request.interval.end_time > request.interval.start_time


def test_alert_policies_are_of_cloud_monitorings_own_types(sent: list[Any]) -> None:
    alerts = MonitoringAlerts("p", client=Typed(CLIENTS["alerts"], sent))
    policies = policies_for(SPEC, "r1", ENDPOINT, "12")
    assert len(policies) == len(GATES)
    for policy in policies:
        alerts.create(policy)
        # The discovery document is stricter in one thing: it knows what is output only.
        assert findings(policy, "monitoring.v3", "AlertPolicy") == []
    alerts.policies("r1")
    alerts.delete("projects/p/alertPolicies/1")
    assert {type(request).__name__ for request in sent} == {
        "CreateAlertPolicyRequest",
        "ListAlertPoliciesRequest",
        "DeleteAlertPolicyRequest",
    }


# --- over REST --------------------------------------------------------------------------------------------------------


def method_of(api: str, *path: str) -> dict[str, Any]:
    """A method of a discovery document, by its resources' names and its own."""
    found = document(api)
    for resource in path[:-1]:
        found = found["resources"][resource]
    return typing.cast("dict[str, Any]", found["methods"][path[-1]])


def matches(path: str, method: dict[str, Any]) -> bool:
    """Whether a path is one of a method's: ``v3/{+name}/alerts`` with the pattern of ``name``."""
    pattern = re.escape(method["path"])
    for name, parameter in method["parameters"].items():
        pattern = pattern.replace(re.escape(f"{{+{name}}}"), parameter.get("pattern", "").strip("^$"))
    return re.fullmatch(pattern, path.removeprefix("/")) is not None


class Session:
    """Stands for an authorized session: keeps what is asked.

    Args:
        answer: JSON of every answer.
    """

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    def request(self, verb: str, url: str, **options: Any) -> Any:
        self.asked.append((verb, urlsplit(url), options))
        return SimpleNamespace(status_code=200, json=lambda: self.answer)


def test_incidents_are_asked_for_and_read_as_the_discovery_document_has_them() -> None:
    method = method_of("monitoring.v3", "projects", "alerts", "list")
    asked = []
    alert = {
        "name": "projects/p/alerts/0.a",
        "openTime": "2027-01-15T08:00:00Z",
        "metric": {"type": "m", "labels": {"deployed_model_id": "12"}},
        "policy": {"displayName": "lite0 r1: error_rate", "userLabels": {"vertex_deploy_rollout": "r1"}},
    }

    def get(path: str, query: dict[str, str]) -> Any:
        asked.append((path, dict(query)))
        return {"alerts": [alert], "nextPageToken": "more" if len(asked) == 1 else ""}

    assert not matches("v3/projects/p/incidents", method)
    assert len(MonitoringAlerts("p", get=get).incidents(0.0)) == 2
    for path, query in asked:
        assert matches(path, method)
        assert set(query) <= set(method["parameters"])
        assert int(query["pageSize"]) <= 1000
    answer = document("monitoring.v3")["schemas"][method["response"]["$ref"]]["properties"]
    assert {"alerts", "nextPageToken"} <= set(answer)
    assert findings(alert, "monitoring.v3", "Alert") == []
    assert {"OPEN", "CLOSED"} <= set(document("monitoring.v3")["schemas"]["Alert"]["properties"]["state"]["enum"])
    found = incident_of(alert)
    assert (found.deployed_id, found.title) == ("12", "lite0 r1: error_rate")


def test_a_notification_is_published_as_the_discovery_document_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    method = method_of("pubsub.v1", "projects", "topics", "publish")
    session = Session({"messageIds": ["1"]})
    PubSub("projects/p/topics/rollouts", session).send(message(), NOW)
    ((verb, url, options),) = session.asked
    assert verb == method["httpMethod"]
    assert (url.scheme, url.hostname) == ("https", "pubsub.googleapis.com")
    assert matches(url.path, method)
    assert findings(options["json"], "pubsub.v1", method["request"]["$ref"]) == []


def test_a_secret_is_asked_for_and_read_as_the_discovery_document_has_it() -> None:
    method = method_of("secretmanager.v1", "projects", "secrets", "versions", "access")
    answer = {"payload": {"data": base64.b64encode(b"word").decode()}}
    assert findings(answer, "secretmanager.v1", method["response"]["$ref"]) == []
    session = Session(answer)
    assert resolve("projects/p/secrets/s/versions/1", session=session) == "word"
    ((verb, url, _),) = session.asked
    assert verb == method["httpMethod"]
    assert (url.scheme, url.hostname) == ("https", "secretmanager.googleapis.com")
    assert matches(url.path, method)

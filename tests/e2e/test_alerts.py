"""Alert policies and rollouts on Local Vertex: incidents of its own evaluation, read over its REST API."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.cloud import monitoring_v3
from google.protobuf import json_format

from vertex_deploy.rollout.alert_clients import MonitoringAlerts
from vertex_deploy.spec.alerts import conditions
from vertex_deploy.spec.gates import Gate

from .rollouts import Rollouts

if TYPE_CHECKING:
    from .conftest import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GATE = {"metric": "error_rate", "max": "30%", "min_requests": 10, "inconclusive": "ignore"}
STEPS = [{"weight": 50, "hold": "8s"}, {"weight": 100}]


def policies(cli: Cli) -> Any:
    target = cli.json("env")["VERTEX_DEPLOY_MONITORING_ENDPOINT"].removeprefix("http://")
    transport = monitoring_v3.AlertPolicyServiceClient.get_transport_class("grpc")
    return monitoring_v3.AlertPolicyServiceClient(transport=transport(channel=grpc.insecure_channel(target)))


def test_an_alert_of_stable_alone_is_not_blamed_on_the_canary_and_policies_go_with_the_rollout(vertex: Cli) -> None:
    rollouts = Rollouts(vertex, "stable-fires", {"steps": STEPS, "gates": [GATE], "keep_stable": "1s"})
    rollouts.write("one", FAIL_EVERY=2)
    assert rollouts.run("start")[0] == 0
    # The policy that `pulumi up` would have left: every version by itself, and stable breaks it.
    gate = Gate.model_validate({"metric": "error_rate", "name": "standing", "max": "30%"})
    endpoint = rollouts.endpoint().rpartition("/")[2]
    body = {
        "displayName": "stable-fires: standing",
        "userLabels": {"vertex-deploy": "stable-fires"},
        "combiner": "OR",
        "conditions": list(conditions(gate, endpoint_id=endpoint, private=False)),
    }
    message = monitoring_v3.AlertPolicy()
    json_format.ParseDict(body, monitoring_v3.AlertPolicy.pb(message))
    client = policies(vertex)
    kept = client.create_alert_policy(name="projects/my-project", alert_policy=message)
    rollouts.write("two")
    with rollouts.traffic():
        code, out = rollouts.run("start", "-o", "json")
    found = json.loads(out)
    assert (code, found["ending"]) == (0, "promoted"), found["reason"]
    server = vertex.json("status")["server"]["rest"]
    with urllib.request.urlopen(f"{server}/v3/projects/my-project/alerts") as answer:
        alerts = json.load(answer)["alerts"]
    fired = {alert["metric"]["labels"]["deployed_model_id"] for alert in alerts}
    assert fired, "stable was to break its limit"
    assert rollouts.record()["canary"] not in fired
    left = MonitoringAlerts("my-project", client=client).policies(rollouts.record()["id"])
    assert left == {}
    assert [p.name for p in client.list_alert_policies(name="projects/my-project")] == [kept.name]

"""The life of policies, channels and snoozes under Google's own clients, over gRPC and REST side by side.

google-cloud-monitoring has gRPC alone; over REST it is the discovery client, with the document that it ships. What one
writes the other reads, field by field.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import grpc
import httplib2
import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3 as m
from google.protobuf import json_format
from googleapiclient import discovery, errors

from vertex_deploy.local.server import LocalVertex, Settings

pytestmark = pytest.mark.e2e
NAME = "projects/proj-a"
REPLICAS = (
    'metric.type="aiplatform.googleapis.com/prediction/online/replicas" AND '
    'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.label."endpoint_id"="77"'
)
POLICY = {
    "displayName": "Too few replicas",
    "combiner": "AND_WITH_MATCHING_RESOURCE",
    "enabled": False,
    "severity": "CRITICAL",
    "userLabels": {"rollout": "r1"},
    "documentation": {
        "content": "${resource.label.endpoint_id} of ${policy.display_name}",
        "mimeType": "text/markdown",
        "subject": "few",
        "links": [{"displayName": "Runbook", "url": "https://runbooks.example.com/${project}"}],
    },
    "alertStrategy": {"autoClose": "1800s", "notificationPrompts": ["OPENED", "CLOSED"]},
    "conditions": [
        {
            "displayName": "few",
            "conditionThreshold": {
                "filter": REPLICAS,
                "denominatorFilter": REPLICAS,
                "comparison": "COMPARISON_LT",
                "thresholdValue": 0.5,
                "duration": "120s",
                "trigger": {"percent": 50.0},
                "evaluationMissingData": "EVALUATION_MISSING_DATA_INACTIVE",
                "aggregations": [
                    {
                        "alignmentPeriod": "60s",
                        "perSeriesAligner": "ALIGN_MEAN",
                        "crossSeriesReducer": "REDUCE_SUM",
                        "groupByFields": ["metric.label.deployed_model_id"],
                    }
                ],
                "denominatorAggregations": [
                    {
                        "alignmentPeriod": "60s",
                        "perSeriesAligner": "ALIGN_MAX",
                        "crossSeriesReducer": "REDUCE_MAX",
                        "groupByFields": ["metric.label.deployed_model_id"],
                    }
                ],
            },
        },
        {"displayName": "none", "conditionAbsent": {"filter": REPLICAS, "duration": "300s", "trigger": {"count": 2}}},
    ],
}
"""Every field that Local Vertex takes."""


class Clients:
    """Google's clients, unmodified, on one Local Vertex."""

    def __init__(self, rest: int, channel: grpc.Channel) -> None:
        endpoint = {"api_endpoint": f"http://127.0.0.1:{rest}"}
        http = httplib2.Http()
        built = discovery.build("monitoring", "v3", http=http, client_options=endpoint, static_discovery=True)
        self.rest = built.projects()
        self.policies, self.channels, self.snoozes = (
            client(transport=client.get_transport_class("grpc")(channel=channel))
            for client in (m.AlertPolicyServiceClient, m.NotificationChannelServiceClient, m.SnoozeServiceClient)
        )


def as_json(message):
    return json_format.MessageToDict(type(message).pb(message))


def from_json(body):
    return m.AlertPolicy(json_format.ParseDict(body, m.AlertPolicy.pb(m.AlertPolicy())))


@contextmanager
def refused(status: int, words: str):
    """Both clients raise an error of this HTTP status and words."""
    with pytest.raises((errors.HttpError, exceptions.GoogleAPICallError), match=words) as caught:
        yield
    found = caught.value
    assert (found.status_code if isinstance(found, errors.HttpError) else found.code) == status


def policies(clients: Clients) -> None:
    rest = clients.rest.alertPolicies()
    made = rest.create(name=NAME, body=POLICY).execute()
    got = clients.policies.get_alert_policy(name=made["name"])
    assert as_json(got) == made
    # What was asked for came back, and what is the service's own beside it.
    named = [
        {**asked, "name": kept["name"]} for asked, kept in zip(POLICY["conditions"], made["conditions"], strict=True)
    ]
    records = {key: made[key] for key in ("creationRecord", "mutationRecord")}
    assert made == {**POLICY, "name": made["name"], "conditions": named, **records}
    assert all(c["name"].startswith(f"{made['name']}/conditions/") for c in made["conditions"])

    body = {"userLabels": {"rollout": "r2"}, "displayName": "not in the mask"}
    changed = rest.patch(name=made["name"], updateMask="userLabels.rollout", body=body).execute()
    assert (changed["userLabels"], changed["displayName"]) == ({"rollout": "r2"}, "Too few replicas")
    got = clients.policies.update_alert_policy(
        alert_policy=m.AlertPolicy(name=made["name"], enabled=True), update_mask={"paths": ["enabled"]}
    )
    assert rest.get(name=made["name"]).execute() == as_json(got)
    # Without a mask all is replaced; conditions that are named keep their names.
    smaller = {"displayName": "b", "combiner": "OR", "conditions": [made["conditions"][1]]}
    replaced = rest.patch(name=made["name"], body=smaller).execute()
    assert replaced["conditions"] == [made["conditions"][1]]
    assert replaced["creationRecord"] == made["creationRecord"]
    assert {"severity", "userLabels", "documentation", "alertStrategy"}.isdisjoint(replaced)

    other = clients.policies.create_alert_policy(name=NAME, alert_policy=from_json({**POLICY, "displayName": "a"}))
    listed = rest.list(name=NAME, orderBy="display_name", pageSize=1).execute()
    assert ([p["displayName"] for p in listed["alertPolicies"]], listed["totalSize"]) == (["a"], 2)
    second = rest.list(name=NAME, orderBy="display_name", pageSize=1, pageToken=listed["nextPageToken"]).execute()
    assert ([p["displayName"] for p in second["alertPolicies"]], "nextPageToken" in second) == (["b"], False)
    found = clients.policies.list_alert_policies(request={"name": NAME, "filter": 'user_labels."rollout"="r1"'})
    assert [p.name for p in found] == [other.name]
    assert not list(clients.policies.list_alert_policies(name="projects/another"))

    for name in (made["name"], other.name):
        clients.policies.delete_alert_policy(name=name)
        with refused(404, "could not be found"):
            clients.policies.delete_alert_policy(name=name)
        with refused(404, "could not be found"):
            rest.patch(name=name, body=smaller).execute()


def channels(clients: Clients) -> None:
    rest = clients.rest.notificationChannels()
    labels = {"url": "http://127.0.0.1:1/hook", "username": "u", "password": "secret"}
    asked = {
        "type": "webhook_basicauth",
        "displayName": "c",
        "description": "for rehearsals",
        "userLabels": {"team": "vision"},
        "labels": labels,
    }
    made = rest.create(name=NAME, body=asked).execute()
    shown = {key: labels[key] for key in ("url", "username")}
    assert (made["labels"], made["enabled"]) == (shown, True)
    assert as_json(clients.channels.get_notification_channel(name=made["name"])) == made
    body = {"enabled": False, "labels": {"username": "v"}}
    changed = rest.patch(name=made["name"], updateMask="enabled,labels.username", body=body).execute()
    assert (changed["enabled"], changed["labels"]) == (False, {**shown, "username": "v"})
    assert len(changed["mutationRecords"]) == 2
    with refused(400, "cannot be changed"):
        rest.patch(name=made["name"], updateMask="type", body={"type": "webhook_tokenauth"}).execute()
    with refused(400, "not implemented by Local Vertex"):
        rest.create(name=NAME, body={"type": "email", "labels": {"email_address": "a@example.com"}}).execute()
    found = clients.channels.list_notification_channels(request={"name": NAME, "filter": 'type="webhook_basicauth"'})
    assert [as_json(c) for c in found] == [changed]

    user = {**POLICY, "notificationChannels": [made["name"]]}
    policy = clients.rest.alertPolicies().create(name=NAME, body=user).execute()
    with refused(400, "used in alert policies"):
        rest.delete(name=made["name"]).execute()
    rest.delete(name=made["name"], force=True).execute()
    assert not clients.policies.get_alert_policy(name=policy["name"]).notification_channels
    with refused(404, "could not be found"):
        clients.channels.delete_notification_channel(name=made["name"])
    clients.policies.delete_alert_policy(name=policy["name"])


def snoozes(clients: Clients) -> None:
    policy = clients.rest.alertPolicies().create(name=NAME, body=POLICY).execute()
    rest = clients.rest.snoozes()
    now = datetime.fromtimestamp(int(time.time()), UTC)
    start, end, later = ((now + timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in (10, 20, 30))
    asked = {
        "displayName": "window",
        "criteria": {"policies": [policy["name"]], "filter": 'resource.labels."endpoint_id"="77"'},
        "interval": {"startTime": start, "endTime": end},
    }
    made = rest.create(parent=NAME, body=asked).execute()
    assert made == {**asked, "name": made["name"]}
    assert as_json(clients.snoozes.get_snooze(name=made["name"])) == made
    body = {"interval": {"endTime": later}}
    changed = rest.patch(name=made["name"], updateMask="interval.endTime", body=body).execute()
    assert changed["interval"] == {"startTime": start, "endTime": later}
    with refused(400, "cannot be updated"):
        rest.patch(name=made["name"], updateMask="criteria", body=made).execute()
    within = f'interval.start_time > "{now.isoformat()}" AND interval.end_time <= "{later}"'
    assert [s.name for s in clients.snoozes.list_snoozes(request={"parent": NAME, "filter": within})] == [made["name"]]
    with refused(404, "could not be found"):
        rest.get(name=f"{NAME}/snoozes/1").execute()
    clients.policies.delete_alert_policy(name=policy["name"])


@pytest.mark.parametrize("life", [policies, channels, snoozes], ids=lambda life: life.__name__)
async def test_what_one_client_writes_the_other_reads(life, tmp_path):
    async with LocalVertex(Settings(data=tmp_path / "data", sample_period=60.0)) as vertex:

        def run() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{vertex.ports.grpc}") as channel:
                life(Clients(vertex.ports.rest, channel))

        await asyncio.to_thread(run)

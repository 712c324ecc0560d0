"""Google's own clients against a running Local Vertex: gRPC, the discovery client, gcloud; a real webhook receiver."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import aiohttp
import grpc.aio
import httplib2
import pytest
from aiohttp import web
from google.api_core import exceptions
from google.cloud import monitoring_v3 as m
from google.protobuf import json_format
from googleapiclient import discovery

from tests.waiting import PATIENCE, come
from vertex_deploy.local.alerting import alerts
from vertex_deploy.local.data import ImageMap
from vertex_deploy.local.monitoring.catalogue import ENDPOINT
from vertex_deploy.local.server import LocalVertex, Settings

from .support import COUNT, REPLICAS, absence, aggregation, policy, threshold, where

pytestmark = pytest.mark.e2e
NAME = "projects/proj-a"
PERIOD = 0.25
IMAGE = "us-central1-docker.pkg.dev/proj-a/repo/app"
SERVER = Path(__file__).parents[2] / "e2e" / "model_server.py"


class Clients:
    """Unmodified async clients on one channel."""

    def __init__(self, channel):
        def make(client):
            return client(transport=client.get_transport_class("grpc_asyncio")(channel=channel))

        self.policies = make(m.AlertPolicyServiceAsyncClient)
        self.channels = make(m.NotificationChannelServiceAsyncClient)
        self.snoozes = make(m.SnoozeServiceAsyncClient)
        self.metrics = make(m.MetricServiceAsyncClient)

    async def gauge(self, value):
        """Write a point, as Google's own services do."""
        labels = {"resource_container": "proj-a", "location": "us-central1", "endpoint_id": "77"}
        seconds, nanos = divmod(time.time_ns(), 10**9)
        series = m.TimeSeries(
            metric={"type": REPLICAS, "labels": {"deployed_model_id": "1"}},
            resource={"type": ENDPOINT, "labels": labels},
            points=[{"interval": {"end_time": {"seconds": seconds, "nanos": nanos}}}],
        )
        series.points[0].value.int64_value = value
        await self.metrics.create_service_time_series(name=NAME, time_series=[series])


@pytest.fixture
async def vertex(tmp_path):
    async with LocalVertex(Settings(data=tmp_path / "data", sample_period=PERIOD)) as running:
        yield running


@pytest.fixture
async def clients(vertex):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{vertex.ports.grpc}") as channel:
        yield Clients(channel)


@pytest.fixture
async def webhook():
    """A receiver: fails once, then keeps what it got."""
    got: asyncio.Queue = asyncio.Queue()
    failures = [503]

    async def handle(request):
        if failures:
            return web.Response(status=failures.pop())
        got.put_nowait((request.headers.get("Authorization", ""), request.query_string, await request.json()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    got.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield got
    await runner.cleanup()


@pytest.fixture
def nobody(monkeypatch):
    """A port that refuses connections, and goes on to: it is held. Whoever notifies it does not soon give up."""
    monkeypatch.setattr("vertex_deploy.local.alerting.notifier.PAUSES", (1.0,) * int(PATIENCE))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def rest(vertex, path, **query):
    url = f"http://127.0.0.1:{vertex.ports.rest}/v3/{NAME}/{path}"
    async with aiohttp.ClientSession() as session, session.get(url, params=query) as answer:
        return answer.status, await answer.json()


def below_two(**more):
    return policy(
        threshold(text=where(REPLICAS), limit=1.5, aggregations=[], comparison="COMPARISON_LT", **more),
        display_name="Too few replicas",
    )


async def test_an_incident_opens_is_told_listed_and_closes(vertex, clients, webhook):
    labels = {"url": f"{webhook.url}?x=1", "username": "u", "password": "p"}
    channel = await clients.channels.create_notification_channel(
        name=NAME, notification_channel=m.NotificationChannel(type_="webhook_basicauth", labels=labels)
    )
    wanted = below_two()
    wanted.notification_channels = [channel.name]
    created = await clients.policies.create_alert_policy(name=NAME, alert_policy=wanted)

    async def opened():
        await clients.gauge(1)
        return (await rest(vertex, "alerts", filter='state="OPEN"'))[1].get("alerts")

    (alert,) = await come(opened)
    assert alert["policy"] == {"name": created.name, "displayName": "Too few replicas"}
    assert alert["metric"] == {"type": REPLICAS, "labels": {"deployed_model_id": "1"}}
    authorization, query, body = await asyncio.wait_for(webhook.get(), PATIENCE)
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"u:p"
    assert query == "x=1"
    assert (body["version"], body["incident"]["state"]) == ("1.2", "open")
    assert alert["name"].endswith(f"alerts/{body['incident']['incident_id']}")

    # Google's discovery client, unmodified, with the document that it ships.
    client = discovery.build(
        "monitoring",
        "v3",
        http=httplib2.Http(),
        client_options={"api_endpoint": f"http://127.0.0.1:{vertex.ports.rest}"},
        static_discovery=True,
    )
    got = await asyncio.to_thread(client.projects().alerts().get(name=alert["name"]).execute)
    assert got == alert

    async def closed():
        await clients.gauge(2)
        return not (await rest(vertex, "alerts", filter=f'state=OPEN AND policy.name="{created.name}"'))[1]

    await come(closed)
    _, _, body = await asyncio.wait_for(webhook.get(), PATIENCE)
    assert (body["incident"]["state"], body["incident"]["observed_value"]) == ("closed", "2.000")
    _, answer = await rest(vertex, "alerts", orderBy="close_time desc", pageSize="1")
    assert answer["alerts"][0]["closeTime"] > alert["openTime"]


async def test_policies_channels_and_snoozes_live_through_a_restart(vertex, clients, tmp_path):
    created = await clients.policies.create_alert_policy(name=NAME, alert_policy=below_two())
    times = {"start_time": {"seconds": int(time.time())}, "end_time": {"seconds": int(time.time()) + 3600}}
    snooze = await clients.snoozes.create_snooze(
        parent=NAME,
        snooze=m.Snooze(display_name="s", criteria={"policies": [created.name]}, interval=m.TimeInterval(times)),
    )
    channel = await clients.channels.create_notification_channel(
        name=NAME,
        notification_channel=m.NotificationChannel(type_="webhook_tokenauth", labels={"url": "http://127.0.0.1:1/"}),
    )
    await vertex.stop()
    async with (
        LocalVertex(Settings(data=tmp_path / "data", sample_period=PERIOD)) as again,
        grpc.aio.insecure_channel(f"127.0.0.1:{again.ports.grpc}") as wire,
    ):
        fresh = Clients(wire)
        assert await fresh.policies.get_alert_policy(name=created.name) == created
        assert [s async for s in await fresh.snoozes.list_snoozes(parent=NAME)] == [snooze]
        assert [c async for c in await fresh.channels.list_notification_channels(name=NAME)] == [channel]


async def test_a_notification_that_waits_for_its_webhook_outlives_a_restart(vertex, clients, tmp_path, webhook, nobody):
    channel = await clients.channels.create_notification_channel(
        name=NAME,
        notification_channel=m.NotificationChannel(
            type_="webhook_tokenauth", labels={"url": f"http://127.0.0.1:{nobody}/"}
        ),
    )
    wanted = below_two()
    wanted.notification_channels = [channel.name]
    await clients.policies.create_alert_policy(name=NAME, alert_policy=wanted)

    async def opened():
        await clients.gauge(1)
        return (await rest(vertex, "alerts"))[1].get("alerts")

    (alert,) = await come(opened)
    # Nobody listens there; before anybody does, the process ends. Then the channel leads to somebody who does.
    channel.labels["url"] = webhook.url
    await clients.channels.update_notification_channel(notification_channel=channel)
    await vertex.stop()
    async with LocalVertex(Settings(data=tmp_path / "data", sample_period=PERIOD)):
        _, _, body = await asyncio.wait_for(webhook.get(), PATIENCE)
    assert alert["name"].endswith(f"alerts/{body['incident']['incident_id']}")
    assert body["incident"]["state"] == "open"


async def test_errors_are_those_of_the_client(clients):
    with pytest.raises(exceptions.InvalidArgument, match="condition_prometheus_query_language"):
        await clients.policies.create_alert_policy(
            name=NAME, alert_policy=policy({"condition_prometheus_query_language": {"query": "up"}})
        )
    with pytest.raises(exceptions.NotFound, match="could not be found"):
        await clients.policies.get_alert_policy(name=f"{NAME}/alertPolicies/1")
    with pytest.raises(exceptions.MethodNotImplemented, match="not implemented by Local Vertex"):
        await clients.channels.send_notification_channel_verification_code(name=f"{NAME}/notificationChannels/1")
    created = await clients.policies.create_alert_policy(name=NAME, alert_policy=below_two())
    changed = m.AlertPolicy(name=created.name, display_name="new")
    updated = await clients.policies.update_alert_policy(alert_policy=changed, update_mask={"paths": ["display_name"]})
    assert (updated.display_name, len(updated.conditions)) == ("new", 1)
    await clients.policies.delete_alert_policy(name=created.name)
    assert not [p async for p in await clients.policies.list_alert_policies(name=NAME)]


@pytest.mark.parametrize(
    ("path", "query", "status", "message"),
    [
        ("alerts/0.none", {}, 404, "could not be found"),
        ("alerts", {"nope": "1"}, 400, 'Unknown name "nope"'),
        ("alerts", {"filter": "log.extractedLabels=1"}, 400, "is not supported"),
        ("alerts", {"orderBy": "state"}, 400, "is not supported"),
        ("alerts", {"pageSize": "x"}, 400, "must be a number"),
    ],
)
async def test_alerts_refuse_what_they_cannot_answer(vertex, path, query, status, message):
    got, body = await rest(vertex, path, **query)
    assert (got, body["error"]["code"]) == (status, status)
    assert message in body["error"]["message"]


@pytest.mark.parametrize("verb", ["sendVerificationCode", "getVerificationCode", "verify"])
async def test_verification_of_channels_is_refused_over_rest_as_over_grpc(vertex, verb):
    url = f"http://127.0.0.1:{vertex.ports.rest}/v3/{NAME}/notificationChannels/1:{verb}"
    async with aiohttp.ClientSession() as session, session.post(url, json={}) as answer:
        assert answer.status == 501
        error = (await answer.json())["error"]
    assert error["status"] == "UNIMPLEMENTED"
    assert "is not implemented by Local Vertex" in error["message"]


async def test_rest_refuses_unknown_fields(vertex):
    url = f"http://127.0.0.1:{vertex.ports.rest}/v3/{NAME}/alertPolicies"
    body = {"combiner": "OR", "conditions": [{"conditionThreshold": {"filters": "x"}}]}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.status == 400
        assert 'Unknown name "filters"' in (await answer.json())["error"]["message"]


async def test_an_alert_has_the_fields_of_googles_document(vertex, clients):
    await clients.policies.create_alert_policy(name=NAME, alert_policy=below_two())

    async def opened():
        await clients.gauge(1)
        return (await rest(vertex, "alerts"))[1].get("alerts")

    (alert,) = await come(opened)
    documents = Path(discovery.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((documents / "monitoring.v3.json").read_text())["schemas"]
    assert set(alert) <= set(schemas["Alert"]["properties"])
    assert set(alert["policy"]) <= set(schemas["PolicySnapshot"]["properties"])
    assert set(alert["metric"]) <= set(schemas["Metric"]["properties"])
    assert set(alert["resource"]) <= set(schemas["MonitoredResource"]["properties"])
    assert alert["state"] in schemas["Alert"]["properties"]["state"]["enum"]
    assert set(alerts.methods()) == {"list", "get"}


@pytest.mark.slow
async def test_errors_of_a_real_model_open_an_incident(tmp_path, webhook):
    images = ImageMap.parse([f"{IMAGE}={sys.executable} {SERVER}"])
    settings = Settings(data=tmp_path / "own", images=images, sample_period=PERIOD)
    async with (
        LocalVertex(settings) as vertex,
        grpc.aio.insecure_channel(f"127.0.0.1:{vertex.ports.grpc}") as wire,
        aiohttp.ClientSession(f"http://127.0.0.1:{vertex.ports.rest}") as session,
    ):

        async def post(path, body):
            async with session.post(path, json=body) as answer:
                return await answer.json()

        async def finished(path, body):
            operation = await post(path, body)
            while not operation.get("done"):
                operation = await post(f"/v1/{operation['name']}:wait", {})
            return operation["response"]

        parent = f"/v1/{NAME}/locations/us-central1"
        spec = {"imageUri": IMAGE, "predictRoute": "/p", "healthRoute": "/h", "env": [{"name": "WHO", "value": "w"}]}
        uploaded = await finished(f"{parent}/models:upload", {"model": {"displayName": "m", "containerSpec": spec}})
        endpoint = await finished(f"{parent}/endpoints", {"displayName": "e"})
        resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
        deployed = {"id": "42", "model": uploaded["model"], "dedicatedResources": resources}
        await finished(f"/v1/{endpoint['name']}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}})
        clients = Clients(wire)
        channel = await clients.channels.create_notification_channel(
            name=NAME,
            notification_channel=m.NotificationChannel(type_="webhook_tokenauth", labels={"url": webhook.url}),
        )
        of = f'resource.label.endpoint_id="{endpoint["name"].rpartition("/")[2]}"'
        ratio = threshold(
            text=where(extra=f'{of} AND metric.label.response_code="5xx"'),
            limit=0.2,
            aggregations=[aggregation(seconds=2)],
            denominator_filter=where(extra=of),
            denominator_aggregations=[aggregation(seconds=2)],
        )
        wanted = policy(ratio, display_name="Errors", notification_channels=[channel.name])
        await clients.policies.create_alert_policy(name=NAME, alert_policy=wanted)

        async def opened():
            await post(f"/v1/{endpoint['name']}:predict", {"instances": [1]})
            return (await rest(vertex, "alerts", filter="state=OPEN"))[1].get("alerts")

        for _ in range(40):
            assert not await opened()
            await asyncio.sleep(0.02)
        await post("/local/v1/faults", {"target": "42", "fail_share": 0.5, "code": 503})
        (alert,) = await come(opened)
        assert alert["metric"] == {"type": COUNT, "labels": {"deployed_model_id": "42"}}
        _, _, body = await asyncio.wait_for(webhook.get(), PATIENCE)
        assert float(body["incident"]["observed_value"]) > 0.2


@pytest.mark.slow
async def test_gcloud_manages_policies_channels_and_snoozes(vertex, tmp_path):
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not on PATH")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))},
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": f"http://127.0.0.1:{vertex.ports.rest}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "proj-a",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
    }

    async def gcloud(*arguments):
        made = await asyncio.create_subprocess_exec(
            "gcloud", "alpha", "monitoring", *arguments, "--format=json", "--quiet",
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await made.communicate()
        assert made.returncode == 0, err.decode()
        return json.loads(out or b"null")

    file = tmp_path / "policy.json"
    given = m.AlertPolicy.pb(policy(absence(minutes=2), display_name="from a file"))
    file.write_text(json_format.MessageToJson(given))
    channel = await gcloud(
        "channels", "create", "--type=webhook_tokenauth", "--channel-labels=url=http://127.0.0.1:1/", "--display-name=c"
    )
    created = await gcloud("policies", "create", f"--policy-from-file={file}")
    await gcloud("policies", "update", created["name"], f"--add-notification-channels={channel['name']}")
    (listed,) = await gcloud("policies", "list", '--filter=display_name="from a file"')
    assert (listed["name"], listed["notificationChannels"]) == (created["name"], [channel["name"]])
    snooze = await gcloud(
        "snoozes", "create", f"--criteria-policies={created['name']}", "--display-name=s",
        "--start-time=+PT5H", "--end-time=+PT6H",  # one that has begun keeps its start when it is cancelled
    )  # fmt: skip
    assert snooze["criteria"]["policies"] == [created["name"]]
    await gcloud("snoozes", "update", snooze["name"], "--end-time=+PT7H")
    await gcloud("snoozes", "cancel", snooze["name"])
    cancelled = await gcloud("snoozes", "describe", snooze["name"])
    assert cancelled["interval"]["startTime"] == cancelled["interval"]["endTime"] < snooze["interval"]["startTime"]
    await gcloud("channels", "update", channel["name"], "--display-name=n", "--update-user-labels=a=b", "--no-enabled")
    changed = await gcloud("channels", "describe", channel["name"])
    assert (changed["displayName"], changed["userLabels"], changed["enabled"]) == ("n", {"a": "b"}, False)
    condition = ("--condition-display-name=two", "--if=> 3", "--duration=60s", f"--condition-filter={where(REPLICAS)}")
    await gcloud("policies", "conditions", "create", created["name"], *condition)
    described = await gcloud("policies", "describe", created["name"])
    assert [c["displayName"] for c in described["conditions"]] == ["silent", "two"]
    assert [d["type"] for d in await gcloud("channel-descriptors", "list")] == [
        "webhook_basicauth",
        "webhook_tokenauth",
    ]
    await gcloud("policies", "delete", created["name"])
    assert await gcloud("policies", "list") == []

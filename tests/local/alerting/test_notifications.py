"""What a webhook is sent, to whom and how often."""

from __future__ import annotations

import asyncio
import base64

import aiohttp
import pytest
from aiohttp import web
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import Notifier, Outbox
from vertex_deploy.local.alerting.notifier import MAX_WAITING, PAUSES
from vertex_deploy.local.alerting.payload import expand
from vertex_deploy.local.daemon import Options
from vertex_deploy.local.state import Store

from .support import REPLICAS, T0, World, absence, key, threshold

OK = key(response_code="2xx")
GAUGE = key(metric=REPLICAS)


@pytest.fixture
def world():
    return World()


def bodies(world):
    return [body["incident"] for _, body in world.inbox.got]


async def test_opening_and_closing_send_the_payload_of_the_real_service(world):
    channel = await world.channel()
    created = await world.create(
        threshold(limit=10),
        display_name="Errors of lite0",
        severity="ERROR",
        user_labels={"rollout": "r1"},
        documentation={
            "content": "Look at ${resource.label.endpoint_id}.",
            "mime_type": "text/markdown",
            "links": [
                {"display_name": "Runbook", "url": "https://runbooks.example.com/?of=${policy.user_label.rollout}"}
            ],
        },
        notification_channels=[channel.name],
    )
    world.minute({OK: 12})
    world.minute({OK: 12})  # nothing new, nothing sent
    world.minute({OK: 1})
    opened, closed = bodies(world)
    (_, whole), _ = world.inbox.got
    assert whole["version"] == "1.2"
    (incident,) = world.book.incidents("proj-a")
    url = (
        f"https://console.cloud.google.com/monitoring/alerting/alerts/{incident.id}?channelType=webhook&project=proj-a"
    )
    assert opened == {
        "incident_id": incident.id,
        "scoping_project_id": "proj-a",
        "scoping_project_number": 123,
        "url": url,
        "started_at": T0 + 60,
        "ended_at": None,
        "state": "open",
        "severity": "Error",
        "summary": "Response count for proj-a Vertex AI Endpoint with metric labels {deployed_model_id=1} is above the "
        "threshold of 10.000 with a value of 12.000.",
        "observed_value": "12.000",
        "threshold_value": "10",
        "resource": {"type": "aiplatform.googleapis.com/Endpoint", "labels": {}},
        "resource_type_display_name": "Vertex AI Endpoint",
        "resource_id": "",
        "resource_display_name": "Vertex AI Endpoint",
        "resource_name": "proj-a Vertex AI Endpoint",
        "metric": {
            "type": "aiplatform.googleapis.com/prediction/online/response_count",
            "displayName": "Response count",
            "labels": {"deployed_model_id": "1"},
        },
        "metadata": {"system_labels": {}, "user_labels": {}},
        "policy_name": "Errors of lite0",
        "policy_user_labels": {"rollout": "r1"},
        "condition_name": "too many",
        "condition": opened["condition"],
        "documentation": {
            "content": "Look at (none).",
            "mime_type": "text/markdown",
            "subject": "[ALERT - Error] too many on proj-a Vertex AI Endpoint",
            "links": [{"displayName": "Runbook", "url": "https://runbooks.example.com/?of=r1"}],
        },
    }
    assert opened["condition"]["name"] == created.conditions[0].name
    assert opened["condition"]["conditionThreshold"]["thresholdValue"] == 10.0
    assert (closed["state"], closed["started_at"], closed["ended_at"]) == ("closed", T0 + 60, T0 + 180)
    assert closed["summary"].endswith("returned to normal with a value of 1.000.")
    assert closed["documentation"]["subject"].startswith("[RESOLVED - Error]")


async def test_a_policy_without_severity_and_labels_says_so_as_the_real_service_does(world):
    # OpsiMate/OpsiMate holds such a payload of the real service: no policy_user_labels, "No severity" twice.
    channel = await world.channel()
    await world.create(threshold(limit=10), notification_channels=[channel.name])
    world.minute({OK: 12})
    (body,) = bodies(world)
    assert "policy_user_labels" not in body
    assert body["severity"] == "No severity"
    assert body["documentation"] == {
        "content": "",
        "mime_type": "",
        "subject": "[ALERT - No severity] too many on proj-a Vertex AI Endpoint",
    }


async def test_absence_has_no_threshold(world):
    channel = await world.channel()
    await world.create(absence(minutes=2), notification_channels=[channel.name])
    world.minute(gauges={GAUGE: 1})
    world.minute()
    world.minute()
    (body,) = bodies(world)
    assert "threshold_value" not in body
    assert body["observed_value"] == ""
    assert body["summary"].endswith("has not reported any data for 120 seconds.")
    assert body["resource_display_name"] == "77"


async def test_prompts_without_closed_leave_closing_out(world):
    channel = await world.channel()
    strategy = {"notification_prompts": ["OPENED"]}
    await world.create(threshold(limit=10), notification_channels=[channel.name], alert_strategy=strategy)
    world.minute({OK: 12})
    world.minute({OK: 1})
    assert [body["state"] for body in bodies(world)] == ["open"]


async def test_a_cancelled_incident_says_why(world):
    channel = await world.channel()
    created = await world.create(threshold(limit=10), notification_channels=[channel.name])
    world.minute({OK: 12})
    await world.policies.delete_alert_policy(m.DeleteAlertPolicyRequest(name=created.name))
    assert bodies(world)[-1]["observed_value"].startswith("Incident cancelled because the alert policy condition was")


async def test_variables_of_documentation(world):
    await world.create(absence(minutes=2), display_name="n", user_labels={"team": "vision"})
    for gauges in ({GAUGE: 1}, {}, {}):
        world.minute(gauges=gauges)
    (incident,) = world.open()
    text = "${policy.display_name} ${resource.label.endpoint_id} ${metric.label.x} ${policy.user_label.team} ${project}"
    assert expand(text, incident) == "n 77 (none) vision proj-a"


# --- sending ------------------------------------------------------------------------------------------------------


def channel(url="http://127.0.0.1:9/hook", **more):
    return m.NotificationChannel(name="c", type_="webhook_tokenauth", labels={"url": url}, enabled=True, **more)


class Receiver:
    """Answers what it is told, one after the other."""

    def __init__(self, *answers):
        self.answers, self.bodies, self.pauses = list(answers), [], []

    async def send(self, delivery):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer < 300:
            self.bodies.append(delivery.body)
        return answer

    async def sleep(self, seconds):
        self.pauses.append(seconds)

    def notifier(self, **options):
        return Notifier(send=self.send, sleep=self.sleep, **options)


async def test_what_may_pass_is_tried_again_and_in_order():
    receiver = Receiver(503, aiohttp.ClientConnectionError("refused"), 429, 200, 204)
    notifier = receiver.notifier()
    assert notifier.notify(channel(), {"n": 1})
    assert notifier.notify(channel(), {"n": 2})
    await notifier.idle()
    assert receiver.bodies == [{"n": 1}, {"n": 2}]
    assert receiver.pauses == list(PAUSES[:3])


async def test_what_will_not_pass_is_given_up(caplog):
    receiver = Receiver(404, *[500] * (len(PAUSES) + 1), 200)
    notifier = receiver.notifier()
    for n in (1, 2, 3):
        notifier.notify(channel(), {"n": n})
    await notifier.idle()
    assert receiver.bodies == [{"n": 3}]
    assert "gave up a notification to c: it answered 404" in caplog.text
    assert "gave up a notification to c: it answered 500" in caplog.text


async def test_what_waits_is_bounded(caplog):
    notifier = Receiver(*[200] * MAX_WAITING).notifier()
    assert [notifier.notify(channel(), {"n": n}) for n in range(MAX_WAITING + 1)] == [True] * MAX_WAITING + [False]
    assert "lost a notification to c" in caplog.text
    await notifier.idle()


async def test_a_webhook_that_hangs_does_not_keep_the_server_from_stopping(monkeypatch):
    monkeypatch.setattr("vertex_deploy.local.alerting.notifier._GRACE", 0.01)
    stuck = asyncio.Event()

    async def send(_):
        await stuck.wait()

    notifier = Notifier(send=send)
    notifier.notify(channel(), {})
    await notifier.close()
    assert all(task.done() for task in notifier._senders.values())


class Dead:
    """A webhook that never answers."""

    async def send(self, delivery):
        await asyncio.Event().wait()


async def test_what_waited_is_sent_in_order_by_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setattr("vertex_deploy.local.alerting.notifier._GRACE", 0.01)
    store = Store(tmp_path / "db")
    first = Notifier(outbox=Outbox(store), send=Dead().send)
    for n in (1, 2):
        assert first.notify(channel(), {"n": n})
    await asyncio.sleep(0)  # the first is on its way
    await first.close()
    store.close()

    store, receiver = Store(tmp_path / "db"), Receiver(200, 200)
    second = receiver.notifier(outbox=Outbox(store))
    assert second.restore({"c": channel()}.get) == 2
    await second.idle()
    assert receiver.bodies == [{"n": 1}, {"n": 2}]
    assert Outbox(store).waiting() == []
    assert second.restore({"c": channel()}.get) == 0
    store.close()


async def test_what_was_sent_or_given_up_does_not_wait(tmp_path):
    outbox = Outbox(Store(tmp_path / "db"))
    notifier = Receiver(200, 404).notifier(outbox=outbox)
    for n in (1, 2):
        notifier.notify(channel(), {"n": n})
    assert [body for _, _, body in outbox.waiting()] == [{"n": 1}, {"n": 2}]
    await notifier.idle()
    assert outbox.waiting() == []


async def test_what_waited_for_a_channel_that_is_gone_or_may_not_be_called_goes(tmp_path):
    outbox = Outbox(Store(tmp_path / "db"))
    for name in ("gone", "c"):
        outbox.add(name, {"n": 1})
    notifier = Receiver().notifier(outbox=outbox)
    assert notifier.restore({"c": channel("http://example.com/")}.get) == 0
    assert outbox.waiting() == []


async def test_a_password_is_not_kept_with_what_waits(tmp_path):
    store = Store(tmp_path / "db")
    basic = m.NotificationChannel(
        name="c",
        type_="webhook_basicauth",
        labels={"url": "http://127.0.0.1:9/", "username": "u", "password": "word"},
        enabled=True,
    )
    Receiver(200).notifier(outbox=Outbox(store)).notify(basic, {"n": 1})
    ((_, data, _),) = store.scan("notifications")
    assert b"word" not in data


async def test_what_cannot_be_kept_is_sent_all_the_same(tmp_path, caplog):
    store = Store(tmp_path / "db")
    store.close()
    receiver = Receiver(200)
    notifier = receiver.notifier(outbox=Outbox(store))
    assert notifier.notify(channel(), {"n": 1})
    await notifier.idle()
    assert receiver.bodies == [{"n": 1}]
    assert "is not kept over a restart" in caplog.text


@pytest.mark.parametrize(
    ("given", "hosts", "sent"),
    [
        (channel(), (), True),
        (channel("http://localhost:1/"), (), True),
        (channel("http://[::1]:1/"), (), True),
        (channel("http://example.com/"), (), False),
        (channel("http://example.com/"), ("example.com",), True),
        (channel("http://127.0.0.1.example.com/"), (), False),
        (channel("http://10.0.0.1/"), (), False),
        (channel("file:///etc/passwd"), (), False),
        (m.NotificationChannel(name="c", labels={"url": "http://127.0.0.1:1/"}, enabled=False), (), False),
    ],
)
async def test_notifications_stay_on_this_machine_unless_a_host_is_allowed(given, hosts, sent):
    notifier = Receiver(200).notifier(hosts=hosts)
    assert notifier.notify(given, {}) is sent
    await notifier.idle()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("labels", "authorization"),
    [
        ({}, None),
        ({"username": "u", "password": "p:w\u00e4"}, "Basic " + base64.b64encode("u:p:w\u00e4".encode()).decode()),
    ],
    ids=["webhook_tokenauth", "webhook_basicauth"],
)
async def test_each_type_of_webhook_gets_its_headers(labels, authorization):
    got = []

    async def handle(request):
        got.append((request.method, request.content_type, request.headers.get("Authorization"), request.query_string))
        return web.json_response({"body": await request.json()})

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?auth_token=1234-abcd"
    to = m.NotificationChannel(name="c", labels={"url": url, **labels}, enabled=True)
    notifier = Notifier()
    assert notifier.notify(to, {"incident": {}})
    await notifier.idle()
    await runner.cleanup()
    assert got == [("POST", "application/json", authorization, "auth_token=1234-abcd")]


@pytest.mark.e2e
async def test_redirects_are_not_followed(caplog):
    asked = []

    async def handle(request):
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    app = web.Application()
    app.router.add_post("/{path}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    notifier = Notifier()
    notifier.notify(channel(f"http://127.0.0.1:{runner.addresses[0][1]}/hook"), {})
    await notifier.idle()
    await runner.cleanup()
    assert asked == ["/hook"]
    assert "it answered 307" in caplog.text


def test_the_command_line_hands_allowed_hosts_on():
    assert "--webhook-host=hooks.example.com" in Options(webhook_host=("hooks.example.com",)).arguments()

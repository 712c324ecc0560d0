"""Notifications: what is told, how it is signed, and that nothing about them stops a rollout."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest

from tests.rollout.notify.channels import LONG, Broken, Hanging, Kept
from tests.rollout.notify.receiver import receiver
from tests.rollout.world import World, spec_with
from vertex_deploy.errors import RolloutError, UsageError
from vertex_deploy.rollout.machine import Ending
from vertex_deploy.rollout.notify import Notifier, notifier_for
from vertex_deploy.rollout.notify.channels import PubSub, Slack, Webhook, post, pubsub_address
from vertex_deploy.rollout.notify.message import (
    SIGNATURE,
    TIMESTAMP,
    body_of,
    message_of,
    signature,
    slack_of,
    verified,
)
from vertex_deploy.rollout.notify.notifier import ATTEMPTS, Route
from vertex_deploy.rollout.record import LogEntry
from vertex_deploy.secrets import resolve
from vertex_deploy.spec.watching import Notify

NOW = 1_800_000_000.0


def message(**more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "id": "r/7",
        "event": "gate_failed",
        "kind": "transition",
        "failure": True,
        "at": "2027-01-15T08:00:00+00:00",
        "rollout": "r",
        "name": "lite0",
        "phase": "rolling_back",
        "ending": None,
        "endpoint": None,
        "model": None,
        "split": {"1": 90, "2": 10},
        "text": "errors <5%> & more",
        **more,
    }


def test_a_signature_is_of_the_body_and_the_time():
    body, key = body_of(message()), b"key"
    given = signature(key, str(int(NOW)), body)
    assert given.startswith("sha256=")
    assert verified(key, str(int(NOW)), body, given, now=NOW + 10)
    assert not verified(b"other", str(int(NOW)), body, given, now=NOW)
    assert not verified(key, str(int(NOW)), body + b" ", given, now=NOW)
    assert not verified(key, str(int(NOW) + 1), body, given, now=NOW)
    assert not verified(key, str(int(NOW)), body, given, now=NOW + 301)


@pytest.mark.parametrize(
    ("timestamp", "given"),
    [
        (str(int(NOW)), "sha256=\u00e9"),
        (str(int(NOW)), "\ud800"),
        ("\u00b2", ""),
        ("9" * 5000, ""),
        ("\udcff", "x"),
        ("", ""),
    ],
)
def test_whatever_stands_in_the_headers_the_check_answers_and_never_raises(timestamp, given):
    assert not verified(b"key", timestamp, b"{}", given, now=NOW)


def test_the_signature_is_hmac_sha256_as_documented():
    # Computed with: printf '1800000000.{}' | openssl dgst -sha256 -hmac key
    known = "sha256=7321475872b03ff21bdc2dfd86ea2d99ec29c479fbe4a77aa6acf4509505493f"
    assert signature(b"key", "1800000000", b"{}") == known


def test_a_webhook_gets_the_signed_message():
    with receiver() as (address, got):
        Webhook(f"http://{address}/hook", b"key").send(message(), NOW)
    ((path, headers, body),) = got
    assert path == "/hook"
    assert json.loads(body) == message()
    assert verified(b"key", headers[TIMESTAMP], body, headers[SIGNATURE], now=NOW)


def test_slack_gets_a_line_with_its_markup_escaped():
    with receiver() as (address, got):
        Slack(f"http://{address}/hook").send(message(), NOW)
    text = json.loads(got[0][2])["text"]
    assert text == ":rotating_light: *lite0* rolling_back: errors &lt;5%&gt; &amp; more (1: 90%, 2: 10%)"
    assert slack_of(message(failure=False, ending="promoted"))["text"].startswith(":white_check_mark:")


def test_pubsub_gets_the_message_and_attributes_to_filter_by(monkeypatch):
    with receiver() as (address, got):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        PubSub("projects/p/topics/rollouts").send(message(), NOW)
    ((path, headers, body),) = got
    assert path == "/v1/projects/p/topics/rollouts:publish"
    assert "Authorization" not in headers
    (sent,) = json.loads(body)["messages"]
    assert json.loads(base64.b64decode(sent["data"])) == message()
    assert sent["attributes"]["failure"] == "true"


def test_an_emulator_elsewhere_is_refused(monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "pubsub.example:80")
    with pytest.raises(UsageError, match="PUBSUB_EMULATOR_HOST"):
        pubsub_address()


NEITHER_HTTPS_NOR_HERE = [
    "http://hooks.example/SECRET",
    "http://127.0.0.1:1@hooks.example/SECRET",
    "http://localhost.hooks.example/SECRET",
    "ftp://127.0.0.1/SECRET",
    "file:///etc/SECRET",
    "https:///SECRET",
    "https://[SECRET",
    "SECRET",
]


@pytest.mark.parametrize("url", NEITHER_HTTPS_NOR_HERE)
def test_a_secret_address_is_looked_at_as_one_of_the_spec_is(url):
    with pytest.raises(RolloutError, match="https") as refused:
        post(url, b"{}", {}, Slack(url).label)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("url", NEITHER_HTTPS_NOR_HERE)
def test_an_address_that_cannot_be_told_is_a_warning_and_keeps_nobody_else_from_being_told(url):
    notifier = notifier_for([Notify(slack="env:HOOK")], secret=lambda _reference: url)
    assert notifier is not None
    notifier.tell(entry(event="passed"), World().start().record)
    (warning,) = notifier.close(linger=1)
    assert "nobody is notified by an entry of rollout.notify: slack" in warning
    assert "SECRET" not in warning


@pytest.mark.parametrize("payload", [{}, {"data": ""}, {"data": "IAo="}, {"data": "/w=="}, {"data": 7}])
def test_an_empty_secret_signs_nothing_and_stops_no_rollout(payload):
    class Session:
        def request(self, *_: Any, **__: Any) -> Any:
            return type("Answer", (), {"status_code": 200, "json": lambda _self: {"payload": payload}})()

    def read(reference: str) -> str:
        return resolve(reference, session=Session())

    key = Notify(webhook="https://hooks.example/x", secret="projects/p/secrets/s/versions/1")
    notifier = notifier_for([key], secret=read)
    assert notifier is not None
    (warning,) = notifier.close()
    assert "projects/p/secrets/s/versions/1 is empty or no text" in warning


def test_a_redirect_is_a_failure_and_not_followed():
    with receiver() as (other, second), receiver(302, location=f"http://{other}/") as (address, first):
        with pytest.raises(RolloutError, match="answered 302"):
            Webhook(f"http://{address}/").send(message(), NOW)
        assert len(first) == 1
        assert second == []


def test_a_secret_is_read_where_the_reference_says(monkeypatch):
    monkeypatch.setenv("HOOK", "word")
    assert resolve("env:HOOK") == "word"
    monkeypatch.delenv("HOOK")
    with pytest.raises(RolloutError, match="HOOK is not set"):
        resolve("env:HOOK")

    class Session:
        def request(self, method: str, url: str, **_: Any) -> Any:
            assert url == "https://secretmanager.googleapis.com/v1/projects/p/secrets/s/versions/1:access"

            class Answer:
                status_code = 200

                def json(self) -> Any:
                    return {"payload": {"data": base64.b64encode(b"word\n").decode()}}

            return Answer()

    assert resolve("projects/p/secrets/s/versions/1", session=Session()) == "word"


def entry(kind: str = "transition", **data: Any) -> LogEntry:
    return LogEntry(seq=1, at=NOW, kind=kind, text="text", data=data)


def test_measurements_and_progress_are_not_news():
    world = World()
    record = world.start().record
    assert message_of(entry("measured"), record) is None
    assert message_of(entry("operation", error=None), record) is None
    failed = message_of(entry("operation", error="no quota"), record)
    assert failed is not None
    assert failed["failure"]
    passed = message_of(entry(event="passed"), record)
    assert passed is not None
    assert not passed["failure"]


def notified(world: World, *routes: Route, **options: Any) -> list[str]:
    """Run a rollout to its end with a notifier; the warnings of its history."""
    controller = world.start()
    controller.journal.notifier = Notifier(routes, sleep=lambda _seconds: None, **options)
    controller.run()
    controller.close()
    return [e.text for e in world.store().log(world.record().id) if e.kind == "warning"]


def test_every_transition_is_told_in_order_and_failures_alone_to_who_wants_those():
    everything, failures = Kept(), Kept()
    world = World(errors=0.5)
    assert notified(world, Route(everything), Route(failures, failures_only=True)) == []
    events = [m["event"] for m in everything.got]
    assert events[0] == "ready"
    assert events[-3:] == ["gate_failed", "restored", "canary_removed"]
    assert everything.got[-1]["ending"] == "rolled_back"
    assert [m["event"] for m in failures.got] == ["gate_failed"]


def test_a_failing_notifier_does_not_stop_a_rollout_and_is_in_its_history():
    broken, kept, world = Broken(), Kept(), World()
    warnings = notified(world, Route(broken), Route(kept))
    assert world.record().ending is Ending.PROMOTED
    assert broken.tried == ATTEMPTS * len(kept.got)
    assert len(warnings) == len(kept.got)
    assert "did not arrive: broken: answered 500" in warnings[0]


def test_a_notifier_that_hangs_is_waited_for_only_a_little():
    world, hanging = World(), Hanging()
    controller = world.start()
    controller.journal.notifier = Notifier([Route(hanging)])
    assert controller.run().ending is Ending.PROMOTED
    (left,) = controller.journal.notifier.close(linger=0.01)
    hanging.free.set()
    assert "hanging: " in left
    assert "were not sent before the controller's end" in left


def test_a_full_queue_drops_the_oldest_and_says_so():
    slow, record = Hanging(), World().start().record
    notifier = Notifier([Route(slow)], size=2)
    notifier.tell(LogEntry(seq=1, at=NOW, kind="transition", text="t", data={"event": "passed"}), record)
    assert slow.entered.wait(LONG)
    for seq in (2, 3, 4):
        notifier.tell(LogEntry(seq=seq, at=NOW, kind="transition", text="t", data={"event": "passed"}), record)
    slow.free.set()
    problems = notifier.close(linger=LONG)
    assert f"{record.id}/2 was dropped" in problems[0]
    assert next(m["id"].rpartition("/")[2] for m in slow.got) == "1"
    assert slow.got[-1]["id"].endswith("/4")


def test_a_channel_that_hangs_keeps_no_other_from_being_told():
    told = threading.Event()

    class Last(Kept):
        def deliver(self, message: dict[str, Any]) -> None:
            super().deliver(message)
            if message["event"] == "canary_removed":
                told.set()

    kept, hanging, world = Last(), Hanging(), World(errors=0.5)
    controller = world.start()
    controller.journal.notifier = Notifier([Route(hanging), Route(kept)])
    controller.run()
    assert told.wait(LONG)
    assert [m["event"] for m in kept.got][-3:] == ["gate_failed", "restored", "canary_removed"]
    assert hanging.got == []
    hanging.free.set()
    controller.journal.notifier.close(linger=LONG)


def test_what_a_channel_raises_is_told_without_its_address():
    class Leaking(Kept):
        def deliver(self, message: dict[str, Any]) -> None:
            raise ValueError("https://hooks.example/SECRET")

    world = World()
    assert not any("SECRET" in text for text in notified(world, Route(Leaking())))


def test_a_secret_that_is_missing_is_a_warning_and_no_more(monkeypatch):
    monkeypatch.delenv("NOPE", raising=False)
    world = World(spec=spec_with(notify=[{"slack": "env:NOPE"}]))
    controller = world.start()
    controller.journal.notifier = notifier_for([Notify(slack="env:NOPE")])
    assert controller.run().ending is Ending.PROMOTED
    warnings = [e.text for e in world.store().log(world.record().id) if e.kind == "warning"]
    assert any("NOPE is not set" in text for text in warnings)


def test_nobody_to_tell_is_no_notifier():
    assert notifier_for([]) is None

"""Every transition and every failure is told, whatever the channels do, and nothing that they do is felt."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.rollout.faultable import PATHS, Fault, Faultable, Path, Site, world_of
from tests.rollout.notify.channels import Broken, Hanging, Kept
from tests.rollout.notify.receiver import receiver
from tests.rollout.world import World
from tests.waiting import PATIENCE
from vertex_deploy.gcp import cloud_error
from vertex_deploy.rollout.machine import TRANSITIONS, Ending, Event, Phase
from vertex_deploy.rollout.notify import Notifier
from vertex_deploy.rollout.notify.channels import PubSub, Slack, Webhook
from vertex_deploy.rollout.notify.message import FAILURES, SIGNATURE, TIMESTAMP, message_of, verified
from vertex_deploy.rollout.notify.notifier import Route
from vertex_deploy.rollout.record import LogEntry
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.rollout.record import Record

KEY = b"a key that sender and receiver share"
GOOD = frozenset(Event) - FAILURES


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "to"), TRANSITIONS.items(), ids=str)
def test_a_transition_of_the_table_is_told_and_its_failure_marked(where: tuple[Phase, Event], to: Phase) -> None:
    before, event = where
    record = replace(World().start().record, phase=before).moved(event, now=1.0, reason="why", ending=Ending.FAILED)
    data = {"from": before, "event": event, "to": to, "step": 0}
    message = message_of(LogEntry(seq=7, at=1.0, kind="transition", text="why", data=data), record)
    assert message is not None
    assert (message["event"], message["phase"], message["text"]) == (event, to, "why")
    assert message["failure"] is (event in FAILURES)
    assert message["ending"] == ("failed" if to is Phase.DONE else None)


def test_events_are_good_or_failures_on_purpose() -> None:
    """A new event has to be put on one side: by being named here, or by being a failure."""
    assert {
        Event.READY, Event.NOTHING_TO_DO, Event.ENDPOINT_READY, Event.UPLOADED, Event.DEPLOYED, Event.WARM,
        Event.SERVES_ALONE, Event.SHIFTED, Event.PROMOTED, Event.PASSED, Event.NEEDS_APPROVAL, Event.APPROVED,
        Event.ADOPTED, Event.SKIP, Event.RESUME, Event.KEPT, Event.STABLE_REMOVED, Event.RESTORED,
        Event.CANARY_REMOVED, Event.ARRIVED, Event.GROUP_BEGINS, Event.GROUP_ADVANCES, Event.GROUP_KEPT,
    } == GOOD  # fmt: skip


# --- whole rollouts ---------------------------------------------------------------------------------------------------


def gone(world: Faultable) -> None:
    world.delete_endpoint()


def foreign(world: Faultable) -> None:
    world.target.change_split({"111": 40, world.record().canary: 60})


def stuck(world: Faultable) -> None:
    world.target.stuck.add("deploy")


def broken(world: Faultable) -> None:
    world.target.errors["upload"] = "INTERNAL: it broke"


def quota(world: Faultable) -> None:
    world.fault = Fault(
        Site(Phase.DEPLOYING, "start_deploy"), lambda call: cloud_error(call, "INVALID_ARGUMENT", "no"), times=None
    )


def paused(world: Faultable) -> None:
    world.ask(Verb.PAUSE)


def ticking(world: Faultable) -> None:
    world.fault = Fault(Site(Phase.HOLDING, "observe"), lambda call: cloud_error(call, "UNAVAILABLE", "busy"))


UPSETS: Mapping[str, tuple[Phase, Callable[[Faultable], None]]] = {
    "the endpoint is deleted": (Phase.HOLDING, gone),
    "somebody else moves traffic": (Phase.HOLDING, foreign),
    "a person pauses": (Phase.HOLDING, paused),
    "one call fails": (Phase.DEPLOYING, ticking),
    "the upload fails": (Phase.PREFLIGHT, broken),
    "the deployment is refused": (Phase.PREFLIGHT, quota),
    "the deployment never ends": (Phase.PREFLIGHT, stuck),
}


def driven(world: Faultable, notifier: Notifier, upset: str = "") -> Record:
    """Run a rollout with a notifier, and upset it when it is somewhere."""
    controller = world.start()
    controller.journal.notifier = notifier
    if upset:
        phase, deed = UPSETS[upset]
        told = controller.journal.on_entry

        def on_entry(entry: LogEntry, record: Record) -> None:
            told(entry, record)
            if entry.data.get("to") == phase:
                deed(world)

        controller.journal.on_entry = on_entry
        if phase is Phase.PREFLIGHT:
            deed(world)
    record = controller.run()
    controller.close()
    return record


def news(world: Faultable) -> list[tuple[int, str]]:
    """What the history has to tell: every transition, every warning, every operation that failed."""
    log = world.store().log(world.record().id)
    return [
        (entry.seq, str(entry.data.get("event", entry.kind)))
        for entry in log
        if entry.kind in {"transition", "warning"} or (entry.kind == "operation" and entry.data.get("error"))
    ]


STORIES = [(path, "") for path in PATHS] + [(PATHS[0], upset) for upset in UPSETS]


@pytest.mark.parametrize(("path", "upset"), STORIES, ids=lambda found: getattr(found, "name", found))
def test_all_that_the_history_has_to_tell_is_told_once_and_in_order(path: Path, upset: str) -> None:
    world, kept = world_of(path), Kept()
    record = driven(world, Notifier([Route(kept)]), upset)
    assert [(int(m["id"].rpartition("/")[2]), m["event"]) for m in kept.got] == news(world)
    assert kept.got[-1]["ending"] == (record.ending if record.over else None)
    if upset or path.ending is not Ending.PROMOTED:
        assert any(message["failure"] for message in kept.got)


@pytest.mark.parametrize("channel", [Broken, Hanging])
@pytest.mark.parametrize(("path", "upset"), STORIES, ids=lambda found: getattr(found, "name", found))
def test_a_channel_that_fails_or_hangs_is_not_felt(
    path: Path, upset: str, channel: type[Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertex_deploy.rollout.notify.notifier.LINGER", 0.0)
    monkeypatch.setattr(Notifier.close, "__defaults__", (0.0,))
    quiet = world_of(path)
    driven(quiet, Notifier(()), upset)
    world, bad = world_of(path), channel()
    driven(world, Notifier([Route(bad)], sleep=lambda _: None), upset)
    assert bad.got == [], "somebody has waited for a message to be sent"
    if isinstance(bad, Hanging):
        bad.free.set()
    # By the rollout's own clock nothing came later, and nothing else happened.
    assert world.clock.time == quiet.clock.time
    assert world.phases() == quiet.phases()
    assert world.target.splits == [
        {(world.record().canary if key == quiet.record().canary else key): share for key, share in split.items()}
        for split in quiet.target.splits
    ]


# --- over sockets -----------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.parametrize("refuse", [0, 2], ids=["at once", "after two refusals"])
def test_a_whole_rollout_is_told_over_sockets_signed_and_through_pubsub(
    refuse: int, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    monkeypatch.setattr(Notifier.close, "__defaults__", (PATIENCE,))
    # What was kept but not answered in time is sent again, and would be told twice.
    monkeypatch.setattr("vertex_deploy.rollout.notify.channels.TIMEOUT", PATIENCE)
    world = world_of(PATHS[1])
    with receiver(refuse=refuse) as (address, got):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        channels = [
            Webhook(f"http://{address}/signed", KEY),
            Slack(f"http://{address}/slack"),
            PubSub("projects/p/topics/t"),
        ]
        record = driven(world, Notifier([Route(channel) for channel in channels], sleep=lambda _: None))
    assert record.ending is Ending.ROLLED_BACK
    wanted = news(world)
    by_path = {path: [(h, b) for found, h, b in got if found == path] for path in {path for path, _, _ in got}}
    assert {path: len(found) for path, found in by_path.items()} == {
        "/signed": len(wanted),
        "/slack": len(wanted),
        "/v1/projects/p/topics/t:publish": len(wanted),
    }
    for headers, body in by_path["/signed"]:
        stamp, given = headers[TIMESTAMP], headers[SIGNATURE]
        assert verified(KEY, stamp, body, given, now=time.time())
        assert not verified(KEY, stamp, body + b" ", given, now=time.time())
        assert not verified(b"another", stamp, body, given, now=time.time())
        assert not verified(KEY, stamp, body, given, now=time.time() + 301)
    signed = [json.loads(body)["event"] for _, body in by_path["/signed"]]
    assert signed == [event for _, event in wanted]
    published = [json.loads(body)["messages"][0] for _, body in by_path["/v1/projects/p/topics/t:publish"]]
    assert [json.loads(base64.b64decode(message["data"]))["event"] for message in published] == signed
    assert [message["attributes"]["event"] for message in published] == signed
    assert "gate_failed" in signed
    tell(f"{len(wanted)} messages told three times over sockets, {refuse} refused at first")

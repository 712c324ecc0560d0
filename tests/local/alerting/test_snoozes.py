"""Who is left in peace, when, and what may change of a snooze."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import SnoozeService
from vertex_deploy.local.seams import ApiError

from .support import T0, World, key, threshold

OK = key(response_code="2xx")


@pytest.fixture
def world():
    return World()


def bodies(world):
    return [body["incident"] for _, body in world.inbox.got]


def snooze(policy, start, end, **criteria):
    times = {"start_time": datetime.fromtimestamp(start, UTC), "end_time": datetime.fromtimestamp(end, UTC)}
    return m.Snooze(display_name="s", criteria={"policies": [policy], **criteria}, interval=m.TimeInterval(times))


async def test_a_snoozed_policy_opens_nothing_and_sends_nothing(world):
    channel = await world.channel()
    created = await world.create(threshold(limit=10), notification_channels=[channel.name])
    snoozes = SnoozeService(world.book)
    made = await snoozes.create_snooze(
        m.CreateSnoozeRequest(parent="projects/proj-a", snooze=snooze(created.name, T0 + 120, T0 + 240))
    )
    assert world.minute({OK: 12})
    # The snooze begins: what is open closes, silently, and nothing opens.
    assert not world.minute({OK: 12})
    assert world.book.incidents("proj-a")[0].why == "Incident closed because it was snoozed."
    assert not world.minute({OK: 12})
    assert [body["state"] for body in bodies(world)] == ["open"]
    # It ends by being cut short, and what still violates opens.
    made.interval.end_time = datetime.fromtimestamp(world.clock.time, UTC) + timedelta(seconds=1)
    update = m.UpdateSnoozeRequest(snooze=made, update_mask={"paths": ["interval.end_time"]})
    await snoozes.update_snooze(update)
    assert world.minute({OK: 12})
    assert [body["state"] for body in bodies(world)] == ["open", "open"]
    with pytest.raises(ApiError, match="has ended and cannot be updated"):
        await snoozes.update_snooze(update)


async def test_an_update_without_a_mask_changes_what_differs_as_gcloud_cancels_snoozes(world):
    created = await world.create(threshold(limit=10))
    snoozes = SnoozeService(world.book)
    made = await snoozes.create_snooze(
        m.CreateSnoozeRequest(parent="projects/proj-a", snooze=snooze(created.name, T0 + 60, T0 + 600))
    )
    # Before it begins: both ends a second from now, so that it never is.
    made.interval.start_time = made.interval.end_time = datetime.fromtimestamp(T0 + 1, UTC)
    await snoozes.update_snooze(m.UpdateSnoozeRequest(snooze=made))
    assert (await snoozes.get_snooze(m.GetSnoozeRequest(name=made.name))).interval == made.interval
    assert world.minute({OK: 12})
    # While it is active: the start as it was, the end soon.
    active = await snoozes.create_snooze(
        m.CreateSnoozeRequest(parent="projects/proj-a", snooze=snooze(created.name, T0 + 60, T0 + 600))
    )
    world.clock.time += 10
    active.interval.end_time = datetime.fromtimestamp(T0 + 71, UTC)
    await snoozes.update_snooze(m.UpdateSnoozeRequest(snooze=active))
    active.criteria.filter = 'metric.labels.deployed_model_id="1"'
    with pytest.raises(ApiError, match="'criteria' in update_mask cannot be updated"):
        await snoozes.update_snooze(m.UpdateSnoozeRequest(snooze=active))
    active.interval.start_time = datetime.fromtimestamp(T0 + 70, UTC)
    active.criteria.filter = ""
    with pytest.raises(ApiError, match=r"'interval\.start_time' in update_mask cannot be updated"):
        await snoozes.update_snooze(m.UpdateSnoozeRequest(snooze=active))


async def test_a_snooze_with_a_filter_holds_for_its_series_alone(world):
    created = await world.create(threshold(limit=10))
    text = 'metric.labels.deployed_model_id="1"'
    await SnoozeService(world.book).create_snooze(
        m.CreateSnoozeRequest(parent="projects/proj-a", snooze=snooze(created.name, T0, T0 + 600, filter=text))
    )
    world.minute({OK: 12, key("2", response_code="2xx"): 12})
    assert [i.metric_labels for i in world.open()] == [{"deployed_model_id": "2"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": T0 - 60}, "must not be in the past"),
        ({"end": T0}, "end time must be after the start time"),
        ({"filter": 'metadata.user_labels.a="b"'}, "is not supported"),
        ({"filter": 'metric.labels.a="b" OR metric.labels.c="d"'}, "joined by AND"),
        ({"policy": "projects/proj-a/alertPolicies/1"}, "could not be found"),
    ],
)
async def test_snoozes_that_are_wrong_are_refused(world, change, message):
    created = await world.create()
    criteria = {"filter": change["filter"]} if "filter" in change else {}
    wrong = snooze(change.get("policy", created.name), change.get("start", T0), change.get("end", T0 + 60), **criteria)
    with pytest.raises(ApiError, match=message):
        await SnoozeService(world.book).create_snooze(m.CreateSnoozeRequest(parent="projects/proj-a", snooze=wrong))


async def test_what_belongs_to_another_project_is_refused(world):
    # A snooze is looked for in its policy's project, a channel in its own: elsewhere it would do nothing.
    created, channel = await world.create(threshold(limit=10)), await world.channel()
    sent = snooze(created.name, T0 + 60, T0 + 600)
    with pytest.raises(ApiError, match=r"snooze\.criteria\.policies .* of the project proj-b"):
        await SnoozeService(world.book).create_snooze(m.CreateSnoozeRequest(parent="projects/proj-b", snooze=sent))
    elsewhere = channel.name.replace("proj-a", "proj-b")
    with pytest.raises(ApiError, match=r"notification_channels .* of the project proj-a"):
        await world.create(threshold(limit=10), notification_channels=[elsewhere])

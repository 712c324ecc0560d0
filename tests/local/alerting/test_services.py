"""What may be written, and what is refused by name: policies, channels, lists."""

from __future__ import annotations

import grpc
import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import listing
from vertex_deploy.local.alerting.compile import compile_policy
from vertex_deploy.local.monitoring.catalogue import BY_TYPE, PREFIX, Metric
from vertex_deploy.local.monitoring.values import NS, Kind, Type
from vertex_deploy.local.seams import ApiError

from .support import World, absence, aggregation, policy, threshold, where

PARENT = "projects/proj-a"


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"condition_prometheus_query_language": {"query": "up"}},
            r"alert_policy.conditions\[0\].condition_prometheus_query_language",
        ),
        ({"condition_monitoring_query_language": {"query": "fetch"}}, "condition_monitoring_query_language"),
        ({"condition_sql": {"query": "SELECT 1"}}, "condition_sql"),
        ({"condition_matched_log": {"filter": "x"}}, "condition_matched_log"),
        ({"display_name": "nothing"}, "A condition must be specified"),
        (threshold(forecast_options={"forecast_horizon": {"seconds": 3600}}), "Forecasts are not implemented"),
        (threshold(comparison="COMPARISON_GE"), "Only COMPARISON_LT and COMPARISON_GT"),
        (threshold(limit=float("nan")), "finite"),
        (threshold(duration={"seconds": 90}), "multiple of 60s"),
        (threshold(duration={"seconds": 60 * 60 * 24}), "at most 23.5h"),
        (absence(minutes=1), "at least 120s"),
        (threshold(evaluation_missing_data=2), "MISSING_DATA_ACTIVE.*must have a non-zero duration"),
        # NO_OP too, says hashicorp/terraform-provider-google#16892.
        (threshold(evaluation_missing_data=3), "MISSING_DATA_NO_OP.*must have a non-zero duration"),
        (threshold(trigger={"count": 0}), "count must be at least 1"),
        (threshold(trigger={"percent": 101}), "at most 100"),
        (threshold(text="x" * 2049), "from 1 to 2048 characters"),
        (
            threshold(text="metric.type="),
            r"condition_threshold.filter had an invalid value .* a value is expected, at position 12",
        ),
        (threshold(text='resource.type="global"'), 'must specify a restriction on "metric.type"'),
        (threshold(text=f'metric.type="{PREFIX}response_count"'), 'restriction on "resource.type"'),
        (threshold(text=where(extra='metric.labels.nope="1"')), "valid combination"),
        (threshold(text=where(extra='group.id="1"')), "group.id"),
        (threshold(aggregations=[aggregation(seconds=30)]), "greater than or equal to 1 minute"),
        (threshold(aggregations=[aggregation(seconds=90_060)]), "at most 90000s"),
        (
            threshold(aggregations=[aggregation(reducer="REDUCE_NONE")]),
            "An aggregation cannot have group-by fields without a reducer",
        ),
        (
            threshold(text=where().replace("aiplatform.googleapis.com/Endpoint", "iam_role")),
            "unknown resource type: iam_role",
        ),
        (threshold(aggregations=[aggregation(aligner="ALIGN_PERCENT_CHANGE")]), "not implemented by Local Vertex"),
        (threshold(aggregations=[aggregation(aligner="ALIGN_PERCENTILE_99")]), "kind DELTA and value type INT64"),
        (threshold(text=where(PREFIX + "prediction_latencies")), "A threshold needs numbers, not DISTRIBUTION"),
        (threshold(aggregations=[aggregation()] * 3), "At most 2 aggregations"),
        (threshold(denominator_aggregations=[aggregation()]), "needs a denominator_filter"),
        (
            threshold(denominator_filter=where(), denominator_aggregations=[aggregation(seconds=120)]),
            "same alignment period",
        ),
        # Series of other labels than the numerator's: the ratio would never have a value.
        (
            threshold(denominator_filter=where(), denominator_aggregations=[aggregation(by=())]),
            "same labels; they are grouped by metric.labels.deployed_model_id and none",
        ),
        (threshold(text=where().replace("response_count", "nothing")), "Cannot find metric"),
        ({**threshold(), "name": "projects/proj-a/alertPolicies/1/conditions/2"}, "name of a condition is assigned"),
    ],
)
async def test_a_condition_that_is_wrong_or_cannot_be_evaluated_is_refused(world, condition, message):
    with pytest.raises(ApiError, match=message) as caught:
        await world.create(condition)
    assert caught.value.code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert not world.book.policies.under()


@pytest.mark.filterwarnings("ignore:Unrecognized Severity")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conditions": []}, "from one to 6 conditions"),
        ({"conditions": [threshold()] * 7}, "from one to 6 conditions"),
        ({"combiner": 0}, "combiner must be"),
        ({"name": "projects/proj-a/alertPolicies/1"}, "assigned by the service"),
        ({"display_name": "x" * 513}, "longer than 512"),
        ({"user_labels": {"Team": "x"}}, "lowercase letters"),
        ({"severity": 9}, "severity is not known"),
        ({"documentation": {"content": "x", "mime_type": "text/html"}}, "text/markdown"),
        ({"documentation": {"links": [{"display_name": "x", "url": "u"}] * 4}}, "At most 3 links"),
        ({"documentation": {"links": [{"url": "u"}]}}, r"links\[0\].display_name .* from 1 to 63"),
        ({"documentation": {"links": [{"display_name": "x" * 64, "url": "u"}]}}, "from 1 to 63"),
        ({"documentation": {"links": [{"display_name": "x"}]}}, "URL must be specified"),
        ({"documentation": {"links": [{"display_name": "x", "url": "u" * 2084}]}}, "longer than 2083"),
        ({"documentation": {"content": "ä" * 6000}}, "longer than 10240 bytes"),
        ({"alert_strategy": {"auto_close": {"seconds": 60}}}, "seconds: 60.*at least 30 minutes"),
        ({"alert_strategy": {"notification_rate_limit": {"period": {"seconds": 60}}}}, "only log-based alert policies"),
        ({"alert_strategy": {"notification_channel_strategy": [{}]}}, "Reminders are not implemented"),
        ({"alert_strategy": {"notification_prompts": ["CLOSED"]}}, "must be OPENED, or OPENED and CLOSED"),
        ({"notification_channels": ["projects/proj-a/notificationChannels/1"]}, "could not be found"),
        ({"notification_channels": ["nonsense"]}, "must be of the form"),
    ],
)
async def test_a_policy_that_is_wrong_is_refused(world, fields, message):
    wrong = policy(**{"conditions": [threshold()], **fields}) if "conditions" not in fields else None
    wrong = wrong or m.AlertPolicy({"combiner": "OR", **fields})
    with pytest.raises(ApiError, match=message):
        await world.policies.create_alert_policy(m.CreateAlertPolicyRequest(name=PARENT, alert_policy=wrong))


def test_a_ratio_of_series_on_two_types_of_resource_is_refused():
    own = Metric(type="custom.googleapis.com/x", kind=Kind.GAUGE, value=Type.INT64)
    text = 'metric.type="custom.googleapis.com/x" AND resource.type="{}"'
    mean = [aggregation(aligner="ALIGN_MEAN", by=())]

    def compiled(above, below):
        condition = threshold(text=text.format(above), aggregations=mean, denominator_aggregations=mean)
        condition["condition_threshold"]["denominator_filter"] = text.format(below)
        compile_policy(policy(condition, name="projects/proj-a/alertPolicies/1"), lambda *_: own)

    compiled("global", "global")
    with pytest.raises(ApiError, match=r"denominator_filter.*of one resource type"):
        compiled("global", "generic_task")


def test_in_a_rehearsal_a_minute_is_the_sample_period():
    rehearsal = policy(
        threshold(duration={"seconds": 3}, aggregations=[aggregation(seconds=5)]),
        alert_strategy={"auto_close": {"seconds": 30}},
    )
    rehearsal.name = "projects/proj-a/alertPolicies/1"
    found = compile_policy(rehearsal, lambda _, name: BY_TYPE.get(name), minute=NS)
    assert (found.conditions[0].duration, found.auto_close) == (3 * NS, 30 * NS)
    with pytest.raises(ApiError, match="multiple of 60s"):
        compile_policy(rehearsal, lambda _, name: BY_TYPE.get(name))


async def test_names_are_given_and_kept_by_update(world):
    created = await world.create(threshold(), threshold())
    assert created.name.startswith("projects/proj-a/alertPolicies/")
    assert len({c.name for c in created.conditions}) == 2
    assert created.enabled is True
    first = created.conditions[0].name
    replacement = policy(threshold(limit=99), threshold())
    replacement.name, replacement.conditions[0].name = created.name, first
    changed = await world.policies.update_alert_policy(m.UpdateAlertPolicyRequest(alert_policy=replacement))
    assert changed.conditions[0].name == first
    assert changed.conditions[1].name not in {c.name for c in created.conditions} | {""}
    assert changed.creation_record == created.creation_record
    with pytest.raises(ApiError, match="cannot be updated"):
        await world.policies.update_alert_policy(
            m.UpdateAlertPolicyRequest(alert_policy=changed, update_mask={"paths": ["creation_record"]})
        )
    got = await world.policies.get_alert_policy(m.GetAlertPolicyRequest(name=created.name))
    assert got.conditions[0].condition_threshold.threshold_value == 99


async def test_lists_are_filtered_sorted_and_paged(world):
    for name, label in (("b", "x"), ("a", "y"), ("c", "x")):
        await world.create(display_name=name, user_labels={"rollout": label})
        world.clock.time += 1

    async def names(**fields):
        answer = await world.policies.list_alert_policies(m.ListAlertPoliciesRequest(name=PARENT, **fields))
        return [p.display_name for p in answer.alert_policies], answer

    assert (await names())[0] == ["b", "a", "c"]
    assert (await names(filter='user_labels.rollout="x" AND enabled=true'))[0] == ["b", "c"]
    assert (await names(filter='user_label.rollout = one_of("y", "z") OR display_name:"c"'))[0] == ["a", "c"]
    assert (await names(order_by="-display_name"))[0] == ["c", "b", "a"]
    found, answer = await names(page_size=2)
    assert (found, answer.total_size) == (["b", "a"], 3)
    assert (await names(page_size=2, page_token=answer.next_page_token))[0] == ["c"]
    wrongs = (
        {"filter": "conditions.name=1"},
        {"order_by": "nope"},
        {"order_by": "display_name," * 1000},
        {"page_token": "?"},
    )
    for wrong in wrongs:
        with pytest.raises(ApiError):
            await names(**wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("state=OPEN", True),
        ('state!="OPEN"', False),
        ('policy.displayName = starts_with("Err")', True),
        ('NOT policy.display_name:"Err"', False),
        ('open_time > "2026-11-21T10:00:00Z" AND openTime < "2026-11-21T11:30:00+01:00"', True),
        ('close_time < "2026-11-21T11:00:00Z"', False),
        ('metric.labels.deployed_model_id="1" AND resource.label.endpoint_id="8"', False),
    ],
)
def test_filters_read_the_fields_of_a_resource(text, expected):
    fields = {"state", "open_time", "close_time", "policy.display_name", "metric.labels.*", "resource.labels.*"}
    alert = {
        "state": "OPEN",
        "openTime": "2026-11-21T10:15:00.123456789Z",
        "policy": {"displayName": "Errors"},
        "metric": {"labels": {"deployed_model_id": "1"}},
        "resource": {"labels": {"endpoint_id": "7"}},
    }
    assert listing.matcher(text, fields)(alert) is expected


@pytest.mark.parametrize("text", ["state", "nope=1", "state>1", 'open_time="now"', 'open_time:"2026-11-21"', "state=("])
def test_filters_that_cannot_be_evaluated_are_refused(text):
    with pytest.raises(ApiError, match="Field filter had an invalid value"):
        listing.matcher(text, {"state", "open_time"})


# --- channels -----------------------------------------------------------------------------------------------------

BASIC = {"url": "http://127.0.0.1:1/", "username": "u", "password": "secret"}


async def make(world, kind="webhook_basicauth", labels=None, **more):
    sent = m.NotificationChannel(type_=kind, labels=BASIC if labels is None else labels, **more)
    request = m.CreateNotificationChannelRequest(name=PARENT, notification_channel=sent)
    return await world.channels.create_notification_channel(request)


async def test_a_password_is_kept_and_never_answered(world):
    created = await make(world)
    assert dict(created.labels) == {"url": "http://127.0.0.1:1/", "username": "u"}
    created.labels["username"] = "v"
    request = m.UpdateNotificationChannelRequest(notification_channel=created, update_mask={"paths": ["labels"]})
    assert "password" not in (await world.channels.update_notification_channel(request)).labels
    listed = await world.channels.list_notification_channels(m.ListNotificationChannelsRequest(name=PARENT))
    assert "password" not in listed.notification_channels[0].labels
    assert dict(world.book.channels.get(created.name).labels) == {**BASIC, "username": "v"}


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("email", {"email_address": "a@b"}, "type is not implemented by Local Vertex"),
        ("pubsub", {"topic": "t"}, "type is not implemented by Local Vertex"),
        ("webhook_tokenauth", {}, '"url" must be specified'),
        ("webhook_basicauth", {"url": "http://127.0.0.1:1/", "username": "u"}, '"password" must be specified'),
        ("webhook_tokenauth", {"url": "http://127.0.0.1:1/", "auth": "x"}, "have the labels url"),
        ("webhook_tokenauth", {"url": "https://hooks.example.com/x"}, "only to loopback"),
        ("webhook_tokenauth", {"url": "http://u:p@127.0.0.1:1/"}, "user or password"),
        ("webhook_tokenauth", {"url": "ftp://127.0.0.1/"}, "must begin with http"),
        ("webhook_tokenauth", {"url": "http://127.0.0.1:1/a b"}, "must not hold spaces"),
        ("webhook_tokenauth", {"url": "http://127.0.0.1:1/\r\nHost: x"}, "must not hold spaces"),
        ("webhook_tokenauth", {"url": "http://127.0.0.1\\@example.com/"}, "must not hold spaces, backslashes"),
        ("webhook_tokenauth", {"url": "http://127.0.0.\N{SUPERSCRIPT ONE}/"}, "beyond ASCII"),
        ("webhook_tokenauth", {"url": "http://example.com#@127.0.0.1/"}, "only to loopback"),
        ("webhook_basicauth", {**BASIC, "username": "a:b"}, "cannot hold a colon"),
        ("webhook_tokenauth", {"url": "http://127.0.0.1:99999/"}, "not valid"),
    ],
)
async def test_a_channel_that_cannot_be_served_is_refused(world, kind, labels, message):
    with pytest.raises(ApiError, match=message):
        await make(world, kind, labels)


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "LOCALHOST", "127.0.0.2"])
async def test_loopback_may_be_written_in_any_way(world, host):
    url = f"http://{host}:1/?a={{b}}|c"
    assert (await make(world, "webhook_tokenauth", {"url": url})).labels["url"] == url


async def test_the_status_of_verification_is_not_the_clients_to_write(world):
    with pytest.raises(ApiError, match="illegal to specify"):
        await make(world, verification_status="VERIFIED")
    created = await make(world)
    created.verification_status = m.NotificationChannel.VerificationStatus.VERIFIED
    with pytest.raises(ApiError, match="illegal to specify"):
        await world.channels.update_notification_channel(
            m.UpdateNotificationChannelRequest(notification_channel=created)
        )


async def test_a_channel_in_use_is_deleted_only_by_force(world):
    channel = await make(world)
    created = await world.create(notification_channels=[channel.name])
    request = m.DeleteNotificationChannelRequest(name=channel.name)
    with pytest.raises(ApiError, match="is used in alert policies"):
        await world.channels.delete_notification_channel(request)
    request.force = True
    await world.channels.delete_notification_channel(request)
    assert not world.book.policies.get(created.name).notification_channels
    with pytest.raises(ApiError, match="could not be found"):
        await world.channels.get_notification_channel(m.GetNotificationChannelRequest(name=channel.name))


async def test_descriptors_name_what_is_sent(world):
    request = m.ListNotificationChannelDescriptorsRequest(name=PARENT)
    found = (await world.channels.list_notification_channel_descriptors(request)).channel_descriptors
    assert [d.type_ for d in found] == ["webhook_basicauth", "webhook_tokenauth"]
    one = m.GetNotificationChannelDescriptorRequest(name=found[0].name)
    assert await world.channels.get_notification_channel_descriptor(one) == found[0]

"""The table of fields, held against Google's messages and against what the code does with each."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.cloud import monitoring_v3 as m
from google.protobuf import duration_pb2

from vertex_deploy.local.alerting import fields
from vertex_deploy.local.alerting.compile import compile_policy
from vertex_deploy.local.alerting.fields import TABLES, Use
from vertex_deploy.local.alerting.incidents import Incident
from vertex_deploy.local.alerting.payload import notification
from vertex_deploy.local.monitoring.catalogue import BY_TYPE
from vertex_deploy.local.seams import ApiError

from .support import COUNT, REPLICAS, World, absence, aggregation, policy, threshold, where

ROOT = Path(__file__).parents[3]


def test_the_page_is_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert fields.main(["--check"]) == 0


def names(message):
    # proto-plus calls a field type_ that the API calls type.
    return [field.name.rstrip("_") for field in message.pb(message()).DESCRIPTOR.fields]


def test_every_field_of_every_message_has_a_row():
    assert {message: list(rows) for message, rows in TABLES.items()} == {message: names(message) for message in TABLES}


def test_every_message_that_is_not_refused_as_a_whole_has_a_table():
    known = {message.meta.full_name for message in TABLES}
    for message, rows in TABLES.items():
        for field in message.pb(message()).DESCRIPTOR.fields:
            below = field.message_type
            ours = below is not None and below.full_name.startswith("google.monitoring.") and below.has_options is False
            if ours and rows[field.name.rstrip("_")][0] not in {Use.REFUSED, Use.OWN}:
                assert below.full_name in known, f"{message.meta.full_name}.{field.name}"


REFUSED = [
    (message, field)
    for message, rows in TABLES.items()
    for field, (use, _) in rows.items()
    if use is Use.REFUSED and message is not m.NotificationChannel
]


def set_something(raw, name):
    field = raw.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        getattr(raw, name).add()
    else:
        getattr(raw, name).SetInParent()


@pytest.mark.parametrize(("message", "field"), REFUSED, ids=lambda value: getattr(value, "__name__", value))
async def test_what_is_called_refused_is_refused_by_its_name(message, field):
    world, sent = World(), policy(threshold())
    raw = m.AlertPolicy.pb(sent)
    holders = {
        m.AlertPolicy.AlertStrategy: raw.alert_strategy,
        m.AlertPolicy.Condition: raw.conditions[0],
        m.AlertPolicy.Condition.MetricThreshold: raw.conditions[0].condition_threshold,
    }
    set_something(holders[message], field)
    camel = "".join(part.capitalize() if index else part for index, part in enumerate(field.split("_")))
    with pytest.raises(ApiError, match=f"{field}|{camel}"):
        await world.policies.create_alert_policy(m.CreateAlertPolicyRequest(name="projects/proj-a", alert_policy=sent))
    assert not world.book.policies.under()


def minutes(count):
    return duration_pb2.Duration(seconds=60 * count)


RATIO = threshold(
    text=where(extra='metric.label.response_code="5xx"'),
    minutes=1,
    denominator_filter=where(),
    denominator_aggregations=[aggregation()],
)
# Message -> field -> a change of it. Applied to the policy of ``two_conditions``.
CHANGES = {
    m.AlertPolicy: {
        "conditions": lambda raw: raw.conditions.pop(),
        "combiner": lambda raw: setattr(raw, "combiner", 1),
        "alert_strategy": lambda raw: raw.alert_strategy.auto_close.CopyFrom(minutes(45)),
    },
    m.AlertPolicy.AlertStrategy: {"auto_close": lambda raw: raw.alert_strategy.auto_close.CopyFrom(minutes(45))},
    m.AlertPolicy.Condition: {
        "condition_threshold": lambda raw: setattr(raw.conditions[0].condition_threshold, "threshold_value", 3),
        "condition_absent": lambda raw: raw.conditions[1].condition_absent.duration.CopyFrom(minutes(9)),
    },
    m.AlertPolicy.Condition.MetricThreshold: {
        "filter": lambda raw: setattr(raw.conditions[0].condition_threshold, "filter", where()),
        "aggregations": lambda raw: setattr(both(raw)[0], "per_series_aligner", 14),
        "denominator_filter": lambda raw: setattr(
            raw.conditions[0].condition_threshold, "denominator_filter", where(extra='metric.label.spot="true"')
        ),
        "denominator_aggregations": lambda raw: setattr(
            raw.conditions[0].condition_threshold.denominator_aggregations[0], "cross_series_reducer", 3
        ),
        "comparison": lambda raw: setattr(raw.conditions[0].condition_threshold, "comparison", 3),
        "threshold_value": lambda raw: setattr(raw.conditions[0].condition_threshold, "threshold_value", 3),
        "duration": lambda raw: raw.conditions[0].condition_threshold.duration.CopyFrom(minutes(9)),
        "trigger": lambda raw: setattr(raw.conditions[0].condition_threshold.trigger, "count", 2),
        "evaluation_missing_data": lambda raw: setattr(
            raw.conditions[0].condition_threshold, "evaluation_missing_data", 2
        ),
    },
    m.AlertPolicy.Condition.MetricAbsence: {
        "filter": lambda raw: setattr(raw.conditions[1].condition_absent, "filter", where(COUNT)),
        "aggregations": lambda raw: raw.conditions[1].condition_absent.aggregations.append(
            m.Aggregation.pb(m.Aggregation(alignment_period=minutes(1), per_series_aligner="ALIGN_MEAN"))
        ),
        "duration": lambda raw: raw.conditions[1].condition_absent.duration.CopyFrom(minutes(9)),
        "trigger": lambda raw: setattr(raw.conditions[1].condition_absent.trigger, "count", 2),
    },
    m.AlertPolicy.Condition.Trigger: {
        "count": lambda raw: setattr(raw.conditions[1].condition_absent.trigger, "count", 2),
        "percent": lambda raw: setattr(raw.conditions[1].condition_absent.trigger, "percent", 50),
    },
    m.Aggregation: {
        # Of numerator and denominator alike: they must agree.
        "alignment_period": lambda raw: [step.alignment_period.CopyFrom(minutes(5)) for step in both(raw)],
        "per_series_aligner": lambda raw: setattr(both(raw)[0], "per_series_aligner", 2),
        "cross_series_reducer": lambda raw: setattr(both(raw)[0], "cross_series_reducer", 3),
        "group_by_fields": lambda raw: [step.group_by_fields.append("metric.label.spot") for step in both(raw)],
    },
}
# Who is told, and whether anything is: other tests pin these, by their behaviour.
ELSEWHERE = {
    (m.AlertPolicy, "enabled"),
    (m.AlertPolicy, "notification_channels"),
    (m.AlertPolicy.AlertStrategy, "notification_prompts"),
}


def both(raw):
    condition = raw.conditions[0].condition_threshold
    return [*condition.aggregations, *condition.denominator_aggregations]


def two_conditions():
    sent = policy(RATIO, absence(minutes=3, text=where(REPLICAS)), name="projects/proj-a/alertPolicies/1")
    for index, condition in enumerate(sent.conditions):
        condition.name = f"{sent.name}/conditions/{index}"
    return sent


def test_every_field_of_a_policy_that_is_called_evaluated_is_among_those_that_are_tried():
    called = {
        (message, field)
        for message, rows in TABLES.items()
        for field, (use, _) in rows.items()
        if use is Use.EVALUATED and message not in {m.NotificationChannel, m.Snooze, m.Snooze.Criteria, m.TimeInterval}
    }
    assert called == {(message, field) for message, changes in CHANGES.items() for field in changes} | ELSEWHERE


@pytest.mark.parametrize(
    ("message", "field"),
    [(message, field) for message, changes in CHANGES.items() for field in changes],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_called_evaluated_changes_what_is_evaluated(message, field):
    before, after = two_conditions(), two_conditions()
    CHANGES[message][field](m.AlertPolicy.pb(after))
    found = [compile_policy(sent, lambda _, name: BY_TYPE.get(name)) for sent in (before, after)]
    assert found[0] != found[1]


TOLD = {
    (m.AlertPolicy, "display_name"): {"display_name": "other"},
    (m.AlertPolicy, "documentation"): {"documentation": {"content": "other"}},
    (m.AlertPolicy, "user_labels"): {"user_labels": {"a": "b"}},
    (m.AlertPolicy, "severity"): {"severity": "CRITICAL"},
    (m.AlertPolicy.Documentation, "content"): {"documentation": {"content": "other"}},
    (m.AlertPolicy.Documentation, "mime_type"): {"documentation": {"mime_type": "text/markdown"}},
    (m.AlertPolicy.Documentation, "subject"): {"documentation": {"subject": "other"}},
    (m.AlertPolicy.Documentation, "links"): {"documentation": {"links": [{"display_name": "a", "url": "b"}]}},
    (m.AlertPolicy.Documentation.Link, "display_name"): {
        "documentation": {"links": [{"display_name": "c", "url": "b"}]}
    },
    (m.AlertPolicy.Documentation.Link, "url"): {"documentation": {"links": [{"display_name": "a", "url": "c"}]}},
    (m.AlertPolicy.Condition, "display_name"): {"conditions": [{**threshold(), "display_name": "other"}]},
}


def test_every_field_of_a_policy_that_is_called_told_is_among_those_that_are_tried():
    assert set(TOLD) == {
        (message, field) for message, rows in TABLES.items() for field, (use, _) in rows.items() if use is Use.TOLD
    }


@pytest.mark.parametrize("changed", TOLD.values(), ids=[f"{message.__name__}.{field}" for message, field in TOLD])
def test_what_is_called_told_is_told(changed):
    def told(more):
        sent = m.AlertPolicy({"combiner": "OR", "conditions": [threshold()], **more})
        condition = sent.conditions[0]
        incident = Incident(
            id="0.a",
            project="p",
            policy="n",
            policy_name=sent.display_name,
            policy_labels=dict(sent.user_labels),
            severity=sent.severity.name if sent.severity else "",
            condition="c",
            condition_name=condition.display_name,
            metric="m",
            resource="global",
            opened=1,
        )
        return notification(incident, sent, condition, project_number="1")

    assert told(changed) != told({})


async def test_a_new_channel_has_no_history_that_a_client_wrote():
    world = World()
    sent = m.NotificationChannel(
        type_="webhook_tokenauth",
        labels={"url": "http://127.0.0.1:9/"},
        mutation_records=[{"mutated_by": "me"}],
        creation_record={"mutated_by": "me"},
    )
    request = m.CreateNotificationChannelRequest(name="projects/proj-a", notification_channel=sent)
    made = await world.channels.create_notification_channel(request)
    assert [record.mutated_by for record in (*made.mutation_records, made.creation_record)] == ["", ""]

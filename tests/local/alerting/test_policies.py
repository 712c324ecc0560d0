"""What a mask changes of a policy, what is the service's own, and a policy whose metric goes and comes back."""

from __future__ import annotations

import grpc
import pytest
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.monitoring.values import SeriesKey
from vertex_deploy.local.seams import ApiError

from .support import World, aggregation, key, policy, threshold, where

PARENT = "projects/proj-a"


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("path", "read", "expected"),
    [
        ("display_name", lambda p: p.display_name, "new"),
        ("documentation", lambda p: (p.documentation.content, p.documentation.subject), ("new", "")),
        ("documentation.content", lambda p: (p.documentation.content, p.documentation.subject), ("new", "old")),
        ("user_labels", lambda p: dict(p.user_labels), {"a": "new"}),
        ("user_labels.a", lambda p: dict(p.user_labels), {"a": "new", "b": "old"}),
        # As the reference of UpdateAlertPolicyRequest spells it.
        ("user_label.a", lambda p: dict(p.user_labels), {"a": "new", "b": "old"}),
        ("user_label.b", lambda p: dict(p.user_labels), {"a": "old"}),
        ("enabled", lambda p: p.enabled, True),
        ("combiner", lambda p: p.combiner.name, "AND"),
        ("severity", lambda p: p.severity.name, "ERROR"),
        ("conditions", lambda p: [c.condition_threshold.threshold_value for c in p.conditions], [99.0]),
        ("alert_strategy.auto_close", lambda p: p.alert_strategy.auto_close.total_seconds(), 3600.0),
        ("alert_strategy.notification_prompts", lambda p: list(p.alert_strategy.notification_prompts), []),
    ],
)
async def test_a_mask_changes_what_it_names_and_nothing_else(world, path, read, expected):
    old = await world.create(
        threshold(),
        display_name="old",
        documentation={"content": "old", "subject": "old"},
        user_labels={"a": "old", "b": "old"},
        enabled=False,
        alert_strategy={"auto_close": {"seconds": 1800}, "notification_prompts": ["OPENED"]},
    )
    new = policy(
        threshold(limit=99),
        name=old.name,
        display_name="new",
        combiner="AND",
        severity="ERROR",
        documentation={"content": "new"},
        user_labels={"a": "new"},
        alert_strategy={"auto_close": {"seconds": 3600}},
    )
    request = m.UpdateAlertPolicyRequest(alert_policy=new, update_mask={"paths": [path]})
    changed = await world.policies.update_alert_policy(request)
    assert read(changed) == expected
    # Everything else is as it was.
    changed.mutation_record = old.mutation_record
    top = path.partition(".")[0]
    for one in (changed, old):
        m.AlertPolicy.pb(one).ClearField("user_labels" if top == "user_label" else top)
    assert changed == old


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("name", "cannot be updated"),
        ("mutation_record", "cannot be updated"),
        ("validity", "cannot be updated"),
        ("nope", "cannot be updated"),
        ("documentation.nope", "does not exist"),
        # Neither a list nor a text has fields.
        ("conditions.display_name", "'conditions' has no fields"),
        ("display_name.x", "'display_name' has no fields"),
        ("notification_channels.x", "'notification_channels' has no fields"),
    ],
)
async def test_a_mask_that_names_no_field_is_refused(world, path, message):
    old = await world.create()
    request = m.UpdateAlertPolicyRequest(alert_policy=old, update_mask={"paths": [path]})
    with pytest.raises(ApiError, match=message) as caught:
        await world.policies.update_alert_policy(request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert await world.policies.get_alert_policy(m.GetAlertPolicyRequest(name=old.name)) == old


async def test_what_is_the_services_own_is_ignored_in_what_is_sent(world):
    record = {"mutated_by": "me", "mutate_time": {"seconds": 1}}
    made = await world.create(creation_record=record, mutation_record=record, validity={"code": 3})
    assert (made.creation_record.mutated_by, made.mutation_record.mutated_by) == ("", "")
    assert made.creation_record.mutate_time == world.book.now()
    assert not made.validity.code
    world.clock.time += 60
    created = made.creation_record
    changed = await world.policies.update_alert_policy(m.UpdateAlertPolicyRequest(alert_policy=made))
    assert changed.creation_record == created
    assert changed.mutation_record.mutate_time == world.book.now()


async def test_a_denominator_need_not_name_a_resource_type_and_keys_may_be_quoted(world):
    await world.create(
        threshold(
            text=where(extra='metric.label."response_code"="5xx"'),
            limit=0.1,
            aggregations=[aggregation(by=('metric.label."deployed_model_id"',))],
            denominator_filter=f'metric.type="{PREFIX}response_count"',
            denominator_aggregations=[aggregation()],
        )
    )
    world.minute({key(response_code="5xx"): 1, key(response_code="2xx"): 1})
    (incident,) = world.open()
    assert (incident.value, incident.metric_labels) == (0.5, {"deployed_model_id": "1"})


async def test_the_nanoseconds_of_an_absence_are_ignored(world):
    made = await world.create(
        {"condition_absent": {"filter": where(), "duration": {"seconds": 120, "nanos": 500_000_000}}}
    )
    assert made.conditions[0].condition_absent.duration.total_seconds() == 120


async def test_a_policy_whose_metric_is_gone_says_so_and_lives_again_with_it(world, caplog):
    own = {"type": "custom.googleapis.com/x", "metric_kind": "GAUGE", "value_type": "INT64"}
    create = m.CreateMetricDescriptorRequest(name=PARENT, metric_descriptor=own)
    await world.metrics.create_metric_descriptor(create)
    made = await world.create(
        threshold(text='metric.type="custom.googleapis.com/x" AND resource.type="global"', limit=1, aggregations=[])
    )
    get = m.GetAlertPolicyRequest(name=made.name)
    assert not (await world.policies.get_alert_policy(get)).validity.code
    name = f"{PARENT}/metricDescriptors/custom.googleapis.com/x"
    await world.metrics.delete_metric_descriptor(m.DeleteMetricDescriptorRequest(name=name))
    shown = (await world.policies.get_alert_policy(get)).validity
    assert (shown.code, "Cannot find metric" in shown.message) == (grpc.StatusCode.NOT_FOUND.value[0], True)
    (listed,) = (await world.policies.list_alert_policies(m.ListAlertPoliciesRequest(name=PARENT))).alert_policies
    assert listed.validity == shown
    world.minute()
    world.minute()
    assert caplog.text.count("is not evaluated") == 1
    # It comes back with another type of value: it is this one that is compared.
    create.metric_descriptor.value_type = "DOUBLE"
    await world.metrics.create_metric_descriptor(create)
    of = SeriesKey.of(
        project="proj-a", metric="custom.googleapis.com/x", metric_labels={}, resource="global", resource_labels={}
    )
    assert world.minute(gauges={of: 1.5})
    assert not (await world.policies.get_alert_policy(get)).validity.code

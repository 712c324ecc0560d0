from __future__ import annotations

from typing import Any

import pytest

from tests.rollout.world import spec_with
from vertex_deploy.errors import CloudError
from vertex_deploy.rollout.alert_clients import MemoryAlerts
from vertex_deploy.rollout.alert_preview import policy_problems, preview_alerts
from vertex_deploy.rollout.alerting import policies_for

ENDPOINT = "projects/p/locations/l/endpoints/7"


def policy(**changes: Any) -> dict[str, Any]:
    (found,) = policies_for(spec_with(), "r1", ENDPOINT, "42")
    return {**found, **changes}


def condition(**threshold: Any) -> list[dict[str, Any]]:
    (found,) = policy()["conditions"]
    return [{**found, "conditionThreshold": {**found["conditionThreshold"], **threshold}}]


def test_the_policies_of_gates_keep_the_rules() -> None:
    gates = [{"metric": "error_rate", "max": "1%"}, {"metric": "latency_p95", "max": "300ms"}]
    found = policies_for(spec_with(gates=gates), "r1", ENDPOINT, "42")
    assert len(found) == 2
    assert [policy_problems(one) for one in found] == [(), ()]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"conditions": []}, "has 0 conditions"),
        ({"conditions": condition() * 7}, "has 7 conditions"),
        ({"displayName": "x" * 513}, "longer than 512"),
        ({"documentation": {"content": "x" * 10_241}}, "longer than 10240"),
        ({"notificationChannels": ["projects/p/notificationChannels/1"] * 17}, "17 notification channels"),
        ({"notificationChannels": ["team@example.com"]}, "is no notification channel"),
        ({"alertStrategy": {"autoClose": "60s"}}, "autoClose is 60s"),
        ({"conditions": condition(duration="90s")}, "duration is 90s"),
        ({"conditions": condition(filter="x" * 2049)}, "filter is longer"),
        ({"conditions": condition(aggregations=[{"alignmentPeriod": "10s"}])}, "an alignment period is 10s"),
        ({"colour": "red"}, "is no AlertPolicy"),
    ],
)
def test_what_the_api_would_refuse_is_found_before(changes: Any, why: str) -> None:
    assert why in "; ".join(policy_problems(policy(**changes)))


def test_nothing_is_created_and_what_cannot_be_read_is_a_problem() -> None:
    alerts = MemoryAlerts()
    found = preview_alerts(spec_with(), alerts, endpoint=ENDPOINT, canary="NEW", now=0.0)
    assert (found.policies, found.problems, alerts.made) == (("lite0 NEW: error_rate",), (), 0)
    alerts.failure = CloudError("ListAlertPolicies: PERMISSION_DENIED", code="PERMISSION_DENIED")
    found = preview_alerts(spec_with(), alerts, endpoint=ENDPOINT, canary="NEW", now=0.0)
    assert found.problems == ("ListAlertPolicies: PERMISSION_DENIED",)


def test_an_api_that_may_answer_later_is_asked_later() -> None:
    alerts = MemoryAlerts(failure=CloudError("UNAVAILABLE", code="UNAVAILABLE", transient=True))
    with pytest.raises(CloudError):
        preview_alerts(spec_with(), alerts, endpoint=ENDPOINT, canary="NEW", now=0.0)

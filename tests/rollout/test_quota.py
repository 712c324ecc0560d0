from __future__ import annotations

from typing import Any

import pytest

from tests.rollout.world import spec_with
from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.quota import QuotaLevel
from vertex_deploy.rollout.quota import checked, findings, machine_line, needs, refusal, warnings

CPUS, L4 = "custom_model_serving_cpus", "custom_model_serving_nvidia_l4_gpus"
G2 = {"type": "g2-standard-8", "accelerator": "L4:1"}


def spec(machine: dict[str, Any] | None = None, **replicas: int) -> Any:
    found = spec_with().model_dump(mode="json", exclude_none=True)
    found["target"] |= {"machine": machine or G2, "replicas": replicas or {"min": 1, "max": 2}}
    return type(spec_with()).model_validate(found)


def states(found: Any) -> dict[str, str]:
    return {finding.quota: finding.state for finding in found}


@pytest.mark.parametrize(
    ("limit", "used", "state"), [(2, 0, "ok"), (4, 2, "ok"), (2, 1, "short"), (1, 0, "short"), (0, 0, "short")]
)
def test_what_the_new_version_needs_beside_stable_must_be_left(limit: int, used: int, state: str) -> None:
    found = findings(spec(), {CPUS: QuotaLevel(100, 8), L4: QuotaLevel(limit, used)})
    assert states(found) == {CPUS: "ok", L4: state}


def test_a_refusal_names_the_quota_what_is_needed_what_is_left_and_the_way_out() -> None:
    found = findings(spec(), {CPUS: QuotaLevel(100, 8), L4: QuotaLevel(2, 1)})
    assert refusal(found) == (
        "quota custom_model_serving_nvidia_l4_gpus in us-central1: 2 needed (max 2 x L4:1), 1 left of 2; "
        "lower target.replicas.max, undeploy what is not used, or ask for more at "
        "https://console.cloud.google.com/iam-admin/quotas?project=p"
    )
    assert warnings(found) == ()


def test_a_limit_that_was_lowered_below_the_usage_leaves_nothing() -> None:
    found = findings(spec(), {CPUS: QuotaLevel(4, 16), L4: QuotaLevel(9, 1)})
    assert "16 needed (max 2 x 8 vCPUs of g2-standard-8), 0 left of 4" in refusal(found)


@pytest.mark.parametrize(
    ("machine", "levels", "why"),
    [
        (G2, {CPUS: QuotaLevel(99, 0)}, "nvidia_l4_gpus in us-central1 is not known (2 needed: max 2 x L4:1)"),
        (G2, {CPUS: QuotaLevel(99, 0), L4: QuotaLevel(None, 3)}, "Cloud Monitoring has no limit of it"),
        ({"type": "a4-highgpu-8g", "accelerator": "B200:8"}, {CPUS: QuotaLevel(999, 0)}, "no source says"),
        (
            {"type": "ct5lp-hightpu-4t"},
            {CPUS: QuotaLevel(999, 7), "custom_model_serving_tpu_v5e": QuotaLevel(8, 0)},
            "how much is needed is not known (limit 999, used 7)",
        ),
    ],
)
def test_what_is_not_known_is_said_and_not_passed_over(machine: Any, levels: Any, why: str) -> None:
    found = findings(spec(machine), levels)
    assert refusal(found) == ""
    (said,) = warnings(found)
    assert why in said


class Denied:
    def __init__(self, code: str, *, transient: bool = False) -> None:
        self.error = CloudError(f"ListTimeSeries: {code}", code=code, transient=transient)

    def levels(self, quotas: Any, now: float) -> Any:
        raise self.error


def test_quotas_that_may_not_be_read_are_not_known() -> None:
    found = checked(spec(), Denied("PERMISSION_DENIED"), 0.0)
    assert set(states(found).values()) == {"unknown"}
    assert all("PERMISSION_DENIED" in warning for warning in warnings(found))


def test_an_api_that_may_answer_later_is_asked_later() -> None:
    with pytest.raises(CloudError):
        checked(spec(), Denied("UNAVAILABLE", transient=True), 0.0)


def test_the_maximum_of_replicas_is_needed_and_at_least_the_minimum() -> None:
    assert [charge.amount for charge in needs(spec(min=3, max=1))] == [24, 3]


def test_a_machine_that_is_known_by_its_series_only_is_said_to_be() -> None:
    assert "Google's table" in machine_line(spec())
    assert "whether us-central1 has this size only the deployment shows" in machine_line(
        spec({"type": "c3-highcpu-22"})
    )

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vertex_deploy.spec.gates import Gate, parse_margin

CUSTOM = {"metric": "rating", "range": [1, 5], "query": {"prometheus": "avg(rating)"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "error_rate", "max": "0.5%", "min_requests": 200},
        {"metric": "rejection_rate", "max": "5%", "worse_than_stable": "2x"},
        {"metric": "latency_p95", "max": "500ms", "worse_than_stable": "10%"},
        {"metric": "latency_p99.9", "worse_than_stable": "1.5x"},
        {"metric": "latency_p95", "better_than_stable": "0.9x"},
        {"metric": "error_rate", "evidence": {"odds": 1.5, "overdispersion": 4}},
        {**CUSTOM, "better": "higher", "better_than_stable": "5%"},
        {**CUSTOM, "min": 3, "max": 4.5, "dry_run": True, "weight": 2},
    ],
)
def test_a_gate_is_written_back_as_it_was_read(fields):
    gate = Gate.model_validate(fields)
    dumped = gate.model_dump(mode="json", exclude_unset=True)
    assert Gate.model_validate(dumped) == gate
    assert Gate.model_validate_json(gate.model_dump_json()) == gate
    for key in ("max", "min_requests"):
        if key in fields and not gate.custom:
            assert dumped[key] == fields[key]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "error_rate"}, "has no condition; write max"),
        ({"metric": "eror_rate", "max": "1%"}, "did you mean error_rate?"),
        ({"metric": "latency_95", "max": "1s"}, "did you mean latency_p95?"),
        ({"metric": "error_rate", "max": 0.5}, "write it with a percent sign"),
        ({"metric": "error_rate", "max": "500ms"}, "is a share"),
        ({"metric": "error_rate", "max": "100%"}, "out of range"),
        ({"metric": "error_rate", "max": "0%"}, "out of range"),
        ({"metric": "latency_p95", "max": 500}, "is a duration"),
        ({"metric": "latency_p95", "max": "5%"}, "is a duration"),
        ({"metric": "latency_p0", "max": "5ms"}, "unknown metric"),
        ({"metric": "latency_p95", "min": "5ms"}, "min is for custom metrics"),
        ({"metric": "latency_p95", "max": "5ms", "better": "higher"}, "better when lower"),
        ({"metric": "error_rate", "max": "1%", "range": [0, 1]}, "for custom metrics"),
        ({"metric": "error_rate", "worse_than_stable": "1%", "better_than_stable": "1%"}, "contradict"),
        ({"metric": "error_rate", "worse_than_stable": "-1%"}, "must not be negative"),
        ({"metric": "error_rate", "better_than_stable": "100%"}, "leaves nothing to compare with"),
        ({"metric": "error_rate", "worse_than_stable": "ten"}, "not a margin"),
        ({"metric": "rating", "max": 4, "range": [1, 5]}, "give a custom metric a query"),
        ({"metric": "rating", "max": 4, "query": {"prometheus": "x"}}, "needs its range"),
        ({**CUSTOM, "range": [5, 1], "max": 4}, "must rise"),
        ({**CUSTOM, "max": 4, "range": [0, 1e300]}, "within 1e+12 of zero"),
        ({"metric": "latency_p95", "max": float("nan")}, "finite number"),
        ({"metric": "error_rate", "worse_than_stable": float("nan")}, "finite number"),
        ({**CUSTOM, "max": 4, "range": [0, float("nan")]}, "must rise"),
        ({**CUSTOM, "min": 4, "max": 3}, "above its max"),
        ({**CUSTOM, "max": 3, "evidence": {}}, "judged as a mean"),
        ({**CUSTOM, "metric": "Rating!", "max": 3}, "cannot name a custom metric"),
        ({**CUSTOM, "max": 3, "query": {}}, "write one"),
        ({"metric": "error_rate", "maxx": "1%"}, "maxx"),
        ({"metric": "error_rate", "max": "1%", "no_data": "pass"}, "no_data"),
        ({"metric": "error_rate", "max": "1%", "weight": 0}, "weight"),
    ],
)
def test_a_wrong_gate_is_refused_with_the_fix(fields, message):
    with pytest.raises(ValidationError) as caught:
        Gate.model_validate(fields)
    assert message in str(caught.value)


def test_there_is_no_policy_that_takes_silence_for_a_pass():
    schema = Gate.model_json_schema()["properties"]["no_data"]
    assert schema["enum"] == ["wait", "fail"]


def test_every_field_is_described():
    definitions = Gate.model_json_schema()
    for model in (definitions, *definitions["$defs"].values()):
        assert model["additionalProperties"] is False
        assert all("description" in field for field in model["properties"].values())


@settings(deadline=None)
@given(st.integers(1, 999))
def test_a_factor_and_a_percentage_say_the_same(tenths):
    assert parse_margin(f"{1 + tenths / 1000}x") == pytest.approx(parse_margin(f"{tenths / 10}%"))


def test_the_accepted_ratio_follows_from_margin_and_direction():
    def factor(**fields):
        return Gate.model_validate(fields).factor

    assert factor(metric="latency_p95", worse_than_stable="10%") == pytest.approx(1.1)
    assert factor(metric="latency_p95", better_than_stable="10%") == pytest.approx(0.9)
    assert factor(**CUSTOM, better="higher", better_than_stable="5%") == pytest.approx(1.05)
    assert factor(**CUSTOM, better="higher", worse_than_stable="5%") == pytest.approx(0.95)
    assert factor(metric="error_rate", max="1%") is None


@pytest.mark.parametrize("limit", [5, "500ms", "100%"])
def test_a_rejection_rate_is_a_share_like_an_error_rate(limit):
    with pytest.raises(ValidationError, match="rejection_rate"):
        Gate.model_validate({"metric": "rejection_rate", "max": limit})

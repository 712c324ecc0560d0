from __future__ import annotations

import pytest
from google.cloud import monitoring_v3
from google.protobuf import json_format

from vertex_deploy.local.monitoring import filters
from vertex_deploy.metrics import cloud_monitoring
from vertex_deploy.spec import Gate
from vertex_deploy.spec.alerts import conditions, evaluates_promql, expressible, metric_type
from vertex_deploy.spec.models import Monitoring

ENDPOINT = "123456789"


def one(gate: Gate, *, private: bool = False, version: str | None = None):
    (found,) = conditions(gate, endpoint_id=ENDPOINT, private=private, deployed_model_id=version)
    return found


def gate(**values) -> Gate:
    return Gate.model_validate(values)


CUSTOM = {"metric": "rating", "range": (0.0, 5.0)}


def test_an_error_rate_is_the_share_of_server_errors_of_each_version():
    threshold = one(gate(metric="error_rate", max="0.5%"))["conditionThreshold"]
    assert threshold["thresholdValue"] == 0.005
    assert threshold["comparison"] == "COMPARISON_GT"
    assert 'metric.label.response_code="5xx"' in threshold["filter"]
    assert "response_code" not in threshold["denominatorFilter"]
    assert threshold["aggregations"] == threshold["denominatorAggregations"]
    assert threshold["aggregations"][0]["groupByFields"] == ["metric.label.deployed_model_id"]


@pytest.mark.parametrize(("metric", "reducer"), [("latency_p50", "50"), ("latency_p95", "95"), ("latency_p99", "99")])
def test_a_latency_limit_is_in_the_metrics_own_milliseconds(metric, reducer):
    threshold = one(gate(metric=metric, max="500ms"))["conditionThreshold"]
    assert threshold["thresholdValue"] == 500
    assert threshold["aggregations"][0]["crossSeriesReducer"] == f"REDUCE_PERCENTILE_{reducer}"
    assert 'metric.label.latency_type="total"' in threshold["filter"]


def test_a_percentile_that_thresholds_cannot_take_becomes_promql():
    body = one(gate(metric="latency_p99.5", max="2s"), version="42")["conditionPrometheusQueryLanguage"]
    assert body["query"].startswith("histogram_quantile(0.995, sum by (le, deployed_model_id)")
    assert "aiplatform_googleapis_com:prediction_online_prediction_latencies_bucket" in body["query"]
    assert f'endpoint_id="{ENDPOINT}"' in body["query"]
    assert 'deployed_model_id="42"' in body["query"]
    assert body["query"].endswith("> 2000")


def test_private_endpoints_have_names_and_labels_of_their_own():
    errors = one(gate(metric="error_rate", max="1%"), private=True)["conditionThreshold"]["filter"]
    latency = one(gate(metric="latency_p95", max="1s"), private=True)["conditionThreshold"]["filter"]
    assert "online/private/response_count" in errors
    assert "metric.label.response_code>=500" in errors
    assert "latency_type" not in latency


def test_a_rollouts_own_policy_looks_at_its_version_alone():
    found = one(gate(metric="error_rate", max="1%"), version="77")["conditionThreshold"]
    assert all('metric.label.deployed_model_id="77"' in found[key] for key in ("filter", "denominatorFilter"))


def test_both_limits_of_a_custom_metric_become_conditions():
    query = {"cloud_monitoring": 'metric.type="custom.googleapis.com/rating" AND resource.type="global"'}
    found = conditions(gate(**CUSTOM, query=query, min=3.0, max=4.5), endpoint_id=ENDPOINT, private=False)
    assert [(c["conditionThreshold"]["comparison"], c["conditionThreshold"]["thresholdValue"]) for c in found] == [
        ("COMPARISON_GT", 4.5),
        ("COMPARISON_LT", 3.0),
    ]


def test_the_mean_of_what_the_server_writes_is_taken_from_distributions_of_each_version():
    text = 'metric.type="custom.googleapis.com/total_inference_ms" AND resource.type="generic_task"'
    found = one(gate(**{**CUSTOM, "metric": "total_inference_ms"}, query={"cloud_monitoring": text}, max=80))
    assert found["conditionThreshold"]["aggregations"] == [
        {
            "alignmentPeriod": "300s",
            "perSeriesAligner": "ALIGN_SUM",
            "crossSeriesReducer": "REDUCE_MEAN",
            "groupByFields": ["metric.label.deployed_model_id"],
        }
    ]


def test_of_what_users_write_the_query_says_that_it_is_of_distributions():
    query = {"cloud_monitoring": 'metric.type="custom.googleapis.com/mine"', "values": "distribution"}
    (aggregation,) = one(gate(**CUSTOM, query=query, max=4))["conditionThreshold"]["aggregations"]
    assert (aggregation["perSeriesAligner"], aggregation["crossSeriesReducer"]) == ("ALIGN_SUM", "REDUCE_MEAN")
    (plain,) = one(gate(**CUSTOM, query={**query, "values": "number"}, max=4))["conditionThreshold"]["aggregations"]
    assert plain == {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_MEAN"}


def test_a_prometheus_that_cloud_monitoring_cannot_ask_makes_no_alert_policy():
    found = gate(**CUSTOM, query={"prometheus": "x"}, max=4.0)
    latency = gate(metric="latency_p99.5", max="2s")
    where = {"endpoint_id": ENDPOINT, "private": False, "promql": False}
    assert [g for g, _ in expressible([found, latency], **where)] == [latency]


@pytest.mark.parametrize(
    ("monitoring", "asked"),
    [
        ({}, True),
        ({"prometheus": {"url": "https://prometheus.example.com"}}, False),
        ({"prometheus": {"url": "https://monitoring.googleapis.com/v1/projects/p/location/global/prometheus"}}, True),
    ],
)
def test_cloud_monitoring_asks_managed_prometheus_alone(monitoring, asked):
    assert evaluates_promql(Monitoring.model_validate(monitoring)) is asked


def test_the_interval_of_an_expression_is_an_alerts_window():
    found = one(gate(**CUSTOM, query={"prometheus": "rate(x[{interval}])"}, max=4.0))
    assert found["conditionPrometheusQueryLanguage"]["query"] == "(rate(x[300s])) > 4"


def test_a_promql_expression_keeps_its_precedence():
    found = one(gate(**CUSTOM, query={"prometheus": "a or b"}, max=4.0))
    assert found["conditionPrometheusQueryLanguage"]["query"] == "(a or b) > 4"


@pytest.mark.parametrize(
    "values",
    [
        {"metric": "error_rate", "worse_than_stable": "10%"},
        {"metric": "error_rate", "max": "1%", "dry_run": True},
        {**CUSTOM, "max": 4.0, "query": {"prometheus": 'x{v="{deployed_model_id}"}'}},
    ],
)
def test_what_a_policy_cannot_say_gives_none(values):
    assert conditions(gate(**values), endpoint_id=ENDPOINT, private=False) == ()


def test_a_query_that_names_a_version_is_filled_in_for_a_rollout():
    found = one(gate(**CUSTOM, max=4.0, query={"prometheus": 'x{v="{deployed_model_id}"}'}), version="9")
    assert found["conditionPrometheusQueryLanguage"]["query"] == '(x{v="9"}) > 4'


def test_a_limit_that_is_written_twice_is_one_policy():
    gates = [gate(metric="error_rate", max="1%"), gate(metric="error_rate", max="1%", name="again")]
    assert [g.label for g, _ in expressible(gates, endpoint_id=ENDPOINT, private=False)] == ["error_rate"]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("metric", ["error_rate", "latency_p95", "latency_p90"])
def test_googles_own_message_takes_every_field(metric, private):
    limit = "1%" if metric == "error_rate" else "500ms"
    found = one(gate(metric=metric, max=limit), private=private, version="5")
    message = monitoring_v3.AlertPolicy.Condition()
    json_format.ParseDict(found, message._pb)
    assert message.display_name == found["displayName"]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("metric", ["error_rate", "latency_p95"])
def test_local_vertexs_filter_parser_reads_the_filters(metric, private):
    limit = "1%" if metric == "error_rate" else "500ms"
    threshold = one(gate(metric=metric, max=limit), private=private)["conditionThreshold"]
    for key in ("filter", "denominatorFilter"):
        if key in threshold:
            assert filters.single_metric(filters.parse(threshold[key])) is not None


@pytest.mark.parametrize("private", [False, True])
def test_a_rollout_and_an_alert_read_the_same_metric(private):
    for name in ("response_count", "prediction_latencies"):
        assert metric_type(name, private=private) == cloud_monitoring.metric_name(name, private=private)


def test_a_rejection_rate_is_the_share_of_answers_that_blame_the_client():
    threshold = one(gate(metric="rejection_rate", max="5%"))["conditionThreshold"]
    assert 'metric.label.response_code="4xx"' in threshold["filter"]
    assert "response_code" not in threshold["denominatorFilter"]
    private = one(gate(metric="rejection_rate", max="5%"), private=True)["conditionThreshold"]["filter"]
    assert "metric.label.response_code>=400 AND metric.label.response_code<500" in private

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.api_core import exceptions
from google.cloud import monitoring_v3 as m

from serving import config as configuration
from serving.errors import ConfigError
from serving.export import cloud
from serving.export.distribution import BOUNDS_MS, Distribution
from serving.export.exporter import METRICS, ExportFailed, Sample
from vertex_deploy.spec import Gate
from vertex_deploy.spec.alerts import DISTRIBUTIONS, conditions


class Client:
    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = []

    def _call(self, name, request):
        self.calls.append((name, request))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure

    def create_metric_descriptor(self, *, request, retry, timeout):
        self._call("describe", request)

    def create_time_series(self, *, request, retry, timeout):
        self._call("write", request)


def sink(client):
    return cloud.CloudSink("", project="123", endpoint_id="55", deployed_model_id="7", task="host-1", client=client)


def sample(metric="total_inference_ms", *values):
    distribution = Distribution()
    for value in values or (10.0, 30.0):
        distribution.add(value)
    return Sample(metric, 1_800_000_000.25, distribution.snapshot())


def test_a_point_is_a_gauge_distribution_of_a_task_with_the_deployed_model_as_label():
    client = Client()
    sink(client).write([sample()], timeout=1)
    name, request = client.calls[-1]
    (series,) = request["time_series"]
    assert (name, request["name"]) == ("write", "projects/123")
    assert series.metric.type == "custom.googleapis.com/total_inference_ms"
    assert dict(series.metric.labels) == {"endpoint_id": "55", "deployed_model_id": "7"}
    assert series.resource.type == "generic_task"
    assert dict(series.resource.labels) == {
        "location": "global", "namespace": "55", "job": "7", "task_id": "host-1"
    }  # fmt: skip
    (point,) = m.TimeSeries.pb(series).points
    assert point.interval.end_time.ToNanoseconds() == 1_800_000_000_250_000_000
    assert not point.interval.HasField("start_time")
    value = point.value.distribution_value
    assert (value.count, value.mean, value.sum_of_squared_deviation, sum(value.bucket_counts)) == (2, 20.0, 200.0, 2)
    assert value.bucket_options.exponential_buckets.num_finite_buckets + 1 == len(BOUNDS_MS)


def test_only_metrics_that_are_written_are_described_and_each_once():
    client = Client()
    target = sink(client)
    target.write([sample()], timeout=1)
    target.write([sample(), sample("language_generation_ms")], timeout=1)
    described = [r["metric_descriptor"] for n, r in client.calls if n == "describe"]
    assert [d.type.rpartition("/")[2] for d in described] == ["total_inference_ms", "language_generation_ms"]
    first = described[0]
    assert (first.metric_kind, first.value_type, first.unit) == (first.GAUGE, first.DISTRIBUTION, "ms")
    assert [label.key for label in first.labels] == ["endpoint_id", "deployed_model_id"]


def test_a_descriptor_that_could_not_be_created_is_created_before_the_next_write():
    client = Client(exceptions.ServiceUnavailable("down"))
    target = sink(client)
    with pytest.raises(ExportFailed, match="CreateMetricDescriptor"):
        target.write([sample()], timeout=1)
    target.write([sample()], timeout=1)
    assert [name for name, _ in client.calls] == ["describe", "describe", "write"]


@pytest.mark.parametrize(
    ("failure", "again", "says"),
    [
        (exceptions.ServiceUnavailable("down"), True, "UNAVAILABLE: down"),
        (exceptions.DeadlineExceeded("slow"), True, "DEADLINE_EXCEEDED"),
        (exceptions.PermissionDenied("no"), False, "monitoring.metricWriter"),
        (exceptions.InvalidArgument("order"), False, "INVALID_ARGUMENT: order"),
    ],
)
def test_a_refusal_says_which_call_and_whether_to_try_again(failure, again, says):
    client = Client(None, failure)
    with pytest.raises(ExportFailed, match=says) as caught:
        sink(client).write([sample()], timeout=1)
    assert caught.value.again is again


ON = {
    "AIP_STORAGE_URI": "x",
    "SERVING_METRICS_EXPORT": "cloud",
    "AIP_PROJECT_NUMBER": "123",
    "AIP_ENDPOINT_ID": "55",
    "AIP_DEPLOYED_MODEL_ID": "7",
}


def test_the_settings_make_an_exporter():
    assert cloud.exporter(configuration.load(ON))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SERVING_METRICS_EXPORT": "yes"}, "only cloud is known"),
        ({"AIP_PROJECT_NUMBER": ""}, "AIP_PROJECT_NUMBER is empty"),
        ({"AIP_DEPLOYED_MODEL_ID": ""}, "AIP_DEPLOYED_MODEL_ID is empty"),
        ({"SERVING_MONITORING_ENDPOINT": "http://10.0.0.1:1"}, "plaintext"),
        ({"SERVING_METRICS_PERIOD_S": "1"}, "not between 5 and 3600"),
    ],
)
def test_an_export_that_could_not_work_ends_the_server_before_it_starts(changes, says):
    with pytest.raises(ConfigError, match=says):
        configuration.load(ON | changes)


def test_without_the_export_its_other_variables_are_not_judged():
    load = configuration.load({"AIP_STORAGE_URI": "x", "SERVING_MONITORING_ENDPOINT": "http://10.0.0.1:1"})
    assert load.metrics_export == ""


def test_alert_policies_know_all_that_is_written_for_the_distribution_that_it_is():
    assert {cloud.PREFIX + metric for metric in METRICS} == set(DISTRIBUTIONS)


def test_the_guides_gate_is_a_gate_and_becomes_an_alert():
    guide = (Path(cloud.__file__).parents[2] / "docs/guides/serving.md").read_text()
    text = guide[guide.index("    - metric: vision_encoding_ms") :].partition("\n\n")[0]
    (written,) = yaml.safe_load(text)
    (found,) = conditions(Gate.model_validate(written), endpoint_id="55", private=False, deployed_model_id="7")
    threshold = found["conditionThreshold"]
    assert 'deployed_model_id="7"' in threshold["filter"]
    assert threshold["aggregations"][0]["crossSeriesReducer"] == "REDUCE_MEAN"

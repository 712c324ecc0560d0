import pytest
from google.cloud import aiplatform_v1, monitoring_v3
from google.longrunning import operations_pb2

from vertex_deploy.local.wire.tables import HttpRule, rpcs, snake


def table(package, service):
    return {rpc.name: rpc for rpc in rpcs(package, service)}


def test_every_rpc_of_a_client_is_found_with_its_messages_and_http_rule():
    found = table("google.cloud.aiplatform_v1", "EndpointService")
    deploy = found["DeployModel"]
    assert deploy.path == "/google.cloud.aiplatform.v1.EndpointService/DeployModel"
    assert deploy.request.cls is aiplatform_v1.DeployModelRequest
    assert deploy.response.cls is operations_pb2.Operation
    rule = HttpRule("POST", "/v1/{endpoint=projects/*/locations/*/endpoints/*}:deployModel", "*")
    assert deploy.http == (rule,)
    methods = {snake(name) for name in found if found[name].service.endswith("EndpointService")}
    assert methods <= set(dir(aiplatform_v1.EndpointServiceClient))
    assert len(methods) == 9


def test_operations_are_polled_under_ui_as_well():
    found = table("google.cloud.aiplatform_v1", "EndpointService")["GetOperation"]
    assert found.service == "google.longrunning.Operations"
    uris = {rule.uri for rule in found.http}
    for lead in ("/ui", "/v1"):
        assert lead + "/{name=projects/*/locations/*/endpoints/*/operations/*}" in uris


def test_streams_are_known():
    found = table("google.cloud.aiplatform_v1", "PredictionService")
    assert found["StreamRawPredict"].streams_response
    assert not found["StreamRawPredict"].streams_request
    assert found["StreamingPredict"].streams_request


@pytest.mark.parametrize(
    ("service", "name", "rule"),
    [
        ("MetricService", "ListTimeSeries", HttpRule("GET", "/v3/{name=projects/*}/timeSeries")),
        (
            "MetricService",
            "CreateServiceTimeSeries",
            HttpRule("POST", "/v3/{name=projects/*}/timeSeries:createService", "*"),
        ),
        (
            "MetricService",
            "CreateMetricDescriptor",
            HttpRule("POST", "/v3/{name=projects/*}/metricDescriptors", "metric_descriptor"),
        ),
        ("MetricService", "GetMetricDescriptor", HttpRule("GET", "/v3/{name=projects/*/metricDescriptors/**}")),
        (
            "AlertPolicyService",
            "UpdateAlertPolicy",
            HttpRule("PATCH", "/v3/{alert_policy.name=projects/*/alertPolicies/*}", "alert_policy"),
        ),
        ("AlertPolicyService", "GetAlertPolicy", HttpRule("GET", "/v3/{name=projects/*/alertPolicies/*}")),
        (
            "NotificationChannelService",
            "VerifyNotificationChannel",
            HttpRule("POST", "/v3/{name=projects/*/notificationChannels/*}:verify", "*"),
        ),
        (
            "NotificationChannelService",
            "SendNotificationChannelVerificationCode",
            HttpRule("POST", "/v3/{name=projects/*/notificationChannels/*}:sendVerificationCode", "*"),
        ),
    ],
)
def test_monitorings_rules_come_from_its_discovery_document(service, name, rule):
    assert rule in table("google.cloud.monitoring_v3", service)[name].http


@pytest.mark.parametrize(
    "service", ["MetricService", "AlertPolicyService", "NotificationChannelService", "SnoozeService"]
)
def test_no_rpc_of_monitoring_is_without_a_path(service):
    assert [name for name, rpc in table("google.cloud.monitoring_v3", service).items() if not rpc.http] == []


def test_raw_and_proto_plus_messages_round_trip():
    found = table("google.cloud.monitoring_v3", "MetricService")
    request = monitoring_v3.ListTimeSeriesRequest(name="projects/p", page_size=3)
    message = found["ListTimeSeries"].request
    assert message.decode(message.encode(request)) == request
    raw = found["GetMetricDescriptor"].response
    assert not raw.plus
    assert raw.decode(raw.encode(raw.cls(type="t"))).type == "t"


def test_handler_names_are_those_of_googles_clients():
    assert [snake(name) for name in ("RawPredict", "DeployModel", "ListTimeSeries")] == [
        "raw_predict",
        "deploy_model",
        "list_time_series",
    ]

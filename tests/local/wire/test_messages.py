"""JSON, queries, errors and versions: the wire's pure parts."""

import grpc
import pytest
from google.cloud import aiplatform_v1, aiplatform_v1beta1, monitoring_v3
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire import jsonpb, rpc
from vertex_deploy.local.wire.errors import HTTP, to_json, to_status
from vertex_deploy.local.wire.versions import operation_in, to_native

Endpoint = aiplatform_v1.Endpoint.pb()
ListTimeSeries = monitoring_v3.ListTimeSeriesRequest.pb()
UpdateEndpoint = aiplatform_v1.UpdateEndpointRequest.pb()


def parsed(cls, query):
    pb = cls()
    jsonpb.parse(jsonpb.query_fields(query, cls.DESCRIPTOR), pb)
    return pb


def test_queries_fill_nested_and_repeated_fields_in_either_spelling():
    found = parsed(
        ListTimeSeries,
        [
            ("filter", 'metric.type="x"'),
            ("interval.endTime", "2026-01-01T00:00:00Z"),
            ("aggregation.alignment_period", "60s"),
            ("aggregation.groupByFields", "a"),
            ("aggregation.groupByFields", "b"),
            ("aggregation.perSeriesAligner", "ALIGN_RATE"),
            ("pageSize", "5"),
            ("view", "1"),
            ("$alt", "json;enum-encoding=int"),
        ],
    )
    assert found.aggregation.alignment_period.seconds == 60
    assert list(found.aggregation.group_by_fields) == ["a", "b"]
    assert found.aggregation.per_series_aligner == monitoring_v3.Aggregation.Aligner.ALIGN_RATE
    assert (found.page_size, found.view, found.interval.end_time.seconds) == (5, 1, 1767225600)


@pytest.mark.parametrize("mask", ["trafficSplit,displayName", "traffic_split,display_name"])
def test_masks_come_in_camel_and_in_snake(mask):
    assert list(parsed(UpdateEndpoint, [("updateMask", mask)]).update_mask.paths) == ["traffic_split", "display_name"]


@pytest.mark.parametrize(
    ("cls", "query", "says"),
    [
        (ListTimeSeries, ("nope", "1"), 'Unknown name "nope": Cannot bind query parameter.'),
        (ListTimeSeries, ("interval.nope", "1"), 'Unknown name "interval.nope"'),
        (ListTimeSeries, ("pageSize", "many"), "page_size"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(cls, query, says):
    with pytest.raises(ApiError) as found:
        parsed(cls, [query])
    assert found.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in found.value.message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"nope": 1}, "Invalid JSON payload received. Unknown name \"nope\" at 'endpoint': Cannot find field."),
        (
            {"deployedModels": [{"dedicatedResources": {"nope": 1}}]},
            "Unknown name \"nope\" at 'endpoint.deployedModels[0].dedicatedResources': Cannot find field.",
        ),
        ({"trafficSplit": {"1": "many"}}, "Invalid value at 'endpoint'"),
        ([], "Expected an object"),
    ],
)
def test_unknown_fields_are_refused_in_googles_words(data, says):
    with pytest.raises(ApiError) as found:
        jsonpb.parse(data, Endpoint(), "endpoint")
    assert says in found.value.message


@pytest.mark.parametrize("body", [b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ApiError, match="Invalid JSON payload"):
        jsonpb.loads(body)


def test_enums_are_names_or_numbers_as_the_client_asks():
    pb = aiplatform_v1.MachineSpec.pb(aiplatform_v1.MachineSpec(accelerator_type="NVIDIA_L4"))
    assert jsonpb.to_dict(pb, jsonpb.style_of([("alt", "json")])) == {"acceleratorType": "NVIDIA_L4"}
    assert jsonpb.to_dict(pb, jsonpb.style_of([("$alt", "json;enum-encoding=int")])) == {"acceleratorType": 11}
    with pytest.raises(ApiError):
        jsonpb.style_of([("alt", "proto")])


def test_int64_are_strings_and_defaults_are_left_out():
    pb = aiplatform_v1.ModelContainerSpec.pb(aiplatform_v1.ModelContainerSpec(shared_memory_size_mb=5))
    assert jsonpb.to_dict(pb) == {"sharedMemorySizeMb": "5"}


def test_errors_carry_code_status_and_details():
    detail = error_details_pb2.ErrorInfo(reason="R", domain="d")
    error = ApiError(grpc.StatusCode.FAILED_PRECONDITION, "no", [detail])
    status, body = to_json(error)
    assert (status, body["error"]["code"], body["error"]["status"]) == (400, 400, "FAILED_PRECONDITION")
    assert body["error"]["details"] == [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R", "domain": "d"}
    ]
    assert to_status(error).code == 9


def test_every_code_has_an_http_status():
    assert set(HTTP) == set(grpc.StatusCode)


def test_a_field_that_only_v1beta1_has_is_refused_by_name():
    request = aiplatform_v1beta1.DeployModelRequest(endpoint="e", deployed_model={"model": "m"})
    native = to_native(aiplatform_v1beta1.DeployModelRequest.pb(request), aiplatform_v1.DeployModelRequest.pb())
    assert (native.endpoint, native.deployed_model.model) == ("e", "m")
    request.deployed_model.dedicated_resources.initial_replica_count = 1
    with pytest.raises(ApiError, match=r"initialReplicaCount.*not supported by Local Vertex"):
        to_native(aiplatform_v1beta1.DeployModelRequest.pb(request), aiplatform_v1.DeployModelRequest.pb())


def test_operations_speak_the_version_that_was_called():
    operation = operations_pb2.Operation(name="o", done=True)
    operation.response.Pack(aiplatform_v1.UploadModelResponse.pb(aiplatform_v1.UploadModelResponse(model="m")))
    operation.metadata.Pack(aiplatform_v1.DeleteOperationMetadata.pb()())
    beta = operation_in(operation, "v1beta1")
    assert beta.response.type_url.endswith("google.cloud.aiplatform.v1beta1.UploadModelResponse")
    assert beta.metadata.type_url.endswith("google.cloud.aiplatform.v1beta1.DeleteOperationMetadata")
    assert operation_in(beta, "v1") == operation


def test_a_body_of_more_values_than_are_read_is_refused_before_it_is_parsed():
    def body(values):  # an object, a list, and what lies in it
        return b'{"x":[' + b",".join([b"{}"] * (values - 2)) + b"]}"

    assert len(jsonpb.loads(body(jsonpb.MAX_VALUES))["x"]) == jsonpb.MAX_VALUES - 2
    with pytest.raises(ApiError, match="more than 200000 values") as found:
        jsonpb.loads(body(jsonpb.MAX_VALUES + 1))
    assert found.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_commas_in_a_text_are_no_values():
    text = "," * (jsonpb.MAX_VALUES + 1)
    assert jsonpb.loads(b'{"x":"' + text.encode() + b'"}') == {"x": text}


def test_a_message_of_more_values_than_are_read_is_refused_over_grpc_too(monkeypatch):
    monkeypatch.setattr(rpc, "MAX_VALUES", 40)
    pb = Endpoint(labels={"key": "value"}, deployed_models=[{"id": "1"}] * 19)  # 1 + 1 + 19 and their ids
    assert rpc.check_known(pb) is None
    pb.display_name = "x"
    with pytest.raises(ApiError, match="The request has more than") as found:
        rpc.check_known(pb)
    assert found.value.code is grpc.StatusCode.INVALID_ARGUMENT

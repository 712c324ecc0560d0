from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from google.api import httpbody_pb2
from google.cloud.aiplatform_v1 import types as aip
from google.protobuf import json_format, struct_pb2

from tests.local.data.support import ENDPOINT
from vertex_deploy.local.data.predict_grpc import fill_value, from_value
from vertex_deploy.local.seams import ApiError

CASES = [
    None,
    True,
    False,
    0,
    -3,
    1.5,
    1e300,
    "",
    "é",
    [],
    {},
    [1, [2, {}], None],
    {"a": {"b": [True, None]}, "c": "d"},
]


@dataclass
class Context:
    initial: dict[str, str] = field(default_factory=dict)

    async def send_initial_metadata(self, metadata):
        self.initial = dict(metadata)


def request(*instances, parameters=None, endpoint=ENDPOINT):
    message = aip.PredictRequest(endpoint=endpoint)
    raw = aip.PredictRequest.pb(message)
    for instance in instances:
        fill_value(raw.instances.add(), instance)
    if parameters is not None:
        fill_value(raw.parameters, parameters)
    return message


async def ready(bench, **changes):
    await bench.deploy(**changes)
    bench.plane.set_split(ENDPOINT, {"7": 100})
    return bench.plane.prediction_service


@pytest.mark.parametrize("content", CASES)
def test_values_hold_json_as_protobufs_own_parser_would_and_give_it_back(content):
    value = struct_pb2.Value()
    fill_value(value, content)
    assert value == json_format.ParseDict(content, struct_pb2.Value())
    assert from_value(value) == content


def test_whole_numbers_have_no_fraction():
    assert str(from_value(struct_pb2.Value(number_value=3.0))) == "3"


async def test_a_prediction_says_who_made_it(bench):
    service = await ready(bench)
    response = await service.predict(request("x", {"y": 1}), Context())
    assert [from_value(value) for value in aip.PredictResponse.pb(response).predictions] == [
        {"by": "7", "was": "x"},
        {"by": "7", "was": {"y": 1}},
    ]
    assert (response.deployed_model_id, response.model_version_id) == ("7", "3")
    assert response.model == "projects/demo/locations/us-central1/models/lite0"
    assert response.model_display_name == "Lite 0"
    assert [(served.code, served.predictions) for served in bench.recorder.requests] == [(200, 2)]


async def test_errors_are_the_apis(bench):
    service = await ready(bench)
    with pytest.raises(ApiError, match="missing or empty"):
        await service.predict(request(), Context())
    with pytest.raises(ApiError, match="does not exist"):
        await service.predict(request(1, endpoint=ENDPOINT + "0"), Context())
    with pytest.raises(ApiError) as caught:
        await service.predict(request(1, parameters={"answer": "bad", "status": 400}), Context())
    assert (caught.value.code.name, caught.value.message) == ("INVALID_ARGUMENT", "bad")


async def test_a_request_over_the_limit_is_refused(bench):
    service = await ready(bench, max_bytes=100)
    with pytest.raises(ApiError, match="request size"):
        await service.predict(request("x" * 200), Context())


async def test_a_raw_prediction_passes_body_and_content_type_both_ways(bench):
    service, context = await ready(bench), Context()
    body = httpbody_pb2.HttpBody(content_type="image/jpeg", data=b"\xff\xd8")
    answer = await service.raw_predict(aip.RawPredictRequest(endpoint=ENDPOINT, http_body=body), context)
    assert answer == body
    assert context.initial["x-vertex-ai-deployed-model-id"] == "7"


async def test_a_raw_error_is_an_error(bench):
    service = await ready(bench)
    data = b'{"instances":[1],"parameters":{"answer":"busy","status":429}}'
    body = httpbody_pb2.HttpBody(content_type="application/json", data=data)
    for call in (
        service.raw_predict(aip.RawPredictRequest(endpoint=ENDPOINT, http_body=body), Context()),
        anext(service.stream_raw_predict(aip.StreamRawPredictRequest(endpoint=ENDPOINT, http_body=body), Context())),
    ):
        with pytest.raises(ApiError, match="busy") as caught:
            await call
        assert caught.value.code.name == "RESOURCE_EXHAUSTED"
    assert [served.code for served in bench.recorder.requests] == [429, 429]


async def test_a_stream_comes_piece_by_piece(bench):
    service, context = await ready(bench), Context()
    data = b'{"instances":[1],"parameters":{"stream":3}}'
    body = httpbody_pb2.HttpBody(content_type="application/json", data=data)
    stream = service.stream_raw_predict(aip.StreamRawPredictRequest(endpoint=ENDPOINT, http_body=body), context)
    pieces = [piece async for piece in stream]
    assert [piece.data for piece in pieces] == [b"piece 0\n", b"piece 1\n", b"piece 2\n"]
    assert pieces[0].content_type == "text/event-stream"
    assert context.initial["x-vertex-ai-endpoint-id"] == "55"

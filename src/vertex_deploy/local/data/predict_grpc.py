"""PredictionService over gRPC: Predict, RawPredict and StreamRawPredict.

Containers speak JSON over HTTP, so a request's ``google.protobuf.Value`` instances become JSON and the predictions
become Values again. Whole numbers are written without a fraction, as protobuf's own JSON printer writes them.

Leaves out DirectPredict, StreamDirectPredict, StreamingPredict, ServerStreamingPredict, Explain, GenerateContent.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson
from google.api import httpbody_pb2
from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.data.envelope import check_instances, container_error, read_answer, response_headers, too_large
from vertex_deploy.local.data.environment import resource_id
from vertex_deploy.local.data.forward import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf import struct_pb2

    from vertex_deploy.local.data.deployed import DeployedModel, EndpointState
    from vertex_deploy.local.data.forward import Forwarder, Reply

_ERROR = 400
_JSON = {"Content-Type": "application/json"}


def from_value(value: struct_pb2.Value) -> Any:
    """A Value as JSON's own types."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "struct_value":
        return {key: from_value(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    if kind in (None, "null_value"):
        return None
    return getattr(value, kind)


def fill_value(value: struct_pb2.Value, content: Any) -> None:
    """Set a Value from JSON's own types."""
    if content is None:
        value.null_value = 0
    elif isinstance(content, bool):
        value.bool_value = content
    elif isinstance(content, (int, float)):
        value.number_value = content
    elif isinstance(content, str):
        value.string_value = content
    elif isinstance(content, dict):
        value.struct_value.Clear()
        value.struct_value.SetInParent()
        for key, item in content.items():
            fill_value(value.struct_value.fields[key], item)
    else:
        value.list_value.SetInParent()
        for item in content:
            fill_value(value.list_value.values.add(), item)


def _predict_answer(model: DeployedModel, reply: Reply) -> Result[aip.PredictResponse]:
    answer = read_answer(reply.status, reply.body)
    plan = model.plan
    response = aip.PredictResponse(
        deployed_model_id=plan.deployed_model_id,
        model=plan.model,
        model_display_name=plan.model_display_name,
        model_version_id=plan.model_version_id,
    )
    raw = aip.PredictResponse.pb(response)
    for prediction in answer["predictions"]:
        fill_value(raw.predictions.add(), prediction)
    if "metadata" in answer:
        fill_value(raw.metadata, answer["metadata"])
    return Result(response, predictions=len(answer["predictions"]))


def _raw_answer(model: DeployedModel, reply: Reply) -> Result[tuple[DeployedModel, httpbody_pb2.HttpBody]]:
    if reply.status >= _ERROR:
        raise container_error(reply.status, reply.body)
    return Result((model, httpbody_pb2.HttpBody(content_type=reply.content_type, data=reply.body)), code=reply.status)


async def _send_headers(context: Any, model: DeployedModel) -> None:
    headers = response_headers(model.plan, resource_id(model.plan.endpoint))
    # gRPC metadata keys are lower case.
    await context.send_initial_metadata(tuple((name.lower(), value) for name, value in headers.items()))


def _body_headers(body: httpbody_pb2.HttpBody) -> dict[str, str]:
    return {"Content-Type": body.content_type} if body.content_type else {}


class PredictionService:
    """Handlers for the gRPC listener, one coroutine a method; errors are ``seams.ApiError``.

    Args:
        forwarder: carries the requests.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def predict(self, request: aip.PredictRequest, _context: Any) -> aip.PredictResponse:
        """PredictionService.Predict."""
        started = perf_counter()
        endpoint = self._forwarder.find(request.endpoint)
        raw = aip.PredictRequest.pb(request)
        content: dict[str, Any] = {"instances": [from_value(instance) for instance in raw.instances]}
        check_instances(content["instances"])
        if raw.HasField("parameters"):
            content["parameters"] = from_value(raw.parameters)
        body = orjson.dumps(content)
        self._check_size(body, endpoint)
        return (await self._forwarder.call(endpoint, body, _JSON, _predict_answer, started=started)).value

    async def raw_predict(self, request: aip.RawPredictRequest, context: Any) -> httpbody_pb2.HttpBody:
        """PredictionService.RawPredict; who answered is in the initial metadata."""
        started = perf_counter()
        endpoint = self._forwarder.find(request.endpoint)
        body = request.http_body
        self._check_size(body.data, endpoint)
        result = await self._forwarder.call(endpoint, body.data, _body_headers(body), _raw_answer, started=started)
        model, answer = result.value
        await _send_headers(context, model)
        return answer

    async def stream_raw_predict(
        self, request: aip.StreamRawPredictRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """PredictionService.StreamRawPredict: one message a piece, each as it comes."""
        started = perf_counter()
        endpoint = self._forwarder.find(request.endpoint)
        body = request.http_body
        self._check_size(body.data, endpoint)
        async with self._forwarder.stream(endpoint, body.data, _body_headers(body), started=started) as stream:
            if stream.status >= _ERROR:
                raise container_error(stream.status, b"".join([chunk async for chunk in stream.chunks()]))
            await _send_headers(context, stream.model)
            async for chunk in stream.chunks():
                yield httpbody_pb2.HttpBody(content_type=stream.content_type, data=chunk)

    def _check_size(self, body: bytes, endpoint: EndpointState) -> None:
        if len(body) > endpoint.max_bytes:
            raise too_large("request", len(body), endpoint.max_bytes)

"""predict, rawPredict and streamRawPredict over REST: the hot path.

Paths are PredictionService's http options (google.cloud.aiplatform_v1, transports/rest_base.py); the SDK also uses
them under ``/ui`` and ``/v1beta1``. Dedicated endpoints have the same paths under a host name of their own, so they
work here as well.

The client's body goes to the container as it is; JSON is only read to refuse what the API would refuse. Raw predictions
pass the container's status, content type and body through unchanged.

Leaves out Content-Encoding of answers, chat/completions, invoke and directPredict.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from vertex_deploy.local.data.codes import error_response
from vertex_deploy.local.data.envelope import annotate, check_request, read_answer, response_headers, too_large
from vertex_deploy.local.data.environment import resource_id
from vertex_deploy.local.data.forward import Result
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vertex_deploy.local.data.deployed import DeployedModel, EndpointState
    from vertex_deploy.local.data.forward import Forwarder, Reply

_PATH = r"/{version:v1|v1beta1|ui}/projects/{project:[^/]+}/locations/{location:[^/]+}/endpoints/{endpoint:[^/:]+}:%s"
_JSON = {"Content-Type": "application/json"}


async def _read(request: web.Request, limit: int) -> bytes:
    """The request's body.

    Raises:
        ApiError: FAILED_PRECONDITION: it is over the limit. No more of it is read then.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise too_large("request", length, limit)
    pieces: list[bytes] = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > limit:
            raise too_large("request", None, limit)
        pieces.append(chunk)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _predict_answer(model: DeployedModel, reply: Reply) -> Result[bytes]:
    answer = read_answer(reply.status, reply.body)
    return Result(orjson.dumps(annotate(answer, model.plan)), predictions=len(answer["predictions"]))


def _raw_answer(model: DeployedModel, reply: Reply) -> Result[web.Response]:
    headers = response_headers(model.plan, resource_id(model.plan.endpoint))
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    return Result(web.Response(status=reply.status, body=reply.body, headers=headers), code=reply.status)


def _raw_headers(request: web.Request) -> dict[str, str]:
    # gcloud sends no Content-Type; the container then gets none but the client library's default.
    return {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}


class PredictHttp:
    """Handlers for the REST listener.

    Args:
        forwarder: carries the requests.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    def routes(self) -> Iterable[web.RouteDef]:
        """What to mount; before any route that would catch the same paths."""
        return (
            web.post(_PATH % "predict", self.predict),
            web.post(_PATH % "rawPredict", self.raw_predict),
            web.post(_PATH % "streamRawPredict", self.stream_raw_predict),
        )

    async def predict(self, request: web.Request) -> web.StreamResponse:
        """PredictionService.Predict."""
        started = perf_counter()
        try:
            endpoint = self._endpoint(request)
            body = check_request(await _read(request, endpoint.max_bytes))
            result = await self._forwarder.call(endpoint, body, _JSON, _predict_answer, started=started)
        except ApiError as error:
            return error_response(error)
        return web.Response(body=result.value, content_type="application/json", charset="UTF-8")

    async def raw_predict(self, request: web.Request) -> web.StreamResponse:
        """PredictionService.RawPredict."""
        started = perf_counter()
        try:
            endpoint = self._endpoint(request)
            body = await _read(request, endpoint.max_bytes)
            result = await self._forwarder.call(endpoint, body, _raw_headers(request), _raw_answer, started=started)
        except ApiError as error:
            return error_response(error)
        return result.value

    async def stream_raw_predict(self, request: web.Request) -> web.StreamResponse:
        """PredictionService.StreamRawPredict: every piece goes to the client as it comes."""
        started = perf_counter()
        response: web.StreamResponse | None = None
        try:
            endpoint = self._endpoint(request)
            body = await _read(request, endpoint.max_bytes)
            async with self._forwarder.stream(endpoint, body, _raw_headers(request), started=started) as stream:
                headers = response_headers(stream.model.plan, resource_id(endpoint.name))
                if stream.content_type:
                    headers["Content-Type"] = stream.content_type
                response = web.StreamResponse(status=stream.status, headers=headers)
                await response.prepare(request)
                async for chunk in stream.chunks():
                    await response.write(chunk)
                await response.write_eof()
        except ApiError as error:
            if response is None:
                return error_response(error)
            # The status has been sent: only a cut connection tells the client that this is not the whole answer.
            if request.transport is not None:
                request.transport.abort()
        return response

    def _endpoint(self, request: web.Request) -> EndpointState:
        match = request.match_info
        return self._forwarder.find(
            f"projects/{match['project']}/locations/{match['location']}/endpoints/{match['endpoint']}"
        )

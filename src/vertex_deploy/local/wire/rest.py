"""The REST front: one catch-all aiohttp handler that turns HTTP into a call and its answer into JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web
from google.api import httpbody_pb2

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire import jsonpb
from vertex_deploy.local.wire.dispatch import Context
from vertex_deploy.local.wire.errors import to_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vertex_deploy.local.wire.dispatch import Route, Wire

# Vertex AI takes 10 MB on dedicated endpoints; this bounds what is read before a narrower limit applies.
MAX_BODY = 16 * 1024 * 1024
_JSON = "application/json; charset=UTF-8"


def error_response(error: ApiError, style: jsonpb.Style | None = None) -> web.Response:
    """Google's error JSON with its status; also for handlers that are mounted beside the wire."""
    status, body = to_json(error)
    return web.Response(
        status=status, body=jsonpb.dumps(body, style or jsonpb.Style()), headers={"Content-Type": _JSON}
    )


def rest_handler(wire: Wire) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler for ``app.router.add_route("*", "/{path:.*}", ...)``; add it after every other route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        style = jsonpb.Style()
        try:
            query = list(request.rel_url.query.items())
            style = jsonpb.style_of(query)
            matched = wire.routes.match(request.method, request.rel_url.raw_path)
            if matched is None:
                return _not_found(request)
            route, bound = matched
            body = await _read(request)
            route.bound.check_served()
            kind = request.headers.get("Content-Type", "")
            pb = await wire.aside.run(len(body), lambda: _request(route, bound, query, body, kind))
            context = Context(
                transport="rest",
                method=route.bound.rpc.path,
                version=route.version,
                headers={key.lower(): value for key, value in request.headers.items()},
                query=query,
                body=body,
            )
            if route.bound.rpc.streams_response:
                return await _stream(request, route, pb, context, style)
            return _answer(await route.bound.call(pb, context), style)
        except ApiError as error:
            return error_response(error, style)

    return handle


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Request payload size exceeds the limit: {MAX_BODY} bytes."
        ) from None


def _not_found(request: web.Request) -> web.Response:
    # Google's front end answers an unknown path with a page; JSON carries the same status and helps whoever reads it.
    return error_response(
        ApiError(grpc.StatusCode.NOT_FOUND, f"Local Vertex serves no {request.method} {request.rel_url.raw_path}.")
    )


def _request(route: Route, bound: dict[str, str], query: list[tuple[str, str]], body: bytes, content_type: str) -> Any:
    message = route.bound.rpc.request.pb_cls
    pb = message()
    held = route.rule.body
    fields = message.DESCRIPTOR.fields_by_name
    raw = fields.get("http_body") if held == "*" else None
    if raw is not None:
        pb.http_body.CopyFrom(httpbody_pb2.HttpBody(content_type=content_type, data=body))
    elif held == "*":
        jsonpb.parse(jsonpb.loads(body), pb)
    elif held:
        inner = getattr(pb, held)
        inner.SetInParent()
        jsonpb.parse(jsonpb.loads(body), inner, held)
    elif body.strip() not in {b"", b"{}"}:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Invalid JSON payload received. {route.rule.method} takes no body."
        )
    jsonpb.parse(jsonpb.query_fields(query, message.DESCRIPTOR), pb)
    # Last, so that the path wins over a name in the body, as in Google's transcoding.
    jsonpb.parse(jsonpb.nest(bound), pb)
    return pb


def _answer(pb: Any, style: jsonpb.Style) -> web.Response:
    if isinstance(pb, httpbody_pb2.HttpBody):
        return web.Response(body=pb.data, headers={"Content-Type": pb.content_type or "application/json"})
    return web.Response(body=jsonpb.dumps(jsonpb.to_dict(pb, style), style), headers={"Content-Type": _JSON})


async def _stream(
    request: web.Request, route: Route, pb: Any, context: Context, style: jsonpb.Style
) -> web.StreamResponse:
    """A streamed answer: HttpBody chunks as they are, messages as one JSON array or, with alt=sse, as events."""
    chunks = route.bound.stream(pb, context)
    first = await anext(chunks, None)  # errors before the first message still get their status
    raw = isinstance(first, httpbody_pb2.HttpBody)
    events = ("alt", "sse") in context.query
    response = web.StreamResponse()
    if raw and first is not None:
        response.content_type = first.content_type or "application/octet-stream"
    else:
        response.content_type = "text/event-stream" if events else "application/json"
    await response.prepare(request)
    opening, between, closing = (b"", b"", b"") if raw or events else (b"[", b",\n", b"]\n")
    await response.write(opening)
    item, lead = first, b""
    while item is not None:
        data = item.data if raw else jsonpb.dumps(jsonpb.to_dict(item, style), jsonpb.Style(pretty=False)).strip()
        await response.write(b"data: " + data + b"\r\n\r\n" if events and not raw else lead + data)
        lead = between
        item = await anext(chunks, None)
    await response.write(closing)
    await response.write_eof()
    return response

"""gRPC codes and HTTP statuses, and the JSON of a Google API error.

The mapping is google.rpc.Code's (google/rpc/code.proto), the other way round by nearest meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import orjson
from aiohttp import web

if TYPE_CHECKING:
    from vertex_deploy.local.seams import ApiError

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}

_GRPC = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def http_status(code: grpc.StatusCode) -> int:
    """The HTTP status of a gRPC code."""
    return _HTTP[code]


def grpc_code(status: int) -> grpc.StatusCode:
    """The gRPC code nearest to an HTTP error: other 4xx are INVALID_ARGUMENT, everything else is INTERNAL."""
    if status in _GRPC:
        return _GRPC[status]
    return grpc.StatusCode.INVALID_ARGUMENT if 400 <= status < 500 else grpc.StatusCode.INTERNAL  # noqa: PLR2004 - HTTP's 4xx


def error_response(error: ApiError) -> web.Response:
    """An error as Google's REST APIs give it."""
    status = http_status(error.code)
    content = {"error": {"code": status, "message": error.message, "status": error.code.name}}
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json", charset="UTF-8")

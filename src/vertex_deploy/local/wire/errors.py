"""An ``ApiError`` as HTTP and as gRPC: the code table, Google's error JSON and google.rpc.Status. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2, json_format
from google.rpc import status_pb2

from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

Code = grpc.StatusCode

# google/rpc/code.proto, "HTTP Mapping".
HTTP: Mapping[grpc.StatusCode, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
}


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT with this message."""
    return ApiError(Code.INVALID_ARGUMENT, message)


def to_status(error: ApiError) -> Any:
    """The error as google.rpc.Status; details that are not yet ``Any`` are packed."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in error.details:
        packed = detail
        if not isinstance(detail, any_pb2.Any):
            packed = any_pb2.Any()
            packed.Pack(detail)
        status.details.append(packed)
    return status


def to_json(error: ApiError) -> tuple[int, dict[str, Any]]:
    """HTTP status and body, as Google's REST front end writes them."""
    code = HTTP[error.code]
    body: dict[str, Any] = {"code": code, "message": error.message, "status": error.code.name}
    if error.details:
        body["details"] = [json_format.MessageToDict(detail) for detail in to_status(error).details]
    return code, {"error": body}

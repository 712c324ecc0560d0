"""The JSON of ``predict``: what a request must hold, and what the API adds to a container's answer. Pure.

Sources: PredictRequest and PredictResponse in the discovery document aiplatform v1. What the API says to a bad request
is not documented; the wording of the unknown field is that of every Google REST API, the rest is ours. That a
container's error is passed on under the nearest code with its body as the message is what users report
(GoogleCloudPlatform/vertex-ai-samples#2122), and so is "the response field predictions is missing"
(googleapis/python-aiplatform#1526); its code, INTERNAL, is our choice, since the container is at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import orjson

from vertex_deploy.local.data.codes import grpc_code
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from vertex_deploy.local.seams import DeployPlan

_FIELDS = frozenset({"instances", "parameters", "labels"})
_SHOWN = 4096
OK = 200


def check_request(body: bytes) -> bytes:
    """The body to send to the container: the client's own bytes wherever possible.

    Args:
        body: what the client sent, JSON.

    Raises:
        ApiError: INVALID_ARGUMENT: not a PredictRequest, or one without instances.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT, f"Invalid JSON payload received. {str(error).capitalize()}"
        ) from None
    if not isinstance(content, dict):
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT, "Invalid JSON payload received. Root element must be a message."
        )
    unknown = content.keys() - _FIELDS
    if unknown:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "\n".join(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in sorted(unknown)
            ),
        )
    check_instances(content.get("instances"))
    if "labels" in content:
        # For billing of Google's own models only: a container never sees them.
        del content["labels"]
        return orjson.dumps(content)
    return body


def check_instances(instances: object) -> None:
    """Refuse a request without instances.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if instances is not None and not isinstance(instances, list):
        raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, "Invalid value at 'instances': expected a list.")
    if not instances:
        raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, "'instances' is missing or empty: at least one is required.")


def container_error(status: int, body: bytes) -> ApiError:
    """What a client gets when the container did not answer 200."""
    text = body.decode(errors="replace").strip()
    return ApiError(grpc_code(status), text or f"The model server answered HTTP {status} without a message.")


def read_answer(status: int, body: bytes) -> dict[str, Any]:
    """A container's answer to predict.

    Args:
        status: its HTTP status.
        body: its body.

    Raises:
        ApiError: the container's own error, or INTERNAL if its answer is not what the contract asks for.
    """
    if status != OK:
        raise container_error(status, body)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        shown = body[:_SHOWN].decode(errors="replace")
        raise ApiError(
            grpc.StatusCode.INTERNAL, f"Invalid response from prediction server - not JSON ({error}). Response: {shown}"
        ) from None
    if not isinstance(answer, dict) or not isinstance(answer.get("predictions"), list):
        shown = body[:_SHOWN].decode(errors="replace")
        raise ApiError(
            grpc.StatusCode.INTERNAL,
            f"Invalid response from prediction server - the response field predictions is missing. Response: {shown}",
        )
    return answer


def annotate(answer: dict[str, Any], plan: DeployPlan) -> dict[str, Any]:
    """The PredictResponse that a client gets: the container's predictions and metadata, and who made them."""
    response = {
        "predictions": answer["predictions"],
        "deployedModelId": plan.deployed_model_id,
        "model": plan.model,
        "modelDisplayName": plan.model_display_name,
        "modelVersionId": plan.model_version_id,
    }
    if "metadata" in answer:
        response["metadata"] = answer["metadata"]
    return response


def response_headers(plan: DeployPlan, endpoint_id: str) -> dict[str, str]:
    """Headers that say who answered a raw prediction; the SDK needs the second and the third."""
    return {
        "X-Vertex-AI-Endpoint-Id": endpoint_id,
        "X-Vertex-AI-Deployed-Model-Id": plan.deployed_model_id,
        "X-Vertex-AI-Model": plan.model,
        "X-Vertex-AI-Model-Version-Id": plan.model_version_id,
    }


def too_large(what: str, size: int | None, limit: int) -> ApiError:
    """A body over the endpoint's limit.

    Args:
        what: "request" or "response".
        size: bytes, None if not known.
        limit: bytes.
    """
    shown = f" ({size} bytes)" if size is not None else ""
    return ApiError(
        grpc.StatusCode.FAILED_PRECONDITION, f"The {what} size{shown} exceeds {limit / 1_048_576:.3f}MB limit."
    )

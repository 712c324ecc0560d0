"""The control plane's errors, in Vertex AI's words. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence


def invalid(message: str) -> ApiError:
    """INVALID_ARGUMENT: the request is wrong whatever exists."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def precondition(message: str) -> ApiError:
    """FAILED_PRECONDITION: the request does not fit what exists."""
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def missing(kind: str, name: str) -> ApiError:
    """NOT_FOUND."""
    return ApiError(grpc.StatusCode.NOT_FOUND, f"The {kind} {name} does not exist.")


def exists(kind: str, name: str) -> ApiError:
    """ALREADY_EXISTS."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, f"The {kind} {name} already exists.")


def unsupported(what: str) -> ApiError:
    """INVALID_ARGUMENT for what the real API has and Local Vertex leaves out."""
    return invalid(f"'{what}' is not supported by Local Vertex.")


def model_deployed(model: str, endpoints: Sequence[str]) -> ApiError:
    """FAILED_PRECONDITION, as DeleteModel gives it."""
    return precondition(
        f'The Model "{model}" is deployed or being deployed at the following Endpoint(s): {", ".join(endpoints)}.'
    )


def endpoint_in_use(endpoint: str, deployed: Sequence[str]) -> ApiError:
    """FAILED_PRECONDITION, as DeleteEndpoint gives it."""
    return precondition(
        f'The Endpoint "{endpoint}" has deployed or being-deployed DeployedModel(s): {", ".join(deployed)}; '
        "undeploy them first."
    )

"""The environment of a serving container, as Vertex AI sets it.

The AIP_* variables follow Google's custom container requirements
(https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables); one differs by
necessity: AIP_HTTP_PORT is a free loopback port, since the replicas of one machine cannot all listen on 8080.

Of Local Vertex's own environment only what a program needs to be found and to start is handed on: a server that works
here because of a stray variable would fail in the cloud. Credentials and proxies are not handed on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc

from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vertex_deploy.local.seams import DeployPlan

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
"""Variables of Local Vertex's own environment that replicas get."""

MAX_VARIABLES = 200
MAX_VALUE_BYTES = 128 * 1024
MAX_TOTAL_BYTES = 512 * 1024
MAX_COMMAND = 1024 * 1024
"""Characters of a command line; Linux takes two megabytes with the environment."""

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: an unknown name stays as written, ``$$`` is one dollar sign.

    Raises:
        ApiError: INVALID_ARGUMENT: the result is longer than a variable may be; no more than that of it is made.
    """
    parts, size, at = [], 0, 0
    for match in _REFERENCE.finditer(text):
        found = "$" if match[0] == "$$" else variables.get(match[1], match[0])
        parts += [text[at : match.start()], found]
        at = match.end()
        size += len(parts[-2]) + len(found)
        if size > MAX_VALUE_BYTES:
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"containerSpec: {text[:40]!r}... is longer than 128 KiB with its references replaced",
            )
    return "".join([*parts, text[at:]])


def expand_all(words: Iterable[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """``expand`` each word of a command line.

    Raises:
        ApiError: INVALID_ARGUMENT: they are too long together.
    """
    found, size = [], 0
    for word in words:
        found.append(expand(word, variables))
        size += len(found[-1]) + 1
        if size > MAX_COMMAND:
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT, f"containerSpec: a command line of more than {MAX_COMMAND} characters"
            )
    return tuple(found)


def resource_id(name: str) -> str:
    """The last part of a resource name, without a version."""
    return name.rsplit("/", 1)[-1].partition("@")[0]


def predict_route(plan: DeployPlan) -> str:
    """The path that predictions are posted to."""
    return plan.container.predict_route or f"{health_route_default(plan)}:predict"


def health_route(plan: DeployPlan) -> str:
    """The path that health checks GET."""
    return plan.container.health_route or health_route_default(plan)


def health_route_default(plan: DeployPlan) -> str:
    """What Vertex AI uses where the model names no route."""
    return f"/v1/endpoints/{resource_id(plan.endpoint)}/deployedModels/{plan.deployed_model_id}"


def aip_variables(plan: DeployPlan, *, port: int) -> dict[str, str]:
    """The AIP_* variables of one replica.

    Args:
        plan: the deployed model.
        port: the loopback port that the replica must listen on.
    """
    endpoint_id = resource_id(plan.endpoint)
    variables = {
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": health_route(plan),
        "AIP_PREDICT_ROUTE": predict_route(plan),
        "AIP_STORAGE_URI": plan.artifact_uri,
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_MACHINE_TYPE": plan.machine.machine_type,
        "AIP_PROJECT_NUMBER": plan.project_number,
        "AIP_ENDPOINT_ID": endpoint_id,
        "AIP_DEPLOYED_MODEL_ID": plan.deployed_model_id,
        "AIP_MODEL_NAME": endpoint_id,
        "AIP_VERSION_NAME": plan.deployed_model_id,
    }
    if plan.machine.accelerator_type:
        variables["AIP_ACCELERATOR_TYPE"] = plan.machine.accelerator_type.name
    return variables


def user_variables(pairs: Iterable[tuple[str, str]], aip: Mapping[str, str]) -> dict[str, str]:
    """The model's own variables, expanded in order: a later one may refer to an earlier one and to AIP_*.

    Raises:
        ApiError: INVALID_ARGUMENT: a variable named AIP_*, or too many or too large ones.
    """
    variables: dict[str, str] = {}
    total = 0
    for name, value in pairs:
        if not name or name.startswith("AIP_"):
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"containerSpec.env: {name!r}: names that start with AIP_ are reserved, and a name may not be empty",
            )
        variables[name] = expand(value, {**aip, **variables})
        size = len(variables[name].encode())
        total += size
        if size >= MAX_VALUE_BYTES:
            raise ApiError(
                grpc.StatusCode.INVALID_ARGUMENT, f"containerSpec.env: {name}: {size} bytes; at most 128 KiB"
            )
    if len(variables) > MAX_VARIABLES or total > MAX_TOTAL_BYTES:
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"containerSpec.env: {len(variables)} variables with {total} bytes; at most 200 with 512 KiB in all",
        )
    return variables


def container_environment(
    plan: DeployPlan,
    *,
    port: int,
    inherited: Mapping[str, str],
    storage_emulator_host: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of one replica.

    Args:
        plan: the deployed model.
        port: the loopback port that the replica must listen on.
        inherited: Local Vertex's own environment, of which ``INHERITED`` is handed on.
        storage_emulator_host: where Cloud Storage is, ``http://127.0.0.1:PORT``; None leaves it out.
        extra: variables that Local Vertex's user gave; the model's own win over them.

    Raises:
        ApiError: see ``user_variables``.
    """
    environment = {name: inherited[name] for name in INHERITED if name in inherited}
    if storage_emulator_host is not None:
        environment["STORAGE_EMULATOR_HOST"] = storage_emulator_host
    # A hint only: containers must listen on 0.0.0.0, local processes on loopback.
    environment["SERVING_HOST"] = "127.0.0.1"
    environment.update(extra or {})
    aip = aip_variables(plan, port=port)
    environment.update(user_variables(((entry.name, entry.value) for entry in plan.container.env), aip))
    environment.update(aip)
    return environment

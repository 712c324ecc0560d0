"""What an uploaded container and a deployment must look like. No I/O.

Facts: ModelContainerSpec, DedicatedResources and MachineSpec of aiplatform v1, and "Custom container requirements" and
"Configure compute resources" of the documentation. Which machine carries which accelerator is the spec's table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.control.masks import refuse_unsupported
from vertex_deploy.local.control.refusals import invalid
from vertex_deploy.spec.machines import AcceleratorSpec, explain_mismatch, known, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMAGE = re.compile(
    r"(?P<where>[a-z0-9-]+)-docker\.pkg\.dev/[a-z0-9.:-]+/[a-z0-9-]+/[A-Za-z0-9._/-]+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
ALIAS = re.compile(r"[a-z](?:[a-zA-Z0-9-]{0,126}[a-z0-9])?")
_MAX_VARIABLES = 200
_MAX_VALUE = 128 * 1024
_MAX_ENVIRONMENT = 512 * 1024
_MAX_LABELS = 64
_MAX_PORT = 65535
_MAX_DEPLOYMENT_S = 7200
_MAX_DISPLAY_NAME = 128
MAX_REPLICAS = 100
"""Of a deployed model: Local Vertex's own limit. Its maximum may be more: autoscaling is left out."""
# Locations of Artifact Registry that are no region but hold several, by the start of the region's name.
_MULTI_REGIONS = {"us": "us-", "europe": "europe-", "asia": "asia-"}

# Fields of Model that an upload may set: acted on, kept, or output only (which the API ignores in requests).
MODEL_FIELDS = frozenset(
    {
        "name", "display_name", "description", "version_description", "version_aliases", "version_id", "labels",
        "container_spec", "artifact_uri", "etag", "create_time", "update_time", "version_create_time",
        "version_update_time", "deployed_models", "supported_deployment_resources_types", "supported_export_formats",
        "supported_input_storage_formats", "supported_output_storage_formats", "predict_schemata",
    }
)  # fmt: skip
DEPLOYED_FIELDS = frozenset(
    {
        "id", "model", "model_version_id", "display_name", "dedicated_resources", "shared_resources", "service_account",
        "disable_container_logging", "enable_access_logging", "disable_explanations", "create_time",
        "private_endpoints", "status", "system_labels",
    }
)  # fmt: skip
_CONTAINER_FIELDS = frozenset(
    {
        "image_uri", "command", "args", "env", "ports", "predict_route", "health_route", "invoke_route_prefix",
        "deployment_timeout", "shared_memory_size_mb", "startup_probe", "health_probe", "liveness_probe",
    }
)  # fmt: skip


def labels(given: Mapping[str, str]) -> None:
    """Labels: at most 64, lower case.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if len(given) > _MAX_LABELS:
        raise invalid(f"A resource can have at most {_MAX_LABELS} labels, got {len(given)}.")
    for key, value in given.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(f"Invalid label '{key}: {value}'; only lower case letters, digits, _ and -, at most 63.")


def display_name(given: str) -> None:
    """A display name is required and has at most 128 characters.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not given or len(given) > _MAX_DISPLAY_NAME:
        raise invalid(f"display_name is required and has at most {_MAX_DISPLAY_NAME} characters, got {len(given)}.")


def image(uri: str, location: str) -> None:
    """An image must lie in Artifact Registry, in the model's region or the multi-region around it.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    found = _IMAGE.fullmatch(uri)
    if found is None:
        raise invalid(
            f"Invalid container_spec.image_uri '{uri}'; it must be an Artifact Registry image, "
            f"{location}-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE@sha256:DIGEST."
        )
    where = found["where"]
    if where != location and not location.startswith(_MULTI_REGIONS.get(where, "\0")):
        raise invalid(f"The image '{uri}' is in {where}; it must be in the Model's region {location}.")


def container(spec: aip.ModelContainerSpec, location: str) -> None:
    """A container spec as the contract has it; probes are the data plane's to judge.

    Args:
        spec: as uploaded.
        location: region of the model.

    Raises:
        ApiError: INVALID_ARGUMENT naming the field.
    """
    image(spec.image_uri, location)
    refuse_unsupported(spec, _CONTAINER_FIELDS, "container_spec")
    _environment(spec)
    for port in spec.ports:
        if not 1 <= port.container_port <= _MAX_PORT:
            raise invalid(f"container_spec.ports: {port.container_port} is not between 1 and {_MAX_PORT}.")
    for field in ("predict_route", "health_route"):
        route = getattr(spec, field)
        if route and not route.startswith("/"):
            raise invalid(f"container_spec.{field} must start with '/', got '{route}'.")
    if spec.invoke_route_prefix:
        if spec.invoke_route_prefix != "/*":
            raise invalid(f"container_spec.invoke_route_prefix must be '/*', got '{spec.invoke_route_prefix}'.")
        if spec.predict_route:
            raise invalid("container_spec.invoke_route_prefix and container_spec.predict_route exclude each other.")
    timeout = _pb(spec).deployment_timeout.ToTimedelta().total_seconds()
    if not 0 <= timeout <= _MAX_DEPLOYMENT_S:
        raise invalid(f"container_spec.deployment_timeout must be at most 2 hours, got {timeout:g}s.")


def _pb(message: Any) -> Any:
    return type(message).pb(message)


def _environment(spec: aip.ModelContainerSpec) -> None:
    if len(spec.env) > _MAX_VARIABLES:
        raise invalid(f"container_spec.env can have at most {_MAX_VARIABLES} variables, got {len(spec.env)}.")
    names = [variable.name for variable in spec.env]
    sizes = [len(variable.value.encode()) for variable in spec.env]
    for name, size in zip(names, sizes, strict=True):
        if not _ENV_NAME.fullmatch(name):
            raise invalid(f"container_spec.env: '{name}' is not a valid C identifier.")
        if name.startswith("AIP_"):
            raise invalid(f"container_spec.env: '{name}' starts with AIP_, which is reserved for Vertex AI.")
        if names.count(name) > 1:
            raise invalid(f"container_spec.env: '{name}' is set twice.")
        if size >= _MAX_VALUE:
            raise invalid(f"container_spec.env: the value of '{name}' must be smaller than 128 KiB.")
    if sum(sizes) > _MAX_ENVIRONMENT:
        raise invalid("container_spec.env must be smaller than 512 KiB in all.")


def dedicated(resources: aip.DedicatedResources) -> None:
    """Machine, accelerator and replica counts of a deployment; an absent maximum becomes the minimum.

    Args:
        resources: changed in place.

    Raises:
        ApiError: INVALID_ARGUMENT naming the field.
    """
    machine = resources.machine_spec
    kind = machine.machine_type
    if not known(kind):
        near = nearest(kind)
        hint = f" Did you mean '{near}'?" if near else ""
        raise invalid(f"Machine type '{kind}' is not supported for online prediction.{hint}")
    mismatch = explain_mismatch(kind, _accelerator(machine))
    if mismatch:
        raise invalid(f"machine_spec: {mismatch[0]}; {mismatch[1]}.")
    if machine.gpu_partition_size and machine.accelerator_count != 1:
        raise invalid("machine_spec.accelerator_count must be 1 with gpu_partition_size.")
    replica_counts(resources)


def replica_counts(resources: aip.DedicatedResources) -> None:
    """Replica counts of a deployment; an absent maximum becomes the minimum.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    low, high = resources.min_replica_count, resources.max_replica_count
    if low < 1:
        raise invalid("dedicated_resources.min_replica_count must be at least 1.")
    if low > MAX_REPLICAS:
        raise invalid(
            f"dedicated_resources.min_replica_count is {low}; Local Vertex starts a process for each replica, at most "
            f"{MAX_REPLICAS} of a deployed model."
        )
    resources.max_replica_count = high = high or low
    if high < low:
        raise invalid(f"dedicated_resources.max_replica_count ({high}) is below min_replica_count ({low}).")
    if not 0 <= resources.required_replica_count <= low:
        raise invalid("dedicated_resources.required_replica_count must be between 1 and min_replica_count.")


def _accelerator(machine: aip.MachineSpec) -> AcceleratorSpec | None:
    if not machine.accelerator_type:
        if machine.accelerator_count:
            raise invalid("machine_spec.accelerator_count needs machine_spec.accelerator_type.")
        return None
    name = aip.AcceleratorType(machine.accelerator_type).name
    try:
        return AcceleratorSpec.parse(f"{name}:{machine.accelerator_count or 1}")
    except ValueError:
        raise invalid(
            f"machine_spec: {machine.accelerator_count} x {name} is not available for online prediction."
        ) from None


def deployed_model(given: aip.DeployedModel) -> None:
    """A deployed model as DeployModel takes it: with dedicated resources, or on a pool (whose rules are its service's).

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    pb = _pb(given)
    if pb.HasField("automatic_resources"):
        raise invalid("'automatic_resources' is not supported for Model.")
    refuse_unsupported(given, DEPLOYED_FIELDS, "deployed_model")
    if given.shared_resources:
        return
    if not pb.HasField("dedicated_resources"):
        raise invalid("deployed_model.dedicated_resources or deployed_model.shared_resources is required.")
    dedicated(given.dedicated_resources)


def alias(given: str) -> None:
    """A version alias.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not ALIAS.fullmatch(given):
        raise invalid(f"Invalid version alias '{given}'; it must match [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9].")

"""Deployed models as the API's messages, both ways. Pure, but for importing Google's types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.resources.deployed_model import RESERVATIONS, SCALE_ON
from vertex_deploy.spec.machines import ACCELERATORS, AcceleratorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.provider.resources.base import Inputs

_SHORT = {api: short for short, api in ACCELERATORS.items()}
_RESERVATION_NAMES = {api: name for name, api in RESERVATIONS.items()}
_METRICS = {metric: name for name, metric in SCALE_ON.items()}

MASKS = {
    "replicas": (
        "dedicated_resources.min_replica_count",
        "dedicated_resources.max_replica_count",
        "dedicated_resources.required_replica_count",
    ),
    "scaleOn": ("dedicated_resources.autoscaling_metric_specs",),
    "containerLogging": ("disable_container_logging",),
}
"""Property -> paths of MutateDeployedModel's update mask: all that its request documents as mutable in v1."""


def to_message(inputs: Mapping[str, Any]) -> Any:
    """The ``DeployedModel`` to deploy, or to mutate with a mask.

    Args:
        inputs: checked and known.
    """
    from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

    made = aip.DeployedModel(
        id=inputs["deployedModelId"],
        model=inputs["model"],
        display_name=inputs.get("displayName") or "",
        service_account=inputs.get("serviceAccount") or "",
        enable_access_logging=bool(inputs.get("accessLogging")),
        disable_container_logging=not inputs.get("containerLogging", True),
    )
    if inputs.get("pool"):
        made.shared_resources = inputs["pool"]
        return made
    replicas = inputs.get("replicas") or {}
    low = replicas.get("min") or 1
    scale_on = inputs.get("scaleOn") or {}
    made.dedicated_resources = aip.DedicatedResources(
        machine_spec=_machine(inputs["machine"]),
        min_replica_count=low,
        max_replica_count=replicas.get("max") or low,
        required_replica_count=replicas.get("required") or 0,
        autoscaling_metric_specs=[
            aip.AutoscalingMetricSpec(metric_name=metric, target=scale_on[name])
            for name, metric in SCALE_ON.items()
            if scale_on.get(name)
        ],
        spot=bool(inputs["machine"].get("spot")),
    )
    return made


def _machine(machine: Mapping[str, Any]) -> Any:
    from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

    spec = aip.MachineSpec(
        machine_type=machine["type"],
        gpu_partition_size=machine.get("gpuPartitionSize") or "",
        tpu_topology=machine.get("tpuTopology") or "",
    )
    if machine.get("accelerator"):
        accelerator = AcceleratorSpec.parse(machine["accelerator"])
        spec.accelerator_type = getattr(aip.AcceleratorType, accelerator.api_type)
        spec.accelerator_count = accelerator.count
    reservation = machine.get("reservation")
    if reservation:
        spec.reservation_affinity = aip.ReservationAffinity(
            reservation_affinity_type=getattr(aip.ReservationAffinity.Type, RESERVATIONS[reservation["type"]]),
            key=reservation.get("key") or "",
            values=reservation.get("values") or [],
        )
    return spec


def from_message(deployed: Any, endpoint: str) -> Inputs:
    """The inputs that a ``DeployedModel`` stands for; what is unset is absent.

    Args:
        deployed: as the API tells it.
        endpoint: its endpoint's name, with the project as a person writes it.
    """
    model, version = names.split_model(deployed.model)
    found: Inputs = {
        "endpoint": endpoint,
        "model": f"{model}@{version or deployed.model_version_id}",
        "deployedModelId": deployed.id,
        "displayName": deployed.display_name,
        "serviceAccount": deployed.service_account,
        "accessLogging": deployed.enable_access_logging,
        "containerLogging": not deployed.disable_container_logging,
        "pool": deployed.shared_resources,
    }
    if "dedicated_resources" in deployed:
        resources = deployed.dedicated_resources
        replicas = {
            "min": resources.min_replica_count,
            "max": resources.max_replica_count,
            "required": resources.required_replica_count,
        }
        found["machine"] = _machine_from(resources)
        found["replicas"] = {key: value for key, value in replicas.items() if value}
        found["scaleOn"] = {
            _METRICS[spec.metric_name]: spec.target
            for spec in resources.autoscaling_metric_specs
            if spec.metric_name in _METRICS
        }
    return {key: value for key, value in found.items() if value or key == "containerLogging"}


def _machine_from(resources: Any) -> Inputs:
    spec = resources.machine_spec
    found: Inputs = {
        "type": spec.machine_type,
        "gpuPartitionSize": spec.gpu_partition_size,
        "tpuTopology": spec.tpu_topology,
        "spot": resources.spot,
    }
    if spec.accelerator_type:
        name = spec.accelerator_type.name
        found["accelerator"] = f"{_SHORT.get(name, name)}:{spec.accelerator_count or 1}"
    if "reservation_affinity" in spec and spec.reservation_affinity.reservation_affinity_type:
        affinity = spec.reservation_affinity
        found["reservation"] = {
            "type": _RESERVATION_NAMES.get(affinity.reservation_affinity_type.name, "any"),
            **({"key": affinity.key, "values": list(affinity.values)} if affinity.key else {}),
        }
    return {key: value for key, value in found.items() if value}

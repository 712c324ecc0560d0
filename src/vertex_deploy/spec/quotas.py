"""Which quotas of Vertex AI a deployed model is charged against, and how much: names and amounts as data.

Where the names come from (read in November 2026):

- quota metrics and ids of GPUs and of TPU v5e: ``model_garden_utils`` of gcloud 528 and of its newer sources;
- H200 and the preemptible quotas of Spot replicas: Google's vertex-ai-samples (``get_quota_id`` of ``common_util``);
- the quota of vCPUs: errors that the service gives, ``CustomModelServingCPUsPerProjectPerRegion``. Deployments with
  GPUs are refused for it too, so that a GPU machine is charged for its vCPUs as well.

That the *maximum* of replicas is charged, and not the minimum, is said by ``DedicatedResources.max_replica_count`` of
aiplatform v1: max_replica_count x cores, and max_replica_count x GPUs.

Left out: names that no source gives (B200, GB200, H100 Mega, TPU v6e and 7x); what is charged then has no quota, which
a rollout reports as not known. Reading limits and usage is ``metrics.quota``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.spec.machines import ACCELERATORS, TPU_MACHINES, vcpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.spec.machines import AcceleratorSpec

SERVICE = "aiplatform.googleapis.com"
_METRIC, _ID = "custom_model_serving_", "CustomModelServing"
_SPOT_METRIC, _SPOT_ID = "preemptible_", "Preemptible"

# Accelerator of a spec -> the parts of the quota's metric and of its id that name it.
_NAMED: Mapping[str, tuple[str, str]] = {
    "T4": ("nvidia_t4_gpus", "T4GPUs"),
    "V100": ("nvidia_v100_gpus", "V100GPUs"),
    "L4": ("nvidia_l4_gpus", "L4GPUs"),
    "A100": ("nvidia_a100_gpus", "A100GPUs"),
    "A100_80GB": ("nvidia_a100_80gb_gpus", "A10080GBGPUs"),
    "H100": ("nvidia_h100_gpus", "H100GPUs"),
    "H200": ("nvidia_h200_gpus", "H200GPUs"),
    "RTX_PRO_6000": ("nvidia_rtx_pro_6000_gpus", "RTXPRO6000GPUs"),
}
_CPUS, _TPU_V5E = ("cpus", "CPUs"), ("tpu_v5e", "V5ETPU")
_TPU_V5E_MACHINE = "ct5lp-hightpu-"


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of one project in one region.

    Args:
        metric: its metric without the service: custom_model_serving_nvidia_l4_gpus.
        id: its id in Cloud Quotas and in errors: CustomModelServingL4GPUsPerProjectPerRegion.
    """

    metric: str
    id: str

    @property
    def full_metric(self) -> str:
        """The value of the label ``quota_metric``: aiplatform.googleapis.com/custom_model_serving_..."""
        return f"{SERVICE}/{self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a deployment takes of one quota.

    Args:
        quota: which; None where no source gives its name.
        what: how the amount comes about: ``max 4 x L4:1``.
        amount: GPUs, vCPUs or TPU chips; None where not known.
    """

    quota: Quota | None
    what: str
    amount: int | None


def charges(
    machine_type: str, accelerator: AcceleratorSpec | None, *, max_replicas: int, spot: bool
) -> tuple[Charge, ...]:
    """What a deployed model is charged for: the vCPUs, and the GPUs or TPU chips, of all replicas it may ever have.

    Args:
        machine_type: of each replica.
        accelerator: of each replica, or None.
        max_replicas: the maximum of replicas, which is what the API charges.
        spot: Spot replicas have quotas of their own.
    """
    cores = vcpus(machine_type)
    of = f"max {max_replicas} x "
    found = [
        Charge(
            quota=_quota(_CPUS, spot=spot),
            what=of + (f"{cores} vCPUs of {machine_type}" if cores is not None else f"vCPUs of {machine_type}"),
            amount=None if cores is None else max_replicas * cores,
        )
    ]
    if accelerator is not None:
        found.append(
            Charge(
                quota=_quota(_NAMED.get(accelerator.name), spot=spot),
                what=f"{of}{accelerator}",
                amount=max_replicas * accelerator.count,
            )
        )
    elif machine_type in TPU_MACHINES:
        chips = int(machine_type.rpartition("-")[2].removesuffix("t"))
        named = _TPU_V5E if machine_type.startswith(_TPU_V5E_MACHINE) else None
        found.append(
            Charge(
                quota=_quota(named, spot=spot),
                what=f"{of}{chips} TPU chips of {machine_type}",
                amount=max_replicas * chips,
            )
        )
    return tuple(found)


def by_metric(metric: str) -> Quota | None:
    """The quota of a metric, with or without the service in front; None for one that is not known."""
    return _ALL.get(metric.removeprefix(f"{SERVICE}/"))


def metrics() -> tuple[str, ...]:
    """The metrics of all quotas that are known, without the service."""
    return tuple(_ALL)


def _quota(named: tuple[str, str] | None, *, spot: bool) -> Quota | None:
    if named is None:
        return None
    metric, ident = named
    return Quota(
        metric=f"{_METRIC}{_SPOT_METRIC if spot else ''}{metric}",
        id=f"{_ID}{_SPOT_ID if spot else ''}{ident}PerProjectPerRegion",
    )


_ALL: Mapping[str, Quota] = {
    quota.metric: quota
    for named in (_CPUS, *(_NAMED[name] for name in ACCELERATORS if name in _NAMED), _TPU_V5E)
    for spot in (False, True)
    if (quota := _quota(named, spot=spot)) is not None
}

"""GPU node pools as data: how many of which kind, with which taints. Pure but for pulumi-gcp's argument types.

Left out: the cluster, and anything of Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pulumi_gcp import container

from vertex_deploy.spec.regions import COMPUTE_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pulumi

    from vertex_deploy.spec.infra import GpuNodes

HYPERDISK = ("a3-ultragpu-", "a4-", "a4x-", "g4-")
"""Begins of the machine types that boot from Hyperdisk only (Compute Engine, accelerator-optimized machine family)."""
GPU_TAINT = "nvidia.com/gpu"
SPOT_TAINT = "cloud.google.com/gke-spot"


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """One node pool.

    Args:
        name: name of the pool.
        machine_type: Compute Engine machine type.
        gpu: accelerator type of Compute Engine.
        count: GPUs of each node.
        min: nodes at least, over all zones.
        max: nodes at most, over all zones.
        spot: spot VMs.
        flex_start: waits for capacity.
        run_seconds: how long a flex-start node may run.
        queued: queued provisioning.
        partition: MIG partition, or None.
        driver: DEFAULT or LATEST.
        disk_gb: boot disk.
        reservation: name of a reservation, or None.
    """

    name: str
    machine_type: str
    gpu: str
    count: int
    min: int
    max: int
    spot: bool = False
    flex_start: bool = False
    run_seconds: int = 0
    queued: bool = False
    partition: str | None = None
    driver: str = "DEFAULT"
    disk_gb: int = 100
    reservation: str | None = None

    @property
    def location_policy(self) -> Literal["ANY", "BALANCED"]:
        """Scarce capacity is taken where it is; on-demand nodes are spread over the zones."""
        return "ANY" if self.spot or self.flex_start or self.reservation else "BALANCED"

    @property
    def disk_type(self) -> Literal["hyperdisk-balanced", "pd-balanced"]:
        """Of the boot disk: what the machine takes."""
        return "hyperdisk-balanced" if self.machine_type.startswith(HYPERDISK) else "pd-balanced"

    def taints(self) -> dict[str, str]:
        """Key -> value of the NoSchedule taints. GKE adds the GPU's own only when the first pool is made with GPUs."""
        return {GPU_TAINT: "present", **({SPOT_TAINT: "true"} if self.spot else {})}

    def node_config(
        self, *, service_account: pulumi.Input[str], labels: Mapping[str, str], boot_disk_key: str | None
    ) -> container.NodePoolNodeConfigArgs:
        """The nodes, in pulumi-gcp's types."""
        accelerator = container.NodePoolNodeConfigGuestAcceleratorArgs(
            type=self.gpu,
            count=self.count,
            gpu_partition_size=self.partition,
            gpu_driver_installation_config=container.NodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfigArgs(
                gpu_driver_version=self.driver
            ),
        )
        return container.NodePoolNodeConfigArgs(
            machine_type=self.machine_type,
            guest_accelerators=[accelerator],
            spot=True if self.spot else None,
            flex_start=True if self.flex_start else None,
            max_run_duration=f"{self.run_seconds}s" if self.flex_start else None,
            reservation_affinity=self._reservation(),
            disk_size_gb=self.disk_gb,
            disk_type=self.disk_type,
            boot_disk_kms_key=boot_disk_key,
            # Images stream in while the container starts: GPU servers' images are several gigabytes.
            gcfs_config=container.NodePoolNodeConfigGcfsConfigArgs(enabled=True),
            service_account=service_account,
            oauth_scopes=["https://www.googleapis.com/auth/cloud-platform"],
            workload_metadata_config=container.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
            shielded_instance_config=container.NodePoolNodeConfigShieldedInstanceConfigArgs(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
            resource_labels=dict(labels),
            taints=[
                container.NodePoolNodeConfigTaintArgs(key=key, value=value, effect="NO_SCHEDULE")
                for key, value in self.taints().items()
            ],
        )

    def _reservation(self) -> container.NodePoolNodeConfigReservationAffinityArgs | None:
        """Flex-start and spot nodes must take none, on pain of being refused or of using the reservation up."""
        if self.spot or self.flex_start:
            return container.NodePoolNodeConfigReservationAffinityArgs(consume_reservation_type="NO_RESERVATION")
        if self.reservation is None:
            return None
        return container.NodePoolNodeConfigReservationAffinityArgs(
            consume_reservation_type="SPECIFIC_RESERVATION",
            key="compute.googleapis.com/reservation-name",
            values=[self.reservation],
        )


def split(most: int, spot_share: float) -> tuple[int, int]:
    """On-demand and spot nodes at most, together ``most``: spot is rounded down, so that a single node is on demand."""
    spot = int(most * spot_share + 1e-9)
    return most - spot, spot


def node_pools(kind: str, nodes: GpuNodes) -> list[NodePool]:
    """The pools of one kind of nodes: on demand, spot, flex-start; those without nodes are left out."""
    plain = NodePool(
        name=kind,
        machine_type=nodes.machine,
        gpu=COMPUTE_TYPES[nodes.accelerator.name],
        count=nodes.accelerator.count,
        min=0,
        max=0,
        partition=nodes.partition,
        driver=nodes.driver.upper(),
        disk_gb=nodes.disk_gb,
    )
    on_demand, spot = split(nodes.max, nodes.spot_share)
    pools = [
        replace(plain, min=nodes.min, max=on_demand, reservation=nodes.reservation),
        replace(plain, name=f"{kind}-spot", max=spot, spot=True),
    ]
    flex = nodes.flex_start
    if flex is not None:
        pools.append(
            replace(
                plain,
                name=f"{kind}-flex",
                max=flex.max,
                flex_start=True,
                run_seconds=round(flex.run),
                queued=flex.queued,
            )
        )
    return [pool for pool in pools if pool.max]

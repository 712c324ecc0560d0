"""A DeploymentResourcePool: machines that the models of several endpoints share.

Made where the spec says ``infra: {pool: true}``, under the name in ``target.pool``, which is what rollouts and static
splits deploy onto. Only models of Google's prebuilt TensorFlow and PyTorch containers can share one.

pulumi-gcp changes no pool: another machine or number of replicas deletes it and makes it anew, which the API refuses
while a model is on it. With another ``target.pool`` too the new one is made first; once a rollout has left the old one,
the next `pulumi up` deletes that.

Deliberately not created: the models on it; spot machines and reservations, which pulumi-gcp's pool does not have; and a
pool per version, which would double the machines that it is meant to save.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pulumi
from pulumi_gcp import vertex

from infra.components.base import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.spec import Spec

METRICS: Mapping[str, str] = {
    "cpu_utilization": "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    "gpu_duty_cycle": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    "request_count_per_minute": "aiplatform.googleapis.com/prediction/online/request_count",
}
"""Name in a spec -> metric of AutoscalingMetricSpec (its enumeration in the discovery document)."""


@dataclass(frozen=True, kw_only=True)
class GpuPoolArgs:
    """Arguments of ``GpuPool``.

    Args:
        project: project id.
        region: region.
        pool_id: id of the pool.
        machine_type: Compute Engine machine type.
        accelerator: AcceleratorType of the API and count, or None.
        min_replicas: machines always running.
        max_replicas: machines at most.
        scale_on: metric of ``METRICS`` -> target, as the spec writes it.
        protect: refuse to delete it.
    """

    project: str
    region: str
    pool_id: str
    machine_type: str
    accelerator: tuple[str, int] | None = None
    min_replicas: int = 1
    max_replicas: int = 1
    scale_on: Mapping[str, float]
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From the target's pool, machine and replicas.

        Raises:
            ValueError: the spec does not ask for a pool.
        """
        machine, replicas = spec.target.machine, spec.target.replicas
        if not spec.infra.pool or spec.target.pool is None or machine is None:
            raise ValueError("the spec does not say infra: {pool: true}; ask only where it does")
        gpu = machine.accelerator
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            pool_id=spec.target.pool,
            machine_type=machine.type,
            accelerator=(gpu.api_type, gpu.count) if gpu else None,
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            scale_on={str(metric): target for metric, target in replicas.scale_on.items()},
            protect=spec.infra.protect,
        )


class GpuPool(Component):
    """A DeploymentResourcePool.

    Outputs: ``pool`` (projects/P/locations/L/deploymentResourcePools/ID).
    """

    pool: pulumi.Output[str]

    def __init__(self, name: str, args: GpuPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        resources = vertex.AiDeploymentResourcePoolDedicatedResourcesArgs(
            machine_spec=vertex.AiDeploymentResourcePoolDedicatedResourcesMachineSpecArgs(
                machine_type=args.machine_type,
                accelerator_type=args.accelerator[0] if args.accelerator else None,
                accelerator_count=args.accelerator[1] if args.accelerator else None,
            ),
            min_replica_count=args.min_replicas,
            max_replica_count=args.max_replicas,
            autoscaling_metric_specs=[
                vertex.AiDeploymentResourcePoolDedicatedResourcesAutoscalingMetricSpecArgs(
                    metric_name=METRICS[metric], target=int(target)
                )
                for metric, target in args.scale_on.items()
            ],
        )
        pool = vertex.AiDeploymentResourcePool(
            name,
            name=args.pool_id,
            project=args.project,
            region=args.region,
            dedicated_resources=resources,
            opts=self.child(protect=args.protect),
        )
        self.pool = pulumi.Output.format(
            "projects/{0}/locations/{1}/deploymentResourcePools/{2}", args.project, args.region, pool.name
        )
        self.register_outputs({"pool": self.pool})

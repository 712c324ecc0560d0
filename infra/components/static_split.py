"""A static split: models that share an endpoint's traffic for good, where the spec says ``traffic: pulumi``.

For each variant of ``target.split`` a model and its deployment, and one traffic split over them, all by the provider
in ``infra/provider``. The deployments exist before the split names them, and go after it: a new version is up before it
gets traffic, and the old one is removed last. Deleting the split empties it, and the endpoint then answers nobody.

Deliberately not created: anything where the traffic is a rollout's (``traffic: rollout``); the endpoint; the files and
images that are served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from infra.components.base import Component, labels_of
from infra.provider import sdk
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pulumi

    from vertex_deploy.spec import Spec
    from vertex_deploy.spec.models import Variant


@dataclass(frozen=True, kw_only=True)
class Side:
    """One variant.

    Args:
        name: ends its resources' names and its model's id.
        percent: of the requests, 0 to 100.
        artifact: folder of the model's files, gs://bucket/path, or None.
        container: the serving container.
    """

    name: str
    percent: int
    artifact: str | None
    container: sdk.Container


@dataclass(frozen=True, kw_only=True)
class StaticSplitArgs:
    """Arguments of ``StaticSplit``.

    Args:
        project: project id.
        region: region of the models.
        endpoint: projects/P/locations/L/endpoints/E.
        prefix: begins the models' ids and the display names.
        display_name: begins the models' display names.
        sides: variants; their percentages sum to 100.
        machine: what each replica runs on; None on a pool.
        replicas: how many of each variant; None on a pool.
        scale_on: autoscaling targets, or None.
        pool: DeploymentResourcePool whose machines all variants share, or None.
        service_account: identity of the containers, or None.
        labels: labels of the models.
        aliases: version aliases of each model.
        encryption_key: customer-managed key of the models, or None.
        owner: who changes deployments and split after their creation.
        protect: refuse to delete split and models. Deployments are left out: a new version replaces one.
    """

    project: str
    region: str
    endpoint: pulumi.Input[str]
    prefix: str
    display_name: str
    sides: tuple[Side, ...]
    machine: sdk.Machine | None
    replicas: sdk.Replicas | None
    scale_on: sdk.ScaleOn | None = None
    pool: pulumi.Input[str] | None = None
    service_account: str | None = None
    labels: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    encryption_key: str | None = None
    owner: Literal["rollout", "pulumi"]
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec, *, endpoint: pulumi.Input[str], pool: pulumi.Input[str] | None = None) -> Self:
        """From ``target``, ``model`` and ``container``; endpoint and pool are other components' outputs.

        Raises:
            ValueError: the spec leaves the traffic to rollouts.
        """
        if not wanted(spec):
            raise ValueError("the spec does not say traffic: pulumi; ask only where it does")
        target = spec.target
        pool = pool if pool is not None else names.pool(spec)
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            endpoint=endpoint,
            prefix=spec.name,
            display_name=spec.model.display_name or spec.name,
            sides=tuple(_side(spec, variant) for variant in target.split),
            machine=None if pool is not None else _machine(spec),
            replicas=None if pool is not None else sdk.Replicas(min=target.replicas.min, max=target.replicas.max),
            scale_on=None if pool is not None else _scale_on(spec),
            pool=pool,
            service_account=target.service_account,
            labels={**spec.model.labels, **labels_of(spec)},
            aliases=spec.model.aliases,
            encryption_key=spec.infra.encryption_key,
            owner=target.traffic,
            protect=spec.infra.protect,
        )


def wanted(spec: Spec) -> bool:
    """Whether the spec has a static split."""
    return spec.target.traffic == "pulumi"


class StaticSplit(Component):
    """Models, their deployments, and the traffic split over them.

    Outputs: ``models``, the versions served (projects/P/locations/L/models/M@V) by variant, and ``deployed_model_ids``,
    their ids on the endpoint by variant.
    """

    def __init__(self, name: str, args: StaticSplitArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        models = {side.name: self._model(name, args, side) for side in args.sides}
        deployed = {side.name: self._deployed(name, args, side, models[side.name]) for side in args.sides}
        sdk.TrafficSplit(
            name,
            endpoint=args.endpoint,
            split=[
                sdk.Share(deployed_model_id=deployed[side.name].deployed_model_id, percent=side.percent)
                for side in args.sides
            ],
            owner=args.owner,
            opts=self.child(protect=args.protect),
        )
        self.models: Mapping[str, pulumi.Output[str]] = {key: model.version_name for key, model in models.items()}
        self.deployed_model_ids: Mapping[str, pulumi.Output[str]] = {
            key: item.deployed_model_id for key, item in deployed.items()
        }
        self.register_outputs({"models": self.models, "deployed_model_ids": self.deployed_model_ids})

    def _model(self, name: str, args: StaticSplitArgs, side: Side) -> sdk.Model:
        return sdk.Model(
            f"{name}-{side.name}",
            project=args.project,
            region=args.region,
            model_id=f"{args.prefix}-{side.name}",
            display_name=f"{args.display_name}-{side.name}",
            container=side.container,
            artifact_uri=side.artifact,
            version_aliases=list(args.aliases) or None,
            labels=dict(args.labels),
            kms_key_name=args.encryption_key,
            owner=args.owner,
            opts=self.child(protect=args.protect),
        )

    def _deployed(self, name: str, args: StaticSplitArgs, side: Side, model: sdk.Model) -> sdk.DeployedModel:
        return sdk.DeployedModel(
            f"{name}-{side.name}",
            endpoint=args.endpoint,
            model=model.version_name,
            machine=args.machine,
            replicas=args.replicas,
            scale_on=args.scale_on,
            pool=args.pool,
            display_name=f"{args.prefix}-{side.name}",
            service_account=args.service_account,
            owner=args.owner,
            opts=self.child(),
        )


def _side(spec: Spec, variant: Variant) -> Side:
    given = spec.container
    timeout = given.startup_timeout
    container = sdk.Container(
        image_uri=names.image_reference(spec, variant.image or given.image),
        command=list(given.command) or None,
        args=list(given.args) or None,
        env=dict(given.env) or None,
        ports=[given.port],
        predict_route=given.predict_route,
        health_route=given.health_route,
        deployment_timeout=int(timeout) if timeout else None,
    )
    return Side(
        name=variant.name,
        percent=variant.weight,
        artifact=variant.artifact or spec.model.artifact,
        container=container,
    )


def _machine(spec: Spec) -> sdk.Machine:
    machine = spec.target.machine
    if machine is None:
        raise ValueError("the spec has neither machine nor pool; the loader refuses that")
    gpu = str(machine.accelerator) if machine.accelerator else None
    return sdk.Machine(type=machine.type, accelerator=gpu, spot=machine.spot or None)


def _scale_on(spec: Spec) -> sdk.ScaleOn | None:
    targets = {str(metric): int(target) for metric, target in spec.target.replicas.scale_on.items()}
    return sdk.ScaleOn(**targets) if targets else None

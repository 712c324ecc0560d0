"""The resources: Model, DeployedModel, TrafficSplit, and the provider to configure.

The private ``_...Props`` classes tell Pulumi each property's name on the wire; maps below them keep their keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import pulumi

from infra.provider import PACKAGE
from infra.provider.sdk.args import on_the_wire

if TYPE_CHECKING:
    from infra.provider.sdk.args import Container, Machine, Replicas, ScaleOn, Share

Owner = Literal["rollout", "pulumi"]
_Text = pulumi.Input[str] | None
_Object = pulumi.Input[Mapping[str, Any]] | None


def _props(kind: type[Any], **values: Any) -> Any:
    """Properties of a resource: those given, written for the wire, and the outputs to come."""
    made: Any = object.__new__(kind)
    for name in kind.__annotations__:
        made.__dict__[name] = on_the_wire(values.get(name))
    return made


@pulumi.input_type
class _ProviderProps:
    project: _Text = pulumi.property("project", default=None)
    region: _Text = pulumi.property("region", default=None)
    endpoint: _Text = pulumi.property("endpoint", default=None)


class Provider(pulumi.ProviderResource):
    """The provider, configured by the program instead of by the stack.

    Args:
        resource_name: its name in the program.
        opts: resource options.
        project: project of resources that name none; GOOGLE_CLOUD_PROJECT where absent.
        region: region of resources that name none; GOOGLE_CLOUD_REGION where absent.
        endpoint: where Vertex AI is: host[:port], or http://127.0.0.1:PORT of a Local Vertex.
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        project: _Text = None,
        region: _Text = None,
        endpoint: _Text = None,
    ) -> None:
        props = _props(_ProviderProps, project=project, region=region, endpoint=endpoint)
        super().__init__(PACKAGE, resource_name, props, opts)


@pulumi.input_type
class _ModelProps:
    project: _Text = pulumi.property("project", default=None)
    region: _Text = pulumi.property("region", default=None)
    model_id: _Text = pulumi.property("modelId", default=None)
    display_name: _Text = pulumi.property("displayName", default=None)
    description: _Text = pulumi.property("description", default=None)
    version_description: _Text = pulumi.property("versionDescription", default=None)
    version_aliases: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("versionAliases", default=None)
    labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = pulumi.property("labels", default=None)
    artifact_uri: _Text = pulumi.property("artifactUri", default=None)
    kms_key_name: _Text = pulumi.property("kmsKeyName", default=None)
    container: _Object = pulumi.property("container", default=None)
    owner: _Text = pulumi.property("owner", default=None)
    name: _Text = pulumi.property("name", default=None)
    version_id: _Text = pulumi.property("versionId", default=None)
    version_name: _Text = pulumi.property("versionName", default=None)
    create_time: _Text = pulumi.property("createTime", default=None)


class Model(pulumi.CustomResource):
    """A model in Vertex AI's registry and one version of it, uploaded from an image and an artifact folder.

    Args:
        resource_name: its name in the program.
        opts: resource options.
        container: the serving container; a change uploads a new version.
        artifact_uri: folder of the model's files, gs://bucket/path; a change uploads a new version.
        project: project id; the provider's where absent.
        region: region; the provider's where absent.
        model_id: id of the model; the resource's name where absent.
        display_name: name shown in the console; the model's id where absent.
        description: what the model is.
        version_description: what this version is.
        version_aliases: aliases of this version; ``default`` makes it the default.
        labels: all labels of the version and of the model; ``ignore_changes`` leaves what others add.
        kms_key_name: key that encrypts the model (CMEK).
        owner: who uploads further versions; ``pulumi`` where absent.
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        container: Container,
        artifact_uri: _Text = None,
        project: _Text = None,
        region: _Text = None,
        model_id: _Text = None,
        display_name: _Text = None,
        description: _Text = None,
        version_description: _Text = None,
        version_aliases: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        labels: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        kms_key_name: _Text = None,
        owner: pulumi.Input[Owner] | None = None,
    ) -> None:
        props = _props(
            _ModelProps,
            container=container,
            artifact_uri=artifact_uri,
            project=project,
            region=region,
            model_id=model_id,
            display_name=display_name,
            description=description,
            version_description=version_description,
            version_aliases=version_aliases,
            labels=labels,
            kms_key_name=kms_key_name,
            owner=owner,
        )
        super().__init__(f"{PACKAGE}:index:Model", resource_name, props, opts)

    @property
    @pulumi.getter
    def name(self) -> pulumi.Output[str]:
        """projects/P/locations/L/models/M."""
        return cast("pulumi.Output[str]", pulumi.get(self, "name"))

    @property
    @pulumi.getter(name="versionId")
    def version_id(self) -> pulumi.Output[str]:
        """The version that the program's content is."""
        return cast("pulumi.Output[str]", pulumi.get(self, "version_id"))

    @property
    @pulumi.getter(name="versionName")
    def version_name(self) -> pulumi.Output[str]:
        """projects/P/locations/L/models/M@V: what a DeployedModel takes."""
        return cast("pulumi.Output[str]", pulumi.get(self, "version_name"))

    @property
    @pulumi.getter(name="createTime")
    def create_time(self) -> pulumi.Output[str]:
        """When the model was created, RFC 3339."""
        return cast("pulumi.Output[str]", pulumi.get(self, "create_time"))


@pulumi.input_type
class _DeployedModelProps:
    endpoint: _Text = pulumi.property("endpoint", default=None)
    model: _Text = pulumi.property("model", default=None)
    deployed_model_id: _Text = pulumi.property("deployedModelId", default=None)
    display_name: _Text = pulumi.property("displayName", default=None)
    machine: _Object = pulumi.property("machine", default=None)
    replicas: _Object = pulumi.property("replicas", default=None)
    scale_on: _Object = pulumi.property("scaleOn", default=None)
    pool: _Text = pulumi.property("pool", default=None)
    service_account: _Text = pulumi.property("serviceAccount", default=None)
    access_logging: pulumi.Input[bool] | None = pulumi.property("accessLogging", default=None)
    container_logging: pulumi.Input[bool] | None = pulumi.property("containerLogging", default=None)
    owner: _Text = pulumi.property("owner", default=None)
    undeploy_others_on_delete: pulumi.Input[bool] | None = pulumi.property("undeployOthersOnDelete", default=None)
    name: _Text = pulumi.property("name", default=None)
    deployed: pulumi.Input[bool] | None = pulumi.property("deployed", default=None)
    create_time: _Text = pulumi.property("createTime", default=None)
    operation: _Text = pulumi.property("operation", default=None)


class DeployedModel(pulumi.CustomResource):
    """A model version deployed to an endpoint; it gets no traffic until a TrafficSplit or a rollout gives it some.

    Args:
        resource_name: its name in the program.
        opts: resource options.
        endpoint: projects/P/locations/L/endpoints/E.
        model: a model version, projects/P/locations/L/models/M@V.
        machine: what each replica runs on; this or ``pool``.
        pool: DeploymentResourcePool to share machines with.
        replicas: how many; changed in place.
        scale_on: autoscaling targets; changed in place.
        deployed_model_id: its id on the endpoint, 1 to 10 digits; derived where absent.
        display_name: name shown in the console.
        service_account: identity of the container.
        access_logging: log each request.
        container_logging: log what the container prints; changed in place.
        owner: who changes it after its creation; ``rollout`` where absent.
        undeploy_others_on_delete: deleting it empties the endpoint.
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        endpoint: pulumi.Input[str],
        model: pulumi.Input[str],
        machine: Machine | None = None,
        pool: _Text = None,
        replicas: Replicas | None = None,
        scale_on: ScaleOn | None = None,
        deployed_model_id: _Text = None,
        display_name: _Text = None,
        service_account: _Text = None,
        access_logging: pulumi.Input[bool] | None = None,
        container_logging: pulumi.Input[bool] | None = None,
        owner: pulumi.Input[Owner] | None = None,
        undeploy_others_on_delete: pulumi.Input[bool] | None = None,
    ) -> None:
        props = _props(
            _DeployedModelProps,
            endpoint=endpoint,
            model=model,
            machine=machine,
            pool=pool,
            replicas=replicas,
            scale_on=scale_on,
            deployed_model_id=deployed_model_id,
            display_name=display_name,
            service_account=service_account,
            access_logging=access_logging,
            container_logging=container_logging,
            owner=owner,
            undeploy_others_on_delete=undeploy_others_on_delete,
        )
        super().__init__(f"{PACKAGE}:index:DeployedModel", resource_name, props, opts)

    @property
    @pulumi.getter
    def name(self) -> pulumi.Output[str]:
        """projects/P/locations/L/endpoints/E/deployedModels/D."""
        return cast("pulumi.Output[str]", pulumi.get(self, "name"))

    @property
    @pulumi.getter(name="deployedModelId")
    def deployed_model_id(self) -> pulumi.Output[str]:
        """Its id on the endpoint: what a Share takes."""
        return cast("pulumi.Output[str]", pulumi.get(self, "deployed_model_id"))

    @property
    @pulumi.getter
    def deployed(self) -> pulumi.Output[bool]:
        """Whether it is on the endpoint; a rollout may have removed it."""
        return cast("pulumi.Output[bool]", pulumi.get(self, "deployed"))

    @property
    @pulumi.getter(name="createTime")
    def create_time(self) -> pulumi.Output[str]:
        """When it was deployed, RFC 3339."""
        return cast("pulumi.Output[str]", pulumi.get(self, "create_time"))

    @property
    @pulumi.getter
    def operation(self) -> pulumi.Output[str]:
        """The operation still under way when nobody waited any longer; empty otherwise."""
        return cast("pulumi.Output[str]", pulumi.get(self, "operation"))


@pulumi.input_type
class _TrafficSplitProps:
    endpoint: _Text = pulumi.property("endpoint", default=None)
    split: pulumi.Input[Sequence[Mapping[str, Any]]] | None = pulumi.property("split", default=None)
    owner: _Text = pulumi.property("owner", default=None)
    observed: pulumi.Input[Mapping[str, int]] | None = pulumi.property("observed", default=None)


class TrafficSplit(pulumi.CustomResource):
    """The traffic split of an endpoint: by default it starts the traffic, and the rollout tool owns it from then on.

    Args:
        resource_name: its name in the program.
        opts: resource options.
        endpoint: projects/P/locations/L/endpoints/E.
        split: shares that sum to 100.
        owner: ``pulumi`` for a static split; ``rollout`` where absent.
    """

    def __init__(
        self,
        resource_name: str,
        opts: pulumi.ResourceOptions | None = None,
        *,
        endpoint: pulumi.Input[str],
        split: Sequence[Share],
        owner: pulumi.Input[Owner] | None = None,
    ) -> None:
        props = _props(_TrafficSplitProps, endpoint=endpoint, split=split, owner=owner)
        super().__init__(f"{PACKAGE}:index:TrafficSplit", resource_name, props, opts)

    @property
    @pulumi.getter
    def observed(self) -> pulumi.Output[Mapping[str, int]]:
        """The endpoint's split as last read, percent by deployed model id."""
        return cast("pulumi.Output[Mapping[str, int]]", pulumi.get(self, "observed"))

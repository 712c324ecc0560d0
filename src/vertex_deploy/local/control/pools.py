"""DeploymentResourcePoolService: machines that deployed models share.

What runs: every model on a pool has processes of its own, as many as the pool has replicas; the first processes of all
its models stand for the pool's first machine, and so on. They compete for this machine's CPU as models of a pool do.
Changed replica counts apply to all of them at once.

From Google's documentation ("Share resources across deployments", "DeploymentResourcePool" of aiplatform v1): ids, the
default machine type, which models can share a pool, one image a pool. Inferred, since no public source says it: the
words and codes of refusals other than NOT_FOUND and ALREADY_EXISTS, and that an update can change what
MutateDeployedModel can change of dedicated resources.

Left out: autoscaling (the minimum of replicas runs), encryption keys, the limit of 20 concurrent deployments a pool.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import grpc
from google.cloud.aiplatform_v1 import types as aip
from google.protobuf import empty_pb2

from vertex_deploy.local.control import checks, listing, masks
from vertex_deploy.local.control.names import Name
from vertex_deploy.local.control.quotas import QuotaBook
from vertex_deploy.local.control.refusals import exists, invalid, precondition
from vertex_deploy.local.seams import ApiError
from vertex_deploy.spec.pools import DEFAULT_MACHINE, POOL_ID, can_share

if TYPE_CHECKING:
    from google.longrunning import operations_pb2

    from vertex_deploy.local.control.operations import Operations, Progress
    from vertex_deploy.local.control.registry import Registry
    from vertex_deploy.local.seams import DataPlane
    from vertex_deploy.local.wire import Context

COLLECTION = "deploymentResourcePools"
UPDATABLE = frozenset(
    {
        "dedicated_resources.min_replica_count",
        "dedicated_resources.max_replica_count",
        "dedicated_resources.required_replica_count",
        "dedicated_resources.autoscaling_metric_specs",
        "disable_container_logging",
    }
)
_FIELDS = frozenset({"name", "dedicated_resources", "service_account", "disable_container_logging", "create_time"})


class DeploymentResourcePoolService:
    """google.cloud.aiplatform.v1.DeploymentResourcePoolService, and what deployments ask of pools.

    Args:
        registry: what is kept.
        operations: starts long-running operations.
        data: runs what is deployed.
        quotas: what machines are charged against; absent: nothing has a limit.

    Attributes:
        quotas: the same, for deployments.
    """

    def __init__(
        self, registry: Registry, operations: Operations, data: DataPlane, *, quotas: QuotaBook | None = None
    ) -> None:
        self.quotas = quotas or QuotaBook(registry)
        self._registry = registry
        self._operations = operations
        self._data = data
        # A model that joins and a changed replica count must not pass each other by.
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def create_deployment_resource_pool(
        self, request: aip.CreateDeploymentResourcePoolRequest, context: Context
    ) -> operations_pb2.Operation:
        """Add a pool; nothing runs on it yet."""
        registry = self._registry
        parent = registry.projects.parse(request.parent, "")
        ident, pool = request.deployment_resource_pool_id, request.deployment_resource_pool
        if not POOL_ID.fullmatch(ident):
            raise invalid(
                f"Invalid deployment_resource_pool_id '{ident}'; it must match [a-z]([a-z0-9-]{{0,61}}[a-z0-9])?."
            )
        masks.refuse_unsupported(pool, _FIELDS, "deployment_resource_pool")
        if not type(pool).pb(pool).HasField("dedicated_resources"):
            raise invalid("deployment_resource_pool.dedicated_resources is required.")
        machine = pool.dedicated_resources.machine_spec
        machine.machine_type = machine.machine_type or DEFAULT_MACHINE
        checks.dedicated(pool.dedicated_resources)
        name = Name(parent.project, parent.location, COLLECTION, ident)
        if registry.has_pool(name.full):
            raise exists("DeploymentResourcePool", name.full)
        pool.name, pool.create_time = name.full, registry.now()

        async def work(_: Progress) -> aip.DeploymentResourcePool:
            if registry.has_pool(name.full):
                raise exists("DeploymentResourcePool", name.full)
            with self.quotas.hold((name.full, ""), pool.dedicated_resources):
                registry.save_pool(pool)
            return pool

        metadata = aip.CreateDeploymentResourcePoolOperationMetadata()
        return self._operations.start(name.full, metadata, work, context)

    async def get_deployment_resource_pool(
        self, request: aip.GetDeploymentResourcePoolRequest, context: Context
    ) -> aip.DeploymentResourcePool:
        """One pool."""
        del context
        return self._registry.pool(self._registry.projects.parse(request.name, COLLECTION))

    async def list_deployment_resource_pools(
        self, request: aip.ListDeploymentResourcePoolsRequest, context: Context
    ) -> aip.ListDeploymentResourcePoolsResponse:
        """Pools of a location; the newest first."""
        del context
        found = self._registry.pools(self._registry.projects.parse(request.parent, "").full)
        found.sort(key=lambda pool: pool.create_time, reverse=True)
        cut = listing.page(found, request.page_size, request.page_token)
        return aip.ListDeploymentResourcePoolsResponse(
            deployment_resource_pools=cut.items, next_page_token=cut.next_token
        )

    async def query_deployed_models(
        self, request: aip.QueryDeployedModelsRequest, context: Context
    ) -> aip.QueryDeployedModelsResponse:
        """What is deployed on a pool, as references and, as the API still does, whole."""
        del context
        registry = self._registry
        name = registry.pool(registry.projects.parse(request.deployment_resource_pool, COLLECTION)).name
        found = registry.on_pool(name)
        cut = listing.page(found, request.page_size, request.page_token)
        return aip.QueryDeployedModelsResponse(
            deployed_models=[deployed for _, deployed in cut.items],
            deployed_model_refs=[
                aip.DeployedModelRef(endpoint=endpoint, deployed_model_id=deployed.id)
                for endpoint, deployed in cut.items
            ],
            total_deployed_model_count=len(found),
            total_endpoint_count=len({endpoint for endpoint, _ in found}),
            next_page_token=cut.next_token,
        )

    async def update_deployment_resource_pool(
        self, request: aip.UpdateDeploymentResourcePoolRequest, context: Context
    ) -> operations_pb2.Operation:
        """Change replica counts, autoscaling and logging; every model on the pool follows."""
        name = self._registry.projects.parse(request.deployment_resource_pool.name, COLLECTION)
        self._changed(self._registry.pool(name), request)

        async def work(_: Progress) -> aip.DeploymentResourcePool:
            async with self.locks[name.full]:
                pool = self._changed(self._registry.pool(name), request)
                with self.quotas.hold((name.full, ""), pool.dedicated_resources):
                    await self._scale(name.full, pool.dedicated_resources.min_replica_count)
                    self._registry.save_pool(pool)
                return pool

        metadata = aip.UpdateDeploymentResourcePoolOperationMetadata()
        return self._operations.start(name.full, metadata, work, context)

    @staticmethod
    def _changed(
        pool: aip.DeploymentResourcePool, request: aip.UpdateDeploymentResourcePoolRequest
    ) -> aip.DeploymentResourcePool:
        masks.update(pool, request.deployment_resource_pool, request.update_mask.paths, UPDATABLE)
        checks.replica_counts(pool.dedicated_resources)
        return pool

    async def _scale(self, pool: str, replicas: int) -> None:
        """All models or none: where one cannot follow, the others go back. What does not run needs not follow.

        Raises:
            ApiError: of the first that could not.
        """
        before = self._registry.pool(self._registry.projects.parse(pool, COLLECTION))
        count = before.dedicated_resources.min_replica_count
        if replicas == count:
            return
        models = [(endpoint, deployed.id) for endpoint, deployed in self._registry.on_pool(pool)]
        ends = await asyncio.gather(
            *(self._data.scale(endpoint, ident, replicas) for endpoint, ident in models), return_exceptions=True
        )
        failed = [end for end in ends if isinstance(end, BaseException) and not _not_running(end)]
        if failed:
            went = [model for model, end in zip(models, ends, strict=True) if end is None]
            back = (self._data.scale(endpoint, ident, count) for endpoint, ident in went)
            await asyncio.gather(*back, return_exceptions=True)
            raise failed[0]

    async def delete_deployment_resource_pool(
        self, request: aip.DeleteDeploymentResourcePoolRequest, context: Context
    ) -> operations_pb2.Operation:
        """Delete a pool; refused while anything is deployed or being deployed on it."""
        name = self._registry.projects.parse(request.name, COLLECTION)
        self._refuse_in_use(name)

        async def work(_: Progress) -> empty_pb2.Empty:
            self._refuse_in_use(name)
            self._registry.drop_pool(name.full)
            return empty_pb2.Empty()

        return self._operations.start(name.full, aip.DeleteOperationMetadata(), work, context)

    def _refuse_in_use(self, name: Name) -> None:
        pool = self._registry.pool(name).name
        used = [f"{endpoint}/deployedModels/{deployed.id}" for endpoint, deployed in self._registry.on_pool(pool)]
        used += [f"{endpoint}/deployedModels/{ident}" for endpoint, ident in self._registry.joining.get(pool, {})]
        if used:
            raise precondition(
                f'The DeploymentResourcePool "{pool}" has deployed or being-deployed DeployedModel(s): '
                f"{', '.join(used)}; undeploy them first."
            )

    # --- for deployments ----------------------------------------------------------------------------------------

    def admit(self, shared: str, model: aip.Model, endpoint: Name) -> aip.DeploymentResourcePool:
        """The pool that a model asks for, if it can be deployed there.

        Args:
            shared: the pool's name, as requested.
            model: what is to be deployed.
            endpoint: where to.

        Raises:
            ApiError: NOT_FOUND; INVALID_ARGUMENT: another region than the endpoint's, or a model that cannot share;
                FAILED_PRECONDITION: the pool has another image.
        """
        name = self._registry.projects.parse(shared, COLLECTION)
        if name.location != endpoint.location:
            raise invalid(
                f"The DeploymentResourcePool {name.full} is not in the Endpoint's location {endpoint.location}."
            )
        pool = self._registry.pool(name)
        image = model.container_spec.image_uri
        if not can_share(image):
            raise invalid(
                f"'shared_resources' is not supported for Model {model.name}@{model.version_id}: its container "
                f"'{image}' is not one of Google's prebuilt TensorFlow or PyTorch prediction containers, "
                "us-docker.pkg.dev/vertex-ai/prediction/{tf2,pytorch}-{cpu,gpu}.VERSION."
            )
        for other in self._images(name.full):
            if other != image:
                raise precondition(
                    f"The DeploymentResourcePool {name.full} has Models with the container image '{other}'; "
                    f"a Model with '{image}' cannot be deployed on it."
                )
        return pool

    def _images(self, pool: str) -> set[str]:
        registry = self._registry
        images = set(registry.joining.get(pool, {}).values())
        for _, deployed in registry.on_pool(pool):
            name = registry.projects.parse(deployed.model, "models")
            try:
                version = registry.version(name._replace(version=deployed.model_version_id))
            except ApiError:
                continue  # the model is gone; what runs of it does not say which image it was
            images.add(version.container_spec.image_uri)
        return images


def _not_running(error: BaseException) -> bool:
    """A model that is being undeployed, or could not be started again after a restart."""
    return isinstance(error, ApiError) and error.code is grpc.StatusCode.NOT_FOUND

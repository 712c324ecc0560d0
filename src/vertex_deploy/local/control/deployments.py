"""The part of EndpointService that starts and stops something: deploy, undeploy, mutate. All are operations.

A model appears on its endpoint when it is healthy; until then it only reserves its id. A deployment that fails leaves
nothing behind. Traffic follows the rules of ``splits``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.control import access, checks, masks, splits
from vertex_deploy.local.control.access import Access
from vertex_deploy.local.control.names import DEPLOYED_ID, Name, new_id
from vertex_deploy.local.control.pools import COLLECTION
from vertex_deploy.local.control.refusals import exists, invalid, missing, precondition
from vertex_deploy.local.seams import ApiError, DeployPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from google.longrunning import operations_pb2

    from vertex_deploy.local.control.operations import Operations, Progress
    from vertex_deploy.local.control.pools import DeploymentResourcePoolService
    from vertex_deploy.local.control.registry import Registry
    from vertex_deploy.local.seams import DataPlane
    from vertex_deploy.local.wire import Context

_log = logging.getLogger(__name__)

MUTABLE = frozenset(
    {
        "dedicated_resources.min_replica_count",
        "dedicated_resources.max_replica_count",
        "dedicated_resources.required_replica_count",
        "dedicated_resources.autoscaling_metric_specs",
        "disable_container_logging",
    }
)


class Deployments:
    """Deploys models to endpoints.

    Args:
        registry: what is kept.
        operations: starts long-running operations.
        data: runs what is deployed.
        artifacts: gs:// of the managed copy of a model version's artifacts, or "".
        pools: machines that deployed models share.
    """

    def __init__(
        self,
        registry: Registry,
        operations: Operations,
        data: DataPlane,
        artifacts: Callable[[aip.Model], str],
        pools: DeploymentResourcePoolService,
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._data = data
        self._artifacts = artifacts
        self._pools = pools

    # --- what is there ------------------------------------------------------------------------------------------

    def _ids(self, endpoint: aip.Endpoint) -> list[str]:
        """Deployed models that may get traffic."""
        leaving = self._registry.leaving.get(endpoint.name, set())
        return [deployed.id for deployed in endpoint.deployed_models if deployed.id not in leaving]

    def _find(self, endpoint: aip.Endpoint, ident: str) -> aip.DeployedModel:
        for deployed in endpoint.deployed_models:
            if deployed.id == ident and ident in self._ids(endpoint):
                return deployed
        raise missing("DeployedModel", f"{ident} of Endpoint {endpoint.name}")

    def _route(self, endpoint: aip.Endpoint) -> None:
        """Let the data plane follow the endpoint's split; a PSA endpoint's one model gets everything."""
        split = dict(endpoint.traffic_split)
        if access.access_of(endpoint) is Access.PSA:
            split = dict.fromkeys(self._ids(endpoint)[:1], 100)
        self._data.set_split(endpoint.name, split)

    def _plan(self, endpoint: aip.Endpoint, deployed: aip.DeployedModel, model: aip.Model) -> DeployPlan:
        limits = access.LIMITS[access.access_of(endpoint)]
        _, number, _, location, *_ = endpoint.name.split("/")
        resources = self._resources(deployed)
        return DeployPlan(
            project=self._registry.projects.id_of(number),
            project_number=number,
            location=location,
            endpoint=endpoint.name,
            deployed_model_id=deployed.id,
            model=model.name,
            model_version_id=model.version_id,
            model_display_name=model.display_name,
            container=model.container_spec,
            artifact_uri=self._artifacts(model),
            machine=resources.machine_spec,
            replicas=resources.min_replica_count,
            spot=resources.spot,
            request_timeout=access.configured_timeout(endpoint) or limits.timeout,
            max_bytes=limits.max_bytes,
        )

    def _resources(self, deployed: aip.DeployedModel) -> aip.DedicatedResources:
        """Machine and replicas: the deployed model's own, or its pool's."""
        if not deployed.shared_resources:
            return deployed.dedicated_resources
        return self._registry.pool(
            self._registry.projects.parse(deployed.shared_resources, COLLECTION)
        ).dedicated_resources

    def _charge(self, endpoint: str, deployed: aip.DeployedModel) -> AbstractContextManager[None]:
        """Hold the quota of its machines; on a pool they are charged already."""
        if deployed.shared_resources:
            return nullcontext()
        return self._pools.quotas.hold((endpoint, deployed.id), deployed.dedicated_resources)

    # --- deploy -------------------------------------------------------------------------------------------------

    async def deploy_model(self, request: aip.DeployModelRequest, context: Context) -> operations_pb2.Operation:
        """Check the request, start the replicas, and once they are healthy add the model and set the split."""
        registry = self._registry
        name = registry.projects.parse(request.endpoint, "endpoints")
        endpoint = registry.endpoint(name)
        deployed = request.deployed_model
        checks.deployed_model(deployed)
        model = self._model(deployed)
        self._fits(endpoint, model, request)
        if deployed.shared_resources:
            deployed.shared_resources = self._pools.admit(deployed.shared_resources, model, name).name
        deployed.id = self._reserve(endpoint, deployed.id)
        splits.after_deploy(endpoint.traffic_split, request.traffic_split, deployed.id, self._ids(endpoint))
        deployed.model, deployed.model_version_id = model.name, model.version_id
        deployed.display_name = deployed.display_name or model.display_name
        plan = self._plan(endpoint, deployed, model)
        registry.starting.setdefault(endpoint.name, {})[deployed.id] = (model.name, model.version_id)
        if deployed.shared_resources:
            joining = registry.joining.setdefault(deployed.shared_resources, {})
            joining[endpoint.name, deployed.id] = model.container_spec.image_uri

        async def work(progress: Progress) -> aip.DeployModelResponse:
            try:
                progress.stage("STARTING_DEPLOYMENT")
                with self._charge(endpoint.name, deployed):
                    await self._data.deploy(plan, progress.stage)
                    progress.commit()
                    await self._join(name, deployed, dict(request.traffic_split), plan.replicas)
            except ApiError:
                progress.stage("FAILED_TO_DEPLOY")
                raise
            finally:
                registry.starting[endpoint.name].pop(deployed.id, None)
                registry.joining.get(deployed.shared_resources, {}).pop((endpoint.name, deployed.id), None)
            progress.stage("SUCCESSFULLY_DEPLOYED")
            return aip.DeployModelResponse(deployed_model=deployed)

        metadata = aip.DeployModelOperationMetadata()
        return self._operations.start(endpoint.name, metadata, work, context, cancellable=True)

    def _model(self, deployed: aip.DeployedModel) -> aip.Model:
        # It may be in another location than the endpoint (DeployedModel.model of aiplatform v1).
        return self._registry.version(self._registry.projects.parse(deployed.model, "models"))

    @staticmethod
    def _fits(endpoint: aip.Endpoint, model: aip.Model, request: aip.DeployModelRequest) -> None:
        kind = access.access_of(endpoint)
        if model.container_spec.invoke_route_prefix and kind is not Access.DEDICATED:
            raise invalid(
                "A Model with container_spec.invoke_route_prefix can only be deployed to a dedicated Endpoint."
            )
        if kind is Access.PSA:
            if endpoint.deployed_models:
                raise precondition(
                    f"The private Endpoint {endpoint.name} has a DeployedModel already; it can have one."
                )
            if len(request.traffic_split) > 1:
                raise invalid("A private Endpoint cannot split traffic.")

    def _reserve(self, endpoint: aip.Endpoint, wanted: str) -> str:
        if not wanted:
            return new_id()
        if not DEPLOYED_ID.fullmatch(wanted) or wanted == splits.BEING_DEPLOYED:
            raise invalid(f"Invalid deployed_model.id '{wanted}'; it must be 1 to 10 digits and not 0.")
        taken = {deployed.id for deployed in endpoint.deployed_models} | self._registry.starting.get(
            endpoint.name, {}
        ).keys()
        if wanted in taken:
            raise exists("DeployedModel", f"{wanted} of Endpoint {endpoint.name}")
        return wanted

    async def _join(self, name: Name, deployed: aip.DeployedModel, requested: splits.Split, replicas: int) -> None:
        """Attach it; on a pool whose replica count changed meanwhile, with as many as the others."""
        if not deployed.shared_resources:
            await self._attach(name, deployed, requested)
            return
        async with self._pools.locks[deployed.shared_resources]:
            wanted = self._resources(deployed).min_replica_count
            try:
                if wanted != replicas:
                    await self._data.scale(name.full, deployed.id, wanted)
            except ApiError:
                await self._data.undeploy(name.full, deployed.id)
                raise
            await self._attach(name, deployed, requested)

    async def _attach(self, name: Name, deployed: aip.DeployedModel, requested: splits.Split) -> None:
        """Add a healthy model to the endpoint as it is now: others may have changed it meanwhile."""
        endpoint = self._registry.endpoint(name)
        try:
            split = splits.after_deploy(endpoint.traffic_split, requested, deployed.id, self._ids(endpoint))
        except ApiError:
            await self._data.undeploy(endpoint.name, deployed.id)
            raise
        deployed.create_time = self._registry.now()
        endpoint.deployed_models.append(deployed)
        endpoint.traffic_split = split
        self._registry.save_endpoint(endpoint)
        self._route(endpoint)

    # --- undeploy -----------------------------------------------------------------------------------------------

    async def undeploy_model(self, request: aip.UndeployModelRequest, context: Context) -> operations_pb2.Operation:
        """Take the model's traffic away at once, let it finish what it accepted, then stop it."""
        registry = self._registry
        name = registry.projects.parse(request.endpoint, "endpoints")
        endpoint = registry.endpoint(name)
        gone = self._find(endpoint, request.deployed_model_id).id
        remaining = [ident for ident in self._ids(endpoint) if ident != gone]
        endpoint.traffic_split = splits.after_undeploy(endpoint.traffic_split, request.traffic_split, gone, remaining)
        registry.leaving.setdefault(endpoint.name, set()).add(gone)
        registry.save_endpoint(endpoint)
        self._route(endpoint)

        async def work(_: Progress) -> aip.UndeployModelResponse:
            try:
                await self._data.undeploy(name.full, gone)
                current = registry.endpoint(name)
                current.deployed_models = [kept for kept in current.deployed_models if kept.id != gone]
                registry.save_endpoint(current)
            finally:
                registry.leaving[name.full].discard(gone)
            return aip.UndeployModelResponse()

        return self._operations.start(endpoint.name, aip.UndeployModelOperationMetadata(), work, context)

    # --- mutate -------------------------------------------------------------------------------------------------

    async def mutate_deployed_model(
        self, request: aip.MutateDeployedModelRequest, context: Context
    ) -> operations_pb2.Operation:
        """Change replica counts and logging of a deployed model."""
        registry = self._registry
        name = registry.projects.parse(request.endpoint, "endpoints")
        endpoint = registry.endpoint(name)
        deployed = self._find(endpoint, request.deployed_model.id)
        paths = request.update_mask.paths
        if deployed.shared_resources and any(path.startswith("dedicated_resources") for path in paths):
            raise invalid(
                f"DeployedModel {deployed.id} is on the DeploymentResourcePool {deployed.shared_resources} and has no "
                "dedicated_resources; update the DeploymentResourcePool."
            )
        before = deployed.dedicated_resources.min_replica_count
        masks.update(deployed, request.deployed_model, paths, MUTABLE)
        if not deployed.shared_resources:
            checks.replica_counts(deployed.dedicated_resources)
        replicas = deployed.dedicated_resources.min_replica_count

        async def work(_: Progress) -> aip.MutateDeployedModelResponse:
            with self._charge(name.full, deployed):
                if replicas != before:
                    await self._data.scale(name.full, deployed.id, replicas)
                current = registry.endpoint(name)
                current.deployed_models = [
                    deployed if kept.id == deployed.id else kept for kept in current.deployed_models
                ]
                registry.save_endpoint(current)
            return aip.MutateDeployedModelResponse(deployed_model=deployed)

        return self._operations.start(endpoint.name, aip.MutateDeployedModelOperationMetadata(), work, context)

    # --- restart ------------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """After a restart: run again all that was deployed; what does not get healthy says so in its status."""
        endpoints = self._registry.endpoints()
        for endpoint in endpoints:
            self._route(endpoint)
        await asyncio.gather(*(self._restore(e, d.id) for e in endpoints for d in e.deployed_models))

    async def _restore(self, endpoint: aip.Endpoint, ident: str) -> None:
        name = self._registry.projects.parse(endpoint.name, "endpoints")
        deployed = next(found for found in endpoint.deployed_models if found.id == ident)
        message = ""
        try:
            model_name = self._registry.projects.parse(deployed.model, "models")
            model = self._registry.version(model_name._replace(version=deployed.model_version_id))
            await self._data.deploy(self._plan(endpoint, deployed, model), lambda _stage: None)
        except ApiError as error:
            message = error.message
            _log.error("cannot start deployed model %s of %s again: %s", ident, endpoint.name, message)
        current = self._registry.endpoint(name)
        for found in current.deployed_models:
            if found.id == ident and found.status.message != message:
                found.status = aip.DeployedModel.Status(message=message)
                self._registry.save_endpoint(current)
        self._route(current)

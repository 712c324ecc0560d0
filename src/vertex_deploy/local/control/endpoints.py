"""EndpointService: endpoints and their traffic split; deployments are in ``deployments``.

Left out: UpdateEndpointLongRunning (UNIMPLEMENTED); encryption keys, request-response logging, monitoring jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.cloud.aiplatform_v1 import types as aip
from google.protobuf import empty_pb2

from vertex_deploy.local.control import access, checks, listing, masks, splits
from vertex_deploy.local.control.access import Access, Addresses
from vertex_deploy.local.control.deployments import Deployments
from vertex_deploy.local.control.names import ENDPOINT_ID, Name, new_id
from vertex_deploy.local.control.refusals import endpoint_in_use, exists, invalid, precondition

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.longrunning import operations_pb2

    from vertex_deploy.local.control.operations import Operations, Progress
    from vertex_deploy.local.control.pools import DeploymentResourcePoolService
    from vertex_deploy.local.control.registry import Registry
    from vertex_deploy.local.seams import DataPlane
    from vertex_deploy.local.wire import Context

UPDATABLE = frozenset({"display_name", "description", "labels", "traffic_split", "client_connection_config"})
_FIELDS = frozenset(
    {
        "name", "display_name", "description", "labels", "etag", "create_time", "update_time", "deployed_models",
        "network", "enable_private_service_connect", "private_service_connect_config", "client_connection_config",
        "dedicated_endpoint_enabled", "dedicated_endpoint_dns", "predict_request_response_logging_config",
        "traffic_split",
    }
)  # fmt: skip
_FILTERS = {
    "display_name": lambda endpoint: endpoint.display_name,
    "endpoint": lambda endpoint: endpoint.name.rpartition("/")[2],
}
_ORDERS = {
    "display_name": lambda endpoint: endpoint.display_name,
    "create_time": lambda endpoint: endpoint.create_time,
    "update_time": lambda endpoint: endpoint.update_time,
}


class EndpointService(Deployments):
    """google.cloud.aiplatform.v1.EndpointService.

    Args:
        registry: what is kept.
        operations: starts long-running operations.
        data: runs what is deployed.
        artifacts: gs:// of the managed copy of a model version's artifacts, or "".
        addresses: where the listeners are.
        pools: machines that deployed models share, and the quotas they are charged against.
    """

    def __init__(
        self,
        registry: Registry,
        operations: Operations,
        data: DataPlane,
        artifacts: Callable[[aip.Model], str],
        addresses: Addresses,
        *,
        pools: DeploymentResourcePoolService,
    ) -> None:
        super().__init__(registry, operations, data, artifacts, pools)
        self._addresses = addresses

    async def create_endpoint(self, request: aip.CreateEndpointRequest, context: Context) -> operations_pb2.Operation:
        """Add an endpoint without traffic."""
        registry = self._registry
        parent = registry.projects.parse(request.parent, "")
        endpoint = request.endpoint
        masks.refuse_unsupported(endpoint, _FIELDS, "endpoint")
        self._check(endpoint)
        if endpoint.traffic_split:
            raise invalid("endpoint.traffic_split cannot be set when the Endpoint is created: nothing is deployed yet.")
        if request.endpoint_id and not ENDPOINT_ID.fullmatch(request.endpoint_id):
            raise invalid(f"Invalid endpoint_id '{request.endpoint_id}'; it must be 1 to 10 digits.")
        name = Name(parent.project, parent.location, "endpoints", request.endpoint_id or new_id())
        if registry.has_endpoint(name.full):
            raise exists("Endpoint", name.full)
        endpoint.name = name.full
        endpoint.deployed_models = []
        endpoint.create_time = registry.now()

        async def work(_: Progress) -> aip.Endpoint:
            if registry.has_endpoint(name.full):
                raise exists("Endpoint", name.full)
            registry.save_endpoint(endpoint)
            return self._show(endpoint)

        return self._operations.start(name.full, aip.CreateEndpointOperationMetadata(), work, context)

    def _show(self, endpoint: aip.Endpoint) -> aip.Endpoint:
        """An endpoint as a client reads it: with what is true now and is not kept."""
        for deployed in endpoint.deployed_models:
            available = self._data.available(endpoint.name, deployed.id)
            if available is not None:
                deployed.status.available_replica_count = available
                deployed.status.last_update_time = self._registry.now()
        return access.show(endpoint, self._addresses)

    @staticmethod
    def _check(endpoint: aip.Endpoint) -> None:
        checks.display_name(endpoint.display_name)
        checks.labels(endpoint.labels)
        access.check(endpoint)

    async def get_endpoint(self, request: aip.GetEndpointRequest, context: Context) -> aip.Endpoint:
        """One endpoint."""
        del context
        endpoint = self._registry.endpoint(self._registry.projects.parse(request.name, "endpoints"))
        return self._show(endpoint)

    async def list_endpoints(self, request: aip.ListEndpointsRequest, context: Context) -> aip.ListEndpointsResponse:
        """Endpoints of a location; the newest first."""
        del context
        parent = self._registry.projects.parse(request.parent, "")
        match = listing.matcher(request.filter, _FILTERS)
        found = [endpoint for endpoint in self._registry.endpoints(parent.full) if match(endpoint)]
        found.sort(key=lambda endpoint: endpoint.create_time, reverse=True)
        ordered = listing.order(found, request.order_by, _ORDERS)
        cut = listing.page(ordered, request.page_size, request.page_token)
        shown = [masks.read(self._show(item), request.read_mask.paths) for item in cut.items]
        return aip.ListEndpointsResponse(endpoints=shown, next_page_token=cut.next_token)

    async def update_endpoint(self, request: aip.UpdateEndpointRequest, context: Context) -> aip.Endpoint:
        """Change the masked fields; a new traffic split counts from the next request on."""
        del context
        endpoint = self._registry.endpoint(self._registry.projects.parse(request.endpoint.name, "endpoints"))
        masks.check_etag(request.endpoint.etag, endpoint.etag)
        changed = masks.update(endpoint, request.endpoint, request.update_mask.paths, UPDATABLE)
        roots = {path.partition(".")[0] for path in changed}
        self._check(endpoint)
        if "traffic_split" in roots:
            splits.check(endpoint.traffic_split, self._ids(endpoint))
            if access.access_of(endpoint) is Access.PSA and len(endpoint.traffic_split) > 1:
                raise invalid("A private Endpoint cannot split traffic.")
        if "client_connection_config" in roots and endpoint.deployed_models:
            raise precondition("client_connection_config can only be changed while no model is deployed.")
        self._registry.save_endpoint(endpoint)
        if "traffic_split" in roots:
            self._route(endpoint)
        return self._show(endpoint)

    async def delete_endpoint(self, request: aip.DeleteEndpointRequest, context: Context) -> operations_pb2.Operation:
        """Delete an endpoint; refused while anything is deployed or being deployed."""
        registry = self._registry
        name = registry.projects.parse(request.name, "endpoints")
        self._refuse_in_use(registry.endpoint(name))

        async def work(_: Progress) -> empty_pb2.Empty:
            self._refuse_in_use(registry.endpoint(name))
            registry.drop_endpoint(name.full)
            self._data.forget_endpoint(name.full)
            return empty_pb2.Empty()

        return self._operations.start(name.full, aip.DeleteOperationMetadata(), work, context)

    def _refuse_in_use(self, endpoint: aip.Endpoint) -> None:
        used = [deployed.id for deployed in endpoint.deployed_models]
        used += list(self._registry.starting.get(endpoint.name, {}))
        if used:
            raise endpoint_in_use(endpoint.name, used)

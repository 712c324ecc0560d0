"""A control plane in memory: real services and store; the data plane and Cloud Storage are stand-ins."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.cloud.aiplatform_v1 import types as aip
from google.longrunning import operations_pb2

from vertex_deploy.local.control.access import Addresses
from vertex_deploy.local.control.endpoints import EndpointService
from vertex_deploy.local.control.models import ModelService
from vertex_deploy.local.control.operations import Operations
from vertex_deploy.local.control.pools import DeploymentResourcePoolService
from vertex_deploy.local.control.registry import Registry
from vertex_deploy.local.state import Store
from vertex_deploy.local.wire import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import grpc

    from vertex_deploy.local.seams import ApiError, DeployPlan

PARENT = "projects/my-project/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/my-project/repo/app@sha256:" + "a" * 64
CALL = Context(transport="rest", method="", version="v1")


@dataclass
class Clock:
    time: float = 1_700_000_000.0

    def now(self) -> float:
        self.time += 1
        return self.time


@dataclass
class FakePlane:
    """Records what it is told; ``gate`` holds deployments back, ``fail`` makes them fail."""

    running: dict[tuple[str, str], DeployPlan] = field(default_factory=dict)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    fail: ApiError | None = None
    scaled: list[tuple[str, int]] = field(default_factory=list)

    async def deploy(self, plan: DeployPlan, on_stage: Callable[[str], None]) -> None:
        on_stage("STARTING_MODEL_SERVER")
        if self.gate:
            await self.gate.wait()
        if self.fail:
            raise self.fail
        self.running[plan.endpoint, plan.deployed_model_id] = plan

    async def undeploy(self, endpoint: str, deployed_model_id: str) -> None:
        await asyncio.sleep(0)
        del self.running[endpoint, deployed_model_id]

    def available(self, endpoint: str, deployed_model_id: str) -> int | None:
        plan = self.running.get((endpoint, deployed_model_id))
        return plan.replicas if plan else None

    async def scale(self, endpoint: str, deployed_model_id: str, replicas: int) -> None:
        self.scaled.append((deployed_model_id, replicas))

    def set_split(self, endpoint: str, split: Mapping[str, int]) -> None:
        self.splits[endpoint] = dict(split)

    def forget_endpoint(self, endpoint: str) -> None:
        self.splits.pop(endpoint, None)

    async def close(self) -> None:
        self.running.clear()


@dataclass
class FakeBlobs:
    objects: set[str] = field(default_factory=set)

    def copy_tree(self, source: str, destination: str) -> int:
        found = [name for name in self.objects if name.startswith(source + "/")]
        self.objects |= {destination + name.removeprefix(source) for name in found}
        return len(found)

    def delete_tree(self, uri: str) -> None:
        self.objects = {name for name in self.objects if not name.startswith(uri + "/")}


class ControlPlane:
    """All services on one store; ``restarted`` is another process on the same store."""

    def __init__(self, store: Store | None = None, blobs: FakeBlobs | None = None) -> None:
        self.store = store or Store()
        self.plane, self.blobs = FakePlane(), blobs or FakeBlobs()
        self.registry = Registry(self.store, Clock())
        self.operations = Operations(self.store, self.registry.projects, self.registry.clock)
        self.models = ModelService(self.registry, self.operations, self.blobs)
        self.pools = DeploymentResourcePoolService(self.registry, self.operations, self.plane)
        self.endpoints = EndpointService(
            self.registry,
            self.operations,
            self.plane,
            self.models.managed_artifacts,
            Addresses(dedicated="localhost:1", http="http://127.0.0.1:2"),
            pools=self.pools,
        )

    def restarted(self) -> ControlPlane:
        return ControlPlane(self.store, self.blobs)

    async def done(self, operation: Any) -> Any:
        return await self.operations.wait_operation(operations_pb2.WaitOperationRequest(name=operation.name), CALL)

    async def finish(self, operation: Any, response: Any) -> Any:
        """The response of an operation that must succeed."""
        finished = await self.done(operation)
        assert finished.done
        assert not finished.HasField("error"), finished.error.message
        held = response.pb()() if hasattr(response, "pb") else response()
        assert finished.response.Unpack(held)
        return response.wrap(held) if hasattr(response, "pb") else held

    async def upload(self, **kwargs: Any) -> aip.UploadModelResponse:
        model = kwargs.pop("model", None) or new_model()
        operation = await self.models.upload_model(aip.UploadModelRequest(parent=PARENT, model=model, **kwargs), CALL)
        return await self.finish(operation, aip.UploadModelResponse)

    async def endpoint(self, endpoint_id: str = "", **fields: Any) -> aip.Endpoint:
        endpoint = aip.Endpoint(display_name="e", **fields)
        request = aip.CreateEndpointRequest(parent=PARENT, endpoint=endpoint, endpoint_id=endpoint_id)
        return await self.finish(await self.endpoints.create_endpoint(request, CALL), aip.Endpoint)

    async def start_deploy(self, endpoint: str, model: str, ident: str = "", split: Any = None, **fields: Any) -> Any:
        request = aip.DeployModelRequest(
            endpoint=endpoint, deployed_model=deployed(model, ident, **fields), traffic_split=split or {}
        )
        return await self.endpoints.deploy_model(request, CALL)

    async def deploy(self, endpoint: str, model: str, ident: str = "", split: Any = None, **fields: Any) -> str:
        operation = await self.start_deploy(endpoint, model, ident, split, **fields)
        return (await self.finish(operation, aip.DeployModelResponse)).deployed_model.id

    async def get(self, name: str) -> aip.Endpoint:
        return await self.endpoints.get_endpoint(aip.GetEndpointRequest(name=name), CALL)

    async def update(self, endpoint: aip.Endpoint, *paths: str) -> aip.Endpoint:
        request = aip.UpdateEndpointRequest(endpoint=endpoint, update_mask={"paths": paths})
        return await self.endpoints.update_endpoint(request, CALL)

    async def start_undeploy(self, endpoint: str, ident: str, split: Any = None) -> Any:
        request = aip.UndeployModelRequest(endpoint=endpoint, deployed_model_id=ident, traffic_split=split or {})
        return await self.endpoints.undeploy_model(request, CALL)


def new_model(**fields: Any) -> aip.Model:
    return aip.Model(**{"display_name": "m", "container_spec": {"image_uri": IMAGE}, **fields})


def deployed(model: str, ident: str = "", **fields: Any) -> aip.DeployedModel:
    resources = {"machine_spec": {"machine_type": "n1-standard-4"}, "min_replica_count": 1}
    return aip.DeployedModel(**{"model": model, "id": ident, "dedicated_resources": resources, **fields})


def refused(found: Any) -> tuple[grpc.StatusCode, str]:
    """Code and message of a ``pytest.raises(ApiError)``."""
    return found.value.code, found.value.message

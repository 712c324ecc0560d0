"""Quotas of Local Vertex: what `--quota` takes, what is charged, and what is refused."""

import asyncio

import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip
from google.rpc import code_pb2

from vertex_deploy.errors import UsageError
from vertex_deploy.local import quotas
from vertex_deploy.local.control.pools import DeploymentResourcePoolService
from vertex_deploy.local.control.quotas import QuotaBook

from .support import CALL, PARENT, ControlPlane, new_model

CPUS, L4, SPOT_L4 = (
    "custom_model_serving_cpus",
    "custom_model_serving_nvidia_l4_gpus",
    "custom_model_serving_preemptible_nvidia_l4_gpus",
)
CPU_ID, L4_ID = "CustomModelServingCPUsPerProjectPerRegion", "CustomModelServingL4GPUsPerProjectPerRegion"
SHARED = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"


def l4(replicas=1, *, most=0, spot=False):
    machine = {"machine_type": "g2-standard-8", "accelerator_type": aip.AcceleratorType.NVIDIA_L4}
    machine["accelerator_count"] = 1
    return {"machine_spec": machine, "min_replica_count": replicas, "max_replica_count": most, "spot": spot}


def limited(**limits):
    control = ControlPlane()
    book = QuotaBook(control.registry, limits)
    control.pools.quotas = book
    assert isinstance(control.endpoints._pools, DeploymentResourcePoolService)
    return control, book


async def parent_of(control):
    endpoint = await control.endpoint("1")
    return endpoint.name, endpoint.name.rpartition("/endpoints/")[0]


async def refusal(control, operation):
    ended = await control.done(operation)
    assert ended.HasField("error")
    assert ended.error.code == code_pb2.RESOURCE_EXHAUSTED == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    return ended.error.message


def test_a_limit_is_taken_with_or_without_the_service():
    entries = [f"{L4}=2", f"aiplatform.googleapis.com/{CPUS}=0"]
    assert quotas.limits(entries) == {L4: 2, CPUS: 0}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["custom_model_serving_nvidia_l4_gpu=2"], rf"unknown quota .*did you mean {L4}\?"),
        (["=2"], r"unknown quota ''; \(allowed: "),
        ([L4], "must be a whole number"),
        ([f"{L4}=-1"], "must be a whole number"),
        ([f"{L4}=two"], "must be a whole number"),
        ([f"{L4}=2", f"{L4}=3"], "has a limit already"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(entries, words):
    with pytest.raises(UsageError, match=words):
        quotas.limits(entries)


async def test_without_limits_nothing_is_counted():
    control, book = limited()
    endpoint, parent = await parent_of(control)
    await control.deploy(endpoint, (await control.upload()).model, "5", {"0": 100})
    assert book.used(parent) == {}


async def test_the_maximum_of_replicas_is_charged_until_the_model_is_undeployed():
    control, book = limited(**{CPUS: 100, L4: 10, SPOT_L4: 10})
    endpoint, parent = await parent_of(control)
    model = (await control.upload()).model
    await control.deploy(endpoint, model, "5", dedicated_resources=l4(1, most=3))
    assert book.used(parent) == {CPUS: 24, L4: 3, SPOT_L4: 0}
    await control.deploy(endpoint, model, "6", dedicated_resources=l4(2, spot=True))
    assert book.used(parent) == {CPUS: 24, L4: 3, SPOT_L4: 2}
    assert book.used(parent.replace("us-central1", "us-east1")) == {CPUS: 0, L4: 0, SPOT_L4: 0}
    assert book.parents() == {("my-project", "us-central1")}
    await control.done(await control.start_undeploy(endpoint, "5"))
    assert book.used(parent) == {CPUS: 0, L4: 0, SPOT_L4: 2}


async def test_a_deployment_over_the_limit_fails_in_the_words_of_the_service_and_leaves_nothing():
    control, book = limited(**{CPUS: 8, L4: 1})
    endpoint, parent = await parent_of(control)
    model = (await control.upload()).model
    await control.deploy(endpoint, model, "5", dedicated_resources=l4())
    operation = await control.start_deploy(endpoint, model, "6", dedicated_resources=l4())
    assert await refusal(control, operation) == f"The following quotas are exceeded: {CPU_ID}, {L4_ID}"
    assert [found.id for found in (await control.get(endpoint)).deployed_models] == ["5"]
    assert (endpoint, "6") not in control.plane.running
    assert book.used(parent) == {CPUS: 8, L4: 1}
    await control.done(await control.start_undeploy(endpoint, "5"))
    await control.deploy(endpoint, model, "6", dedicated_resources=l4())


async def test_a_deployment_under_way_holds_its_machines():
    control, book = limited(**{L4: 1})
    endpoint, parent = await parent_of(control)
    model = (await control.upload()).model
    control.plane.gate = asyncio.Event()
    first = await control.start_deploy(endpoint, model, "5", dedicated_resources=l4())
    second = await control.start_deploy(endpoint, model, "6", dedicated_resources=l4())
    assert L4_ID in await refusal(control, second)
    assert book.used(parent) == {L4: 1}
    control.plane.gate.set()
    await control.finish(first, aip.DeployModelResponse)
    assert book.used(parent) == {L4: 1}


async def test_a_deployment_that_fails_gives_back_what_it_held():
    control, book = limited(**{L4: 1})
    endpoint, parent = await parent_of(control)
    model = (await control.upload()).model
    control.plane.fail = quotas_error()
    assert (await control.done(await control.start_deploy(endpoint, model, "5", dedicated_resources=l4()))).HasField(
        "error"
    )
    assert book.used(parent) == {L4: 0}


def quotas_error():
    from vertex_deploy.local.seams import ApiError  # noqa: PLC0415 - one test

    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, "Model server exited unexpectedly.")


async def test_more_replicas_are_refused_where_fewer_are_not():
    control, book = limited(**{L4: 2})
    endpoint, parent = await parent_of(control)
    await control.deploy(endpoint, (await control.upload()).model, "5", dedicated_resources=l4(2))

    async def mutate(replicas):
        wanted = aip.DeployedModel(id="5", dedicated_resources={"min_replica_count": 1, "max_replica_count": replicas})
        paths = [f"dedicated_resources.{part}_replica_count" for part in ("min", "max")]
        request = aip.MutateDeployedModelRequest(endpoint=endpoint, deployed_model=wanted, update_mask={"paths": paths})
        return await control.endpoints.mutate_deployed_model(request, CALL)

    assert await refusal(control, await mutate(3)) == f"The following quotas are exceeded: {L4_ID}"
    assert book.used(parent) == {L4: 2}
    book.limits = {L4: 0}
    await control.finish(await mutate(1), aip.MutateDeployedModelResponse)
    assert book.used(parent) == {L4: 1}


async def test_a_pool_is_charged_itself_and_the_models_on_it_are_not():
    control, book = limited(**{CPUS: 16})
    endpoint, parent = await parent_of(control)

    async def create(ident):
        resources = {"machine_spec": {"machine_type": "n1-standard-4"}, "min_replica_count": 1, "max_replica_count": 3}
        pool = aip.DeploymentResourcePool(dedicated_resources=resources)
        request = aip.CreateDeploymentResourcePoolRequest(
            parent=PARENT, deployment_resource_pool=pool, deployment_resource_pool_id=ident
        )
        return await control.pools.create_deployment_resource_pool(request, CALL)

    pool = (await control.finish(await create("one"), aip.DeploymentResourcePool)).name
    assert book.used(parent) == {CPUS: 12}
    model = (await control.upload(model=new_model(container_spec={"image_uri": SHARED}))).model
    await control.deploy(endpoint, model, "5", shared_resources=pool, dedicated_resources=None)
    assert book.used(parent) == {CPUS: 12}
    assert CPU_ID in await refusal(control, await create("two"))
    resources = {"min_replica_count": 1, "max_replica_count": 5}
    request = aip.UpdateDeploymentResourcePoolRequest(
        deployment_resource_pool=aip.DeploymentResourcePool(name=pool, dedicated_resources=resources),
        update_mask={"paths": ["dedicated_resources.max_replica_count"]},
    )
    assert CPU_ID in await refusal(control, await control.pools.update_deployment_resource_pool(request, CALL))
    assert book.used(parent) == {CPUS: 12}

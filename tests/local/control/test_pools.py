"""DeploymentResourcePools: what they take, who shares them, and what a changed replica count does."""

import asyncio

import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from vertex_deploy.local.seams import ApiError

from .support import CALL, PARENT, ControlPlane, new_model, refused

Code = grpc.StatusCode
SHARED = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"


@pytest.fixture
async def control():
    return ControlPlane()


async def start_create(control, ident="shared", parent=PARENT, **pool):
    resources = {"machine_spec": {"machine_type": "n1-standard-8"}, "min_replica_count": 2, "max_replica_count": 4}
    request = aip.CreateDeploymentResourcePoolRequest(
        parent=parent,
        deployment_resource_pool=aip.DeploymentResourcePool(**{"dedicated_resources": resources, **pool}),
        deployment_resource_pool_id=ident,
    )
    return await control.pools.create_deployment_resource_pool(request, CALL)


async def create(control, ident="shared", **more):
    return await control.finish(await start_create(control, ident, **more), aip.DeploymentResourcePool)


async def start_update(control, pool, *paths, **resources):
    wanted = aip.DeploymentResourcePool(name=pool, dedicated_resources=resources)
    request = aip.UpdateDeploymentResourcePoolRequest(
        deployment_resource_pool=wanted, update_mask={"paths": [f"dedicated_resources.{path}" for path in paths]}
    )
    return await control.pools.update_deployment_resource_pool(request, CALL)


async def start_delete(control, pool):
    return await control.pools.delete_deployment_resource_pool(aip.DeleteDeploymentResourcePoolRequest(name=pool), CALL)


async def query(control, pool, **more):
    request = aip.QueryDeployedModelsRequest(deployment_resource_pool=pool, **more)
    return await control.pools.query_deployed_models(request, CALL)


async def prebuilt(control, image=SHARED):
    return (await control.upload(model=new_model(container_spec={"image_uri": image}))).model


def on(pool):
    """Fields of a deployed model on a pool."""
    return {"dedicated_resources": None, "shared_resources": pool}


@pytest.fixture
async def pool(control):
    return (await create(control)).name


@pytest.fixture
async def model(control):
    return await prebuilt(control)


@pytest.fixture
async def endpoint(control):
    return (await control.endpoint()).name


# --- the pools themselves --------------------------------------------------------------------------------------------


async def test_a_pool_is_made_read_listed_and_deleted(control):
    made = await create(control)
    assert made.name.endswith("/locations/us-central1/deploymentResourcePools/shared")
    assert made.create_time
    request = aip.GetDeploymentResourcePoolRequest(name=f"{PARENT}/deploymentResourcePools/shared")
    assert await control.pools.get_deployment_resource_pool(request, CALL) == made
    await create(control, "other")
    listed = await control.pools.list_deployment_resource_pools(
        aip.ListDeploymentResourcePoolsRequest(parent=PARENT, page_size=1), CALL
    )
    assert [item.name.rpartition("/")[2] for item in listed.deployment_resource_pools] == ["other"]
    assert listed.next_page_token
    await control.finish(await start_delete(control, made.name), empty_pb2.Empty)
    with pytest.raises(ApiError) as found:
        await control.pools.get_deployment_resource_pool(request, CALL)
    assert refused(found)[0] is Code.NOT_FOUND


async def test_a_pool_without_a_machine_type_has_the_documented_default(control):
    found = (await create(control, dedicated_resources={"min_replica_count": 1})).dedicated_resources
    assert (found.machine_spec.machine_type, found.max_replica_count) == ("n1-standard-2", 1)


@pytest.mark.parametrize(
    ("ident", "fields", "message"),
    [
        ("Shared", {}, "Invalid deployment_resource_pool_id 'Shared'"),
        ("a" * 64, {}, "Invalid deployment_resource_pool_id"),
        ("shared", {"dedicated_resources": None}, "dedicated_resources is required"),
        ("shared", {"dedicated_resources": {"machine_spec": {"machine_type": "n9"}, "min_replica_count": 1}}, "n9"),
        ("shared", {"dedicated_resources": {"min_replica_count": 0}}, "min_replica_count must be at least 1"),
        ("shared", {"encryption_spec": {"kms_key_name": "k"}}, "encryption_spec' is not supported by Local Vertex"),
    ],
)
async def test_what_a_pool_cannot_be_is_refused(control, ident, fields, message):
    with pytest.raises(ApiError) as found:
        await start_create(control, ident, **fields)
    assert refused(found)[0] is Code.INVALID_ARGUMENT
    assert message in refused(found)[1]


async def test_an_id_is_taken_once_even_by_two_at_the_same_time(control):
    first, second = await start_create(control), await start_create(control)
    await control.finish(first, aip.DeploymentResourcePool)
    assert (await control.done(second)).error.code == Code.ALREADY_EXISTS.value[0]
    with pytest.raises(ApiError) as found:
        await start_create(control)
    assert refused(found)[0] is Code.ALREADY_EXISTS


# --- deploying onto one ----------------------------------------------------------------------------------------------


async def test_models_of_several_endpoints_share_a_pools_machine_and_replica_count(control, model, endpoint, pool):
    other = (await control.endpoint()).name
    alias = f"{PARENT}/deploymentResourcePools/shared"
    await control.deploy(endpoint, model, "1", {"0": 100}, **on(alias))
    await control.deploy(endpoint, model, "2", **on(pool))
    await control.deploy(other, model, "1", **on(pool))
    plans = control.plane.running.values()
    assert {(plan.machine.machine_type, plan.replicas) for plan in plans} == {("n1-standard-8", 2)}
    shown = (await control.get(endpoint)).deployed_models
    assert {deployed.shared_resources for deployed in shown} == {pool}
    assert not any("dedicated_resources" in deployed for deployed in shown)
    found = await query(control, pool)
    assert {(ref.endpoint, ref.deployed_model_id) for ref in found.deployed_model_refs} == {
        (endpoint, "1"), (endpoint, "2"), (other, "1")
    }  # fmt: skip
    assert (found.total_deployed_model_count, found.total_endpoint_count) == (3, 2)
    page = await query(control, pool, page_size=2)
    rest = await query(control, pool, page_size=2, page_token=page.next_page_token)
    assert [len(page.deployed_model_refs), len(rest.deployed_model_refs)] == [2, 1]


async def test_a_model_says_whether_it_can_share(control):
    kinds = aip.Model.DeploymentResourcesType
    for image, expected in ((SHARED, True), (new_model().container_spec.image_uri, False)):
        name = await prebuilt(control, image)
        found = await control.models.get_model(aip.GetModelRequest(name=name), CALL)
        assert (kinds.SHARED_RESOURCES in found.supported_deployment_resources_types) is expected


async def test_a_custom_container_cannot_share_a_pool(control, endpoint, pool):
    name = (await control.upload()).model
    with pytest.raises(ApiError) as found:
        await control.start_deploy(endpoint, name, **on(pool))
    assert refused(found)[0] is Code.INVALID_ARGUMENT
    assert "'shared_resources' is not supported for Model" in refused(found)[1]


async def test_a_pool_has_one_image_also_while_the_first_is_still_starting(control, model, endpoint, pool):
    other = await prebuilt(control, SHARED.replace("2-4", "2-1"))
    control.plane.gate = asyncio.Event()
    first = await control.start_deploy(endpoint, model, "1", **on(pool))
    for _ in range(2):
        with pytest.raises(ApiError) as found:
            await control.start_deploy(endpoint, other, "2", **on(pool))
        assert refused(found)[0] is Code.FAILED_PRECONDITION
        control.plane.gate.set()
        await control.finish(first, aip.DeployModelResponse)
    await control.finish(await control.start_undeploy(endpoint, "1"), aip.UndeployModelResponse)
    assert await control.deploy(endpoint, other, "2", **on(pool)) == "2"


async def test_a_pool_must_exist_and_be_in_the_endpoints_region(control, model, endpoint):
    west = PARENT.replace("us-central1", "us-west1")
    far = (await create(control, parent=west)).name
    for name, code in ((far, Code.INVALID_ARGUMENT), (f"{PARENT}/deploymentResourcePools/none", Code.NOT_FOUND)):
        with pytest.raises(ApiError) as found:
            await control.start_deploy(endpoint, model, **on(name))
        assert refused(found)[0] is code


async def test_a_pool_in_use_cannot_be_deleted(control, model, endpoint, pool):
    control.plane.gate = asyncio.Event()
    deploying = await control.start_deploy(endpoint, model, "1", **on(pool))
    for _ in range(2):
        with pytest.raises(ApiError, match=f"{endpoint}/deployedModels/1; undeploy them first") as found:
            await start_delete(control, pool)
        assert refused(found)[0] is Code.FAILED_PRECONDITION
        control.plane.gate.set()
        await control.finish(deploying, aip.DeployModelResponse)
    await control.finish(await control.start_undeploy(endpoint, "1"), aip.UndeployModelResponse)
    await control.finish(await start_delete(control, pool), empty_pb2.Empty)


async def test_a_deployment_that_fails_leaves_nothing_on_the_pool(control, model, endpoint, pool):
    control.plane.fail = ApiError(Code.FAILED_PRECONDITION, "Model server exited unexpectedly.")
    assert (await control.done(await control.start_deploy(endpoint, model, "1", **on(pool)))).error.code
    assert not (await query(control, pool)).deployed_model_refs
    await control.finish(await start_delete(control, pool), empty_pb2.Empty)


# --- changing one ----------------------------------------------------------------------------------------------------

COUNTS = ("min_replica_count", "max_replica_count")


async def test_a_changed_count_applies_to_every_model_on_the_pool_and_to_no_other(control, model, endpoint, pool):
    for ident, fields in (("1", on(pool)), ("2", on(pool)), ("3", {})):
        await control.deploy(endpoint, model, ident, **fields)
    operation = await start_update(control, pool, *COUNTS, min_replica_count=3, max_replica_count=5)
    found = await control.finish(operation, aip.DeploymentResourcePool)
    assert (found.dedicated_resources.min_replica_count, found.dedicated_resources.max_replica_count) == (3, 5)
    assert sorted(control.plane.scaled) == [("1", 3), ("2", 3)]
    control.plane.scaled.clear()
    await control.finish(await start_update(control, pool, COUNTS[1], max_replica_count=9), aip.DeploymentResourcePool)
    assert control.plane.scaled == []


async def test_machines_cannot_be_changed_and_counts_must_fit(control, pool):
    with pytest.raises(ApiError, match="machine_spec"):
        await start_update(control, pool, "machine_spec", machine_spec={"machine_type": "n1-standard-4"})
    with pytest.raises(ApiError, match="below min_replica_count"):
        await start_update(control, pool, COUNTS[0], min_replica_count=5)
    with pytest.raises(ApiError, match="update_mask is required"):
        await start_update(control, pool)


async def test_where_one_model_cannot_follow_all_stay_as_they_were(control, model, endpoint, pool):
    for ident in ("1", "2"):
        await control.deploy(endpoint, model, ident, **on(pool))
    scale = control.plane.scale

    async def fails_for_two(endpoint, ident, replicas):
        if ident == "2":
            raise ApiError(Code.FAILED_PRECONDITION, "Model server never became ready.")
        await scale(endpoint, ident, replicas)

    control.plane.scale = fails_for_two
    operation = await start_update(control, pool, *COUNTS, min_replica_count=3, max_replica_count=5)
    assert (await control.done(operation)).error.message == "Model server never became ready."
    assert control.plane.scaled == [("1", 3), ("1", 2)]
    request = aip.GetDeploymentResourcePoolRequest(name=pool)
    found = (await control.pools.get_deployment_resource_pool(request, CALL)).dedicated_resources
    assert found.min_replica_count == 2


async def test_a_model_that_joins_while_the_count_changes_has_as_many_replicas_as_the_others(
    control, model, endpoint, pool
):
    control.plane.gate = asyncio.Event()
    joining = await control.start_deploy(endpoint, model, "1", **on(pool))
    await asyncio.sleep(0)
    operation = await start_update(control, pool, *COUNTS, min_replica_count=3, max_replica_count=5)
    await control.finish(operation, aip.DeploymentResourcePool)
    control.plane.gate.set()
    await control.finish(joining, aip.DeployModelResponse)
    assert control.plane.scaled == [("1", 3)]


async def test_a_deployed_model_on_a_pool_has_no_replica_counts_to_mutate(control, model, endpoint, pool):
    await control.deploy(endpoint, model, "1", **on(pool))
    wanted = aip.DeployedModel(id="1", dedicated_resources={"min_replica_count": 3}, disable_container_logging=True)

    async def mutate(path):
        request = aip.MutateDeployedModelRequest(
            endpoint=endpoint, deployed_model=wanted, update_mask={"paths": [path]}
        )
        return await control.endpoints.mutate_deployed_model(request, CALL)

    with pytest.raises(ApiError, match="update the DeploymentResourcePool") as found:
        await mutate("dedicated_resources.min_replica_count")
    assert refused(found)[0] is Code.INVALID_ARGUMENT
    found = (
        await control.finish(await mutate("disable_container_logging"), aip.MutateDeployedModelResponse)
    ).deployed_model
    assert (found.disable_container_logging, found.shared_resources) == (True, pool)
    assert control.plane.scaled == []


async def test_a_restart_runs_the_models_of_a_pool_again_with_its_present_count(control, model, endpoint, pool):
    await control.deploy(endpoint, model, "1", {"0": 100}, **on(pool))
    operation = await start_update(control, pool, *COUNTS, min_replica_count=3, max_replica_count=5)
    await control.finish(operation, aip.DeploymentResourcePool)
    again = control.restarted()
    await again.endpoints.restore()
    plan = again.plane.running[endpoint, "1"]
    assert (plan.replicas, plan.machine.machine_type) == (3, "n1-standard-8")
    assert len((await query(again, pool)).deployed_model_refs) == 1


async def test_a_cancelled_deployment_frees_the_pool(control, model, endpoint, pool):
    control.plane.gate = asyncio.Event()
    started = await control.start_deploy(endpoint, model, "1", **on(pool))
    await asyncio.sleep(0)
    await control.operations.cancel_operation(operations_pb2.CancelOperationRequest(name=started.name), CALL)
    assert (await control.done(started)).error.code == Code.CANCELLED.value[0]
    await control.finish(await start_delete(control, pool), empty_pb2.Empty)

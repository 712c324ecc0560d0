import asyncio
import contextlib
from random import Random

import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from vertex_deploy.local.seams import ApiError

from .support import CALL, IMAGE, PARENT, ControlPlane, deployed, new_model, refused

Code = grpc.StatusCode


@pytest.fixture
async def control():
    return ControlPlane()


@pytest.fixture
async def model(control):
    return (await control.upload()).model


@pytest.fixture
async def endpoint(control):
    return (await control.endpoint()).name


async def test_the_first_deployment_takes_the_traffic_it_asks_for(control, model, endpoint):
    ident = await control.deploy(endpoint, model, split={"0": 100})
    found = await control.get(endpoint)
    assert found.traffic_split == {ident: 100}
    assert control.plane.splits[endpoint] == {ident: 100}
    assert [(d.id, d.model, d.model_version_id, d.display_name) for d in found.deployed_models] == [
        (ident, model, "1", "m")
    ]


async def test_a_deployed_model_says_how_many_replicas_take_requests_now(control, model, endpoint):
    ident = await control.deploy(endpoint, model, split={"0": 100})
    (found,) = (await control.get(endpoint)).deployed_models
    assert found.status.available_replica_count == control.plane.running[endpoint, ident].replicas == 1
    assert found.status.last_update_time
    etag = (await control.get(endpoint)).etag
    control.plane.running.clear()
    gone = await control.get(endpoint)
    assert not gone.deployed_models[0].status.last_update_time, "nothing is known of it, which is not zero replicas"
    assert gone.etag == etag


async def test_a_canary_without_a_split_gets_no_traffic(control, model, endpoint):
    stable = await control.deploy(endpoint, model, split={"0": 100})
    await control.deploy(endpoint, model, "42")
    assert (await control.get(endpoint)).traffic_split == {stable: 100}


async def test_a_model_may_be_in_another_location_than_its_endpoint(control, endpoint):
    container = {"image_uri": IMAGE.replace("us-central1", "us-east1")}
    upload = aip.UploadModelRequest(
        parent=PARENT.replace("us-central1", "us-east1"), model=new_model(container_spec=container)
    )
    model = (await control.finish(await control.models.upload_model(upload, CALL), aip.UploadModelResponse)).model
    ident = await control.deploy(endpoint, model)
    assert [deployed.model for deployed in (await control.get(endpoint)).deployed_models] == [model]
    assert control.plane.running[endpoint, ident].location == "us-central1"


async def test_chosen_ids_have_at_most_10_digits_and_generated_ones_more(control, model, endpoint):
    assert await control.deploy(endpoint, model, "1234567890") == "1234567890"
    assert len(await control.deploy(endpoint, model)) == 19
    for bad in ("12345678901", "abc", "0"):
        with pytest.raises(ApiError) as found:
            await control.start_deploy(endpoint, model, bad)
        assert refused(found)[0] is Code.INVALID_ARGUMENT


async def test_an_id_is_taken_while_its_deployment_is_under_way(control, model, endpoint):
    control.plane.gate = asyncio.Event()
    first = await control.start_deploy(endpoint, model, "7")
    with pytest.raises(ApiError) as found:
        await control.start_deploy(endpoint, model, "7")
    assert refused(found)[0] is Code.ALREADY_EXISTS
    assert not (await control.get(endpoint)).deployed_models
    control.plane.gate.set()
    await control.finish(first, aip.DeployModelResponse)
    with pytest.raises(ApiError) as found:
        await control.start_deploy(endpoint, model, "7")
    assert refused(found)[0] is Code.ALREADY_EXISTS


async def test_concurrent_deployments_both_appear(control, model, endpoint):
    control.plane.gate = asyncio.Event()
    under_way = [await control.start_deploy(endpoint, model, ident) for ident in ("1", "2")]
    control.plane.gate.set()
    for operation in under_way:
        await control.finish(operation, aip.DeployModelResponse)
    assert {d.id for d in (await control.get(endpoint)).deployed_models} == {"1", "2"}


async def test_a_split_that_no_longer_fits_when_the_model_is_healthy_undoes_the_deployment(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    control.plane.gate = asyncio.Event()
    under_way = await control.start_deploy(endpoint, model, "2", {"1": 50, "0": 50})
    await control.finish(await control.start_undeploy(endpoint, "1"), aip.UndeployModelResponse)
    control.plane.gate.set()
    operation = await control.done(under_way)
    assert operation.error.code == Code.INVALID_ARGUMENT.value[0]
    assert not control.plane.running
    assert not (await control.get(endpoint)).deployed_models


async def test_a_failed_deployment_is_done_with_an_error_and_leaves_nothing(control, model, endpoint):
    control.plane.fail = ApiError(Code.FAILED_PRECONDITION, "Model server exited unexpectedly.")
    operation = await control.done(await control.start_deploy(endpoint, model, "7", {"0": 100}))
    assert operation.done
    assert (operation.error.code, operation.error.message) == (9, "Model server exited unexpectedly.")
    metadata = aip.DeployModelOperationMetadata.pb()()
    assert operation.metadata.Unpack(metadata)
    assert metadata.deployment_stage == aip.DeploymentStage.FAILED_TO_DEPLOY
    found = await control.get(endpoint)
    assert not found.deployed_models
    assert not found.traffic_split
    control.plane.fail = None
    assert await control.deploy(endpoint, model, "7") == "7"


async def test_operations_tell_stages_and_times_and_are_named_below_the_endpoint(control, model, endpoint):
    control.plane.gate = asyncio.Event()
    started = await control.start_deploy(endpoint, model)
    assert started.name.startswith(f"{endpoint}/operations/")
    assert not started.done
    await asyncio.sleep(0)
    request = operations_pb2.GetOperationRequest(name=started.name.replace(endpoint.split("/")[1], "my-project"))
    operation = await control.operations.get_operation(request, CALL)
    metadata = aip.DeployModelOperationMetadata.pb()()
    assert operation.metadata.Unpack(metadata)
    assert metadata.deployment_stage == aip.DeploymentStage.STARTING_MODEL_SERVER
    assert metadata.generic_metadata.update_time.seconds > metadata.generic_metadata.create_time.seconds > 0
    control.plane.gate.set()
    await control.done(started)


async def test_a_cancelled_deployment_ends_with_cancelled(control, model, endpoint):
    control.plane.gate = asyncio.Event()
    started = await control.start_deploy(endpoint, model, "7")
    await asyncio.sleep(0)
    await control.operations.cancel_operation(operations_pb2.CancelOperationRequest(name=started.name), CALL)
    operation = await control.done(started)
    assert operation.error.code == Code.CANCELLED.value[0]
    control.plane.gate.set()
    assert await control.deploy(endpoint, model, "7") == "7"


async def test_an_undeployment_is_carried_through(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    started = await control.start_undeploy(endpoint, "1")
    await control.operations.cancel_operation(operations_pb2.CancelOperationRequest(name=started.name), CALL)
    await control.finish(started, aip.UndeployModelResponse)
    assert not control.plane.running


async def test_a_model_with_traffic_cannot_be_undeployed_unless_the_request_moves_it(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    await control.deploy(endpoint, model, "2", {"1": 90, "0": 10})
    with pytest.raises(ApiError) as found:
        await control.start_undeploy(endpoint, "2")
    assert refused(found)[0] is Code.FAILED_PRECONDITION
    operation = await control.start_undeploy(endpoint, "2", {"1": 100})
    assert control.plane.splits[endpoint] == {"1": 100}  # before the model drains
    await control.finish(operation, aip.UndeployModelResponse)
    assert [d.id for d in (await control.get(endpoint)).deployed_models] == ["1"]


async def test_undeploying_the_last_model_empties_the_split(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    await control.finish(await control.start_undeploy(endpoint, "1"), aip.UndeployModelResponse)
    found = await control.get(endpoint)
    assert not found.traffic_split
    assert not found.deployed_models


async def test_a_model_that_is_being_undeployed_can_get_no_traffic(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    await control.deploy(endpoint, model, "2")
    operation = await control.start_undeploy(endpoint, "2")
    with pytest.raises(ApiError) as found:
        await control.update(aip.Endpoint(name=endpoint, traffic_split={"2": 100}), "traffic_split")
    assert refused(found)[0] is Code.INVALID_ARGUMENT
    with pytest.raises(ApiError) as found:
        await control.start_undeploy(endpoint, "2")
    assert refused(found)[0] is Code.NOT_FOUND
    await control.finish(operation, aip.UndeployModelResponse)


async def test_updates_set_the_split_by_mask_and_refuse_an_old_etag(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    await control.deploy(endpoint, model, "2")
    before = await control.get(endpoint)
    wanted = aip.Endpoint(before)
    wanted.traffic_split, wanted.display_name = {"1": 90, "2": 10}, "ignored"
    updated = await control.update(wanted, "traffic_split")
    assert updated.traffic_split == {"1": 90, "2": 10} == control.plane.splits[endpoint]
    assert updated.display_name == "e"
    assert updated.etag != before.etag
    with pytest.raises(ApiError) as found:
        await control.update(wanted, "traffic_split")
    assert refused(found)[0] is Code.ABORTED


async def test_a_split_must_sum_to_100_and_name_deployed_models(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    for split in ({"1": 99}, {"1": 90, "5": 10}):
        with pytest.raises(ApiError) as found:
            await control.update(aip.Endpoint(name=endpoint, traffic_split=split), "traffic_split")
        assert refused(found)[0] is Code.INVALID_ARGUMENT
    assert (await control.get(endpoint)).traffic_split == {"1": 100}


async def test_mutate_scales_and_refuses_what_is_not_mutable(control, model, endpoint):
    await control.deploy(endpoint, model, "1")

    async def mutate(*paths, **resources):
        wanted = deployed(model, "1")
        for name, value in resources.items():
            setattr(wanted.dedicated_resources, name, value)
        request = aip.MutateDeployedModelRequest(endpoint=endpoint, deployed_model=wanted, update_mask={"paths": paths})
        return await control.endpoints.mutate_deployed_model(request, CALL)

    paths = ("dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count")
    operation = await mutate(*paths, min_replica_count=2, max_replica_count=3)
    response = await control.finish(operation, aip.MutateDeployedModelResponse)
    assert response.deployed_model.dedicated_resources.max_replica_count == 3
    assert control.plane.scaled == [("1", 2)]
    with pytest.raises(ApiError):
        await mutate("dedicated_resources.machine_spec")


async def test_an_endpoint_in_use_cannot_be_deleted(control, model, endpoint):
    await control.deploy(endpoint, model, "1")
    with pytest.raises(ApiError) as found:
        await control.endpoints.delete_endpoint(aip.DeleteEndpointRequest(name=endpoint), CALL)
    assert refused(found)[0] is Code.FAILED_PRECONDITION
    await control.finish(await control.start_undeploy(endpoint, "1"), aip.UndeployModelResponse)
    operation = await control.endpoints.delete_endpoint(aip.DeleteEndpointRequest(name=endpoint), CALL)
    await control.finish(operation, empty_pb2.Empty)
    with pytest.raises(ApiError) as found:
        await control.get(endpoint)
    assert refused(found)[0] is Code.NOT_FOUND


async def test_endpoint_ids_are_unique_and_names_carry_the_project_number(control):
    found = await control.endpoint("1234567890")
    assert (
        found.name
        == f"projects/{control.registry.projects.number('my-project')}/locations/us-central1/endpoints/1234567890"
    )
    assert control.registry.resolve(f"{PARENT}/endpoints/1234567890") == found.name
    assert control.registry.resolve(f"{PARENT}/endpoints/9") is None
    with pytest.raises(ApiError) as raised:
        await control.endpoint("1234567890")
    assert refused(raised)[0] is Code.ALREADY_EXISTS


async def test_a_split_cannot_be_set_at_creation(control):
    with pytest.raises(ApiError, match="traffic_split"):
        await control.endpoint(traffic_split={"1": 100})


async def test_limits_follow_the_kind_of_endpoint(control, model):
    shared = (await control.endpoint()).name
    dedicated = await control.endpoint(
        dedicated_endpoint_enabled=True, client_connection_config={"inference_timeout": {"seconds": 90}}
    )
    assert dedicated.dedicated_endpoint_dns == "localhost:1"
    for name in (shared, dedicated.name):
        await control.deploy(name, model, "1")
    plans = control.plane.running
    assert (plans[shared, "1"].request_timeout, plans[shared, "1"].max_bytes) == (60.0, 1_572_864)
    assert (plans[dedicated.name, "1"].request_timeout, plans[dedicated.name, "1"].max_bytes) == (90.0, 10_485_760)


async def test_a_peered_endpoint_has_one_model_that_gets_everything(control, model):
    endpoint = (await control.endpoint(network="projects/1/global/networks/n")).name
    await control.deploy(endpoint, model, "1")
    found = await control.get(endpoint)
    assert found.deployed_models[0].private_endpoints.predict_http_uri == f"http://127.0.0.1:2/v1/{endpoint}:predict"
    assert control.plane.splits[endpoint] == {"1": 100}
    with pytest.raises(ApiError) as raised:
        await control.start_deploy(endpoint, model, "2")
    assert refused(raised)[0] is Code.FAILED_PRECONDITION


async def test_an_invoke_route_needs_a_dedicated_endpoint(control, endpoint):
    spec = {"image_uri": new_model().container_spec.image_uri, "invoke_route_prefix": "/*"}
    name = (await control.upload(model=new_model(container_spec=spec))).model
    with pytest.raises(ApiError, match="dedicated"):
        await control.start_deploy(endpoint, name)


async def test_a_restart_runs_what_was_deployed_and_ends_what_was_under_way(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    control.plane.gate = asyncio.Event()
    under_way = await control.start_deploy(endpoint, model, "2")
    await asyncio.sleep(0)
    await control.operations.close()

    again = control.restarted()
    assert again.operations.end_interrupted() == [under_way.name]
    await again.endpoints.restore()
    operation = await again.done(under_way)
    assert operation.done
    assert operation.error.code == Code.ABORTED.value[0]
    assert "restarted" in operation.error.message
    assert again.plane.running.keys() == {(endpoint, "1")}
    assert again.plane.splits[endpoint] == {"1": 100}
    assert await again.deploy(endpoint, model, "2") == "2"


async def test_a_model_that_does_not_start_again_says_so_in_its_status(control, model, endpoint):
    await control.deploy(endpoint, model, "1", {"0": 100})
    again = control.restarted()
    again.plane.fail = ApiError(Code.INVALID_ARGUMENT, "image is not mapped")
    await again.endpoints.restore()
    assert (await again.get(endpoint)).deployed_models[0].status.message == "image is not mapped"


async def something(control, names, random, under_way, fresh):
    """One random call; refusals are as good as answers."""
    endpoint, model = names
    ids = [found.id for found in (await control.get(endpoint)).deployed_models] or ["1"]
    first = random.choice([0, 10, 50, 100, 101])
    one, other = random.sample([*ids, "0", "77"], 2)
    split = random.choice([{}, {one: first, other: 100 - first}, {one: 100}])
    match random.choice(["deploy", "undeploy", "update", "wait", "cancel"]):
        case "deploy":
            under_way.append(await control.start_deploy(endpoint, model, fresh, split))
        case "undeploy":
            under_way.append(await control.start_undeploy(endpoint, random.choice(ids), split))
        case "update":
            await control.update(aip.Endpoint(name=endpoint, traffic_split=split), "traffic_split")
        case "wait" if under_way:
            await control.done(under_way.pop(0))
        case "cancel" if under_way:
            request = operations_pb2.CancelOperationRequest(name=random.choice(under_way).name)
            await control.operations.cancel_operation(request, CALL)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_asked_in_whatever_order_traffic_goes_only_to_what_runs(control, model, endpoint, seed):
    random, under_way = Random(seed), []
    for step in range(60):
        with contextlib.suppress(ApiError):
            await something(control, (endpoint, model), random, under_way, str(step + 1))
        found = await control.get(endpoint)
        assert sum(found.traffic_split.values()) in {0, 100}
        assert found.traffic_split.keys() <= {deployed.id for deployed in found.deployed_models}
        assert dict(found.traffic_split) == control.plane.splits.get(endpoint, {})
        for ident, percent in found.traffic_split.items():
            assert not percent or (endpoint, ident) in control.plane.running
    for operation in under_way:
        assert (await control.done(operation)).done
    found = await control.get(endpoint)
    assert {deployed.id for deployed in found.deployed_models} == {ident for _, ident in control.plane.running}
    assert not control.registry.starting.get(endpoint)
    assert not control.registry.leaving.get(endpoint)

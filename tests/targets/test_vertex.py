from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as aip
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from vertex_deploy.errors import CloudError, RolloutError, SplitConflict
from vertex_deploy.gcp import Caller
from vertex_deploy.release import build_release
from vertex_deploy.spec import names
from vertex_deploy.spec.models import Spec
from vertex_deploy.targets import vertex_requests as requests
from vertex_deploy.targets.folders import MemoryFolders
from vertex_deploy.targets.vertex import VertexTarget, observation, progress

SPEC = Spec.model_validate(
    {
        "name": "lite0",
        "gcp": {"project": "p", "region": "us-central1"},
        "model": {"artifact": "gs://b/m/1", "labels": {"team": "vision"}},
        "container": {"image": "torch-aoti", "env": {"A": "1"}, "startup_timeout": "10m"},
        "target": {
            "type": "vertex",
            "endpoint": {"access": "psc", "allow_projects": ["q"]},
            "machine": {"type": "g2-standard-8", "accelerator": "L4:1", "spot": True},
            "replicas": {"min": 2, "max": 5, "scale_on": {"gpu_duty_cycle": 60}},
        },
    }
)
RELEASE = build_release(SPEC, commit="abc")
ENDPOINT = "projects/1/locations/us-central1/endpoints/7"


class Client:
    """Stands for both of Google's clients: each method gives the next of its answers, or raises it."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []

    def __getattr__(self, name: str) -> Any:
        def call(*, request: Any, retry: Any, timeout: float) -> Any:
            self.asked.append((name, request))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def target(client: Client) -> VertexTarget:
    found = VertexTarget(SPEC, RELEASE, caller=Caller(sleep=lambda _s: None))
    found._clients = {"endpoints": client, "models": client}
    return found


def test_a_deployment_is_asked_for_as_the_spec_says() -> None:
    message = requests.deployed_model_message(SPEC, model="projects/p/locations/l/models/lite0@3", deployed_id="12")
    resources = message.dedicated_resources
    assert (message.id, message.display_name) == ("12", "lite0-3")
    assert resources.machine_spec.accelerator_type == aip.AcceleratorType.NVIDIA_L4
    assert (resources.min_replica_count, resources.max_replica_count, resources.spot) == (2, 5, True)
    (scale,) = resources.autoscaling_metric_specs
    assert (scale.metric_name.rpartition("/online/")[2], scale.target) == ("accelerator/duty_cycle", 60)


def test_an_upload_carries_the_releases_hash_and_is_found_by_it() -> None:
    message = requests.model_message(SPEC, RELEASE)
    assert message.labels[requests.RELEASE_LABEL] == RELEASE.hash
    assert message.container_spec.deployment_timeout.total_seconds() == 600
    assert requests.matches_release(message, RELEASE)
    message.labels.clear()
    assert requests.matches_release(message, RELEASE)
    assert not requests.matches_release(aip.Model(version_description="release 000000000000"), RELEASE)


def test_what_a_rollout_makes_has_the_key_that_the_spec_asks_for():
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    infra = SPEC.infra.model_copy(update={"encryption_key": key})
    ours = SPEC.model_copy(update={"infra": infra})
    made = (requests.model_message(ours, RELEASE), requests.endpoint_message(ours))
    assert [message.encryption_spec.kms_key_name for message in made] == [key, key]
    assert "encryption_spec" not in requests.model_message(SPEC, RELEASE)
    assert "encryption_spec" not in requests.endpoint_message(SPEC)


def test_ids_are_derived_and_within_the_apis_limits() -> None:
    assert names.endpoint_id(SPEC) == names.endpoint_id(SPEC)
    assert len(names.endpoint_id(SPEC)) == 9
    assert len(requests.deployed_id_for("20261121-093000-abc")) == 10
    assert requests.deployed_id_for("a") != requests.deployed_id_for("b")


def test_a_private_endpoint_says_who_may_connect() -> None:
    config = requests.endpoint_message(SPEC).private_service_connect_config
    assert (config.enable_private_service_connect, list(config.project_allowlist)) == (True, ["q"])


def test_an_endpoint_is_read_back_without_zero_entries() -> None:
    endpoint = aip.Endpoint(
        name=ENDPOINT,
        etag="e",
        traffic_split={"1": 100, "2": 0},
        deployed_models=[aip.DeployedModel(id="1", model="projects/1/locations/l/models/m@4")],
    )
    found = observation(endpoint)
    assert found.split == {"1": 100}
    (deployed,) = found.deployed
    assert (deployed.reference, deployed.available) == ("projects/1/locations/l/models/m@4", None)


def test_done_with_an_error_is_an_error_and_the_stage_is_told() -> None:
    operation = operations_pb2.Operation(name="o", done=True, error=status_pb2.Status(code=9, message="exited\n oddly"))
    metadata = aip.DeployModelOperationMetadata(deployment_stage=aip.DeploymentStage.STARTING_MODEL_SERVER)
    operation.metadata.Pack(aip.DeployModelOperationMetadata.pb(metadata))
    found = progress(operation)
    assert (found.done, found.error, found.stage) == (
        True,
        "FAILED_PRECONDITION: exited oddly",
        "STARTING_MODEL_SERVER",
    )


def test_an_upload_that_is_done_names_its_version() -> None:
    operation = operations_pb2.Operation(name="o", done=True)
    response = aip.UploadModelResponse(model="projects/1/locations/l/models/m", model_version_id="3")
    operation.response.Pack(aip.UploadModelResponse.pb(response))
    assert progress(operation).result == "projects/1/locations/l/models/m@3"


def test_a_split_goes_out_alone_with_the_etag_that_was_read() -> None:
    client = Client(update_endpoint=None)
    target(client).set_split(ENDPOINT, {"1": 90, "2": 10}, etag="e1")
    ((_, request),) = client.asked
    assert request["update_mask"] == {"paths": ["traffic_split"]}
    assert request["endpoint"] == {"name": ENDPOINT, "traffic_split": {"1": 90, "2": 10}, "etag": "e1"}


@pytest.mark.parametrize("error", [exceptions.Aborted("etag"), exceptions.FailedPrecondition("etag")])
def test_an_endpoint_that_changed_is_a_conflict(error: Exception) -> None:
    with pytest.raises(SplitConflict):
        target(Client(update_endpoint=error)).set_split(ENDPOINT, {"1": 100}, etag="e1")


def test_a_taken_id_is_not_an_error_but_anything_else_is() -> None:
    arguments = {"model": "projects/p/locations/l/models/m@1", "deployed_id": "1", "first": False}
    assert target(Client(deploy_model=exceptions.AlreadyExists("x"))).start_deploy(ENDPOINT, **arguments) == ""
    with pytest.raises(CloudError, match="PERMISSION_DENIED"):
        target(Client(deploy_model=exceptions.PermissionDenied("x"))).start_deploy(ENDPOINT, **arguments)


def test_only_the_first_model_of_an_endpoint_is_deployed_with_traffic() -> None:
    operation = type("Future", (), {"operation": operations_pb2.Operation(name="op")})
    for first, split in ((True, {"0": 100}), (False, {})):
        client = Client(deploy_model=operation)
        name = target(client).start_deploy(
            ENDPOINT, model="projects/p/locations/l/models/m@1", deployed_id="1", first=first
        )
        assert (name, client.asked[0][1]["traffic_split"]) == ("op", split)


def test_what_is_gone_is_none_and_a_forgotten_operation_is_lost() -> None:
    gone = exceptions.NotFound("x")
    assert target(Client(get_endpoint=gone)).observe(ENDPOINT) is None
    assert target(Client(get_operation=gone)).poll("o").lost
    assert target(Client(undeploy_model=gone)).start_undeploy(ENDPOINT, "1") == ""
    assert target(Client(list_model_versions=gone)).find_model() is None


def test_only_an_endpoint_marked_as_ours_is_taken() -> None:
    ours = aip.Endpoint(name="e/1", display_name="lite0", labels={names.OWNER_LABEL: "lite0"})
    other = aip.Endpoint(name="e/2", display_name="lite0")
    assert target(Client(list_endpoints=[ours, other])).find_endpoint() == "e/1"
    assert target(Client(list_endpoints=[])).find_endpoint() is None
    with pytest.raises(RolloutError, match="not ours"):
        target(Client(list_endpoints=[other])).find_endpoint()
    with pytest.raises(RolloutError, match="2 endpoints"):
        target(Client(list_endpoints=[ours, ours])).find_endpoint()


def test_a_model_that_is_not_ours_gets_no_version_of_ours() -> None:
    with pytest.raises(RolloutError, match="exists and is not ours"):
        target(Client(list_model_versions=[aip.Model(version_id="1")])).start_upload()


def test_of_two_uploads_of_one_release_every_start_picks_the_first() -> None:
    labels = {requests.RELEASE_LABEL: RELEASE.hash}
    versions = [aip.Model(version_id=v, labels=labels) for v in ("10", "9")]
    found = target(Client(list_model_versions=versions)).find_model()
    assert found == "projects/p/locations/us-central1/models/lite0@9"


# --- on a pool -------------------------------------------------------------------------------------------------------

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"
POOL = "projects/p/locations/us-central1/deploymentResourcePools/shared"
POOLED = Spec.model_validate(
    {
        "name": "lite0",
        "gcp": {"project": "p", "region": "us-central1"},
        "container": {"image": IMAGE},
        "target": {"type": "vertex", "pool": "shared"},
    }
)


class Pools(Client):
    """A pool with one model on it, whose image is ``there``."""

    def __init__(self, there: str = IMAGE, **answers: Any) -> None:
        ref = aip.DeployedModelRef(endpoint="e/1", deployed_model_id="7")
        deployed = aip.DeployedModel(id="7", model="m/1", model_version_id="2")
        super().__init__(
            **{
                "get_deployment_resource_pool": aip.DeploymentResourcePool(),
                "query_deployed_models": Pages([aip.QueryDeployedModelsResponse(deployed_model_refs=[ref])]),
                "get_endpoint": aip.Endpoint(deployed_models=[deployed]),
                "get_model": aip.Model(container_spec={"image_uri": there}),
                **answers,
            }
        )


class Pages:
    """A pager."""

    def __init__(self, pages: list[Any]) -> None:
        self.pages = pages


def on_a_pool(client: Client, image: str = IMAGE) -> VertexTarget:
    release = build_release(POOLED, pins={"image": image})
    found = VertexTarget(POOLED, release, caller=Caller(sleep=lambda _s: None))
    found._clients = dict.fromkeys(("endpoints", "models", "pools"), client)
    return found


def test_a_version_is_deployed_onto_the_pool_with_no_machine_of_its_own() -> None:
    message = requests.deployed_model_message(POOLED, model="projects/p/locations/l/models/lite0@3", deployed_id="12")
    assert message.shared_resources == POOL
    assert "dedicated_resources" not in message


def test_a_pool_that_takes_the_release_passes_and_is_only_read() -> None:
    client = Pools()
    on_a_pool(client).check()
    assert [name for name, _ in client.asked] == [
        *("get_deployment_resource_pool", "query_deployed_models", "get_endpoint", "get_model")
    ]
    assert client.asked[0][1] == {"name": POOL}
    assert client.asked[3][1] == {"name": "m/1@2"}
    on_a_pool(Pools(query_deployed_models=Pages([]))).check()


def test_without_a_pool_nothing_is_asked() -> None:
    client = Client()
    target(client).check()
    assert client.asked == []


def test_the_files_that_are_looked_for_are_the_releases_own() -> None:
    folders = MemoryFolders(("gs://b/m/2/model.pt",))
    VertexTarget(SPEC, build_release(SPEC, pins={"artifact": "gs://b/m/2/"}), folders=folders).check_artifact()
    assert folders.asked == ["gs://b/m/2"]
    with pytest.raises(RolloutError, match=r"no files below gs://b/m/1, so there is no model to upload; copy it there"):
        VertexTarget(SPEC, RELEASE, folders=folders).check_artifact()


def test_a_model_that_is_in_its_image_has_no_files_to_look_for() -> None:
    spec = SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"artifact": None})})
    folders = MemoryFolders()
    VertexTarget(spec, build_release(spec), folders=folders).check_artifact()
    assert folders.asked == []


def test_a_pool_that_is_not_there_or_takes_another_image_is_refused_with_the_fix() -> None:
    with pytest.raises(RolloutError, match=r"no DeploymentResourcePool shared in us-central1; make it \(`pulumi up`"):
        on_a_pool(Pools(get_deployment_resource_pool=exceptions.NotFound("x"))).check()
    other = IMAGE.replace("2-4", "2-1")
    with pytest.raises(RolloutError, match=r"has models of .*2-1:latest, and all models of a pool have the same image"):
        on_a_pool(Pools(other)).check()
    with pytest.raises(RolloutError, match="cannot share the pool shared: pools take only prebuilt"):
        on_a_pool(Pools(), "us-central1-docker.pkg.dev/p/r/own@sha256:" + "a" * 64).check()


def test_what_left_the_pool_while_it_was_asked_does_not_count() -> None:
    on_a_pool(Pools("other", get_endpoint=exceptions.NotFound("x"))).check()
    on_a_pool(Pools("other", get_model=exceptions.NotFound("x"))).check()
    with pytest.raises(CloudError):
        on_a_pool(Pools(get_model=exceptions.PermissionDenied("x"))).check()

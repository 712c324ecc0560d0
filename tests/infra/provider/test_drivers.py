"""What drivers do when the API fails in the middle, on stand-in clients; the rest is driven against Local Vertex."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from google.cloud import aiplatform_v1 as aip
from google.longrunning import operations_pb2

from infra.provider.drivers.base import Cancelled, Cloud, Incomplete, Request
from infra.provider.drivers.deployed_model import DeployedModelDriver
from infra.provider.drivers.model import ModelDriver
from infra.provider.drivers.traffic_split import set_split
from vertex_deploy.errors import CloudError, OperationFailed, OperationTimeout, SplitConflict

PARENT = "projects/p/locations/us-central1"
BASE = f"{PARENT}/models/m"
INPUTS = {
    "project": "p",
    "region": "us-central1",
    "modelId": "m",
    "displayName": "m",
    "container": {"imageUri": "us-central1-docker.pkg.dev/p/r/app"},
    "owner": "pulumi",
}
STATE = {**INPUTS, "name": BASE, "versionId": "1", "versionName": f"{BASE}@1", "createTime": "t"}
REQUEST = Request("urn")


class FakeCloud(Cloud):
    """Calls go to the client that the test gives, without retries."""

    def __init__(self, client, clock=lambda: 0.0):
        super().__init__(clock=clock)
        self.client = client

    def models(self, region):
        return self.client

    endpoints = models

    def call(self, method, request, *, what, repeatable=True):
        return method(request)

    def pause(self, seconds):
        if self.cancelled.is_set():
            raise Cancelled("cancelled", code="CANCELLED")


def refuse(code):
    def call(request):
        raise CloudError(f"{code}: refused", code=code)

    return call


@pytest.fixture
def registry():
    """A model client with one version; notes its calls."""
    found = aip.Model(name=BASE, version_id="1", display_name="m")
    calls = []

    def update(request):
        calls.append((request["model"].name, request["update_mask"]["paths"]))
        return request["model"]

    return SimpleNamespace(
        calls=calls,
        get_model=lambda request: found,
        update_model=update,
        merge_version_aliases=lambda request: calls.append(request["version_aliases"]),
    )


def test_an_update_that_fails_at_its_second_call_keeps_the_state_and_is_finished_later(registry):
    news = {**INPUTS, "description": "d", "versionAliases": ["golden"]}
    merge, registry.merge_version_aliases = registry.merge_version_aliases, refuse("PERMISSION_DENIED")
    driver = ModelDriver(FakeCloud(registry))
    with pytest.raises(Incomplete) as half:
        driver.update(BASE, STATE, INPUTS, news, REQUEST)
    assert half.value.ident == BASE
    assert half.value.properties["versionName"] == f"{BASE}@1"
    registry.merge_version_aliases = merge
    # The engine keeps the new inputs with such a failure; what is missing is seen in the API.
    driver.update(BASE, half.value.properties, news, news, REQUEST)
    assert registry.calls == [(BASE, ["description"]), (BASE, ["description"]), ["golden"]]


def test_what_is_the_models_and_what_is_a_versions_are_changed_by_requests_of_their_own(registry):
    news = {**INPUTS, "displayName": "M", "description": "d", "versionDescription": "v", "labels": {"a": "b"}}
    ModelDriver(FakeCloud(registry)).update(BASE, STATE, INPUTS, news, REQUEST)
    assert registry.calls == [
        (BASE, ["display_name", "description"]),
        (f"{BASE}@1", ["version_description", "labels"]),
    ]


@pytest.fixture
def labelled(registry):
    """The same, of a model that has a label of its own: every version is told with it, whatever it is given."""
    registry.get_model = lambda request: aip.Model(name=BASE, version_id="1", display_name="m", labels={"theirs": "1"})

    def update(request):
        registry.calls.append((request["model"].name, request["update_mask"]["paths"]))
        return aip.Model(labels={"theirs": "1", **request["model"].labels})

    registry.update_model = update
    return registry


def test_labels_that_a_version_still_shows_are_taken_off_the_model_once(labelled):
    news = {**INPUTS, "labels": {"a": "b"}}
    ModelDriver(FakeCloud(labelled)).update(BASE, STATE, INPUTS, news, REQUEST)
    assert labelled.calls == [(f"{BASE}@1", ["labels"]), (BASE, ["labels"])]


def test_labels_that_stay_on_the_model_leave_the_update_incomplete(labelled):
    update = labelled.update_model
    labelled.update_model = lambda request: update(request) if "@" in request["model"].name else refuse("X")(request)
    with pytest.raises(Incomplete):
        ModelDriver(FakeCloud(labelled)).update(BASE, STATE, INPUTS, {**INPUTS, "labels": {"a": "b"}}, REQUEST)
    assert labelled.calls == [(f"{BASE}@1", ["labels"])]


def test_an_update_that_fails_at_its_first_call_changed_nothing(registry):
    registry.update_model = refuse("INVALID_ARGUMENT")
    with pytest.raises(CloudError, match="INVALID_ARGUMENT") as failed:
        ModelDriver(FakeCloud(registry)).update(BASE, STATE, INPUTS, {**INPUTS, "description": "d"}, REQUEST)
    assert not isinstance(failed.value, Incomplete)


def test_a_rollouts_model_is_not_touched(registry):
    owned = {**INPUTS, "owner": "rollout"}
    news = {**owned, "description": "d", "artifactUri": "gs://b/2"}
    assert ModelDriver(FakeCloud(registry)).update(BASE, STATE, owned, news, REQUEST)["versionId"] == "1"
    assert registry.calls == []


def operations(*answers):
    left = list(answers)
    return SimpleNamespace(get_operation=lambda request: left.pop(0) if len(left) > 1 else left[0])


def test_an_operation_that_is_done_may_have_failed():
    failed = operations_pb2.Operation(done=True)
    failed.error.code, failed.error.message = 9, "Model server\nexited"
    client = operations(operations_pb2.Operation(), failed)
    with pytest.raises(OperationFailed, match="X: FAILED_PRECONDITION: Model server exited"):
        FakeCloud(client).wait(client, "op", timeout=10, what="X")


def test_waiting_ends_at_the_timeout_and_at_a_cancellation():
    client, now = operations(operations_pb2.Operation()), iter(range(100))
    with pytest.raises(OperationTimeout, match=r"X: not done after 3 s; it goes on.*\(op\)"):
        FakeCloud(client, clock=lambda: next(now)).wait(client, "op", timeout=3, what="X")
    cloud = FakeCloud(client)
    cloud.cancelled.set()
    with pytest.raises(Cancelled):
        cloud.wait(client, "op", timeout=3, what="X")


def test_a_mutation_that_fails_half_way_keeps_what_the_endpoint_says():
    name = f"{PARENT}/endpoints/1"
    there = aip.DeployedModel(
        id="7",
        model=f"{BASE}@1",
        dedicated_resources={
            "machine_spec": {"machine_type": "n1-standard-4"},
            "min_replica_count": 1,
            "max_replica_count": 1,
        },
        create_time={"seconds": 1},
    )
    failed = operations_pb2.Operation(done=True)
    failed.error.code, failed.error.message = 8, "no machines"

    def mutate(request):
        # The API writes what was asked for and then fails to get the machines.
        there.dedicated_resources.max_replica_count = request["deployed_model"].dedicated_resources.max_replica_count
        return SimpleNamespace(operation=SimpleNamespace(name="op"))

    client = SimpleNamespace(
        get_endpoint=lambda request: aip.Endpoint(name=name, deployed_models=[there]),
        mutate_deployed_model=mutate,
        get_operation=lambda request: failed,
    )
    olds = {"endpoint": name, "model": f"{BASE}@1", "deployedModelId": "7", "owner": "pulumi"}
    olds["machine"] = {"type": "n1-standard-4"}
    news = {**olds, "replicas": {"min": 2, "max": 4}}
    ident = f"{name}/deployedModels/7"
    state = {**olds, "createTime": "t", "operation": ""}
    with pytest.raises(Incomplete, match="RESOURCE_EXHAUSTED: no machines") as half:
        DeployedModelDriver(FakeCloud(client)).update(ident, state, olds, news, REQUEST)
    assert half.value.ident == ident
    assert half.value.properties["replicas"] == {"min": 1, "max": 4}
    assert half.value.properties["deployed"] is True


def endpoint_client(conflicts):
    """An endpoint whose split somebody else changes ``conflicts`` times while we write."""
    endpoint = aip.Endpoint(name="e", traffic_split={"1": 100}, etag="0")
    left = [conflicts]

    def update(request):
        if left[0]:
            left[0] -= 1
            endpoint.etag += "x"
            raise CloudError("ABORTED: etag", code="ABORTED")
        assert request["endpoint"]["etag"] == endpoint.etag
        endpoint.traffic_split = request["endpoint"]["traffic_split"]
        return endpoint

    return SimpleNamespace(get_endpoint=lambda request: endpoint, update_endpoint=update)


def test_a_split_is_written_again_with_the_new_etag_but_not_for_ever():
    name = f"{PARENT}/endpoints/1"
    assert set_split(FakeCloud(endpoint_client(2)), name, {"2": 100}) == {"2": 100}
    with pytest.raises(SplitConflict, match="is a rollout under way"):
        set_split(FakeCloud(endpoint_client(3)), name, {"2": 100})
    assert set_split(FakeCloud(endpoint_client(9)), name, {"2": 100}, keep=True) == {"1": 100}

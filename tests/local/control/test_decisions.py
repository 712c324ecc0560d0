"""Masks, lists, names and checks: the control plane's pure parts."""

import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.control import access, checks, listing, masks
from vertex_deploy.local.control.names import Projects, new_id
from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.state import Store

from .support import IMAGE, deployed

# --- masks -----------------------------------------------------------------------------------------------------------


def test_a_mask_changes_only_what_it_names():
    target = aip.Endpoint(display_name="old", labels={"a": "1", "b": "2"}, traffic_split={"1": 100})
    source = aip.Endpoint(display_name="new", labels={"a": "9"}, traffic_split={"2": 100})
    masks.update(target, source, ["traffic_split", "labels.a"], {"traffic_split", "labels"})
    assert target == aip.Endpoint(display_name="old", labels={"a": "9", "b": "2"}, traffic_split={"2": 100})


def test_a_masked_field_that_is_absent_is_cleared():
    target = aip.Endpoint(description="old")
    masks.update(target, aip.Endpoint(), ["description"], {"description"})
    assert target.description == ""


def test_a_nested_mask_reaches_into_messages():
    target, source = deployed("m"), deployed("m")
    source.dedicated_resources.min_replica_count = 3
    source.dedicated_resources.machine_spec.machine_type = "n1-standard-8"
    path = "dedicated_resources.min_replica_count"
    masks.update(target, source, [path], {path})
    assert target.dedicated_resources.min_replica_count == 3
    assert target.dedicated_resources.machine_spec.machine_type == "n1-standard-4"


@pytest.mark.parametrize("paths", [[], ["network"], ["display_name", "no_such_field"]])
def test_an_unhandled_mask_path_is_refused(paths):
    with pytest.raises(ApiError) as found:
        masks.update(aip.Endpoint(), aip.Endpoint(), paths, {"display_name"})
    assert found.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_etag_that_is_not_current_aborts():
    masks.check_etag("", "now")
    masks.check_etag("now", "now")
    with pytest.raises(ApiError) as found:
        masks.check_etag("then", "now")
    assert found.value.code is grpc.StatusCode.ABORTED


def test_etags_differ_between_writes_of_the_same_content():
    assert masks.etag_of(aip.Endpoint(name="e"), "1") != masks.etag_of(aip.Endpoint(name="e"), "2")


# --- lists -----------------------------------------------------------------------------------------------------------

ITEMS = [
    aip.Endpoint(name="1", display_name="a", labels={"env": "prod"}),
    aip.Endpoint(name="2", display_name="b b", labels={"env": "test"}),
    aip.Endpoint(name="3", display_name="c"),
]
FIELDS = {"display_name": lambda item: item.display_name}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "123"),
        ('display_name="a"', "1"),
        ("display_name=a", "1"),
        ('display_name = "b b"', "2"),
        ('display_name!="a"', "23"),
        ("labels.env=prod", "1"),
        ("labels.env:*", "12"),
        ("labels:env", "12"),
        ('displayName="a"', "1"),
        ('labels.myKey="myValue"', ""),
        ('labels.env!="prod" AND display_name!="c"', "2"),
    ],
)
def test_filters_select(text, names):
    match = listing.matcher(text, FIELDS)
    assert "".join(item.name for item in ITEMS if match(item)) == names


@pytest.mark.parametrize(
    "text",
    [
        'network="x"',
        'display_name>"a"',
        "display_name",
        'display_name="a" OR labels.env=prod',
        "display_name:a",
        ")(",
        "labels:*",
        "labels=env",
    ],
)
def test_a_filter_that_cannot_be_evaluated_is_refused(text):
    with pytest.raises(ApiError, match="Invalid filter"):
        listing.matcher(text, FIELDS)


def test_pages_cover_everything_once():
    token, seen = "", []
    while True:
        cut = listing.page(range(7), 3, token)
        seen += cut.items
        token = cut.next_token
        if not token:
            break
    assert seen == list(range(7))


def test_a_page_token_of_somebody_else_is_refused():
    with pytest.raises(ApiError, match="page_token"):
        listing.page([1], 0, "bm9wZQ==")


def test_order_by_sorts_and_refuses_unknown_fields():
    assert [item.name for item in listing.order(ITEMS, "display_name desc", FIELDS)] == ["3", "2", "1"]
    with pytest.raises(ApiError, match="order_by"):
        listing.order(ITEMS, "etag", FIELDS)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_project_has_the_same_number_after_a_restart_and_leads_back_to_its_id():
    store = Store()
    number = Projects(store).number("my-project")
    again = Projects(store)
    assert len(number) == 12
    assert again.number("my-project") == number == again.number(number)
    assert again.id_of(number) == "my-project"


def test_names_are_taken_apart_with_their_version():
    name = Projects(Store()).parse("projects/123456/locations/us-central1/models/m@2", "models")
    assert (name.full, name.version) == ("projects/123456/locations/us-central1/models/m", "2")


@pytest.mark.parametrize(
    "name",
    ["", "models/1", "projects/p/locations/us-central1", "projects/my-project/locations/us-central1/endpoints/1",
     "projects/my-project/locations/us-central1/models/1/x", "projects/my-project/locations/../models/1"],
)  # fmt: skip
def test_what_is_no_model_name_is_refused(name):
    with pytest.raises(ApiError, match="Invalid resource name"):
        Projects(Store()).parse(name, "models")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("projects/other/locations/us-central1/models/1", "'other' is not a project's id"),
        ("projects/my-project/locations/us/models/1", "'us' is not a region"),
    ],
)
def test_the_part_that_makes_a_name_wrong_is_said(name, says):
    with pytest.raises(ApiError, match=says):
        Projects(Store()).parse(name, "models")


def test_generated_ids_have_19_digits():
    assert {len(new_id()) for _ in range(100)} == {19}


# --- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri", [IMAGE, "us-central1-docker.pkg.dev/p/r/a:tag", "us-docker.pkg.dev/vertex-ai/prediction/x:latest"]
)
def test_images_of_the_region_are_taken(uri):
    checks.image(uri, "us-central1")


@pytest.mark.parametrize(
    "uri", ["gcr.io/p/app", "app", "europe-west4-docker.pkg.dev/p/r/a", "europe-docker.pkg.dev/p/r/a", ""]
)
def test_images_from_elsewhere_are_refused(uri):
    with pytest.raises(ApiError):
        checks.image(uri, "us-central1")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"env": [{"name": "AIP_MODE", "value": "x"}]}, "AIP_"),
        ({"env": [{"name": "1A", "value": "x"}]}, "identifier"),
        ({"env": [{"name": "A", "value": "x"}] * 2}, "twice"),
        ({"env": [{"name": f"V{i}", "value": ""} for i in range(201)]}, "200"),
        ({"env": [{"name": "A", "value": "x" * 131_072}]}, "128 KiB"),
        ({"ports": [{"container_port": 70_000}]}, "ports"),
        ({"predict_route": "predict"}, "predict_route"),
        ({"invoke_route_prefix": "/v1"}, "/*"),
        ({"invoke_route_prefix": "/*", "predict_route": "/p"}, "exclude"),
        ({"deployment_timeout": {"seconds": 7201}}, "2 hours"),
        ({"grpc_ports": [{"container_port": 9000}]}, "not supported by Local Vertex"),
    ],
)
def test_containers_that_break_the_contract_are_refused(fields, says):
    with pytest.raises(ApiError) as found:
        checks.container(aip.ModelContainerSpec(image_uri=IMAGE, **fields), "us-central1")
    assert says in found.value.message


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ({"machine_type": "n1-standard-3"}, "n1-standard"),
        (
            {"machine_type": "n1-standard-8", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1},
            "cannot carry L4:1",
        ),
        ({"machine_type": "g2-standard-8"}, "L4:1"),
        ({"machine_type": "n1-standard-4", "accelerator_count": 1}, "accelerator_type"),
        (
            {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_P4", "accelerator_count": 1},
            "not available",
        ),
    ],
)
def test_machines_that_cannot_carry_what_is_asked_are_refused(machine, says):
    with pytest.raises(ApiError) as found:
        checks.dedicated(aip.DedicatedResources(machine_spec=machine, min_replica_count=1))
    assert says in found.value.message


def test_filters_and_orders_are_bounded():
    with pytest.raises(ApiError, match="The filter has 9000 characters; at most 8192 are read"):
        listing.matcher('display_name="a" ' * 500 + "a" * 500, FIELDS)
    with pytest.raises(ApiError, match="order_by has 10000 characters; at most 8192 are read"):
        listing.order(ITEMS, "display_name," + "a" * 9987, FIELDS)


def test_replica_counts_have_an_order():
    resources = aip.DedicatedResources(machine_spec={"machine_type": "n1-standard-4"}, min_replica_count=2)
    checks.dedicated(resources)
    assert resources.max_replica_count == 2
    for low, high in ((0, 1), (3, 2)):
        with pytest.raises(ApiError):
            checks.replica_counts(aip.DedicatedResources(min_replica_count=low, max_replica_count=high))


def test_more_replicas_than_a_machine_can_start_are_refused():
    checks.replica_counts(aip.DedicatedResources(min_replica_count=100, max_replica_count=2**31 - 1))
    with pytest.raises(ApiError, match="is 2000000000; Local Vertex starts a process for each replica, at most 100"):
        checks.replica_counts(aip.DedicatedResources(min_replica_count=2_000_000_000))


def test_automatic_resources_are_refused_in_vertex_ais_words():
    given = aip.DeployedModel(model="m", automatic_resources=aip.AutomaticResources(min_replica_count=1))
    with pytest.raises(ApiError, match="'automatic_resources' is not supported for Model"):
        checks.deployed_model(given)


# --- access ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, access.Access.SHARED),
        ({"dedicated_endpoint_enabled": True}, access.Access.DEDICATED),
        ({"private_service_connect_config": {"enable_private_service_connect": True}}, access.Access.PSC),
        ({"network": "projects/1/global/networks/n"}, access.Access.PSA),
    ],
)
def test_kinds_of_endpoints(fields, kind):
    assert access.access_of(aip.Endpoint(**fields)) is kind


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "n", "dedicated_endpoint_enabled": True},
        {"network": "n", "private_service_connect_config": {"enable_private_service_connect": True}},
        {"client_connection_config": {"inference_timeout": {"seconds": 120}}},
        {"dedicated_endpoint_enabled": True, "client_connection_config": {"inference_timeout": {"seconds": 3601}}},
        {"predict_request_response_logging_config": {"enabled": True}},
    ],
)
def test_combinations_that_vertex_ai_does_not_have_are_refused(fields):
    with pytest.raises(ApiError):
        access.check(aip.Endpoint(**fields))

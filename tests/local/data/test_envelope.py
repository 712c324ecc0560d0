from __future__ import annotations

import orjson
import pytest

from tests.local.data.support import make_plan
from vertex_deploy.local.data.envelope import annotate, check_request, read_answer, too_large
from vertex_deploy.local.seams import ApiError


def test_a_good_request_goes_on_byte_for_byte():
    body = b'{ "instances": [1.0, {"a": null}],\n "parameters": {"top_k": 5} }'
    assert check_request(body) is body


def test_billing_labels_do_not_reach_the_container():
    assert orjson.loads(check_request(b'{"instances":[1],"labels":{"a":"b"}}')) == {"instances": [1]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON payload received"),
        (b"{", "Invalid JSON payload received"),
        (b"[1]", "Root element must be a message"),
        (b"{}", "'instances' is missing or empty"),
        (b'{"instances":[]}', "'instances' is missing or empty"),
        (b'{"instances":null}', "'instances' is missing or empty"),
        (b'{"instances":{}}', "expected a list"),
        (b'{"instances":[1],"instance":2}', 'Unknown name "instance": Cannot find field'),
    ],
)
def test_what_is_not_a_predict_request_is_refused(body, message):
    with pytest.raises(ApiError, match=message) as caught:
        check_request(body)
    assert caught.value.code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (422, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (204, "INTERNAL"),
        (302, "INTERNAL"),
    ],
)
def test_a_containers_error_is_passed_on_with_its_body_as_the_message(status, code):
    with pytest.raises(ApiError) as caught:
        read_answer(status, b'{"error": "image 3 is not an image"}')
    assert caught.value.code.name == code
    assert caught.value.message == '{"error": "image 3 is not an image"}'


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b'{"predictions": 3}', b'{"prediction": []}'])
def test_an_answer_without_predictions_is_the_servers_error(body):
    with pytest.raises(ApiError, match="Invalid response from prediction server") as caught:
        read_answer(200, body)
    assert caught.value.code.name == "INTERNAL"


def test_the_answer_says_who_gave_it_and_keeps_metadata():
    assert annotate({"predictions": [1], "metadata": {"t": 2}, "other": 3}, make_plan()) == {
        "predictions": [1],
        "deployedModelId": "7",
        "model": "projects/demo/locations/us-central1/models/lite0",
        "modelDisplayName": "Lite 0",
        "modelVersionId": "3",
        "metadata": {"t": 2},
    }


def test_a_size_limit_names_size_and_limit():
    error = too_large("request", 2_000_000, 1_572_864)
    assert (error.code.name, error.message) == (
        "FAILED_PRECONDITION",
        "The request size (2000000 bytes) exceeds 1.500MB limit.",
    )

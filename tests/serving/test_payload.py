from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import BadRequest, RequestError, UnsupportedMedia
from serving.payload import Limits, parse
from tests.serving.fakes import SIZE, image, manifest

MANIFEST = manifest()
LIMITS = Limits(instances=5, pixels=1000)
RED = image()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read(body: Any, kind: str = "application/json", encoding: str = ""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(data, kind, encoding, MANIFEST, LIMITS)


def lists(value: Any = 0.5):
    return [[[value] * SIZE for _ in range(SIZE)] for _ in range(3)]


def tensor(array: np.ndarray, **changes: Any):
    return {"tensor": {"b64": b64(array.tobytes()), "dtype": str(array.dtype), "shape": list(array.shape)} | changes}


FLOATS = np.arange(3 * SIZE * SIZE, dtype=np.float32).reshape(3, SIZE, SIZE)


def test_every_form_of_an_instance_in_one_request():
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    got = read(
        {
            "instances": [{"image": {"b64": b64(RED)}}, {"b64": b64(RED)}, tensor(FLOATS), lists(), tensor(pixels)],
            "parameters": {"top_k": 2},
        }
    )
    assert got.top_k == 2
    assert all(i.shape == (3, SIZE, SIZE) and i.dtype == np.float32 for i in got.instances)
    assert (got.instances[0] == got.instances[1]).all()
    assert (got.instances[2] == FLOATS).all()
    assert (got.instances[3] == 0.5).all()
    assert (got.instances[4] == 1.0).all()
    assert (read({"instances": [{"tensor": lists(2)}]}).instances[0] == 2).all()


def test_whole_numbers_arrive_as_doubles_from_googles_clients():
    assert read({"instances": [lists()], "parameters": {"top_k": 2.0}}).top_k == 2


def test_top_k_is_five_or_all_classes_when_there_are_fewer():
    assert read({"instances": [lists()]}).top_k == 3
    assert read({"instances": [lists()], "parameters": {}}).top_k == 3
    assert read({"instances": [lists()], "parameters": None}).top_k == 3


@pytest.mark.parametrize("kind", ["image/png", "", "application/octet-stream", "IMAGE/PNG; q=1"])
def test_a_body_that_is_an_image(kind):
    assert len(read(RED, kind).instances) == 1


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "", "application/x-www-form-urlencoded"])
def test_json_is_recognised_without_its_type(kind):
    assert len(read({"instances": [lists()]}, kind).instances) == 1


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [("text/plain", ""), ("image/gif", ""), ("application/json; charset=utf-16", ""), ("application/json", "gzip")],
)
def test_types_that_are_not_served(kind, encoding):
    with pytest.raises(UnsupportedMedia):
        read({"instances": [lists()]}, kind, encoding)


NAN = np.full((3, SIZE, SIZE), np.nan, np.float32)
BAD: list[tuple[Any, str]] = [
    (b"", "an empty body"),
    (b"{", "malformed JSON"),
    (b"\xff\xfe{\x00}\x00", "malformed JSON"),
    (b'{"instances": [NaN]}', "malformed JSON"),
    (b"[" * 100_000, "malformed JSON"),
    (b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}", "shape"),
    ([], "not a JSON object"),
    ({}, "instances: a list of at least one"),
    ({"instances": {}}, "instances: a list of at least one"),
    ({"instances": []}, "instances: a list of at least one"),
    ({"instances": [lists()] * 6}, "instances: 6, at most 5"),
    ({"instance": [1]}, "unknown key 'instance'; did you mean 'instances'"),
    ({"instances": [lists()], "parameters": []}, "parameters: not an object"),
    ({"instances": [lists()], "parameters": {"topk": 1}}, "parameters: unknown key 'topk'; did you mean 'top_k'"),
    ({"instances": [lists()], "parameters": {"top_k": 0}}, "parameters.top_k: a whole number from 1 to 3"),
    ({"instances": [lists()], "parameters": {"top_k": 4}}, "parameters.top_k"),
    ({"instances": [lists()], "parameters": {"top_k": True}}, "parameters.top_k"),
    ({"instances": [lists()], "parameters": {"top_k": 1.5}}, "parameters.top_k"),
    ({"instances": [lists()], "parameters": {"top_k": 1e300}}, "parameters.top_k"),
    ({"instances": [lists(), 7]}, r"instances\[1\]: not an object"),
    ({"instances": [None]}, r"instances\[0\]: not an object"),
    ({"instances": [{}]}, r"instances\[0\]: exactly one of"),
    ({"instances": [{"b64": b64(RED), "tensor": lists()}]}, "exactly one of"),
    ({"instances": [{"image": b64(RED)}]}, r"instances\[0\].image: not an object"),
    ({"instances": [{"image": {}}]}, r"instances\[0\].image.b64: not a string"),
    ({"instances": [{"image": {"b64": "@@@"}}]}, r"instances\[0\].image.b64: not base64"),
    ({"instances": [{"image": {"b64": "é"}}]}, r"instances\[0\].image.b64: not base64"),
    ({"instances": [{"image": {"b64": "data:image/png;base64," + b64(RED)}}]}, "leave out the data: prefix"),
    ({"instances": [{"image": {"b64": ""}}]}, r"instances\[0\].image.b64: empty"),
    ({"instances": [{"image": {"b64": b64(b"hello")}}]}, "not a JPEG, PNG or WebP"),
    ({"instances": [{"b64": b64(RED[:40])}]}, r"instances\[0\].b64: a damaged image"),
    ({"instances": [{"b64": b64(image(size=(40, 40)))}]}, "40 x 40 pixels: at most 1000"),
    ({"instances": [{"b64": b64(image(size=(30, 30)))}] * 5}, "4500 pixels in all"),
    ({"instances": [lists()[:2]]}, r"shape \[2, 8, 8\]: \[3, 8, 8\] is needed"),
    ({"instances": [[]]}, r"shape \[0\]"),
    ({"instances": [[[], lists()[1], lists()[2]]]}, r"shape \[3, 0\]"),
    ({"instances": [[lists()[0], lists()[1], [[0]]]]}, "ragged"),
    ({"instances": [lists("1.5")]}, "something other than numbers"),
    ({"instances": [lists(True)]}, "something other than numbers"),
    ({"instances": [lists(None)]}, "something other than numbers"),
    ({"instances": [[[[0.5] * SIZE] * SIZE] * 2 + [[[0.5, True] + [0] * (SIZE - 2)] * SIZE]]}, "other than numbers"),
    ({"instances": [lists(1e39)]}, "too large for float32"),
    ({"instances": [lists(10**400)]}, "malformed JSON|too large"),
    ({"instances": [tensor(NAN)]}, "nan, infinity"),
    ({"instances": [tensor(FLOATS.astype(np.float64))]}, "dtype 'float64': float32 or uint8"),
    ({"instances": [tensor(FLOATS, dtype=3)]}, "dtype"),
    ({"instances": [tensor(FLOATS, shape=[3, SIZE])]}, r"shape \[3, 8\]: float32 needs \[3, 8, 8\]"),
    ({"instances": [tensor(FLOATS, shape=[3, SIZE, 8.5])]}, "whole numbers"),
    ({"instances": [tensor(FLOATS, shape=None)]}, "whole numbers"),
    ({"instances": [tensor(FLOATS.transpose(1, 2, 0))]}, r"shape \[8, 8, 3\]"),
    ({"instances": [tensor(FLOATS, b64=b64(b"1234"))]}, "4 bytes: float32 .* has 768"),
    ({"instances": [tensor(FLOATS, strides=[1])]}, "unknown key 'strides'"),
    (b'{"instances":[{"b64":"x"}],"instances":[{"b64":"' + b64(RED).encode() + b'"}]}', "'instances' occurs twice"),
    (b'{"instances":[{"b64":"x", "b\\u00364":"' + b64(RED).encode() + b'"}]}', "'b64' occurs twice"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=range(len(BAD)))
def test_bad_requests_are_refused_by_name(body, says):
    with pytest.raises(BadRequest, match=says) as error:
        read(body)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_all_bad_instances_are_named_and_the_request_is_refused_whole():
    with pytest.raises(BadRequest) as error:
        read({"instances": [lists(), {"b64": "@"}, {"image": {"b64": b64(RED)}}, 3, {"b64": b64(RED[:50])}]})
    named = re.findall(r"instances\[(\d)\]", str(error.value))
    assert named == ["1", "3", "4"]


def test_strings_that_look_like_keys_are_not_counted_as_keys():
    pixels = np.frombuffer(b"true" * 48, np.uint8).reshape(SIZE, SIZE, 3)
    assert read({"instances": [tensor(pixels)]}).instances[0].shape == (3, SIZE, SIZE)
    assert read(json.dumps({"instances": [tensor(FLOATS)]}, indent=3).encode()).instances[0].shape == (3, SIZE, SIZE)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from([b64(RED), b64(RED[:60]), "float32"]),
)
KEYS = st.sampled_from(["instances", "parameters", "image", "b64", "tensor", "dtype", "shape", "top_k", "x"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=20,
)
REQUESTS = st.one_of(TREES, st.builds(lambda i: {"instances": i}, st.lists(TREES, max_size=4)))


@settings(max_examples=400, deadline=None)
@given(REQUESTS)
def test_any_json_is_read_or_refused_with_4xx(value):
    status = 200
    try:
        read(value)
    except RequestError as error:
        status = error.status
    assert 200 <= status < 500


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "application/json", "image/jpeg", "image/webp", "a/b"]))
def test_any_bytes_are_read_or_refused_with_4xx(body, kind):
    with pytest.raises(RequestError) as error:
        read(body, kind)
    assert 400 <= error.value.status < 500

"""Values on the wire and back; secrets never leave in clear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.provider.values import (
    OUTPUT,
    RESOURCE,
    SECRET,
    SIGNATURE,
    UNKNOWN,
    UNKNOWN_TOKEN,
    decode,
    encode,
    has_unknown,
    redact,
)
from vertex_deploy.errors import UsageError

scalars = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=8) | st.just(UNKNOWN)
keys = st.text(min_size=1, max_size=6).filter(lambda key: not key.startswith("__") and key != SIGNATURE)
trees = st.dictionaries(
    keys,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)),
    max_size=4,
)


def paths(values, above=()):
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


@given(trees, st.data())
def test_what_is_encoded_is_decoded_and_stays_secret(values, data):
    secrets = frozenset(data.draw(st.lists(st.sampled_from(list(paths(values)) or [("x",)]), max_size=3)))
    found, marked = decode(encode(values, secrets))
    assert found == values
    present = {path for path in secrets if path in set(paths(values))}
    # A secret inside a secret has nothing to add: the outer one hides it.
    outer = {path for path in present if not any(path[:n] in present for n in range(1, len(path)))}
    assert outer <= marked <= present


def test_a_secret_inside_a_list_marks_the_whole_list():
    values, secrets = decode(encode({"args": ["a", {SIGNATURE: SECRET, "value": "b"}]}))
    assert values == {"args": ["a", "b"]}
    assert secrets == {("args",)}


def test_a_secret_whose_place_is_gone_marks_the_nearest_part_above():
    wire = encode({"container": {"env": {"OTHER": "x"}}}, [("container", "env", "TOKEN"), ("labels", "a")])
    assert decode(wire)[1] == {("container", "env")}


def test_outputs_and_resource_references_become_values():
    values, secrets = decode(
        encode(
            {
                "known": {SIGNATURE: OUTPUT, "value": 1, "secret": True},
                "later": {SIGNATURE: OUTPUT},
                "resource": {SIGNATURE: RESOURCE, "urn": "urn:pulumi:x", "id": "the-id"},
                "unborn": {SIGNATURE: RESOURCE, "urn": "urn:pulumi:x", "id": UNKNOWN_TOKEN},
                "expected": {SIGNATURE: RESOURCE, "urn": "urn:pulumi:x", "id": ""},
                "component": {SIGNATURE: RESOURCE, "urn": "urn:pulumi:x"},
                "__defaults": [],
            }
        )
    )
    unknown = dict.fromkeys(("later", "unborn", "expected"), UNKNOWN)
    assert values == {"known": 1, "resource": "the-id", "component": "urn:pulumi:x", **unknown}
    assert secrets == {("known",)}
    assert has_unknown(values)


@pytest.mark.parametrize(
    "token",
    [
        UNKNOWN_TOKEN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # a boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # a number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # a list
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # an object
    ],
)
def test_an_unknown_value_of_any_type_is_unknown(token):
    values, _ = decode(encode({"a": token, "b": [{"c": token}]}))
    assert values == {"a": UNKNOWN, "b": [{"c": UNKNOWN}]}


def test_an_asset_is_refused_with_its_property():
    with pytest.raises(UsageError, match="container: assets"):
        decode(encode({"container": {SIGNATURE: "c44067f5952c0a294b673a41bacd8c17", "text": "x"}}))


def test_messages_lose_every_secret_they_quote():
    values = {"env": {"TOKEN": "hunter2", "WHO": "me"}, "args": ["hunter"]}
    text = redact("bad TOKEN hunter2 of me, args hunter", values, [("env", "TOKEN"), ("args",), ("gone",)])
    assert text == "bad TOKEN [secret] of me, args [secret]"

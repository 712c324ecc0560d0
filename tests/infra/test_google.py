"""What pulumi-gcp would send for the program's own resources is what Google's discovery documents take."""

from __future__ import annotations

import pytest

pytest.importorskip("pulumi")

from tests.infra.discovery import document, findings
from tests.infra.google import ATTRIBUTION, BUCKET, CHANNEL, ENDPOINT, KINDS, POLICY, differing
from tests.infra.test_program import run


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_body_is_a_message_of_its_discovery_document(stack):
    checked = 0
    for made in run(stack):
        if made.type in KINDS:
            kind = KINDS[made.type]
            body = kind.body(made.inputs)
            assert findings(body, *kind.document) == [], made.name
            assert set(body) - {kind.labels} == set(_top(kind, made.inputs)) - {kind.labels}, "nothing is lost"
            checked += 1
    assert checked >= 5


def _top(kind, inputs):
    return {kind.fields[key][0].partition(".")[0] for key in inputs if key in kind.fields}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.document[1])
def test_every_path_and_method_is_one_of_the_api(kind):
    name, _ = kind.document
    found = set(_methods(document(name)))
    parent = kind.parent.replace("{project}", "*").replace("{location}", "*")
    # Cloud Storage's paths are below its base, storage/v1/.
    collection = parent.removeprefix("storage/v1/") if kind is BUCKET else parent
    assert ("POST", collection) in found
    for method in ("GET", "PATCH", "DELETE"):
        assert (method, f"{collection}/*") in found


def _methods(part):
    import re  # noqa: PLC0415 - beside its only use

    for method in part.get("methods", {}).values():
        yield method["httpMethod"], re.sub(r"\{[^}]*\}", "*", method.get("flatPath", method["path"]))
    for below in part.get("resources", {}).values():
        yield from _methods(below)


def test_a_property_without_a_mapping_is_an_error():
    with pytest.raises(KeyError, match="trafficSplit has no mapping"):
        ENDPOINT.body({"name": "1", "trafficSplit": "{}"})


def test_labels_have_the_providers_own_and_an_endpoints_id_is_in_the_query():
    inputs = {"name": "123", "displayName": "x", "labels": {"team": "vision"}}
    assert ENDPOINT.body(inputs) == {"displayName": "x", "labels": {"team": "vision", **ATTRIBUTION}}
    assert ENDPOINT.query(inputs) == {"endpointId": "123"}


def test_a_buckets_rules_and_access_are_where_the_api_has_them():
    inputs = {
        "name": "b",
        "project": "p",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "softDeletePolicy": {"retentionDurationSeconds": 604800.0},
        "lifecycleRules": [{"action": {"type": "Delete"}, "condition": {"withState": "ARCHIVED"}}],
    }
    body = BUCKET.body(inputs)
    assert body["iamConfiguration"] == {
        "uniformBucketLevelAccess": {"enabled": True},
        "publicAccessPrevention": "enforced",
    }
    assert body["lifecycle"] == {"rule": [{"action": {"type": "Delete"}, "condition": {"isLive": False}}]}
    assert body["softDeletePolicy"] == {"retentionDurationSeconds": "604800"}


def test_what_the_api_fills_in_is_no_difference_and_what_differs_is():
    inputs = {"displayName": "x", "combiner": "OR", "conditions": [{"displayName": "c"}], "project": "p"}
    live = {"displayName": "x", "combiner": "OR", "enabled": True, "conditions": [{"displayName": "c", "name": "n"}]}
    assert differing(POLICY, inputs, live) == []
    assert differing(POLICY, inputs, {**live, "combiner": "AND"}) == ["combiner"]
    assert differing(POLICY, inputs, {**live, "conditions": []}) == ["conditions"]
    assert differing(CHANNEL, {"labels": {"url": "a"}}, {"labels": {"url": "b"}}) == ["labels"]

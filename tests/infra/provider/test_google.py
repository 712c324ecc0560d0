"""What pulumi-gcp's plugin sends, against Local Vertex over plain HTTP: made, read, changed by mask, deleted."""

from __future__ import annotations

import uuid

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

from tests.infra.google import BUCKET, CHANNEL, ENDPOINT, Google, Refused, differing
from tests.infra.recorder import record

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLACE = {"project": "my-project", "location": "us-central1", "region": "us-central1"}
NETWORK = "projects/123456789/global/networks/default"
PSC = {"enablePrivateServiceConnect": True, "projectAllowlists": ["other-project"], "pscAutomationConfigs": []}


@pytest.fixture(scope="module")
def google(local_vertex):
    return Google(local_vertex["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"])


@pytest.fixture
def number():
    """Of a new endpoint."""
    return str(uuid.uuid4().int % 900_000_000 + 100_000_000)


@pytest.mark.parametrize(
    "access",
    [{}, {"dedicatedEndpointEnabled": True}, {"privateServiceConnectConfig": PSC}, {"network": NETWORK}],
    ids=["public", "dedicated", "psc", "psa"],
)
def test_an_endpoint_of_each_access_is_made_relabelled_and_deleted(google, number, access):
    inputs = {**PLACE, "name": number, "displayName": "shop", "labels": {"team": "vision"}, **access}
    path, live = google.create(ENDPOINT, inputs)
    assert path.endswith(f"/endpoints/{number}")
    assert differing(ENDPOINT, inputs, live) == []
    changed = {**inputs, "displayName": "other", "labels": {"team": "audio"}}
    assert differing(ENDPOINT, changed, live) == ["displayName", "labels"]
    live = google.update(ENDPOINT, path, changed, ["displayName", "labels"])
    assert differing(ENDPOINT, changed, live) == []
    google.delete(path)
    assert google.find(path) is None


def test_a_field_that_cannot_be_changed_is_refused_and_so_is_an_endpoint_that_is_there(google, number):
    inputs = {**PLACE, "name": number, "displayName": "shop"}
    path, _ = google.create(ENDPOINT, inputs)
    with pytest.raises(Refused, match="network"):
        google.update(ENDPOINT, path, {**inputs, "network": NETWORK}, ["network"])
    with pytest.raises(Refused, match="409"):
        google.create(ENDPOINT, inputs)
    google.delete(path)


def test_a_channel_is_made_renamed_and_deleted(google):
    inputs = {
        "project": "my-project",
        "displayName": "on call",
        "type": "webhook_tokenauth",
        "labels": {"url": "http://127.0.0.1:9/"},
        "userLabels": {"team": "vision"},
    }
    path, live = google.create(CHANNEL, inputs)
    assert differing(CHANNEL, inputs, live) == []
    renamed = {**inputs, "displayName": "nights"}
    assert differing(CHANNEL, renamed, google.update(CHANNEL, path, renamed, ["displayName"])) == []
    google.delete(path)
    assert google.find(path) is None


def test_an_email_channel_is_refused_by_name(google):
    """Local Vertex sends no mail, and says so rather than keep a channel that tells nobody."""
    inputs = {"project": "my-project", "displayName": "x", "type": "email", "labels": {"email_address": "a@b.example"}}
    with pytest.raises(Refused, match=r"email.*not implemented by Local Vertex"):
        google.create(CHANNEL, inputs)


def test_the_components_buckets_are_made_patched_and_deleted(google, model_id):
    from infra.components import storage  # noqa: PLC0415 - after the skip

    args = storage.StorageArgs(
        project="my-project", region="us-central1", models=f"{model_id}-models", state=f"{model_id}-state", labels={}
    )
    for made in record(lambda: storage.Storage("storage", args)).of("Bucket"):
        path, live = google.create(BUCKET, made.inputs)
        assert differing(BUCKET, made.inputs, live) == []
        changed = {**made.inputs, "labels": {"team": "audio"}, "softDeletePolicy": {"retentionDurationSeconds": 0}}
        assert sorted(differing(BUCKET, changed, live)) == ["labels", "softDeletePolicy"]
        live = google.update(BUCKET, path, changed, ["labels", "softDeletePolicy"])
        assert differing(BUCKET, changed, live) == []
        google.delete(path)
        assert google.find(path) is None

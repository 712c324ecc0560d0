from __future__ import annotations

from tests.spec.examples import GOOD, examined, swap
from vertex_deploy.spec import names
from vertex_deploy.targets import vertex_requests


def spec(*pairs: tuple[str, str]):
    found = examined(swap(*pairs))
    assert found.spec is not None, found.problems
    return found.spec


def test_a_rollout_makes_the_endpoint_under_the_name_and_label_that_pulumi_gives_it():
    found = spec()
    message = vertex_requests.endpoint_message(found)
    assert message.display_name == names.endpoint_display_name(found)
    assert message.labels[names.OWNER_LABEL] == found.name


def test_an_endpoint_id_has_no_leading_zero_and_at_most_ten_digits():
    assert names.endpoint_id(spec())[0] != "0"
    assert 1 <= len(names.endpoint_id(spec())) <= 10


def test_the_models_bucket_is_the_one_that_the_artifact_is_in():
    assert names.models_bucket(spec()) == "my-project-models"
    assert names.models_bucket(
        spec(("model: {artifact: gs://my-project-models/lite0/2, labels", "model: {labels"))
    ) == ("my-project-models")
    assert names.models_bucket(examined(GOOD + "infra: {storage: {models: other}}\n").spec) == "other"


def test_the_state_bucket_is_named_for_project_and_spec():
    assert names.state_bucket(spec()) == "my-project-lite0-rollouts"
    assert names.state_bucket(examined(GOOD + "infra: {storage: {state: mine}}\n").spec) == "mine"

from __future__ import annotations

import pytest
from google.cloud.aiplatform_v1 import types as aip

from tests.local.data.support import make_plan
from vertex_deploy.local.data.environment import container_environment, expand, expand_all, health_route, predict_route
from vertex_deploy.local.seams import ApiError

BASE = {"image_uri": "app"}


def environment(*, inherited=None, **options):
    ours = {key: options.pop(key) for key in ("storage_emulator_host", "extra") if key in options}
    return container_environment(make_plan(**options), port=4242, inherited=inherited or {}, **ours)


def test_the_variables_are_those_of_the_contract():
    container = aip.ModelContainerSpec(image_uri="app")
    machine = aip.MachineSpec(machine_type="g2-standard-8", accelerator_type="NVIDIA_L4", accelerator_count=1)
    assert environment(container=container, machine=machine) == {
        "AIP_HTTP_PORT": "4242",
        "AIP_HEALTH_ROUTE": "/v1/endpoints/55/deployedModels/7",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/55/deployedModels/7:predict",
        "AIP_STORAGE_URI": "gs://bucket/managed/3",
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_MACHINE_TYPE": "g2-standard-8",
        "AIP_ACCELERATOR_TYPE": "NVIDIA_L4",
        "AIP_PROJECT_NUMBER": "123456",
        "AIP_ENDPOINT_ID": "55",
        "AIP_DEPLOYED_MODEL_ID": "7",
        "AIP_MODEL_NAME": "55",
        "AIP_VERSION_NAME": "7",
        "SERVING_HOST": "127.0.0.1",
    }


def test_without_an_accelerator_its_variable_is_unset_and_without_artifacts_the_uri_is_empty():
    variables = environment(artifact_uri="")
    assert "AIP_ACCELERATOR_TYPE" not in variables
    assert variables["AIP_STORAGE_URI"] == ""


def test_the_models_own_routes_win():
    plan = make_plan()
    assert (health_route(plan), predict_route(plan)) == ("/health", "/predict")


def test_of_our_own_environment_only_what_is_needed_is_handed_on():
    inherited = {"PATH": "/bin", "HOME": "/root", "VIRTUAL_ENV": "/venv", "GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}
    variables = environment(inherited=inherited, storage_emulator_host="http://127.0.0.1:9", extra={"EXTRA": "1"})
    assert {k: v for k, v in variables.items() if not k.startswith("AIP_")} == {
        "PATH": "/bin",
        "HOME": "/root",
        "VIRTUAL_ENV": "/venv",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "EXTRA": "1",
        "SERVING_HOST": "127.0.0.1",
    }


def test_a_models_variables_refer_to_earlier_ones_and_to_vertexs_and_win_over_ours():
    pairs = {"ROOT": "/models/$(AIP_MODEL_NAME)", "FILE": "$(ROOT)/w", "LATER": "$(NOT_YET)", "EXTRA": "mine"}
    container = aip.ModelContainerSpec(env=[aip.EnvVar(name=n, value=v) for n, v in pairs.items()], **BASE)
    variables = environment(container=container, extra={"EXTRA": "ours"})
    assert {name: variables[name] for name in pairs} == {
        "ROOT": "/models/55",
        "FILE": "/models/55/w",
        "LATER": "$(NOT_YET)",
        "EXTRA": "mine",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)-$(A)", "1-1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A ${A}", "$A ${A}"), ("$(A", "$(A"), ("$$", "$")],
)
def test_references_expand_as_in_kubernetes(text, expected):
    assert expand(text, {"A": "1"}) == expected


def test_references_that_grow_without_end_are_refused_before_they_are_written_out():
    # Four gigabytes, and then sixteen of them.
    with pytest.raises(ApiError, match="longer than 128 KiB with its references replaced") as caught:
        expand("$(A)" * 32_000, {"A": "x" * 131_000})
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert len(caught.value.message) < 200
    with pytest.raises(ApiError, match="a command line of more than 1048576 characters"):
        expand_all(["$(A)"] * 1_000_000, {"A": "x" * 131_000})
    assert expand_all(["$(A)", "b"], {"A": "1"}) == ("1", "b")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("AIP_MODE", "TRAINING")], "reserved"),
        ([("", "x")], "may not be empty"),
        ([("BIG", "x" * 131_072)], "at most 128 KiB"),
        ([(f"V{i}", "") for i in range(201)], "at most 200"),
        ([(f"V{i}", "x" * 120_000) for i in range(5)], "512 KiB in all"),
    ],
)
def test_variables_that_the_api_refuses_are_refused(pairs, message):
    container = aip.ModelContainerSpec(env=[aip.EnvVar(name=n, value=v) for n, v in pairs], **BASE)
    with pytest.raises(ApiError, match=message) as caught:
        environment(container=container)
    assert caught.value.code.name == "INVALID_ARGUMENT"

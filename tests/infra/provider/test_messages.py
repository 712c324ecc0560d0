"""Inputs as the API's messages and back: what is written is what an import reads."""

from __future__ import annotations

import pytest
from google.cloud import aiplatform_v1 as aip

from infra.provider.drivers import deployed_messages
from infra.provider.resources import container, model

PARENT = "projects/p/locations/us-central1"
ENDPOINT = f"{PARENT}/endpoints/1"
IMAGE = "us-central1-docker.pkg.dev/p/r/app"


@pytest.mark.parametrize(
    "inputs",
    [
        {"imageUri": IMAGE},
        {
            "imageUri": IMAGE,
            "command": ["/server"],
            "args": ["--port", "9"],
            "env": {"A": "1"},
            "ports": [9],
            "grpcPorts": [10],
            "predictRoute": "/p",
            "healthRoute": "/h",
            "deploymentTimeout": 600,
            "sharedMemoryMb": 64,
            "startupProbe": {"exec": ["true"], "initialDelaySeconds": 5},
            "healthProbe": {"httpPath": "/h", "httpPort": 9, "periodSeconds": 5, "timeoutSeconds": 2},
            "livenessProbe": {"tcpPort": 9, "failureThreshold": 4, "successThreshold": 1},
        },
        {"imageUri": IMAGE, "invokeRoutePrefix": "/*", "healthProbe": {"grpcPort": 9}},
    ],
)
def test_a_container_is_read_back_as_it_was_written(inputs):
    assert container.read(container.message(inputs)) == inputs


def test_a_model_is_read_back_without_the_providers_own_label():
    inputs = {
        "project": "p",
        "region": "us-central1",
        "modelId": "m",
        "displayName": "M",
        "description": "d",
        "versionDescription": "v",
        "versionAliases": ["a", "b"],
        "labels": {"team": "shop"},
        "artifactUri": "gs://b/1",
        "kmsKeyName": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
        "container": {"imageUri": IMAGE},
    }
    message = model.message(inputs, "0" * 16)
    assert message.labels[model.CONTENT_LABEL] == "0" * 16
    message.version_id = "3"
    message.version_aliases = ["b", "a", "default"]
    found, outputs = model.read(message, f"{PARENT}/models/m")
    assert found == {**inputs, "versionAliases": ["a", "b", "default"]}
    assert outputs["versionName"] == f"{PARENT}/models/m@3"


@pytest.mark.parametrize(
    "more",
    [
        {"machine": {"type": "n1-standard-4"}, "replicas": {"min": 1, "max": 1}},
        {
            "machine": {
                "type": "a2-highgpu-1g",
                "accelerator": "A100:1",
                "gpuPartitionSize": "1g.5gb",
                "reservation": {
                    "type": "specific",
                    "key": "compute.googleapis.com/reservation-name",
                    "values": ["projects/p/zones/us-central1-a/reservations/r"],
                },
            },
            "replicas": {"min": 2, "max": 4, "required": 1},
            "scaleOn": {"cpuUtilization": 60, "gpuDutyCycle": 50, "requestCountPerMinute": 900},
            "accessLogging": True,
            "serviceAccount": "a@b",
            "displayName": "x",
        },
        {"machine": {"type": "g2-standard-8", "accelerator": "L4:1", "spot": True}, "replicas": {"min": 2, "max": 2}},
        {"machine": {"type": "n1-standard-4", "reservation": {"type": "none"}}, "replicas": {"min": 1, "max": 1}},
        {"machine": {"type": "ct5lp-hightpu-4t", "tpuTopology": "2x2"}, "replicas": {"min": 1, "max": 1}},
        {"pool": f"{PARENT}/deploymentResourcePools/a"},
    ],
)
def test_a_deployment_is_read_back_as_it_was_written(more):
    inputs = {
        "endpoint": ENDPOINT,
        "model": f"{PARENT}/models/m@1",
        "deployedModelId": "7",
        "containerLogging": True,
        **more,
    }
    assert deployed_messages.from_message(deployed_messages.to_message(inputs), ENDPOINT) == inputs


def test_the_version_is_read_from_where_the_api_puts_it():
    told = aip.DeployedModel(id="7", model="projects/42/locations/us-central1/models/m", model_version_id="9")
    assert deployed_messages.from_message(told, ENDPOINT)["model"].endswith("/models/m@9")
    assert deployed_messages.from_message(told, ENDPOINT)["containerLogging"] is True


def test_every_mask_is_a_field_of_the_message():
    descriptor = aip.DeployedModel.pb().DESCRIPTOR
    for path in (path for paths in deployed_messages.MASKS.values() for path in paths):
        found = descriptor
        for part in path.split("."):
            field = found.fields_by_name[part]
            found = field.message_type
        assert field is not None

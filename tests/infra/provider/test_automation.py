"""Pulumi's engine itself, where it is installed: preview, up, refresh, destroy with a file backend and our plugin."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")
if shutil.which("pulumi") is None:
    pytest.skip("the Pulumi engine (`pulumi`) is not on PATH", allow_module_level=True)

from pulumi import automation

from infra.provider import sdk

from .conftest import MACHINE, container

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PLUGIN = Path(__file__).parents[3] / "infra" / "provider"


@pytest.fixture
def stack(local_vertex, endpoint, model_id, tmp_path):
    def program():
        made = container()
        model = sdk.Model(
            "model",
            model_id=model_id,
            container=sdk.Container(
                image_uri=made["imageUri"],
                predict_route=made["predictRoute"],
                health_route=made["healthRoute"],
                env=made["env"],
            ),
        )
        deployed = sdk.DeployedModel(
            "deployed", endpoint=endpoint, model=model.version_name, machine=sdk.Machine(type=MACHINE["type"])
        )
        shares = [sdk.Share(deployed_model_id=deployed.deployed_model_id, percent=100)]
        sdk.TrafficSplit("split", endpoint=endpoint, split=shares)

    (tmp_path / "state").mkdir()
    # What Pulumi.yaml of the repository says, for a program that is a function here.
    project = {
        "name": "shop",
        "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}},
        "plugins": {"providers": [{"name": "vertexdeploy", "path": str(PLUGIN)}]},
    }
    (tmp_path / "Pulumi.json").write_text(json.dumps(project))
    options = automation.LocalWorkspaceOptions(
        work_dir=str(tmp_path),
        env_vars={
            **{key: value for key, value in local_vertex.items() if key.startswith(("VERTEX_DEPLOY_", "GOOGLE_"))},
            "GOOGLE_CLOUD_REGION": "us-central1",
            "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
            "PULUMI_CONFIG_PASSPHRASE": "test",
        },
    )
    made = automation.create_or_select_stack("dev", project_name="shop", program=program, opts=options)
    made.set_config("vertexdeploy:project", automation.ConfigValue("my-project"))
    yield made
    made.destroy()


def test_the_engine_takes_the_program_up_sees_no_drift_of_a_rollout_and_down(stack, endpoints, endpoint):
    assert stack.preview().change_summary["create"] == 4  # the stack and three resources
    stack.up()
    found = endpoints.get_endpoint(name=endpoint)
    assert list(found.traffic_split.values()) == [100]
    stack.refresh()
    assert set(stack.preview().change_summary) == {"same"}
    stack.destroy()
    assert not endpoints.get_endpoint(name=endpoint).deployed_models

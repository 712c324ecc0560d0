"""Pulumi's engine itself, where it is installed: preview, up, refresh, destroy with a file backend and our plugin.

The program's own pulumi-gcp resources go to Local Vertex through the provider's custom endpoints, where that plugin is
installed too. What is asked here of the engine is asked of the stand-in in test_whole_program.
"""

from __future__ import annotations

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

from infra.provider import sdk

from .conftest import LIMIT, MACHINE, container
from .pieces import pieces
from .pulumi_engine import counted, missing, stack
from .shop import STATIC, spec_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
with_gcp = pytest.mark.skipif(bool(missing("gcp")), reason=missing("gcp"))


@pytest.fixture
def run(local_vertex, tmp_path):
    """Makes the stack of a program, and destroys it."""
    made = []

    def make(program):
        kept = {key: value for key, value in local_vertex.items() if key.startswith(("VERTEX_DEPLOY_", "GOOGLE_"))}
        config = {"vertexdeploy:project": "my-project"}
        made.append(stack(tmp_path, "dev", program, config, {**kept, "GOOGLE_CLOUD_REGION": "us-central1"}))
        return made[0]

    yield make
    for item in made:
        item.destroy()


@pytest.mark.parametrize("owner", ["rollout", "pulumi"])
def test_the_engine_takes_our_resources_up_and_down(run, endpoints, endpoint, model_id, owner):
    def program():
        given = container()
        model = sdk.Model(
            "model",
            model_id=model_id,
            container=sdk.Container(
                image_uri=given["imageUri"],
                predict_route=given["predictRoute"],
                health_route=given["healthRoute"],
                env=given["env"],
            ),
        )
        machine = sdk.Machine(type=MACHINE["type"])
        deployed = [
            sdk.DeployedModel(
                name,
                endpoint=endpoint,
                model=model.version_name,
                machine=machine,
                display_name=name,
                owner=owner,
            )
            for name in ("one", "two")
        ]
        shares = [
            sdk.Share(deployed_model_id=item.deployed_model_id, percent=percent)
            for item, percent in zip(deployed, (90, 10), strict=True)
        ]
        sdk.TrafficSplit("split", endpoint=endpoint, split=shares, owner=owner)

    made = run(program)
    assert counted(made.preview().change_summary)["create"] == 5  # the stack and four resources
    made.up()
    split = dict(endpoints.get_endpoint(name=endpoint).traffic_split)
    assert sorted(split.values()) == [10, 90]
    assert set(counted(made.preview().change_summary)) == {"same"}

    # What a rollout does.
    moved = {"name": endpoint, "traffic_split": {max(split, key=split.get): 100}}
    endpoints.update_endpoint(endpoint=moved, update_mask={"paths": ["traffic_split"]})
    made.refresh()
    steps = counted(made.preview().change_summary)
    assert steps.get("update", 0) == (0 if owner == "rollout" else 1)
    made.up()
    found = dict(endpoints.get_endpoint(name=endpoint).traffic_split)
    assert found == (moved["traffic_split"] if owner == "rollout" else split)
    # Traffic that a rollout owns is left by the destruction, and its deployed model then refuses to go; end it first.
    endpoints.update_endpoint(
        endpoint={"name": endpoint, "traffic_split": {}}, update_mask={"paths": ["traffic_split"]}
    )
    made.destroy()
    assert not endpoints.get_endpoint(name=endpoint).deployed_models


@with_gcp
@pytest.mark.parametrize("traffic", ["traffic: rollout", STATIC], ids=["rollout", "pulumi"])
def test_pulumi_gcps_resources_go_to_local_vertex_through_custom_endpoints(run, shop, traffic):
    before, rest = shop.left(), shop.google.root
    made = run(lambda: pieces(spec_of(shop.text(traffic)), rest))
    assert "create" in counted(made.preview().change_summary)
    assert shop.left() == before, "a preview changes nothing"
    made.up()
    found = shop.left()
    assert (len(found["endpoints"]), len(found["buckets"]), len(found["policies"])) == (
        len(before["endpoints"]) + 1,
        len(before["buckets"]) + 2,
        len(before["policies"]) + 2,
    )
    if traffic != STATIC:
        shop.rollouts.write("one")
        code, out = shop.rollouts.run("start")
        assert code == 0, out
    split = shop.split()
    made.refresh()
    assert set(counted(made.preview().change_summary)) == {"same"}
    assert shop.split() == split
    if traffic != STATIC:
        for deployed in split:
            request = {"endpoint": shop.endpoint, "deployed_model_id": deployed, "traffic_split": {}}
            shop.endpoints.undeploy_model(request=request).result(timeout=LIMIT)
    made.destroy()
    assert {**shop.left(), "models": before["models"]} == before

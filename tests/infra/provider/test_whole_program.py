"""The whole program on a Local Vertex, without Pulumi's engine: up, a real rollout, preview, refresh, destroy."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

import pulumi_gcp as gcp

from infra.provider.names import same_name
from tests.infra.google import ATTRIBUTION, ENDPOINT, Refused, differing
from tests.infra.recorder import parameters

from .conftest import LIMIT
from .pieces import custom_endpoints, pieces
from .shop import STATIC, program_of, spec_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_rollout_then_a_preview_shows_no_change(shop):
    before, world, wanted = shop.left(), shop.world, shop.program()
    assert world.up(wanted)["create"] == len(world.order) > 20
    assert world.real() == {"AiEndpoint": 1, "AlertPolicy": 2, "Bucket": 2}
    assert world.preview(wanted) == {}

    shop.rollouts.write("one")
    code, out = shop.rollouts.run("start")
    assert code == 0, out
    shop.rollouts.write("two")
    with shop.rollouts.traffic():
        code, out = shop.rollouts.run("start")
    assert code == 0, out
    assert same_name(shop.rollouts.endpoint(), shop.endpoint), "the rollout must use the endpoint that the program made"
    split = shop.split()
    assert list(split.values()) == [100]

    assert world.preview(wanted) == {}
    world.refresh()
    kept = world.kept["gcp:vertex/aiEndpoint:AiEndpoint", "endpoint"]
    assert kept.live["trafficSplit"] == split, "the refresh must have seen what the rollout did"
    assert world.preview(wanted) == {}
    assert world.up(wanted)["same"] == len(world.order)
    assert shop.split() == split

    with pytest.raises(Refused, match="DELETE"):
        shop.google.delete(kept.path)  # an endpoint with deployed models stays: docs/infra/operations.md, tearing down
    for deployed in split:
        request = {"endpoint": shop.endpoint, "deployed_model_id": deployed, "traffic_split": {}}
        shop.endpoints.undeploy_model(request=request).result(timeout=LIMIT)
    world.destroy()
    assert {**shop.left(), "models": before["models"]} == before


def test_a_split_that_was_not_ignored_would_be_seen():
    """That the preview above can fail: the same drift, on an endpoint whose split nobody ignores."""
    inputs = {"name": "123456789", "displayName": "x", "project": "my-project", "location": "us-central1"}
    live = {"displayName": "x", "labels": ATTRIBUTION, "trafficSplit": {"1": 100}}
    assert differing(ENDPOINT, inputs, live) == ["trafficSplit"]
    assert differing(ENDPOINT, inputs, live, ["trafficSplit"]) == []


def test_a_static_split_refuses_rollouts_and_a_preview_shows_no_change(shop):
    before, world, wanted = shop.left(), shop.world, shop.program(STATIC)
    world.up(wanted)
    ours = {"Model": 2, "DeployedModel": 2, "TrafficSplit": 1}
    assert world.real() == {"AiEndpoint": 1, "AlertPolicy": 2, "Bucket": 2, **ours}
    split = shop.split()
    assert sorted(split.values()) == [10, 90]

    (shop.rollouts.cli.folder / f"{shop.name}.yaml").write_text(shop.text(STATIC))
    code, out = shop.rollouts.run("start")
    assert code != 0
    assert "target.traffic is pulumi" in out
    for refreshed in (False, True):
        if refreshed:
            world.refresh()
        assert world.preview(wanted) == {}

    # What somebody else moves is seen by a refresh, as the split's alone, and put right.
    shop.move({max(split, key=split.get): 100})
    assert world.preview(wanted) == {}
    world.refresh()
    assert world.preview(wanted) == {"TrafficSplit split": "update"}
    assert world.up(wanted)["update"] == 1
    assert shop.split() == split

    # Back to rollouts: what is Pulumi's of the traffic goes, and nothing else changes.
    assert world.preview(shop.program()) == {
        "TrafficSplit split": "delete",
        **{f"{kind} split-{side}": "delete" for kind in ("Model", "DeployedModel") for side in ("a", "b")},
    }
    world.destroy()
    assert shop.left() == before


def test_what_the_program_says_anew_is_changed_in_place(shop):
    world = shop.world
    world.up(shop.program())
    other = program_of(shop.text().replace("team: vision", "team: audio").replace("max: 60s", "max: 90s"))
    steps = world.preview(other)
    assert set(steps.values()) == {"update"}
    assert {"AiEndpoint endpoint", "AlertPolicy alerts-latency_p95", "Bucket storage-state"} <= set(steps)
    world.up(other)
    assert world.preview(other) == {}

    def live(kind: str, name: str) -> dict[str, Any]:
        return shop.google.get(world.kept[f"gcp:{kind}", name].path)

    assert live("vertex/aiEndpoint:AiEndpoint", "endpoint")["labels"]["team"] == "audio"
    (condition,) = live("monitoring/alertPolicy:AlertPolicy", "alerts-latency_p95")["conditions"]
    assert condition["conditionThreshold"]["thresholdValue"] == 90_000
    assert live("storage/bucket:Bucket", "storage-state")["labels"]["team"] == "audio"
    world.destroy()


def test_what_somebody_deleted_is_made_again(shop):
    world, wanted = shop.world, shop.program()
    world.up(wanted)
    shop.google.delete(world.kept["gcp:monitoring/alertPolicy:AlertPolicy", "alerts-error_rate"].path)
    world.refresh()
    assert world.preview(wanted) == {"AlertPolicy alerts-error_rate": "create"}
    world.up(wanted)
    assert world.preview(wanted) == {}
    world.destroy()


@pytest.mark.parametrize("traffic", ["traffic: rollout", STATIC], ids=["rollout", "pulumi"])
def test_the_pieces_that_the_engine_is_given_go_up_and_down(shop, traffic):
    """What test_automation asks of Pulumi's engine and pulumi-gcp's plugin, where there are any."""
    before, world = shop.left(), shop.world

    def wanted() -> None:
        pieces(spec_of(shop.text(traffic)), shop.google.root)

    world.up(wanted)
    assert len(world.order) == sum(world.real().values()), "each has its API on Local Vertex"
    world.refresh()
    assert world.preview(wanted) == {}
    world.destroy()
    assert shop.left() == before


def test_the_custom_endpoints_are_options_of_the_installed_provider():
    assert set(custom_endpoints("http://127.0.0.1:1/")) <= parameters(gcp.Provider)
    assert all(url.endswith("/") for key, url in custom_endpoints("http://h:1").items() if key != "access_token")

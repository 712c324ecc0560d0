"""The whole program on a Local Vertex, without Pulumi's engine: up, a real rollout, preview, refresh, destroy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

from infra import __main__ as program
from infra.provider.names import same_name
from tests.e2e.rollouts import Rollouts
from tests.infra.google import ATTRIBUTION, CHANNEL, ENDPOINT, Google, Refused, differing
from tests.infra.world import World
from tests.spec.examples import examined
from vertex_deploy.spec import names

from .conftest import IMAGE, MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.spec import Spec

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TEXT = f"""\
name: NAME
gcp: {{project: my-project, region: us-central1}}
container: {{image: '{IMAGE}', predict_route: /predict, health_route: /health}}
target:
  type: vertex
  machine: {{type: {MACHINE["type"]}}}
  TRAFFIC
monitoring:
  alerts: [{{metric: error_rate, max: 5%}}, {{metric: latency_p95, max: 2s}}]
  notification_channels: [CHANNEL]
infra:
  labels: {{team: vision}}
  storage: {{models: NAME-models, state: NAME-state}}
"""
WEBHOOK = {
    "project": "my-project",
    "displayName": "on call",
    "type": "webhook_tokenauth",
    "labels": {"url": "http://127.0.0.1:9/"},
}
STATIC = "traffic: pulumi\n  split: [{name: a, weight: 90}, {name: b, weight: 10}]"
ROLLOUT = {
    "steps": [{"weight": 50, "hold": "3s"}, {"weight": 100}],
    "gates": [{"metric": "error_rate", "max": "5%", "min_requests": 5}],
    "keep_stable": "1s",
}


@dataclass(frozen=True)
class Shop:
    """What a test is about: a stack of its own on a Local Vertex.

    Args:
        name: of its spec.
        channel: an existing notification channel.
        world: the stack.
        google: the APIs.
        rollouts: the command line for the spec of that name.
        endpoints: Google's client.
    """

    name: str
    channel: str
    world: World
    google: Google
    rollouts: Rollouts
    endpoints: Any

    def text(self, traffic: str = "traffic: rollout") -> str:
        return TEXT.replace("NAME", self.name).replace("TRAFFIC", traffic).replace("CHANNEL", self.channel)

    def program(self, traffic: str = "traffic: rollout") -> Callable[[], Any]:
        return program_of(self.text(traffic))

    @property
    def endpoint(self) -> str:
        spec = spec_of(self.text())
        return f"{names.location(spec)}/endpoints/{names.endpoint_id(spec)}"

    def split(self) -> dict[str, int]:
        return dict(self.endpoints.get_endpoint(name=self.endpoint).traffic_split)

    def move(self, split: dict[str, int]) -> None:
        wanted = {"name": self.endpoint, "traffic_split": split}
        self.endpoints.update_endpoint(endpoint=wanted, update_mask={"paths": ["traffic_split"]})

    def left(self) -> dict[str, list[str]]:
        """Names of all that the APIs have, by collection."""
        place = "v1/projects/my-project/locations/us-central1"
        found = {
            "endpoints": self.google.call("GET", f"{place}/endpoints").get("endpoints", []),
            "models": self.google.call("GET", f"{place}/models").get("models", []),
            "policies": self.google.call("GET", "v3/projects/my-project/alertPolicies").get("alertPolicies", []),
            "buckets": self.google.call("GET", "storage/v1/b", project="my-project").get("items", []),
        }
        return {kind: sorted(item["name"] for item in items) for kind, items in found.items()}


def spec_of(text: str) -> Spec:
    found = examined(text)
    assert found.spec is not None, [str(problem) for problem in found.problems]
    return found.spec


def program_of(text: str) -> Callable[[], Any]:
    spec = spec_of(text)
    return lambda: program.stack(spec, path="deploy.yaml", text=text, environment=None)


@pytest.fixture
def shop(engine, cli, local_vertex, endpoints, model_id):
    google = Google(local_vertex["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"])
    channel, _ = google.create(CHANNEL, WEBHOOK)
    rollouts = Rollouts(cli, model_id, ROLLOUT, environment=local_vertex)
    name = channel.removeprefix("v3/")
    return Shop(model_id, name, World(engine, google), google, rollouts, endpoints)


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
        shop.endpoints.undeploy_model(request=request).result(timeout=30)
    world.destroy()
    assert {**shop.left(), "models": before["models"]} == before


def test_a_split_that_was_not_ignored_would_be_seen(shop):
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
    other = program_of(shop.text().replace("team: vision", "team: audio").replace("max: 2s", "max: 3s"))
    steps = world.preview(other)
    assert set(steps.values()) == {"update"}
    assert {"AiEndpoint endpoint", "AlertPolicy alerts-latency_p95", "Bucket storage-state"} <= set(steps)
    world.up(other)
    assert world.preview(other) == {}

    def live(kind: str, name: str) -> dict[str, Any]:
        return shop.google.get(world.kept[f"gcp:{kind}", name].path)

    assert live("vertex/aiEndpoint:AiEndpoint", "endpoint")["labels"]["team"] == "audio"
    (condition,) = live("monitoring/alertPolicy:AlertPolicy", "alerts-latency_p95")["conditions"]
    assert condition["conditionThreshold"]["thresholdValue"] == 3000
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

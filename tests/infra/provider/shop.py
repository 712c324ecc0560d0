"""A stack of its own on a Local Vertex: its spec, its program, what is there, and rollouts of the same spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra import __main__ as program
from tests.spec.examples import examined
from vertex_deploy.spec import names

from .conftest import IMAGE, MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.rollouts import Rollouts
    from tests.infra.google import Google
    from tests.infra.world import World
    from vertex_deploy.spec import Spec

TEXT = f"""\
name: NAME
gcp: {{project: my-project, region: us-central1}}
container: {{image: '{IMAGE}', predict_route: /predict, health_route: /health}}
target:
  type: vertex
  machine: {{type: {MACHINE["type"]}}}
  TRAFFIC
monitoring:
  alerts: [{{metric: error_rate, max: 5%}}, {{metric: latency_p95, max: 60s}}]
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
    # What is asked is what a rollout leaves, not whether a slow machine sends enough requests for a verdict.
    "on_inconclusive": "proceed",
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

"""What the program asks for with ``traffic: pulumi``, brought up by the plugin on a Local Vertex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

from infra.components.static_split import StaticSplit, StaticSplitArgs
from infra.provider.values import decode, encode
from tests.infra.recorder import record
from tests.spec.examples import examined

from .conftest import IMAGE, MACHINE

if TYPE_CHECKING:
    from tests.infra.recorder import Recording

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def asked(endpoint: str, model_id: str) -> Recording:
    """Requests of the component for a spec with two variants, 90 and 10."""
    found = examined(f"""\
name: {model_id}
gcp: {{project: my-project, region: us-central1}}
container: {{image: '{IMAGE}', predict_route: /predict, health_route: /health}}
target:
  type: vertex
  machine: {{type: {MACHINE["type"]}}}
  traffic: pulumi
  split: [{{name: a, weight: 90}}, {{name: b, weight: 10}}]
""")
    assert found.spec is not None, found.problems
    return record(lambda: StaticSplit("split", StaticSplitArgs.of(found.spec, endpoint=endpoint)))


def test_a_static_split_goes_up_puts_drift_right_and_goes_down(engine, endpoints, endpoint, model_id):
    made = asked(endpoint, model_id)
    ids: dict[str, str] = {}
    inputs: dict[tuple[str, str], dict[str, Any]] = {}

    def up(kind: str, name: str, **known: Any) -> None:
        # A name is a resource's key in the stand-in of the engine; Pulumi's own has the type beside it.
        inputs[kind, name] = {**decode(encode(made.one(kind, name).inputs))[0], **known}
        assert engine.up(kind, f"{kind}-{name}", inputs[kind, name]) == "create"

    for side in ("split-a", "split-b"):
        up("Model", side)
        up("DeployedModel", side, model=engine.state[f"Model-{side}"].outputs["versionName"])
        ids[side] = engine.state[f"DeployedModel-{side}"].outputs["deployedModelId"]
    shares = [{"deployedModelId": ids[side], "percent": n} for side, n in (("split-a", 90), ("split-b", 10))]
    up("TrafficSplit", "split", split=shares)
    assert dict(endpoints.get_endpoint(name=endpoint).traffic_split) == {ids["split-a"]: 90, ids["split-b"]: 10}
    for (kind, name), given in inputs.items():
        assert engine.preview(kind, f"{kind}-{name}", given)[0] == "same", (kind, name)

    moved = {"name": endpoint, "traffic_split": {ids["split-b"]: 100}}
    endpoints.update_endpoint(endpoint=moved, update_mask={"paths": ["traffic_split"]})
    assert engine.refresh("TrafficSplit", "TrafficSplit-split")
    assert engine.up("TrafficSplit", "TrafficSplit-split", inputs["TrafficSplit", "split"]) == "update"
    assert dict(endpoints.get_endpoint(name=endpoint).traffic_split) == {ids["split-a"]: 90, ids["split-b"]: 10}

    engine.delete("TrafficSplit", "TrafficSplit-split")
    for side in ("split-a", "split-b"):
        engine.delete("DeployedModel", f"DeployedModel-{side}")
        engine.delete("Model", f"Model-{side}")
    assert not endpoints.get_endpoint(name=endpoint).deployed_models

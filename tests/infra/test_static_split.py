from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pulumi")

import pulumi

from infra import __main__ as program
from infra.components import static_split
from infra.policies.rules import RULES, Resource
from infra.policies.settings import Settings
from infra.provider.resources import deployed_model, model, traffic_split
from infra.provider.resources.base import Context
from infra.provider.values import decode, encode
from tests.infra.recorder import Recording, record
from tests.spec.examples import examined

if TYPE_CHECKING:
    from vertex_deploy.spec import Spec

PLACE = "projects/my-project/locations/us-central1"
ENDPOINT = f"{PLACE}/endpoints/123456789"
KEY = f"{PLACE}/keyRings/r/cryptoKeys/k"
IMAGE = f"us-central1-docker.pkg.dev/my-project/r/server@sha256:{'a' * 64}"
OTHER = f"us-central1-docker.pkg.dev/my-project/r/other@sha256:{'b' * 64}"
SPLIT = (
    f"[{{name: a, weight: 90}}, {{name: b, weight: 10, artifact: gs://my-project-models/lite0/3, image: '{OTHER}'}}]"
)
TEXT = f"""\
name: lite0
gcp: {{project: my-project, region: us-central1}}
model: {{artifact: gs://my-project-models/lite0/2, aliases: [live], labels: {{kind: image}}}}
container: {{image: '{IMAGE}', port: 9000, args: [-v], env: {{A: '1'}}, predict_route: /p, startup_timeout: 10m}}
target:
  type: vertex
  machine: {{type: g2-standard-8, accelerator: L4:1, spot: true}}
  replicas: {{min: 2, max: 10, scale_on: {{gpu_duty_cycle: 60}}}}
  service_account: s@my-project.iam.gserviceaccount.com
  TRAFFIC
rollout: {{gates: [{{metric: error_rate, max: 1%}}]}}
infra: INFRA
"""
STATIC = f"traffic: pulumi\n  split: {SPLIT}"
KINDS = ("Model", "DeployedModel", "TrafficSplit")
DEFINITIONS = dict(zip(KINDS, (model.MODEL, deployed_model.DEPLOYED_MODEL, traffic_split.TRAFFIC_SPLIT), strict=True))


def spec(traffic: str = STATIC, infra: str = "{}") -> Spec:
    found = examined(TEXT.replace("TRAFFIC", traffic).replace("INFRA", infra))
    assert found.spec is not None, [str(problem) for problem in found.problems]
    return found.spec


def split_of(wanted: Spec, pool: str | None = None) -> Recording:
    def make() -> None:
        arguments = static_split.StaticSplitArgs.of(wanted, endpoint=ENDPOINT, pool=pool)
        static_split.StaticSplit("split", arguments)

    return record(make)


def on_a_pool(infra: str, text: str) -> Spec:
    """The static split with variants of one prebuilt image, which alone can share a pool."""
    split = "[{name: a, weight: 90}, {name: b, weight: 10, artifact: gs://my-project-models/lite0/3}]"
    text = text.replace(IMAGE, "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest").replace("INFRA", infra)
    found = examined(text.replace("TRAFFIC", f"pool: shared\n  traffic: pulumi\n  split: {split}"))
    assert found.spec is not None, [str(problem) for problem in found.problems]
    return found.spec


def program_of(wanted: Spec) -> Recording:
    return record(lambda: program.stack(wanted, path="deploy.yaml", text="", environment=None))


def ours(made: Recording) -> list[str]:
    return [item.name for item in made if item.type.startswith("vertexdeploy:")]


def test_each_variant_is_a_model_of_its_own_from_what_it_says_and_else_from_the_spec():
    made = split_of(spec(infra=f"{{encryption_key: {KEY}, labels: {{team: vision}}}}"))
    first, second = made.one("Model", "split-a").inputs, made.one("Model", "split-b").inputs
    assert first == {
        "project": "my-project",
        "region": "us-central1",
        "modelId": "lite0-a",
        "displayName": "lite0-a",
        "artifactUri": "gs://my-project-models/lite0/2",
        "versionAliases": ["live"],
        "labels": {"kind": "image", "team": "vision", "vertex-deploy": "lite0"},
        "kmsKeyName": KEY,
        "owner": "pulumi",
        "container": {
            "imageUri": IMAGE,
            "args": ["-v"],
            "env": {"A": "1"},
            "ports": [9000],
            "predictRoute": "/p",
            "deploymentTimeout": 600,
        },
    }
    assert second["container"] == {**first["container"], "imageUri": OTHER}
    assert (second["modelId"], second["artifactUri"]) == ("lite0-b", "gs://my-project-models/lite0/3")


def test_an_image_named_by_its_folder_is_the_projects_own():
    text = STATIC.replace(OTHER, "torch-aoti")
    image = split_of(spec(text)).one("Model", "split-b").inputs["container"]["imageUri"]
    assert image == "us-central1-docker.pkg.dev/my-project/vertex-deploy/torch-aoti"


def test_each_is_deployed_as_the_target_says():
    made = split_of(spec())
    assert made.one("DeployedModel", "split-a").inputs == {
        "endpoint": ENDPOINT,
        "model": f"{PLACE}/models/lite0-a@1",
        "displayName": "lite0-a",
        "machine": {"type": "g2-standard-8", "accelerator": "L4:1", "spot": True},
        "replicas": {"min": 2, "max": 10},
        "scaleOn": {"gpuDutyCycle": 60},
        "serviceAccount": "s@my-project.iam.gserviceaccount.com",
        "owner": "pulumi",
    }


def test_on_a_pool_the_machines_are_the_pools():
    pool = f"{PLACE}/deploymentResourcePools/lite0"
    inputs = split_of(spec(), pool).one("DeployedModel", "split-b").inputs
    assert inputs["pool"] == pool
    assert not inputs.keys() & {"machine", "replicas", "scaleOn"}


def test_the_split_gives_each_its_weight_and_is_pulumis():
    assert split_of(spec()).one("TrafficSplit").inputs == {
        "endpoint": ENDPOINT,
        "split": [
            {"deployedModelId": "id-of-lite0-a", "percent": 90},
            {"deployedModelId": "id-of-lite0-b", "percent": 10},
        ],
        "owner": "pulumi",
    }


def test_a_model_comes_before_its_deployment_and_every_deployment_before_the_split():
    made = split_of(spec())
    assert {item.parent for item in made if item.custom} == {"split"}
    dependencies = {(item.kind, item.name): item.after for item in made}
    assert dependencies["DeployedModel", "split-a"] == {"split-a"}
    assert dependencies["DeployedModel", "split-b"] == {"split-b"}
    assert dependencies["TrafficSplit", "split"] == {"split-a", "split-b"}
    order = [item.kind for item in made if item.custom]
    assert order[-1] == "TrafficSplit"
    assert not any(item.ignored for item in made)


def test_protection_keeps_split_and_models_and_lets_deployments_be_replaced():
    made = split_of(spec(infra="{protect: true}"))
    assert {item.kind for item in made if item.protect} == {"Model", "TrafficSplit"}
    assert not any(item.protect for item in split_of(spec()))


def test_the_provider_takes_every_input():
    made = split_of(spec(infra=f"{{encryption_key: {KEY}}}"))
    checked = 0
    for kind, definition in DEFINITIONS.items():
        for item in made.of(kind):
            inputs = decode(encode(item.inputs))[0]  # as they travel: whole numbers are floats on the wire
            # The mocks' ids are no numbers, so that they cannot be taken for the API's.
            if kind == "TrafficSplit":
                inputs["split"] = [{**share, "deployedModelId": str(n)} for n, share in enumerate(inputs["split"])]
            context = Context(urn=f"urn:pulumi:dev::p::{item.type}::{item.name}", name=item.name, config={}, olds={})
            assert definition.check(inputs, context)[1] == [], item.name
            checked += 1
    assert checked == 5


def test_a_spec_that_leaves_traffic_to_rollouts_has_no_arguments():
    with pytest.raises(ValueError, match="traffic: pulumi"):
        static_split.StaticSplitArgs.of(spec("traffic: rollout"), endpoint=ENDPOINT)


@pytest.mark.parametrize("traffic", ["", "traffic: rollout"])
def test_the_program_makes_nothing_that_a_rollout_owns(traffic):
    made = program_of(spec(traffic))
    assert ours(made) == []
    assert made.one("AiEndpoint").ignored == ["trafficSplit"]


def test_the_program_makes_the_static_split_on_its_endpoint():
    made = program_of(spec())
    assert sorted(ours(made)) == ["split", "split-a", "split-a", "split-b", "split-b"]
    endpoint = made.one("AiEndpoint")
    # One owner: the endpoint itself must not put right what the split's own resource set.
    assert endpoint.ignored == ["trafficSplit"]
    assert "trafficSplit" not in endpoint.inputs
    name = f"{PLACE}/endpoints/{endpoint.inputs['name']}"
    for kind in ("DeployedModel", "TrafficSplit"):
        assert all(item.inputs["endpoint"] == name and "endpoint" in item.after for item in made.of(kind))


def test_the_programs_pool_carries_the_static_split():
    made = program_of(on_a_pool("{pool: true}", TEXT.replace(", spot: true", "")))
    assert made.one("AiDeploymentResourcePool").inputs["name"] == "shared"
    assert all(item.inputs["pool"].endswith("/deploymentResourcePools/shared") for item in made.of("DeployedModel"))
    assert all("pool" in item.after for item in made.of("DeployedModel"))


def test_a_pool_that_somebody_else_made_carries_the_static_split_too():
    lines = [line for line in TEXT.splitlines(keepends=True) if not line.startswith(("  machine:", "  replicas:"))]
    made = program_of(on_a_pool("{}", "".join(lines)))
    assert not made.of("AiDeploymentResourcePool")
    assert {item.inputs["pool"] for item in made.of("DeployedModel")} == {f"{PLACE}/deploymentResourcePools/shared"}
    assert not any("machine" in item.inputs or "replicas" in item.inputs for item in made.of("DeployedModel"))


def test_a_preview_without_any_of_their_names_asks_for_the_same():
    wanted = spec()

    def make() -> None:
        program.stack(wanted, path="deploy.yaml", text="", environment=None)

    previewed = {(item.type, item.name) for item in record(make, preview=True)}
    assert previewed == {(item.type, item.name) for item in program_of(wanted)}


def test_a_static_split_holds_every_policy_of_production_that_is_about_it():
    made = program_of(spec(infra=f"{{encryption_key: {KEY}, labels: {{team: vision}}, protect: true}}"))
    resources = [Resource(type=m.type, name=m.name, props=m.inputs, protect=m.protect) for m in made if m.custom]
    settings = Settings(production=True, cmek=True, required_labels=("team",))
    broken = [(rule.name, item.name) for rule in RULES for item, _ in rule.check(resources, settings)]
    assert broken == [("private-in-production", "endpoint")]  # this spec's endpoint is public


def test_policies_see_what_a_static_split_gets_wrong():
    text = TEXT.replace("TRAFFIC", STATIC.replace(OTHER, "torch-aoti")).replace("INFRA", "{}")
    made = program_of(examined(text.replace("min: 2", "min: 1")).spec)
    resources = [Resource(type=m.type, name=m.name, props=m.inputs) for m in made if m.custom]
    settings = Settings(cmek=True)
    broken = {(rule.name, item.name) for rule in RULES for item, _ in rule.check(resources, settings)}
    assert {
        ("images-by-digest", "split-b"),
        ("spot-has-a-floor", "split-a"),
        ("customer-managed-keys", "split-a"),
    } <= broken


def test_a_stack_exports_the_same_in_both_modes():
    def outputs(traffic: str) -> set[str]:
        seen: list[str] = []

        def make() -> None:
            found = program.stack(spec(traffic), path="deploy.yaml", text="", environment=None)
            seen.extend(name for name, value in found.items() if isinstance(value, pulumi.Output))

        record(make)
        return set(seen)

    assert outputs("") == outputs(STATIC)
    assert "endpoint" in outputs("")

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import pytest
import yaml

from infra.policies import rules
from infra.policies.rules import RULES, Resource
from infra.policies.settings import Settings

ROOT = Path(__file__).parents[2]
PACK = ROOT / "infra" / "policies"
PROD = Settings(production=True, cmek=True, required_labels=("team",))
KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
ENDPOINT = Resource(type=rules.ENDPOINT, name="e", props={"name": "123456789", "location": "us-central1"})
ALERT = Resource(type=rules.ALERT, name="a", props={"conditions": [{"filter": 'endpoint_id="123456789"'}]})
DIGEST = f"r/i@sha256:{'a' * 64}"


def nodes(
    name: str = "n", *, spot: bool = False, least: int = 0, machine: str = "g2-standard-8", gpu: str = "nvidia-l4"
):
    config = {"machineType": machine, "guestAccelerators": [{"type": gpu, "count": 1}], "spot": spot}
    scaling = {"totalMinNodeCount": least, "totalMaxNodeCount": 5}
    props = {"cluster": "c", "location": "us-central1", "nodeConfig": config, "autoscaling": scaling}
    return Resource(type=rules.NODE_POOL, name=name, props=props)


def deployed(**machine) -> Resource:
    props = {"machine": machine, "replicas": {"min": 1}, "endpoint": "projects/p/locations/us-central1/endpoints/1"}
    return Resource(type=rules.DEPLOYED, name="d", props=props)


def found(name: str, *resources: Resource, settings: Settings = PROD) -> list[str]:
    (rule,) = (rule for rule in RULES if rule.name == name)
    return [message for _, message in rule.check(resources, settings)]


def given(resource: Resource, **props) -> Resource:
    return dataclasses.replace(resource, props={**resource.props, **props})


def test_a_public_endpoint_is_for_development_only():
    assert found("private-in-production", ENDPOINT)
    assert found("private-in-production", given(ENDPOINT, dedicatedEndpointEnabled=True))
    assert not found("private-in-production", ENDPOINT, settings=Settings())
    assert not found("private-in-production", given(ENDPOINT, network="projects/1/global/networks/n"))
    psc = {"enablePrivateServiceConnect": True}
    assert not found("private-in-production", given(ENDPOINT, privateServiceConnectConfig=psc))


@pytest.mark.parametrize("kind", rules.KEYS)
def test_a_key_is_demanded_where_asked(kind):
    resource = Resource(type=kind, name="x")
    assert "infra.encryption_key" in found("customer-managed-keys", resource)[0]
    assert not found("customer-managed-keys", resource, settings=Settings())
    props: dict = {}
    for missing, (*above, last) in zip(range(len(rules.KEYS[kind]), 0, -1), rules.KEYS[kind], strict=True):
        assert len(found("customer-managed-keys", dataclasses.replace(resource, props=props))) == missing
        at = props
        for part in above:
            at = at.setdefault(part, {})
        at[last] = KEY
    assert not found("customer-managed-keys", dataclasses.replace(resource, props=props))


@pytest.mark.parametrize(("kind", "where"), rules.LABELS.items())
def test_missing_labels_are_named(kind, where):
    resource = Resource(type=kind, name="x", props={where: {"other": "x"}})
    assert "labels team are missing" in found("labelled", resource)[0]
    assert not found("labelled", given(resource, **{where: {"team": "vision"}}))


@pytest.mark.parametrize("role", sorted(rules.PRIMITIVE))
def test_primitive_roles_are_refused_wherever_they_are_granted(role):
    for kind in ("gcp:projects/iAMMember:IAMMember", "gcp:storage/bucketIAMMember:BucketIAMMember"):
        assert found("no-primitive-roles", Resource(type=kind, name="m", props={"role": role}))
    assert not found("no-primitive-roles", Resource(type="x", name="m", props={"role": "roles/run.invoker"}))


def test_spot_nodes_need_two_or_others_on_demand():
    assert found("spot-has-a-floor", nodes(spot=True))
    assert found("spot-has-a-floor", nodes(spot=True), nodes("o", machine="g2-standard-16", gpu="nvidia-tesla-t4"))
    assert not found("spot-has-a-floor", nodes(spot=True), nodes("o"))
    assert not found("spot-has-a-floor", nodes(spot=True, least=2))


def test_a_deployed_model_on_spot_needs_two_replicas():
    one = deployed(type="g2-standard-8", accelerator="L4:1", spot=True)
    assert found("spot-has-a-floor", one)
    assert not found("spot-has-a-floor", given(one, replicas={"min": 2}))
    assert not found("spot-has-a-floor", deployed(type="g2-standard-8", accelerator="L4:1"))


def test_a_machine_must_carry_its_gpu():
    assert found("gpu-fits", nodes(gpu="nvidia-tesla-t4"))
    assert not found("gpu-fits", nodes())
    assert found("gpu-fits", deployed(type="g2-standard-8", accelerator="L4:2"))
    assert not found("gpu-fits", deployed(type="n1-standard-4", accelerator="T4:1"))
    spec = {"machineType": "g2-standard-8", "acceleratorType": "NVIDIA_TESLA_A100", "acceleratorCount": 1}
    assert found("gpu-fits", Resource(type=rules.POOL, name="p", props={"dedicatedResources": {"machineSpec": spec}}))


def test_a_gpu_is_used_in_the_regions_of_the_table():
    assert not found("gpu-fits", nodes())
    assert not found("gpu-fits", given(nodes(), location="us-central1-a"))
    (wrong,) = found("gpu-fits", given(nodes(), location="southamerica-east1"))
    assert wrong.startswith(
        f"L4 in southamerica-east1 is not in the table as of {rules.REGIONS['read']}, which has it in asia-"
    )
    assert "gpus_by_region" in wrong
    (wrong,) = found("gpu-fits", deployed(type="g4-standard-48", accelerator="RTX_PRO_6000:1"))
    assert "which has it in no region" in wrong


def test_a_region_that_the_settings_name_is_decided_by_them_alone():
    settings = Settings(gpus_by_region={"us-central1": ("RTX_PRO_6000",), "southamerica-east1": ("L4",)})
    newer = deployed(type="g4-standard-48", accelerator="RTX_PRO_6000:1")
    assert not found("gpu-fits", newer, given(nodes(), location="southamerica-east1"), settings=settings)
    assert found("gpu-fits", nodes(), settings=settings) == [
        "L4 may not be used in us-central1; gpus_by_region allows RTX_PRO_6000 there"
    ]
    assert not found("gpu-fits", given(nodes(), location="europe-west4"), settings=settings)


def test_a_region_that_a_preview_does_not_know_yet_is_not_judged():
    unknown = deployed(type="g2-standard-8", accelerator="L4:1")
    assert not found("gpu-fits", given(unknown, endpoint=rules.UNKNOWN))


def test_what_a_preview_does_not_know_may_be_right():
    spot = nodes(spot=True)
    assert found("spot-has-a-floor", given(spot, cluster=rules.UNKNOWN), given(nodes("o"), cluster=rules.UNKNOWN)) == []
    assert found("spot-has-a-floor", given(spot, cluster=rules.UNKNOWN), nodes("o")) == []
    assert found("spot-has-a-floor", spot, given(nodes("o"), nodeConfig=rules.UNKNOWN)) == []
    assert found("spot-has-a-floor", spot, given(nodes("o"), autoscaling={"totalMaxNodeCount": 0}))
    assert found("watched", ENDPOINT, given(ALERT, conditions=[{"filter": rules.UNKNOWN}])) == []
    assert found("gpu-fits", given(nodes(gpu="nvidia-tesla-t4"), nodeConfig={"machineType": rules.UNKNOWN})) == []
    assert found("gpu-fits", given(nodes(), location=rules.UNKNOWN)) == []


def test_the_table_has_a_date_a_source_and_every_machine_a_region():
    assert dt.date.fromisoformat(rules.REGIONS["read"])
    assert rules.REGIONS["source"]
    known = {gpu for gpus in rules.REGIONS["regions"].values() for gpu in gpus}
    assert known <= set(rules.MACHINES["gpus"].values())
    assert {"T4", "L4", "A100", "H100"} <= known


def test_each_endpoint_is_watched_by_its_own_policy():
    assert found("watched", ENDPOINT)
    assert not found("watched", ENDPOINT, ALERT)
    assert found("watched", given(ENDPOINT, name="12345678"), ALERT)


@pytest.mark.parametrize("kind", rules.PROTECTED)
def test_production_is_protected(kind):
    resource = Resource(type=kind, name="x")
    assert found("protected-in-production", resource)
    assert not found("protected-in-production", dataclasses.replace(resource, protect=True))
    assert not found("protected-in-production", resource, settings=Settings())


def test_a_tag_is_not_a_digest():
    def job(image: str) -> Resource:
        props = {"template": {"template": {"containers": [{"image": image}]}}}
        return Resource(type=rules.RUN_JOB, name="j", props=props)

    model = Resource(type=rules.MODEL, name="m", props={"container": {"imageUri": "r/i:latest"}})
    assert found("images-by-digest", job("r/i:1"))
    assert found("images-by-digest", model)
    assert not found("images-by-digest", job(DIGEST), given(model, container={"imageUri": DIGEST}))


def test_a_misspelt_setting_switches_no_policy_off():
    with pytest.raises(ValueError, match="'prodution'"):
        Settings.read({"prodution": True})
    assert Settings.read({"production": True, "enforcementLevel": "mandatory"}).production


def test_the_packs_data_is_fresh():
    pytest.importorskip("pulumi_gcp")
    from infra.policies import generate  # noqa: PLC0415 - after the skip

    assert set(generate.NAMES) == {rule.name for rule in RULES}
    for name, text in generate.files().items():
        assert (PACK / name).read_text() == text, f"stale: run {generate.COMMAND}"


def test_the_pack_has_an_environment_of_its_own():
    requirements = [line for line in (PACK / "requirements.txt").read_text().splitlines() if line[:1] not in ("#", "")]
    assert [line.partition(">")[0] for line in requirements] == ["pulumi-policy"]
    assert yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text())["runtime"]["name"] == "python"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_our_own_stacks_break_no_policy(stack):
    pytest.importorskip("pulumi")
    from tests.infra.test_program import run  # noqa: PLC0415 - after the skip

    configuration = json.loads((PACK / f"{stack}.json").read_text())
    made = [Resource(type=m.type, name=m.name, props=m.inputs, protect=m.protect) for m in run(stack)]
    assert made
    for rule in RULES:
        broken = [f"{item.name}: {text}" for item, text in rule.check(made, Settings.read(configuration[rule.name]))]
        assert broken == [], rule.name

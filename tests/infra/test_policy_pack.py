"""The policy pack as the engine runs it: a process in an environment of its own, the Analyzer protocol over gRPC."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("pulumi", reason="Pulumi's packages are in .venv-infra: make infra-test")

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi.runtime.proto import analyzer_pb2_grpc

from infra.policies import rules
from infra.policies.rules import RULES, Resource
from infra.provider.values import UNKNOWN, encode
from tests.infra.test_program import run

ROOT = Path(__file__).parents[2]
PACK = ROOT / "infra" / "policies"
PYTHON = ROOT / ".venv-policies" / "bin" / "python"
TIMEOUT = 180
DIGEST = f"us-central1-docker.pkg.dev/p/images/server@sha256:{'a' * 64}"
KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason="the pack's environment is not there; make policies-setup"),
]


def alert(endpoint: str) -> Resource:
    filtered = f'resource.labels.endpoint_id="{endpoint}"'
    conditions = [{"displayName": "errors", "conditionThreshold": {"filter": filtered, "thresholdValue": 0.005}}]
    return Resource(type=rules.ALERT, name="alert", props={"conditions": conditions, "userLabels": {"team": "x"}})


def nodes(name: str, *, spot: bool) -> Resource:
    config = {"machineType": "g2-standard-8", "guestAccelerators": [{"type": "nvidia-l4", "count": 1}], "spot": spot}
    scaling = {"totalMinNodeCount": 0, "totalMaxNodeCount": 5}
    props = {"cluster": "c", "location": "us-central1", "nodeConfig": config, "autoscaling": scaling}
    return Resource(type=rules.NODE_POOL, name=name, props=props)


def deployed(**machine) -> Resource:
    return Resource(
        type=rules.DEPLOYED,
        name="deployed",
        props={"machine": machine, "replicas": {"min": 1}, "endpoint": "projects/p/locations/us-central1/endpoints/1"},
    )


def endpoint(**props) -> Resource:
    return Resource(type=rules.ENDPOINT, name="endpoint", props={"name": "123456789", **props})


def model(image: str) -> Resource:
    return Resource(type=rules.MODEL, name="model", props={"container": {"imageUri": image}})


MEMBER = "gcp:projects/iAMMember:IAMMember"
PSC = {"enablePrivateServiceConnect": True}
CASES: dict[str, tuple[list[Resource], list[Resource], tuple[str, ...]]] = {
    "private-in-production": (
        [endpoint()],
        [endpoint(privateServiceConnectConfig=PSC)],
        ("privateServiceConnectConfig",),
    ),
    "customer-managed-keys": ([endpoint()], [endpoint(encryptionSpec={"kmsKeyName": KEY})], ("encryptionSpec",)),
    "labelled": ([endpoint(labels={"stage": "prod"})], [endpoint(labels={"team": "vision"})], ("labels",)),
    "no-primitive-roles": (
        [Resource(type=MEMBER, name="member", props={"role": "roles/editor"})],
        [Resource(type=MEMBER, name="member", props={"role": "roles/run.invoker"})],
        ("role",),
    ),
    "spot-has-a-floor": (
        [nodes("spot", spot=True)],
        [nodes("spot", spot=True), nodes("on-demand", spot=False)],
        ("autoscaling",),
    ),
    "gpu-fits": (
        [deployed(type="g2-standard-8", accelerator="L4:2")],
        [deployed(type="g2-standard-8", accelerator="L4:1")],
        ("machine",),
    ),
    "watched": ([endpoint(), alert("987654321")], [endpoint(), alert("123456789")], ("name",)),
    "protected-in-production": (
        [endpoint()],
        [Resource(type=rules.ENDPOINT, name="endpoint", props={"name": "1"}, protect=True)],
        (),
    ),
    "images-by-digest": ([model("us-central1-docker.pkg.dev/p/i/a:1")], [model(DIGEST)], ("container",)),
}
"""Rule -> a stack that breaks it, one that does not, and the properties of the first that a preview may not know."""
SETTINGS = {"production": True, "cmek": True, "required_labels": ["team"]}


@pytest.fixture(scope="module")
def analyzer():
    """The pack, started as the language host starts it: address of the engine, folder of the pack."""
    command = [str(PYTHON), "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PACK)]
    environment = {"PATH": os.environ["PATH"], "PULUMI_PROJECT": "p", "PULUMI_STACK": "s", "PULUMI_DRY_RUN": "true"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=PACK)
    channel = grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}")
    yield analyzer_pb2_grpc.AnalyzerStub(channel)
    channel.close()
    process.terminate()
    process.wait(TIMEOUT)
    process.stdout.close()


def configure(analyzer, settings):
    given = {
        name: proto.PolicyConfig(enforcementLevel=proto.MANDATORY, properties=encode(settings[name]))
        for name in settings
    }
    analyzer.Configure(proto.ConfigureAnalyzerRequest(policyConfig=given), timeout=TIMEOUT)


def urn(item: Resource) -> str:
    return f"urn:pulumi:s::p::{item.type}::{item.name}"


def analyze(analyzer, stack):
    """(policy, resource's URN, message) of every finding; each must stop the update."""
    resources = [
        proto.AnalyzerResource(
            type=item.type,
            name=item.name,
            urn=urn(item),
            properties=encode(item.props),
            options=proto.AnalyzerResourceOptions(protect=item.protect),
        )
        for item in stack
    ]
    found = analyzer.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources), timeout=TIMEOUT).diagnostics
    assert {item.enforcementLevel for item in found} <= {proto.MANDATORY}, "a policy could not run"
    return [(item.policyName, item.urn, item.message) for item in found]


def test_the_pack_tells_its_nine_policies_all_mandatory(analyzer):
    told = analyzer.GetAnalyzerInfo(empty_pb2.Empty(), timeout=TIMEOUT)
    assert told.supportsConfig
    assert {policy.name for policy in told.policies} == {rule.name for rule in RULES} == set(CASES)
    assert {policy.enforcementLevel for policy in told.policies} == {proto.MANDATORY}
    for policy in told.policies:
        assert set(policy.configSchema.properties) == set(SETTINGS) | {"gpus_by_region"}


@pytest.mark.parametrize("name", CASES)
def test_each_policy_stops_the_stack_that_breaks_it_and_no_other(analyzer, name):
    breaking, keeping, _ = CASES[name]
    configure(analyzer, {name: SETTINGS})
    (found,) = [finding for finding in analyze(analyzer, breaking) if finding[0] == name]
    assert found[1] == urn(breaking[0])
    assert breaking[0].name in found[2]
    assert [finding for finding in analyze(analyzer, keeping) if finding[0] == name] == []


@pytest.mark.parametrize("name", CASES)
def test_what_a_preview_does_not_know_is_judged_by_the_update(analyzer, name):
    """Neither a violation that is none, nor a policy that did not run: others of the stack are still judged."""
    breaking, _, properties = CASES[name]
    configure(analyzer, {name: SETTINGS})
    other = copy.deepcopy(breaking[0])
    for key in properties:
        unknown = Resource(type=other.type, name="unknown", props={**other.props, key: UNKNOWN}, protect=other.protect)
        found = [finding for finding in analyze(analyzer, [unknown, *breaking[1:]]) if finding[0] == name]
        assert found == [], key
        assert [f[1] for f in analyze(analyzer, [unknown, *breaking]) if f[0] == name][-1:] == [urn(breaking[0])], key


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_our_own_stacks_pass_the_pack_with_its_own_configuration(analyzer, stack):
    configure(analyzer, json.loads((PACK / f"{stack}.json").read_text()))
    made = [Resource(type=m.type, name=m.name, props=m.inputs, protect=m.protect) for m in run(stack)]
    assert len(made) > 20
    assert analyze(analyzer, made) == []


def test_without_a_configuration_the_pack_judges_what_needs_none(analyzer):
    configure(analyzer, {})
    found = {finding[0] for finding in analyze(analyzer, [item for broken, _, _ in CASES.values() for item in broken])}
    assert {"no-primitive-roles", "spot-has-a-floor", "gpu-fits", "images-by-digest"} <= found
    assert not found & {"private-in-production", "protected-in-production", "customer-managed-keys"}

"""The program over combinations of options: whatever passes the check is made, under names that the services take."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

pytest.importorskip("pulumi")

from infra import __main__ as program
from tests.infra.recorder import Recording, parameters, record, resource_class, snake
from tests.spec.examples import examined

KEY = "projects/my-project/locations/us-central1/keyRings/r/cryptoKeys/k"
REPOSITORY = "projects/my-project/locations/us-central1/connections/c/repositories/r"
NODES = (
    "{l4: {machine: g2-standard-8, accelerator: L4:1, min: 1, max: 10, spot_share: 70%, reservation: r,"
    " flex_start: {max: 3, queued: true}},"
    " a100: {machine: a2-highgpu-1g, accelerator: A100:1, max: 1, partition: 1g.5gb, spot_share: 100%}}"
)
PERIMETER = "network: {nat: false, perimeter: {policy: accessPolicies/1, project_number: '123456'}}"
TRIGGERS = f"triggers: {{repository: {REPOSITORY}, sample: s.json, approval: false}}"
RUNNER = f"runner: {{image: us-central1-docker.pkg.dev/p/r/i@sha256:{'a' * 64}}}"
SECTIONS = (
    ("", "network: {}", PERIMETER),
    ("", "gke: {}", f"gke: {{nodes: {NODES}, admins: [10.0.0.0/8], zones: [us-central1-a]}}"),
    ("", f"encryption_key: {KEY}"),
    ("", "registry: null"),
    ("storage: {state: state-of-rollouts}", "storage: null", "storage: {models: models-1, state: state-1}"),
    ("", "slo: {}"),
    ("", "emails: [a@example.com, b@example.com]"),
    ("", TRIGGERS),
    ("", RUNNER),
    ("", "budget: {billing_account: 012345-6789AB-CDEF01, amount: 5, at: []}"),
    ("", "protect: true", "labels: {team: vision}"),
    ("", "endpoint: false"),
)
"""Ways to write each part of ``infra``."""
ENDPOINTS = (
    "{}",
    "{access: dedicated, request_timeout: 5m}",
    "{access: psc, automation: [{project: my-project, network: projects/my-project/global/networks/own}]}",
    "{access: psc, allow_projects: [other-project]}",
)
NAMED = "{metric: error_rate, max: 3%, name: 'A name: with / signs'}"
OTHERS = "{metric: rejection_rate, max: 2%}, {metric: latency_p99.9, max: 2s}"
GATES = ("[]", f"[{{metric: error_rate, max: 1%}}, {NAMED}, {OTHERS}]")
MONITORING = ("{}", "{alerts: [{metric: error_rate, max: 2%}, {metric: latency_p50, max: 1s}]}", "{sampling: 5%}")
NAMES = ("a", "lite0", "a-name-of-forty-characters-which-is-most")
"""40 characters are the most that a cluster can have."""

COMPUTE = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
TAKEN = {
    "Account": ("accountId", r"[a-z][-a-z0-9]{4,28}[a-z0-9]"),
    "Bucket": ("name", r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"),
    "Cluster": ("name", r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"),
    "CustomService": ("serviceId", r"[a-z0-9-]{1,63}"),
    "Dataset": ("datasetId", r"\w{1,1024}"),
    "Firewall": ("name", COMPUTE),
    "GlobalAddress": ("name", COMPUTE),
    "IAMCustomRole": ("roleId", r"[a-zA-Z0-9_.]{3,64}"),
    "Job": ("name", r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
    "Network": ("name", COMPUTE),
    "NodePool": ("name", r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"),
    "Router": ("name", COMPUTE),
    "RouterNat": ("name", COMPUTE),
    "ServiceConnectionPolicy": ("name", COMPUTE),
    "ServicePerimeter": ("name", r"accessPolicies/1/servicePerimeters/[a-zA-Z]\w{0,49}"),
    "Slo": ("sloId", r"[a-zA-Z0-9-]{1,64}"),
    "Subnetwork": ("name", COMPUTE),
    "Trigger": ("name", r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,62}[a-zA-Z0-9])?"),
}
"""Kind -> the property that names it in its API, and what that API takes."""


def texts() -> list[str]:
    """Specs in which every way to write a part meets several of every other."""
    found = []
    for turn in range(24):
        # Each part goes through its ways at a pace of its own.
        ways = [ways[(turn // (1 + number % 4) + number) % len(ways)] for number, ways in enumerate(SECTIONS)]
        endpoint, gates = ENDPOINTS[turn % len(ENDPOINTS)], GATES[turn // 2 % len(GATES)]
        infra = ", ".join(way for way in ways if way)
        found.append(
            f"name: {NAMES[turn % len(NAMES)]}\n"
            "gcp: {project: my-project, region: us-central1}\n"
            "model: {artifact: gs://my-project-models/lite0/2}\n"
            "container: {image: torch-aoti}\n"
            f"target: {{type: vertex, endpoint: {endpoint}, machine: {{type: g2-standard-8, accelerator: L4:1}}}}\n"
            f"rollout: {{gates: {gates}}}\n"
            f"monitoring: {MONITORING[turn % len(MONITORING)]}\n"
            f"infra: {{{infra}}}\n"
        )
    return found


def stack(text: str) -> Recording | None:
    """What is made of a spec; None where the check refuses it."""
    spec = examined(text).spec
    if spec is None:
        return None
    return record(lambda: program.stack(spec, path="deploy.yaml", text=text, environment=None))


@pytest.fixture(scope="module")
def written() -> dict[str, Recording]:
    """By the spec's text."""
    made = {text: stack(text) for text in texts()}
    found = {text: recording for text, recording in made.items() if recording is not None}
    assert len(found) >= 8
    kinds = {item.kind for recording in found.values() for item in recording}
    assert {"Cluster", "ServicePerimeter", "Trigger", "JobIamMember", "Slo", "Budget", "Dataset"} <= kinds
    assert {KEY in text for text in found} == {True, False}
    return found


@pytest.fixture(scope="module")
def stacks(written) -> list[Recording]:
    return list(written.values())


def test_names_are_unique_and_everything_belongs_to_a_component(stacks):
    for made in stacks:
        assert max(Counter((item.type, item.name) for item in made).values()) == 1
        components = {item.name for item in made if not item.custom}
        assert [item.name for item in made if item.custom and item.parent not in components] == ["google"]


def test_every_input_is_a_parameter_of_its_class(stacks):
    seen = {(item.type, name) for made in stacks for item in made if item.custom for name in item.inputs}
    for kind, inputs in itertools.groupby(sorted(seen), key=lambda pair: pair[0]):
        known = parameters(resource_class(kind)) | {"api_version", "kind"}
        assert not {name for _, name in inputs if snake(name) not in known and name not in known}, kind


def test_every_name_is_one_that_its_service_takes(stacks):
    checked = Counter()
    for made, (kind, (name, pattern)) in itertools.product(stacks, TAKEN.items()):
        for item in made.of(kind):
            assert re.fullmatch(pattern, item.inputs[name]), (kind, item.inputs[name])
            checked[kind] += 1
    assert set(checked) >= set(TAKEN) - {"GlobalAddress"}


def test_a_key_is_wherever_it_can_be_or_nowhere(written):
    from infra.policies.rules import KEYS, Resource, customer_managed_keys  # noqa: PLC0415 - beside its only use
    from infra.policies.settings import Settings  # noqa: PLC0415 - see above

    for text, made in written.items():
        resources = [Resource(type=item.type, name=item.name, props=item.inputs) for item in made if item.custom]
        at_rest = {item.name for item in resources if item.type in KEYS}
        without = {item.name for item, _ in customer_managed_keys(resources, Settings(cmek=True))}
        assert at_rest
        assert without == (set() if KEY in text else at_rest), text


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        ((), set()),
        ((TRIGGERS,), {"build", "rollout"}),
        ((RUNNER,), {"rollout", "scheduler"}),
        ((TRIGGERS, RUNNER), {"build", "rollout", "scheduler"}),
    ],
)
def test_a_perimeter_lets_in_those_who_call_from_outside_and_no_others(asked, who):
    made = stack(
        "name: lite0\ngcp: {project: my-project, region: us-central1}\ncontainer: {image: torch-aoti}\n"
        "target: {type: vertex, machine: {type: n1-standard-4}}\n"
        f"infra: {{{', '.join((PERIMETER, *asked))}}}\n"
    )
    assert made is not None
    policies = made.one("ServicePerimeter").inputs["status"].get("ingressPolicies", [])
    found = [name for policy in policies for name in policy["ingressFrom"]["identities"]]
    assert {name.partition("@")[0] for name in found} == {f"serviceAccount:lite0-{role}" for role in who}

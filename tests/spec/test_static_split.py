from __future__ import annotations

import pytest

from tests.spec.examples import GOOD, examined, problems, swap

HEAD = GOOD[: GOOD.index("environments:")]
PSC = "{access: psc, allow_projects: [consumer-project]}"
A, B = "{name: a, weight: 90}", "{name: b, weight: 10, artifact: gs://my-project-models/lite0/3}"
RUNNER = f"infra: {{runner: {{image: us-central1-docker.pkg.dev/p/r/i@sha256:{'a' * 64}}}}}\n"
REPOSITORY = "projects/p/locations/l/connections/c/repositories/r"


def static(*variants: str, traffic: str = "pulumi") -> str:
    return swap(
        ("  type: vertex\n", f"  type: vertex\n  traffic: {traffic}\n  split: [{', '.join(variants)}]\n"), text=HEAD
    )


def test_a_static_split_is_accepted_and_each_variant_keeps_its_own():
    found = examined(static(A, B))
    assert found.spec is not None, found.problems
    assert [(v.name, v.weight, v.artifact) for v in found.spec.target.split] == [
        ("a", 90, None),
        ("b", 10, "gs://my-project-models/lite0/3"),
    ]


@pytest.mark.parametrize("variants", [("{name: a, weight: 100}",), (A, B, "{name: dark, weight: 0}")])
def test_one_variant_and_one_without_traffic_are_splits_too(variants):
    assert problems(static(*variants)) == []


def test_an_environment_may_have_a_static_split_of_its_own():
    text = HEAD + f"environments: {{ab: {{target: {{traffic: pulumi, split: [{A}, {B}]}}}}}}\n"
    assert examined(text).spec.target.split == ()
    assert len(examined(text, "ab").spec.target.split) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (static(), "target.traffic: pulumi has no split to set; add split: [{name: a, weight: 90}"),
        (static(A, B, traffic="rollout"), "target.split: the traffic is the rollout's; write traffic: pulumi"),
        (static(A, "{name: b, weight: 20}"), "target.split: the weights sum to 110; they must sum to 100"),
        (static(A, "{name: a, weight: 10}"), "target.split[1].name: there is a a already"),
        (static(A, "{name: B, weight: 10}"), "target.split[1].name: must be 1 to 32 lower case letters"),
        (static(A, "{name: b, weight: -1}"), "target.split[1].weight"),
        (static(A, "{name: b, weight: 10, artefact: x}"), "target.split[1].artefact: unknown key"),
        (static(A, "{name: b, weight: 10, artifact: ./b}"), "target.split[1].artifact: './b' is not a folder"),
        (static(A, "{name: b, weight: 10, image: gcr.io/p/b}"), "target.split[1].image: gcr.io (Container Registry)"),
        (
            static(A, "{name: b, weight: 10, image: europe-west4-docker.pkg.dev/p/r/i}"),
            "target.split[1].image: the image is in europe-west4",
        ),
        (
            swap(("name: lite0", f"name: {'n' * 62}"), text=static(A, B)),
            "target.split[0].name: the model's id is too long",
        ),
        (
            swap((PSC, "{access: psa, network: projects/1/global/networks/n}"), text=static(A, B)),
            "target.traffic: a psa endpoint cannot split traffic; write access: psc",
        ),
        (
            swap((PSC, "{access: dedicated, request_timeout: 10m}"), text=static(A, B)),
            "target.endpoint.request_timeout: only a rollout makes an endpoint with it",
        ),
        (static(A, B) + "infra: {endpoint: false}\n", "infra.endpoint: a static split needs the endpoint"),
        (static(A, B) + RUNNER, "infra.runner: it starts rollouts"),
        (
            static(A, B) + f"infra: {{triggers: {{repository: {REPOSITORY}, sample: s.json}}}}\n",
            "infra.triggers: it starts rollouts",
        ),
    ],
)
def test_refused_at_its_line(text, expected):
    found = problems(text)
    assert any(expected in line for line in found), found
    assert all(line.startswith("deploy.yaml:") for line in found)


@pytest.mark.parametrize("more", ["infra: {endpoint: false}\n", RUNNER])
def test_with_rollouts_the_same_is_accepted(more):
    assert problems(HEAD + more) == []

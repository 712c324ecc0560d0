from __future__ import annotations

import pytest

from tests.spec.examples import GOOD, examined, problems, swap
from vertex_deploy.spec import names, pools

KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
GKE = "infra: {network: {}, gke: {nodes: {l4: {machine: g2-standard-8, accelerator: L4:1, max: 10}}}}\n"


def infra(text: str) -> list[str]:
    return [line for line in problems(GOOD + text) if "infra" in line]


def test_without_the_section_there_are_a_registry_and_buckets_and_no_more():
    found = examined(GOOD).spec.infra
    assert found.registry is not None
    assert found.storage is not None
    assert not any((found.network, found.pool, found.gke, found.slo, found.triggers, found.runner, found.budget))


def test_labels_alone_leave_the_rest_as_it_is():
    assert examined(GOOD + "infra: {labels: {team: vision}}\n").spec.infra.registry is not None


@pytest.mark.parametrize(
    "text",
    [
        GKE,
        f"infra: {{encryption_key: {KEY}}}\n",
        "infra: {network: {perimeter: {policy: accessPolicies/1, project_number: '123456'}}}\n",
        "infra: {budget: {billing_account: 012345-6789AB-CDEF01, amount: 500}, emails: [a@example.com]}\n",
        f"infra: {{runner: {{image: us-central1-docker.pkg.dev/p/r/i@sha256:{'a' * 64}}}, slo: {{}}}}\n",
    ],
)
def test_what_is_right_is_accepted(text):
    assert problems(GOOD + text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infra: {labels: {Team: x}}\n", "not a label"),
        ("infra: {storage: {models: 'gs://x'}}\n", "without gs://"),
        ("infra: {storage: {recoverable: 1d}}\n", "from 7d to 90d"),
        ("infra: {storage: {noncurrent_after: 90m}}\n", "whole days"),
        ("infra: {emails: [nobody]}\n", "NAME@DOMAIN"),
        ("infra: {triggers: {repository: github.com/a/b, sample: s.json}}\n", "gcloud builds repositories list"),
        ("infra: {runner: {image: 'us-central1-docker.pkg.dev/p/r/i:latest'}}\n", "not pinned by digest"),
        (f"infra: {{runner: {{image: i@sha256:{'a' * 64}, schedule: hourly}}}}\n", "no schedule"),
        ("infra: {budget: {billing_account: '1', amount: 5}}\n", "not a billing account"),
        ("infra: {budget: {billing_account: 012345-6789AB-CDEF01, amount: 5, currency: usd}}\n", "three letters"),
        ("infra: {budget: {billing_account: 012345-6789AB-CDEF01, amount: 5, at: [0%]}}\n", "nobody is told"),
        ("infra: {encryption_key: k}\n", "is not a key"),
        (f"infra: {{encryption_key: {KEY.replace('us-central1', 'us')}}}\n", "the key is in us"),
        ("infra: {network: {pods: 10.10.0.0/16}}\n", "overlaps"),
        ("infra: {network: {subnet: 10.10.0.1/20}}\n", "is not a network"),
        ("infra: {network: {subnet: here}}\n", "an IPv4 range"),
        ("infra: {network: {perimeter: {policy: '1', project_number: '123456'}}}\n", "not an access policy"),
        ("infra: {network: {perimeter: {policy: accessPolicies/1, project_number: me}}}\n", "not a project's number"),
        ("infra: {gke: {}}\n", "needs a network"),
        ("infra: {network: {}, gke: {control_plane: 172.16.0.0/24}}\n", "is not a /28"),
        ("infra: {network: {}, gke: {zones: [us-central1]}}\n", "is not a zone"),
        (GKE.replace("g2-standard-8", "g2-standard-9"), "did you mean g2-standard-"),
        (GKE.replace("L4:1", "T4:1"), "cannot carry T4:1"),
        (GKE.replace("max: 10", "max: 10, min: 11"), "below min 11"),
        (GKE.replace("max: 10", "max: 10, spot_share: 101%"), "from 0% to 100%"),
        (GKE.replace("max: 10", "max: 10, min: 4, spot_share: 70%"), "cannot be on demand"),
        (GKE.replace("max: 10", "max: 10, partition: 1g.10gb"), "L4 has no MIG partitions"),
        (GKE.replace("max: 10", "max: 10, flex_start: {max: 1, run: 8d}"), "at most 7d"),
        (GKE.replace("l4:", "L4:"), "not a name of nodes"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    assert any(message in line for line in infra(text)), problems(GOOD + text)


def test_a_timeout_that_pulumi_cannot_set_is_not_dropped():
    text = swap(("allow_projects: [consumer-project]", "allow_projects: [consumer-project], request_timeout: 5m"))
    assert problems(text) == []
    assert "request_timeout" in problems(text + "infra: {endpoint: true}\n")[0]


# --- pools -----------------------------------------------------------------------------------------------------------

SHARED = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-gpu.2-4:latest"
MACHINE = "  machine: {type: g2-standard-8, accelerator: L4:1, spot: true}\n"
REPLICAS = "  replicas: {min: 2, max: 10, scale_on: {gpu_duty_cycle: 60}}\n"
ON_A_POOL = (
    ("image: torch-aoti", f"image: {SHARED}"),
    (MACHINE, f"  pool: shared\n{MACHINE}".replace(", spot: true", "")),
)


def test_versions_go_onto_a_pool_that_somebody_made_without_saying_its_machines_again():
    found = examined(swap(ON_A_POOL[0], (MACHINE + REPLICAS, "  pool: shared\n"))).spec
    assert names.pool(found) == "projects/my-project/locations/us-central1/deploymentResourcePools/shared"
    assert found.target.machine is None


def test_a_pool_of_our_own_is_made_of_the_targets_machine_and_replicas():
    assert problems(swap(*ON_A_POOL) + "infra: {pool: true}\n") == []
    assert names.pool(examined(GOOD).spec) is None


@pytest.mark.parametrize(
    ("changes", "infra", "message"),
    [
        ((), "{pool: true}", "infra.pool: no target.pool names it; add target.pool: lite0"),
        (((MACHINE, ""),), "{}", "target.machine: missing; add machine"),
        (ON_A_POOL, "{}", "target.machine: the pool shared has its own; remove it"),
        ((*ON_A_POOL, (MACHINE.replace(", spot: true", ""), "")), "{}", "target.replicas: the pool shared has its own"),
        (
            (*ON_A_POOL, ("L4:1}", "L4:1, spot: true}")),
            "{pool: true}",
            "infra.pool: pulumi-gcp makes pools without spot",
        ),
        ((*ON_A_POOL, (MACHINE.replace(", spot: true", ""), "")), "{pool: true}", "target.machine: infra.pool makes"),
        (
            (*ON_A_POOL, ("pool: shared", "pool: Shared")),
            "{pool: true}",
            "target.pool: 'Shared' is not the id of a pool",
        ),
        ((ON_A_POOL[1],), "{pool: true}", "container.image: a pool takes only prebuilt TensorFlow and PyTorch images"),
    ],
)
def test_what_does_not_fit_a_pool_is_said_where_it_is_written(changes, infra, message):
    found = problems(swap(*changes) + f"infra: {infra}\n")
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("image", "shares"),
    [
        (SHARED, True),
        ("europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15@sha256:" + "a" * 64, True),
        ("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest", False),
        ("us-central1-docker.pkg.dev/my-project/serving/pytorch-gpu.2-4:latest", False),
        ("us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve:latest", False),
        ("torch-aoti", False),
    ],
)
def test_only_prebuilt_tensorflow_and_pytorch_containers_share_a_pool(image, shares):
    assert pools.can_share(image) is shares

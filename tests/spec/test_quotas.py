from __future__ import annotations

import pytest

from vertex_deploy.spec.machines import ATTACHABLE, E2_MACHINES, GPU_MACHINES, TPU_MACHINES, AcceleratorSpec, vcpus
from vertex_deploy.spec.quotas import by_metric, charges, metrics


def charged(machine: str, accelerator: str | None = None, *, replicas: int = 1, spot: bool = False) -> dict:
    gpu = AcceleratorSpec.parse(accelerator) if accelerator else None
    found = charges(machine, gpu, max_replicas=replicas, spot=spot)
    return {charge.quota.metric if charge.quota else charge.what: charge.amount for charge in found}


@pytest.mark.parametrize(
    ("machine", "cores"),
    [
        ("n1-standard-4", 4),
        ("e2-highcpu-32", 32),
        ("g2-standard-96", 96),
        ("a2-highgpu-4g", 48),
        ("a2-ultragpu-1g", 12),
        ("a2-megagpu-16g", 96),
        ("a3-highgpu-1g", 26),
        ("a3-ultragpu-8g", 224),
        ("a4x-highgpu-4g", 140),
        ("g4-standard-192", 192),
        ("c3-standard-22", 22),
        ("ct5lp-hightpu-4t", None),
        ("z9-standard-4", None),
    ],
)
def test_a_machine_has_its_vcpus_or_they_are_not_known(machine, cores):
    assert vcpus(machine) == cores


def test_every_machine_of_the_table_but_tpus_has_vcpus():
    assert all(vcpus(machine) for machine in [*GPU_MACHINES, *ATTACHABLE, *E2_MACHINES])
    assert not any(vcpus(machine) for machine in TPU_MACHINES)


def test_the_maximum_of_replicas_is_charged_for_cores_and_gpus():
    assert charged("g2-standard-24", "L4:2", replicas=3) == {
        "custom_model_serving_cpus": 72,
        "custom_model_serving_nvidia_l4_gpus": 6,
    }
    assert charged("n1-standard-4", replicas=2) == {"custom_model_serving_cpus": 8}


def test_spot_replicas_are_charged_against_quotas_of_their_own():
    assert charged("a2-ultragpu-1g", "A100_80GB:1", spot=True) == {
        "custom_model_serving_preemptible_cpus": 12,
        "custom_model_serving_preemptible_nvidia_a100_80gb_gpus": 1,
    }


def test_what_no_source_names_has_no_quota_and_what_is_not_known_has_no_amount():
    assert charged("a4-highgpu-8g", "B200:8") == {"custom_model_serving_cpus": 224, "max 1 x B200:8": 8}
    assert charged("ct5lp-hightpu-4t") == {"custom_model_serving_cpus": None, "custom_model_serving_tpu_v5e": 4}
    assert charged("ct6e-standard-8t")["max 1 x 8 TPU chips of ct6e-standard-8t"] == 8


def test_a_quota_is_found_by_its_metric_with_and_without_the_service():
    quota = by_metric("aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus")
    assert quota is not None
    assert quota == by_metric("custom_model_serving_nvidia_l4_gpus")
    assert quota.id == "CustomModelServingL4GPUsPerProjectPerRegion"
    assert by_metric("custom_model_serving_cpus").id == "CustomModelServingCPUsPerProjectPerRegion"
    assert by_metric("cpus") is None
    assert len(set(metrics())) == len(metrics()) == 20

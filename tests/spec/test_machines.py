from __future__ import annotations

import pytest
from google.cloud.aiplatform_v1 import AcceleratorType

from vertex_deploy.spec.machines import (
    ACCELERATORS,
    ATTACHABLE,
    GPU_MACHINES,
    TPU_MACHINES,
    AcceleratorSpec,
    carriers,
    explain_mismatch,
    known,
    nearest,
)


@pytest.mark.parametrize("api_type", ACCELERATORS.values())
def test_every_accelerator_has_its_name_in_the_api(api_type):
    assert api_type in AcceleratorType.__members__


def test_every_row_of_the_table_agrees_with_itself():
    for machine, (name, count) in GPU_MACHINES.items():
        assert explain_mismatch(machine, AcceleratorSpec(name, count)) is None
        assert explain_mismatch(machine, None) is not None
        assert machine in carriers(AcceleratorSpec(name, count))
    for machine, allowed in ATTACHABLE.items():
        assert explain_mismatch(machine, None) is None
        for name, counts in allowed.items():
            for count in (1, 2, 4, 8, 16):
                assert (explain_mismatch(machine, AcceleratorSpec(name, count)) is None) == (count in counts)
    for machine in TPU_MACHINES:
        assert explain_mismatch(machine, None) is None
        assert explain_mismatch(machine, AcceleratorSpec("L4")) is not None


@pytest.mark.parametrize(
    ("text", "written"),
    [("L4:1", "L4:1"), ("l4", "L4:1"), ("NVIDIA_TESLA_T4:4", "T4:4"), (" H100_MEGA:8 ", "H100_MEGA:8")],
)
def test_accelerators_are_read_and_written_back_compact(text, written):
    assert str(AcceleratorSpec.parse(text)) == written


@pytest.mark.parametrize("text", ["L5:1", "L4:3", "L4:x", "L4:", "", ":1", "L4:1:1", 4, None, "TPU_V3:1"])
def test_what_is_no_accelerator_is_refused_with_the_valid_ones(text):
    if text == "L4:":
        assert AcceleratorSpec.parse(text).count == 1
        return
    with pytest.raises(ValueError, match=r"allowed: T4|counts: 1, 2"):
        AcceleratorSpec.parse(text)


def test_unknown_machines_have_a_nearest_one():
    assert not known("g2-standard-9")
    assert nearest("g2-standrd-8") in GPU_MACHINES
    assert nearest("zzzz") is None

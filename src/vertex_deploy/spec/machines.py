"""Which accelerators which machine types carry for online prediction: Google's table as data, and ``L4:1``.

Source: "Configure compute resources for inference" in the Vertex AI documentation, and ``MachineSpec`` and
``AcceleratorType`` in the discovery document of aiplatform v1 (read in November 2026). GPU and TPU machines and the E2
and N1 series are listed one by one. Of the other CPU-only series (N2, N2D, C2, C2D, C3) only the shape of the name is
checked: which of their sizes a region has is for the API to say (``listed`` tells them apart). vCPUs of GPU machines
are Compute Engine's ("Accelerator-optimized machine family"); those of TPU machines are not known here. Regions'
capacity is left out altogether; what a machine is charged against is in ``quotas``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import core_schema

from vertex_deploy.spec.base import Says

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCELERATORS: Mapping[str, str] = {
    "T4": "NVIDIA_TESLA_T4",
    "V100": "NVIDIA_TESLA_V100",
    "L4": "NVIDIA_L4",
    "A100": "NVIDIA_TESLA_A100",
    "A100_80GB": "NVIDIA_A100_80GB",
    "H100": "NVIDIA_H100_80GB",
    "H100_MEGA": "NVIDIA_H100_MEGA_80GB",
    "H200": "NVIDIA_H200_141GB",
    "B200": "NVIDIA_B200",
    "GB200": "NVIDIA_GB200",
    "RTX_PRO_6000": "NVIDIA_RTX_PRO_6000",
}
"""Name in a spec -> AcceleratorType of the API."""

_EIGHTY = ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
PARTITIONS: Mapping[str, tuple[str, ...]] = {
    "A100": ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
    "A100_80GB": _EIGHTY,
    "H100": _EIGHTY,
    "H200": ("1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
    "B200": ("1g.23gb", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"),
    "GB200": ("1g.23gb", "1g.47gb", "2g.47gb", "3g.93gb", "4g.93gb", "7g.186gb"),
    "RTX_PRO_6000": ("1g.24gb", "2g.48gb", "4g.96gb"),
}
"""Accelerator -> profiles of its MIG partitions: NVIDIA's "Supported MIG Profiles", to which Google's APIs refer."""

_COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    """A GPU and how many of it: read from ``L4:1`` and written back the same.

    Args:
        name: a key of ``ACCELERATORS``.
        count: GPUs of each replica.
    """

    name: str
    count: int = 1

    @property
    def api_type(self) -> str:
        """The API's AcceleratorType, such as NVIDIA_L4."""
        return ACCELERATORS[self.name]

    def __str__(self) -> str:
        return f"{self.name}:{self.count}"

    @classmethod
    def parse(cls, value: Any) -> AcceleratorSpec:
        """Read ``L4:1``; ``L4`` is one, case does not matter, and the API's own names (``NVIDIA_L4:1``) are taken.

        Raises:
            ValueError: not an accelerator; lists the valid ones.
        """
        if isinstance(value, cls):
            return value
        allowed = f"allowed: {', '.join(ACCELERATORS)}, with a count such as L4:1"
        if not isinstance(value, str):
            raise ValueError(f"must be an accelerator and a count such as L4:1; {allowed}")  # noqa: TRY004 - pydantic's
        name, _, count = value.strip().upper().partition(":")
        name = next((short for short, api in ACCELERATORS.items() if api == name), name)
        if name not in ACCELERATORS:
            near = get_close_matches(name, ACCELERATORS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown accelerator {value.strip()[:40]!r}; {hint}({allowed})")
        if count not in ("", *map(str, _COUNTS)):
            raise ValueError(f"{count[:10]!r} is not a count of {name}; write {name}:1 (counts: 1, 2, 4, 8, 16)")
        return cls(name, int(count or 1))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Any instance is valid; text is turned into one before; JSON gets the compact form."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )


Accelerator = Annotated[
    AcceleratorSpec,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^({'|'.join(ACCELERATORS)})(:({'|'.join(map(str, _COUNTS))}))?$",
            "examples": ["L4:1", "A100_80GB:8"],
        }
    ),
    Says("an accelerator and a count such as L4:1"),
]
"""``L4:1`` in a spec, ``AcceleratorSpec`` inside."""


def _gpu_only() -> dict[str, tuple[str, int]]:
    table = {f"g2-standard-{cpus}": ("L4", 1) for cpus in (4, 8, 12, 16, 32)}
    table |= {"g2-standard-24": ("L4", 2), "g2-standard-48": ("L4", 4), "g2-standard-96": ("L4", 8)}
    table |= {f"a2-highgpu-{n}g": ("A100", n) for n in (1, 2, 4, 8)} | {"a2-megagpu-16g": ("A100", 16)}
    table |= {f"a2-ultragpu-{n}g": ("A100_80GB", n) for n in (1, 2, 4, 8)}
    table |= {f"a3-highgpu-{n}g": ("H100", n) for n in (1, 2, 4, 8)} | {"a3-edgegpu-8g": ("H100", 8)}
    table |= {"a3-megagpu-8g": ("H100_MEGA", 8), "a3-ultragpu-8g": ("H200", 8)}
    table |= {"a4-highgpu-8g": ("B200", 8), "a4x-highgpu-4g": ("GB200", 4)}
    table |= {f"g4-standard-{48 * n}": ("RTX_PRO_6000", n) for n in (1, 2, 4, 8)}
    return table


def _n1() -> dict[str, Mapping[str, tuple[int, ...]]]:
    v100 = {2: (1, 2, 4, 8), 4: (1, 2, 4, 8), 8: (1, 2, 4, 8), 16: (2, 4, 8), 32: (4, 8)}
    return {
        f"n1-{shape}-{cpus}": {"T4": (2, 4) if cpus == 32 else (1, 2, 4), "V100": v100[cpus]}  # noqa: PLR2004 - table
        for shape in ("standard", "highmem", "highcpu")
        for cpus in (2, 4, 8, 16, 32)
    }


GPU_MACHINES: Mapping[str, tuple[str, int]] = _gpu_only()
"""Machine type -> the one accelerator and count that it has."""

ATTACHABLE: Mapping[str, Mapping[str, tuple[int, ...]]] = _n1()
"""Machine type -> accelerators that may be attached, and their counts; none is fine too."""

TPU_MACHINES: frozenset[str] = frozenset(
    {f"ct5lp-hightpu-{n}t" for n in (1, 4, 8)} | {f"ct6e-standard-{n}t" for n in (1, 4, 8)} | {"tpu7x-standard-4t"}
)
"""TPU machines: the type says it all, accelerator type and count are omitted."""

E2_MACHINES: frozenset[str] = frozenset(
    {f"e2-{shape}-{n}" for shape in ("standard", "highcpu") for n in (2, 4, 8, 16, 32)}
    | {f"e2-highmem-{n}" for n in (2, 4, 8, 16)}
)

_OTHER_CPU = re.compile(r"(n2|n2d|c2|c2d|c3)-(standard|highmem|highcpu)-[1-9][0-9]{0,2}")

# GPU machines whose name does not say how many vCPUs they have: by the family, for each GPU or in all.
_VCPUS_A_GPU: Mapping[str, int] = {"a2-highgpu": 12, "a2-ultragpu": 12, "a3-highgpu": 26}
_VCPUS: Mapping[str, int] = {
    "a2-megagpu-16g": 96,
    "a3-edgegpu-8g": 208,
    "a3-megagpu-8g": 208,
    "a3-ultragpu-8g": 224,
    "a4-highgpu-8g": 224,
    "a4x-highgpu-4g": 140,
}


def listed(machine_type: str) -> bool:
    """Whether Google's table has this machine type by name, and not only its series."""
    return machine_type in (E2_MACHINES | TPU_MACHINES | GPU_MACHINES.keys() | ATTACHABLE.keys())


def known(machine_type: str) -> bool:
    """Whether online prediction has this machine type."""
    return listed(machine_type) or _OTHER_CPU.fullmatch(machine_type) is not None


def vcpus(machine_type: str) -> int | None:
    """How many vCPUs a machine has; None where that is not known: TPU machines, and types that are not known."""
    if machine_type in TPU_MACHINES or not known(machine_type):
        return None
    family, _, size = machine_type.rpartition("-")
    if family in _VCPUS_A_GPU:
        return _VCPUS_A_GPU[family] * GPU_MACHINES[machine_type][1]
    return _VCPUS[machine_type] if machine_type in _VCPUS else int(size)


def nearest(machine_type: str) -> str | None:
    """The known machine type most like this one, or None."""
    every = [*GPU_MACHINES, *ATTACHABLE, *sorted(E2_MACHINES), *sorted(TPU_MACHINES)]
    found = get_close_matches(machine_type.lower(), every, n=1, cutoff=0.5)
    return found[0] if found else None


def carriers(accelerator: AcceleratorSpec) -> tuple[str, ...]:
    """Machine types that carry exactly this, in the table's order."""
    fixed = tuple(m for m, has in GPU_MACHINES.items() if has == (accelerator.name, accelerator.count))
    return fixed + tuple(m for m, may in ATTACHABLE.items() if accelerator.count in may.get(accelerator.name, ()))


def explain_mismatch(machine_type: str, accelerator: AcceleratorSpec | None) -> tuple[str, str] | None:
    """Why a machine type and an accelerator do not go together, or None where they do.

    Args:
        machine_type: a known machine type; an unknown one gives None (``known`` reports it).
        accelerator: what the spec asks for, or None.

    Returns:
        What is wrong, and the fix.
    """
    wrong = fix = ""
    if machine_type in GPU_MACHINES:
        right = AcceleratorSpec(*GPU_MACHINES[machine_type])
        if accelerator is None:
            wrong, fix = f"{machine_type} is a GPU machine and needs its accelerator", f"add accelerator: {right}"
        elif accelerator != right:
            wrong, fix = f"{machine_type} cannot carry {accelerator}", f"write {right}{_instead(accelerator)}"
    elif accelerator is None or not known(machine_type):
        pass
    elif machine_type in TPU_MACHINES:
        wrong, fix = f"{machine_type} is a TPU machine, which takes no accelerator", "remove accelerator"
    elif machine_type not in ATTACHABLE:
        wrong, fix = f"{machine_type} has no GPU and cannot carry {accelerator}", f"remove it{_instead(accelerator)}"
    elif accelerator.count not in ATTACHABLE[machine_type].get(accelerator.name, ()):
        may = ", ".join(f"{name}:{n}" for name, every in ATTACHABLE[machine_type].items() for n in every)
        wrong, fix = f"{machine_type} cannot carry {accelerator}", f"allowed: {may}{_instead(accelerator)}"
    return (wrong, fix) if wrong else None


def explain_partition(accelerator: AcceleratorSpec, partition: str) -> tuple[str, str] | None:
    """Why an accelerator cannot be given out in such MIG partitions, and what can; None if it can.

    Args:
        accelerator: the GPU.
        partition: profile, such as 1g.10gb.
    """
    profiles = PARTITIONS.get(accelerator.name)
    if profiles is None:
        return f"{accelerator.name} has no MIG partitions", f"remove it, or use one of {', '.join(sorted(PARTITIONS))}"
    if partition not in profiles:
        return f"{partition[:20]!r} is no MIG partition of {accelerator.name}", f"write {' or '.join(profiles)}"
    return None


def _instead(accelerator: AcceleratorSpec) -> str:
    machines = carriers(accelerator)
    return f", or use a machine that carries {accelerator}: {', '.join(machines[:5])}" if machines else ""

"""Writes the pack's data: ``python -m infra.policies.generate``; with ``--check`` it fails if a file is stale.

The pack runs in an environment without vertex_deploy, so the tables of machines and regions come along as JSON; and
Pulumi configures each policy by itself, so the settings of a stack are repeated for each. Left out: what settings mean
(``settings``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vertex_deploy.spec import regions
from vertex_deploy.spec.machines import ACCELERATORS, ATTACHABLE, GPU_MACHINES
from vertex_deploy.spec.pages import write_or_check

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "python -m infra.policies.generate"
NAMES = (
    "private-in-production",
    "customer-managed-keys",
    "labelled",
    "no-primitive-roles",
    "spot-has-a-floor",
    "gpu-fits",
    "watched",
    "protected-in-production",
    "images-by-digest",
)
"""The rules' names: ``rules`` itself cannot be imported before its data is written."""
STACKS: dict[str, dict[str, Any]] = {
    "dev": {"required_labels": ["vertex-deploy", "team"]},
    "prod": {"production": True, "cmek": True, "required_labels": ["vertex-deploy", "team", "stage"]},
}
"""Stack -> settings."""


def files() -> dict[str, str]:
    """Name of each file beside this one -> its text."""
    machines = {
        "fixed": {machine: list(has) for machine, has in GPU_MACHINES.items()},
        "attachable": {m: {gpu: list(counts) for gpu, counts in may.items()} for m, may in ATTACHABLE.items()},
        "gpus": {api: gpu for names in (ACCELERATORS, regions.COMPUTE_TYPES) for gpu, api in names.items()},
    }
    known = regions.table()
    places = {
        "source": known["source"],
        "read": known["read"],
        "refresh": f"{regions.COMMAND}; {COMMAND}",
        "regions": regions.by_region(known["gpus"]),
    }
    data: dict[str, Any] = {"machines.json": machines, "regions.json": places}
    data |= {f"{stack}.json": dict.fromkeys(NAMES, settings) for stack, settings in STACKS.items()}
    return {name: json.dumps(value, indent=2) + "\n" for name, value in data.items()}


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name the stale ones.

    Returns:
        0, or 1 if ``--check`` found a stale file.
    """
    texts = {f"infra/policies/{name}": text for name, text in files().items()}
    return write_or_check(texts, ROOT, arguments, COMMAND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Which GPUs Compute Engine has in which regions: a dated table, and the command that reads it anew.

    gcloud compute accelerator-types list --format='value(name,zone)' | python -m vertex_deploy.spec.regions

writes ``gpu_regions.json`` beside this module; its ``source`` and ``read`` say where its rows come from and when they
were read. A region that is not in it may have the GPU since then. One that is in it may still not serve: Vertex AI
offers a part of what Compute Engine has ("Vertex AI locations" in its documentation), and only to whoever has quota.
So the table is for policies, which can be overridden, and not for the checks of a spec, which cannot.

Left out: zones, capacity, quota, TPUs.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import UsageError, VertexDeployError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMPUTE_TYPES: Mapping[str, str] = {
    "T4": "nvidia-tesla-t4",
    "V100": "nvidia-tesla-v100",
    "L4": "nvidia-l4",
    "A100": "nvidia-tesla-a100",
    "A100_80GB": "nvidia-a100-80gb",
    "H100": "nvidia-h100-80gb",
    "H100_MEGA": "nvidia-h100-mega-80gb",
    "H200": "nvidia-h200-141gb",
    "B200": "nvidia-b200",
    "GB200": "nvidia-gb200",
    "RTX_PRO_6000": "nvidia-rtx-pro-6000",
}
"""Accelerator in a spec -> accelerator type of Compute Engine, which is also the label of GKE's nodes."""

FILE = Path(__file__).with_name("gpu_regions.json")
COMMAND = "gcloud compute accelerator-types list --format='value(name,zone)' | python -m vertex_deploy.spec.regions"

_ZONE = re.compile(r"(?:.*/)?([a-z]+-[a-z]+[0-9]+)-[a-z]")


def table() -> dict[str, Any]:
    """The file: ``source``, ``read`` (a date) and ``gpus``, accelerator of a spec -> regions in order."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def by_region(gpus: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The same by region: region -> accelerators, in the table's order."""
    regions = sorted({region for every in gpus.values() for region in every})
    return {region: [gpu for gpu, every in gpus.items() if region in every] for region in regions}


def parse(lines: Iterable[str]) -> dict[str, list[str]]:
    """Accelerator -> regions, of lines with an accelerator type and a zone each.

    Args:
        lines: what gcloud prints; a zone is its name or its URL. Types that are no accelerator of a spec are skipped.

    Raises:
        UsageError: a line is something else, or none has a GPU that is known: the listing is not what was asked for.
    """
    short = {name: gpu for gpu, name in COMPUTE_TYPES.items()}
    found: dict[str, set[str]] = {gpu: set() for gpu in COMPUTE_TYPES}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        zone = _ZONE.fullmatch(words[-1])
        if len(words) != 2 or zone is None:  # noqa: PLR2004 - a type and a zone
            raise UsageError(
                f"line {number} is not an accelerator type and a zone: {line.strip()[:80]!r}; run {COMMAND}"
            )
        if words[0] in short:
            found[short[words[0]]].add(zone[1])
    if not any(found.values()):
        raise UsageError(f"the listing has none of {', '.join(short)}; run {COMMAND}")
    return {gpu: sorted(regions) for gpu, regions in found.items()}


def rendered(gpus: Mapping[str, Iterable[str]], *, source: str, read: dt.date) -> str:
    """The file's text, a line an accelerator."""
    rows = ",\n".join(f"    {json.dumps(gpu)}: {json.dumps(list(regions))}" for gpu, regions in gpus.items())
    head = f'  "source": {json.dumps(source)},\n  "read": "{read.isoformat()}",\n'
    return f'{{\n{head}  "gpus": {{\n{rows}\n  }}\n}}\n'


def main() -> int:
    """Write the file anew from what is read on standard input.

    Returns:
        0, or 2 if the listing could not be read; the file is then as it was.
    """
    try:
        gpus = parse(sys.stdin)
    except VertexDeployError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    today = dt.datetime.now(tz=dt.UTC).date()
    FILE.write_text(rendered(gpus, source="gcloud compute accelerator-types list", read=today), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What `local up --quota NAME=LIMIT` says, and what machines are charged for. Pure; ``control.quotas`` holds the books.

Left out: which machines are charged against which quota (``spec.quotas``).
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING

from vertex_deploy.errors import UsageError
from vertex_deploy.spec import quotas
from vertex_deploy.spec.machines import AcceleratorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vertex_deploy.spec.quotas import Quota


def limits(entries: Iterable[str]) -> dict[str, int]:
    """The limits that were asked for, by the quota's metric without the service.

    Args:
        entries: ``custom_model_serving_nvidia_l4_gpus=2``, with or without ``aiplatform.googleapis.com/`` in front.

    Raises:
        UsageError: no such quota, no whole number of 0 or more, or a quota twice.
    """
    found: dict[str, int] = {}
    for entry in entries:
        name, _, number = (part.strip() for part in entry.partition("="))
        quota = quotas.by_metric(name)
        if quota is None:
            raise UsageError(f"--quota {entry}: {_unknown(name)}")
        if not (number.isascii() and number.isdigit()):
            raise UsageError(f"--quota {entry}: the limit must be a whole number; write {quota.metric}=2")
        if quota.metric in found:
            raise UsageError(f"--quota {entry}: {quota.metric} has a limit already; give each quota once")
        found[quota.metric] = int(number)
    return found


def charged(
    machine_type: str, accelerator_type: str, accelerator_count: int, *, max_replicas: int, spot: bool
) -> Mapping[Quota, int]:
    """What replicas take of the quotas that have a name; what has none has no limit here either.

    Args:
        machine_type: of each replica.
        accelerator_type: the API's, such as NVIDIA_L4, or "".
        accelerator_count: of each replica; 0 stands for 1.
        max_replicas: the maximum of replicas.
        spot: whether they are Spot VMs.
    """
    accelerator = AcceleratorSpec.parse(f"{accelerator_type}:{accelerator_count or 1}") if accelerator_type else None
    found: Counter[Quota] = Counter()
    for charge in quotas.charges(machine_type, accelerator, max_replicas=max_replicas, spot=spot):
        if charge.quota is not None and charge.amount is not None:
            found[charge.quota] += charge.amount
    return found


def exceeded(limit: Mapping[str, int], used: Mapping[Quota, int], wanted: Mapping[Quota, int]) -> list[str]:
    """Ids of the quotas that would be exceeded, sorted; empty where there is enough of all.

    Args:
        limit: by metric; a quota without one has no end.
        used: by everything else.
        wanted: by what is to come.
    """
    return sorted(
        quota.id
        for quota, amount in wanted.items()
        if quota.metric in limit and used.get(quota, 0) + amount > limit[quota.metric]
    )


def _unknown(name: str) -> str:
    wanted = name.removeprefix(f"{quotas.SERVICE}/").lower()
    near = get_close_matches(wanted, quotas.metrics(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown quota {name[:80]!r}; {hint}(allowed: {', '.join(quotas.metrics())})"

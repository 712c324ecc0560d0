"""Whether there is quota for one more version beside the old one. Pure; ``metrics.quota`` reads the levels.

A rollout deploys the new version while stable stays: what the new one is charged for must be left. A quota whose limit
is not published is not known, which is told and never passed over; the deployment itself is then what shows it.

Left out: capacity. A region with quota may have no machine left, and no API tells before a deployment is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.errors import CloudError
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.spec.machines import listed
from vertex_deploy.spec.quotas import Charge, Quota, charges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vertex_deploy.metrics.quota import QuotaLevel
    from vertex_deploy.spec.models import Spec


class Levels(Protocol):
    """Reads quotas; ``metrics.quota.QuotaSource`` is one."""

    def levels(self, quotas: Sequence[Quota], now: float) -> Mapping[str, QuotaLevel]:
        """Limit and usage, by the quota's metric."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaFinding:
    """What one quota means for a rollout.

    Args:
        quota: its metric without the service, or what is charged where no source gives a name.
        state: ``ok``, ``short`` (a deployment would be refused) or ``unknown``.
        needed: what the new version is charged for; None where not known.
        limit: of the project in the region; None where not published.
        used: of that.
        text: one line.
    """

    quota: str
    state: str
    needed: int | None
    limit: int | None
    used: int | None
    text: str


def needs(spec: Spec) -> tuple[Charge, ...]:
    """What the new version is charged for; nothing on a pool, whose machines are there already."""
    machine = spec.target.machine
    if spec.target.pool is not None or machine is None:
        return ()
    most = max(spec.target.replicas.min, spec.target.replicas.max)
    return charges(machine.type, machine.accelerator, max_replicas=most, spot=machine.spot)


def findings(spec: Spec, levels: Mapping[str, QuotaLevel]) -> tuple[QuotaFinding, ...]:
    """Hold what is needed against what is left.

    Args:
        spec: machine, replicas, project and region.
        levels: as they were read, by the quota's metric.
    """
    return tuple(_finding(charge, spec, levels) for charge in needs(spec))


def checked(spec: Spec, source: Levels, now: float) -> tuple[QuotaFinding, ...]:
    """Read the quotas that matter and say what they mean; one that may not be read is not known.

    Args:
        spec: one deploy.yaml.
        source: where the levels are read.
        now: seconds since the epoch.

    Raises:
        CloudError: the API may answer later.
    """
    wanted = [charge.quota for charge in needs(spec) if charge.quota is not None]
    try:
        return findings(spec, source.levels(wanted, now))
    except CloudError as error:
        if may_pass(error):
            raise
        return tuple(_unknown(charge, spec, f"it could not be read: {error}") for charge in needs(spec))


def refusal(found: Sequence[QuotaFinding]) -> str:
    """Why a rollout cannot start for want of quota, one line, or ""."""
    return "; ".join(finding.text for finding in found if finding.state == "short")


def warnings(found: Sequence[QuotaFinding]) -> tuple[str, ...]:
    """What is not known."""
    return tuple(finding.text for finding in found if finding.state == "unknown")


def machine_line(spec: Spec) -> str:
    """What is known of the machine type; that it exists and carries the accelerator was checked with the spec."""
    machine = spec.target.machine
    if spec.target.pool is not None or machine is None:
        return f"machines of pool {spec.target.pool}"
    with_gpu = f" with {machine.accelerator}" if machine.accelerator else ""
    if listed(machine.type):
        return f"machine {machine.type}{with_gpu}: Google's table for predictions has it"
    return (
        f"machine {machine.type}{with_gpu}: its series serves predictions; whether {spec.gcp.region} has this size "
        "only the deployment shows"
    )


def _finding(charge: Charge, spec: Spec, levels: Mapping[str, QuotaLevel]) -> QuotaFinding:
    if charge.quota is None:
        return _unknown(charge, spec, "no source says which quota it is charged against")
    level = levels.get(charge.quota.metric)
    if level is None or level.limit is None:
        return _unknown(charge, spec, "Cloud Monitoring has no limit of it")
    if charge.amount is None:
        return _unknown(charge, spec, f"how much is needed is not known (limit {level.limit}, used {level.used})")
    left = max(0, level.limit - level.used)
    short = charge.amount > left
    text = f"{_name(charge, spec)}: {charge.amount} needed ({charge.what}), {left} left of {level.limit}"
    if short:
        text += f"; {_way_out(spec)}"
    return QuotaFinding(
        quota=charge.quota.metric,
        state="short" if short else "ok",
        needed=charge.amount,
        limit=level.limit,
        used=level.used,
        text=text,
    )


def _unknown(charge: Charge, spec: Spec, why: str) -> QuotaFinding:
    needed = f" ({charge.amount} needed: {charge.what})" if charge.quota and charge.amount is not None else ""
    return QuotaFinding(
        quota=charge.quota.metric if charge.quota else charge.what,
        state="unknown",
        needed=charge.amount,
        limit=None,
        used=None,
        text=f"{_name(charge, spec)} is not known{needed}: {why}",
    )


def _name(charge: Charge, spec: Spec) -> str:
    return f"quota {charge.quota.metric if charge.quota else f'of {charge.what}'} in {spec.gcp.region}"


def _way_out(spec: Spec) -> str:
    where = f"https://console.cloud.google.com/iam-admin/quotas?project={spec.gcp.project}"
    lower = "lower target.replicas.max, " if spec.target.replicas.max > 1 else ""
    return f"{lower}undeploy what is not used, or ask for more at {where}"

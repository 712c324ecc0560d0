"""What preflight reads, and what it comes to: the same for a rollout that starts and for `rollout plan`.

Only readings: the endpoint, the model's versions, the files of a release that is to be uploaded, what the target needs,
quota, stable's metrics. A refusal here leaves nothing behind. That somebody may not look into the files' folder is a
warning: Vertex AI reads it by an account of its own. Left out: deciding from the endpoint alone
(``preflight.inspect``), and making alert policies, which the controller does last, when everything else is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError
from vertex_deploy.rollout import quota
from vertex_deploy.rollout.machine import Event
from vertex_deploy.rollout.preflight import Found, inspect, refused, short_of_requests
from vertex_deploy.rollout.quota import QuotaFinding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.evidence import Evidence
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.targets.types import Target

Quotas = Callable[[float], Sequence[QuotaFinding]]
"""Reads the quotas that matter at a moment (seconds since the epoch); raises ``CloudError`` where to ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What preflight found.

    Args:
        found: ready, nothing to do or refused, and stable.
        endpoint: resource name, or None where there is none yet.
        split: as it was read back.
        model: this release's version if it is uploaded.
        quotas: what each quota means; empty where the rollout goes no further anyway.
        warnings: what to know, one line each.
    """

    found: Found
    endpoint: str | None = None
    split: Mapping[str, int] = field(default_factory=dict)
    model: str | None = None
    quotas: tuple[QuotaFinding, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """The rollout may start."""
        return self.found.move.event is Event.READY


def look(
    *, plan: Plan, target: Target, evidence: Evidence, canary: str, now: float, quotas: Quotas | None = None
) -> Readiness:
    """Read what preflight reads.

    Args:
        plan: the rollout's numbers.
        target: read only: ``find_endpoint``, ``observe``, ``find_model``, ``check`` and, where the release is not
            uploaded yet, ``check_artifact`` are called.
        evidence: reads stable's metrics.
        canary: the deployed model id that was chosen.
        now: seconds since the epoch.
        quotas: reads quotas; None where there are none to read.

    Raises:
        CloudError: an API refused or did not answer.
        RolloutError: the endpoint is not ours, or something that the rollout needs is not there.
    """
    endpoint = target.find_endpoint()
    observed = target.observe(endpoint) if endpoint else None
    model = target.find_model()
    target.check()
    found = inspect(plan, endpoint=observed, model=model, canary=canary)
    known = Readiness(found=found, endpoint=endpoint, split=dict(observed.split) if observed else {}, model=model)
    if not known.ready:
        return known
    unseen = "" if model else _artifact_unseen(target)
    missing, short = _metrics_missing(plan, evidence, endpoint, found.stable.id if found.stable else "", now)
    charged = tuple(quotas(now)) if quotas is not None else ()
    why = quota.refusal(charged)
    if missing and plan.gated and plan.on_missing_metrics == "refuse":
        why = why or f"{missing} (rollout.on_missing_metrics is refuse)"
    return replace(
        known,
        found=replace(refused(why), stable=found.stable) if why else found,
        quotas=charged,
        warnings=() if why else tuple(filter(None, (unseen, missing, short, *quota.warnings(charged)))),
    )


def _artifact_unseen(target: Target) -> str:
    """Why it cannot be told whether the files to upload are there, or "".

    Raises:
        RolloutError: they are known not to be.
    """
    try:
        target.check_artifact()
    except CloudError as error:
        return f"whether the model's files are there is not known: {error}"
    return ""


def _metrics_missing(plan: Plan, evidence: Evidence, endpoint: str | None, stable: str, now: float) -> tuple[str, str]:
    """What is not measured, and which hold is too short for what is; "" for each that is well."""
    if not endpoint or not stable:
        return "", ""
    if not plan.gated:
        return "no gates are configured: steps only take time", ""
    measured = evidence.last_hour(endpoint, stable, now)
    samples = [interval.stable for interval in measured if interval.stable is not None]
    requests = sum(sample.requests for sample in samples)
    if not requests:
        return "stable has no metrics of the last hour: gates cannot pass until requests come", ""
    # Of the time that was measured: where hours are quiet, what is told is the busier part.
    short = short_of_requests(plan, evidence.gates, requests / sum(interval.seconds for interval in measured))
    lacking = ", ".join(evidence.lacking(samples))
    if not lacking:
        return "", short
    return (
        f"stable has no values of {lacking} in the last hour: no comparison with it can pass; check the gates' queries",
        short,
    )

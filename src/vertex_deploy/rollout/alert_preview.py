"""Whether a rollout's alert policies can be deployed, as far as reading alone can tell; nothing is created.

Three questions: do the policies that the rollout would make keep the API's rules, can the project's policies be listed,
and can its incidents be read. The rules are those of ``AlertPolicy`` in the discovery document of monitoring v3 and of
"Quotas and limits" of Cloud Monitoring; Google's own message refuses what has no such field.

Left out: whether creating is permitted (reading does not show it; preflight of a started rollout does, before any
traffic moves), and whether a notification channel exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, one_line
from vertex_deploy.rollout.alerting import policies_for
from vertex_deploy.rollout.faults import may_pass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vertex_deploy.rollout.alerting import Alerts
    from vertex_deploy.spec.models import Spec

_MAX_CONDITIONS, _MAX_CHANNELS = 6, 16
_MAX_NAME, _MAX_FILTER, _MAX_DOCUMENTATION = 512, 2048, 10_240
_MINUTE, _MAX_DURATION = 60.0, 23.5 * 3600
_SHORTEST_AUTO_CLOSE, _LONGEST_AUTO_CLOSE = 1800.0, 604_800.0
_CHANNEL = re.compile(r"projects/[^/]+/notificationChannels/[^/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPreview:
    """What is known of a rollout's alert policies before it starts.

    Args:
        policies: names of those that it would make.
        problems: why they cannot be deployed or watched, one line each; empty if nothing speaks against it.
    """

    policies: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def preview_alerts(spec: Spec, alerts: Alerts, *, endpoint: str, canary: str, now: float) -> AlertPreview:
    """Ask the three questions.

    Args:
        spec: one deploy.yaml.
        alerts: only listed and read.
        endpoint: projects/P/locations/L/endpoints/E.
        canary: deployed model id that the policies would be on.
        now: seconds since the epoch.

    Raises:
        CloudError: the API may answer later.
    """
    policies = policies_for(spec, canary, endpoint, canary)
    problems = [problem for policy in policies for problem in policy_problems(policy)]
    try:
        if policies:
            alerts.policies(canary)
        alerts.incidents(now)
    except CloudError as error:
        if may_pass(error):
            raise
        problems.append(str(error))
    return AlertPreview(policies=tuple(policy["displayName"] for policy in policies), problems=tuple(problems))


def policy_problems(policy: Mapping[str, Any]) -> tuple[str, ...]:
    """What the API would refuse of a policy, one line each.

    Args:
        policy: ``AlertPolicy`` as JSON of the REST API.
    """
    name = policy.get("displayName", "")
    return tuple(f"alert policy {name!r}: {problem}" for problem in _problems(policy))


def _problems(policy: Mapping[str, Any]) -> Iterator[str]:
    from google.cloud import monitoring_v3  # noqa: PLC0415 - heavy: only when a policy is looked at
    from google.protobuf import json_format  # noqa: PLC0415 - see above

    try:
        json_format.ParseDict(dict(policy), monitoring_v3.AlertPolicy.pb(monitoring_v3.AlertPolicy()))
    except json_format.ParseError as error:
        yield f"is no AlertPolicy: {one_line(error)}"
        return
    conditions = policy.get("conditions", ())
    if not 1 <= len(conditions) <= _MAX_CONDITIONS:
        yield f"has {len(conditions)} conditions; 1 to {_MAX_CONDITIONS} are allowed"
    if len(policy.get("displayName", "")) > _MAX_NAME:
        yield f"its name is longer than {_MAX_NAME} characters"
    if len(policy.get("documentation", {}).get("content", "")) > _MAX_DOCUMENTATION:
        yield f"its documentation is longer than {_MAX_DOCUMENTATION} characters"
    channels = policy.get("notificationChannels", ())
    if len(channels) > _MAX_CHANNELS:
        yield f"tells {len(channels)} notification channels; at most {_MAX_CHANNELS} are allowed"
    yield from (
        f"{channel!r} is no notification channel; write projects/P/notificationChannels/ID"
        for channel in channels
        if not _CHANNEL.fullmatch(channel)
    )
    close = _seconds(policy.get("alertStrategy", {}).get("autoClose", "1800s"))
    if not _SHORTEST_AUTO_CLOSE <= close <= _LONGEST_AUTO_CLOSE:
        yield f"autoClose is {close:g}s; 30 minutes to 7 days are allowed"
    for condition in conditions:
        yield from _condition_problems(condition)


def _condition_problems(condition: Mapping[str, Any]) -> Iterator[str]:
    threshold = condition.get("conditionThreshold", {})
    for key in ("filter", "denominatorFilter"):
        if len(threshold.get(key, "")) > _MAX_FILTER:
            yield f"{key} is longer than {_MAX_FILTER} characters"
    duration = _seconds(threshold.get("duration", "0s"))
    if duration % _MINUTE or not 0 <= duration <= _MAX_DURATION:
        yield f"duration is {duration:g}s; whole minutes up to 23.5 hours are allowed"
    for aggregation in (*threshold.get("aggregations", ()), *threshold.get("denominatorAggregations", ())):
        period = _seconds(aggregation.get("alignmentPeriod", "60s"))
        if period % _MINUTE or period < _MINUTE:
            yield f"an alignment period is {period:g}s; whole minutes are allowed"


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))

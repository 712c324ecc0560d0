"""The notification that a webhook gets, version 1.2, in the form of the real service. No I/O.

Source: Google's page on notification options ("Schema" and "Webhooks") and payloads published by receivers. Numbers are
text as there: ``observed_value`` with three decimals, ``threshold_value`` in its shortest form; ``started_at`` and
``ended_at`` are whole seconds; ``policy_user_labels`` is left out where the policy has none.

``${...}`` variables in documentation are replaced; one that has no value becomes ``(none)``. Left out: variables of
logs and of conditions that Local Vertex does not evaluate.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

if TYPE_CHECKING:
    from google.cloud import monitoring_v3 as m

    from vertex_deploy.local.alerting.incidents import Incident

VERSION = "1.2"
_NS = 10**9
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_SEVERITIES = {"CRITICAL": "Critical", "ERROR": "Error", "WARNING": "Warning"}
_SUBJECT_BYTES = 255


def notification(
    incident: Incident, policy: m.AlertPolicy, condition: m.AlertPolicy.Condition, *, project_number: str
) -> dict[str, Any]:
    """The JSON body.

    Args:
        incident: open, or just closed.
        policy: as it was when the incident changed.
        condition: the one that the incident is of.
        project_number: number of the incident's project.
    """
    ended = incident.closed // _NS if incident.closed else None
    body: dict[str, Any] = {
        "incident_id": incident.id,
        "scoping_project_id": incident.project,
        "scoping_project_number": int(project_number),
        "url": f"https://console.cloud.google.com/monitoring/alerting/alerts/{incident.id}?channelType=webhook"
        f"&project={incident.project}",
        "started_at": incident.opened // _NS,
        "ended_at": ended,
        "state": "open" if incident.open else "closed",
        "severity": _severity(incident),
        "summary": summary(incident, condition),
        "observed_value": observed(incident),
        "resource": {"type": incident.resource, "labels": incident.resource_labels},
        "resource_type_display_name": incident.resource_name,
        "resource_id": "",
        "resource_display_name": _resource(incident),
        "resource_name": f"{incident.project} {_resource(incident)}",
        "metric": {
            "type": incident.metric,
            "displayName": incident.metric_name,
            "labels": incident.metric_labels,
        },
        "metadata": {"system_labels": {}, "user_labels": {}},
        "policy_name": incident.policy_name,
        "condition_name": incident.condition_name,
        "condition": json_format.MessageToDict(type(condition).pb(condition)),
        "documentation": _documentation(incident, policy),
    }
    if incident.policy_labels:
        body["policy_user_labels"] = incident.policy_labels
    if "condition_threshold" in condition:
        body["threshold_value"] = f"{condition.condition_threshold.threshold_value:g}"
    return {"incident": body, "version": VERSION}


def _severity(incident: Incident) -> str:
    return _SEVERITIES.get(incident.severity, "No severity")


def observed(incident: Incident) -> str:
    """What was measured, as text, or why the incident closed."""
    return incident.why or ("" if incident.value is None else f"{incident.value:.3f}")


def _resource(incident: Incident) -> str:
    """The most particular label of the resource, by which people know it, or its type and what labels it has."""
    labels = incident.resource_labels
    known = [labels[k] for k in ("endpoint_id", "instance_id", "task_id", "node_id") if k in labels]
    if known:
        return known[0]
    return f"{incident.resource_name} labels {_braced(labels)}" if labels else incident.resource_name


def _braced(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f"{k}={v}" for k, v in sorted(labels.items())) + "}"


def summary(incident: Incident, condition: m.AlertPolicy.Condition) -> str:
    """One sentence for people."""
    what = f"{incident.metric_name or incident.metric} for {incident.project} {_resource(incident)}"
    if incident.metric_labels:
        what += f" with metric labels {_braced(incident.metric_labels)}"
    if not incident.open:
        return f"{what} returned to normal with a value of {observed(incident) or 'no data'}."
    if "condition_absent" in condition:
        return f"{what} has not reported any data for {condition.condition_absent.duration.total_seconds():g} seconds."
    threshold = condition.condition_threshold
    side = "above" if threshold.comparison.name == "COMPARISON_GT" else "below"
    return (
        f"{what} is {side} the threshold of {threshold.threshold_value:.3f} with a value of "
        f"{observed(incident) or 'no data'}."
    )


def _documentation(incident: Incident, policy: m.AlertPolicy) -> dict[str, Any]:
    documentation = policy.documentation
    mark = "ALERT" if incident.open else "RESOLVED"
    subject = documentation.subject and expand(documentation.subject, incident)
    subject = subject or f"{incident.condition_name} on {incident.project} {incident.resource_name}"
    text = f"[{mark} - {_severity(incident)}] {subject}".encode()[:_SUBJECT_BYTES].decode(errors="ignore")
    out: dict[str, Any] = {
        "content": expand(documentation.content, incident),
        "mime_type": documentation.mime_type or ("text/markdown" if documentation.content else ""),
        "subject": text,
    }
    if documentation.links:
        out["links"] = [
            {"displayName": link.display_name, "url": expand(link.url, incident)} for link in documentation.links
        ]
    return out


def expand(text: str, incident: Incident) -> str:
    """Replace the variables of documentation (cloud.google.com/monitoring/alerts/doc-variables)."""
    known = {
        "condition.name": incident.condition,
        "condition.display_name": incident.condition_name,
        "metric.type": incident.metric,
        "metric.display_name": incident.metric_name,
        "policy.name": incident.policy,
        "policy.display_name": incident.policy_name,
        "project": incident.project,
        "resource.project": incident.project,
        "resource.type": incident.resource,
        **{f"metric.label.{k}": v for k, v in incident.metric_labels.items()},
        **{f"resource.label.{k}": v for k, v in incident.resource_labels.items()},
        **{f"policy.user_label.{k}": v for k, v in incident.policy_labels.items()},
    }
    return _VARIABLE.sub(lambda found: known.get(found[1].replace("labels.", "label."), "(none)"), text)

"""An incident: what is kept of it, and its form in the API (``Alert`` of monitoring.v3). No I/O.

Google's client has no message for it (google-cloud-monitoring 2.32 lacks the service): field names are those of the
discovery document's schema ``Alert``, and a test holds them against it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

_NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A violation of an alert policy.

    Args:
        id: as in the alert's name and in notifications, such as ``0.mtdi83m6w8ao``.
        project: project id.
        policy: full resource name of the policy; ``policy_name``, ``policy_labels`` and ``severity`` are a snapshot.
        condition: full resource name of the condition; ``condition_name`` for people.
        metric: metric type; with ``metric_labels`` and ``metric_name`` (display name).
        resource: monitored resource type; with ``resource_labels`` and ``resource_name`` (display name of the type).
        opened: nanoseconds since the epoch.
        closed: likewise; 0 while it is open.
        value: what was last compared with the threshold, or None (absence).
        why: why it closed, "" where the series returned to normal.
    """

    id: str
    project: str
    policy: str
    policy_name: str = ""
    policy_labels: dict[str, str] = field(default_factory=dict)
    severity: str = ""
    condition: str
    condition_name: str = ""
    metric: str
    metric_name: str = ""
    metric_labels: dict[str, str] = field(default_factory=dict)
    resource: str
    resource_name: str = ""
    resource_labels: dict[str, str] = field(default_factory=dict)
    opened: int
    closed: int = 0
    value: float | None = None
    why: str = ""

    @property
    def open(self) -> bool:
        """Whether it is open."""
        return not self.closed

    @property
    def name(self) -> str:
        """projects/P/alerts/ID."""
        return f"projects/{self.project}/alerts/{self.id}"

    def dump(self) -> bytes:
        """As it is kept."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def load(cls, data: bytes) -> Incident:
        """From what ``dump`` wrote."""
        return cls(**json.loads(data))

    def alert(self) -> dict[str, Any]:
        """The API's ``Alert``; empty fields are left out, as everywhere in Google's JSON."""
        policy = {
            "name": self.policy,
            "displayName": self.policy_name,
            "userLabels": self.policy_labels,
            "severity": self.severity,
        }
        return {
            "name": self.name,
            "state": "OPEN" if self.open else "CLOSED",
            "openTime": _rfc3339(self.opened),
            **({"closeTime": _rfc3339(self.closed)} if self.closed else {}),
            "resource": _filled({"type": self.resource, "labels": self.resource_labels}),
            "metric": _filled({"type": self.metric, "labels": self.metric_labels}),
            "policy": _filled(policy),
        }


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}


def _rfc3339(ns: int) -> str:
    text = datetime.fromtimestamp(ns // _NS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ns % _NS:09d}Z" if ns % _NS else f"{text}Z"

"""Where a rollout's alert policies and incidents are: Cloud Monitoring, or memory.

Policies are made with Google's client; incidents are read over REST (projects.alerts.list of Google's discovery
document for monitoring v3), because google-cloud-monitoring 2.32 has no client for them. Left out: deciding anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vertex_deploy import gcp, rest
from vertex_deploy.errors import CloudError, one_line
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL, Incident

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PAGE = 1000
_FINER_THAN_MICROSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")


@dataclass
class MonitoringAlerts:
    """``Alerts`` in Cloud Monitoring.

    Args:
        project: project id.
        caller: makes the calls, with retries.
        client: an ``AlertPolicyServiceClient``; made on first use where absent.
        get: GET below the REST API's root, answers JSON; made on first use where absent.
    """

    project: str
    caller: gcp.Caller = field(default_factory=gcp.Caller)
    client: Any = None
    get: Any = None

    def policies(self, rollout_id: str) -> Mapping[str, str]:
        """See ``Alerts``."""
        request = {"name": f"projects/{self.project}", "filter": f'user_labels.{ROLLOUT_LABEL}="{rollout_id}"'}
        client, what = self._client(), f"ListAlertPolicies of rollout {rollout_id}"
        pager = self.caller(client.list_alert_policies, request, what=what)
        found = self.caller(lambda **_: list(pager), None, what=what)
        # The label is looked at again: what is not ours must not be removed by a filter that was read otherwise.
        return {p.name: p.display_name for p in found if p.user_labels.get(ROLLOUT_LABEL) == rollout_id}

    def create(self, policy: Mapping[str, Any]) -> None:
        """See ``Alerts``. Not repeated by itself: whether it was made is looked up first."""
        from google.cloud import monitoring_v3  # noqa: PLC0415 - heavy: only when a call is made
        from google.protobuf import json_format  # noqa: PLC0415 - see above

        message = monitoring_v3.AlertPolicy()
        json_format.ParseDict(dict(policy), monitoring_v3.AlertPolicy.pb(message))
        request = {"name": f"projects/{self.project}", "alert_policy": message}
        what = f"CreateAlertPolicy {policy['displayName']!r}"
        self.caller(self._client().create_alert_policy, request, what=what, repeatable=False)

    def delete(self, name: str) -> None:
        """See ``Alerts``."""
        try:
            self.caller(self._client().delete_alert_policy, {"name": name}, what=f"DeleteAlertPolicy {name}")
        except CloudError as error:
            if error.code != "NOT_FOUND":
                raise

    def incidents(self, since: float) -> Sequence[Incident]:
        """See ``Alerts``. Newest first, the API's own order, so that reading ends at the first older one."""
        if self.get is None:
            self.get = rest.monitoring()
        found: list[Incident] = []
        token = ""
        while True:
            # None of the fields is filtered: one page of the newest is cheaper than a filter is safe.
            query = {"pageSize": str(_PAGE), "orderBy": "open_time desc", **({"pageToken": token} if token else {})}
            page = self.get(f"v3/projects/{self.project}/alerts", query)
            read = [incident_of(alert) for alert in page.get("alerts", ())]
            found += [incident for incident in read if incident.opened >= since]
            token = page.get("nextPageToken", "")
            if not token or any(incident.opened < since for incident in read):
                return found

    def _client(self) -> Any:
        if self.client is None:
            self.client = gcp.alert_policy_client()
        return self.client


def incident_of(alert: Mapping[str, Any]) -> Incident:
    """An ``Alert`` of the REST API."""
    policy = alert.get("policy", {})
    return Incident(
        name=alert.get("name", ""),
        title=one_line(policy.get("displayName", "")),
        labels=policy.get("userLabels", {}),
        opened=_seconds(alert.get("openTime", "")),
        # A state that is not known is taken for open: nothing must slip through.
        open=alert.get("state") != "CLOSED",
        deployed_id=alert.get("metric", {}).get("labels", {}).get("deployed_model_id", ""),
    )


def _seconds(text: str) -> float:
    """RFC 3339 with up to nine digits of a second; what is none is of now, so that it counts."""
    try:
        read = datetime.fromisoformat(_FINER_THAN_MICROSECONDS.sub(r"\1", text))
    except ValueError:
        return datetime.now(UTC).timestamp()
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


@dataclass
class MemoryAlerts:
    """``Alerts`` in memory, for tests.

    Args:
        kept: policies by resource name.
        fired: incidents.
        failure: raised by every call, while set.
        hook: called before every call on policies, and after those that change them.
    """

    kept: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    fired: list[Incident] = field(default_factory=list)
    failure: Exception | None = None
    hook: Any = None
    made: int = 0

    def _call(self) -> None:
        if self.hook is not None:
            self.hook()
        if self.failure is not None:
            raise self.failure

    def policies(self, rollout_id: str) -> Mapping[str, str]:
        """See ``Alerts``."""
        self._call()
        own = {n: p for n, p in self.kept.items() if p["userLabels"].get(ROLLOUT_LABEL) == rollout_id}
        return {name: policy["displayName"] for name, policy in own.items()}

    def create(self, policy: Mapping[str, Any]) -> None:
        """See ``Alerts``."""
        self._call()
        self.made += 1
        self.kept[f"projects/p/alertPolicies/{self.made}"] = policy
        self._call()

    def delete(self, name: str) -> None:
        """See ``Alerts``."""
        self._call()
        self.kept.pop(name, None)
        self._call()

    def incidents(self, since: float) -> Sequence[Incident]:
        """See ``Alerts``."""
        if self.failure is not None:
            raise self.failure
        return [incident for incident in self.fired if incident.opened >= since]

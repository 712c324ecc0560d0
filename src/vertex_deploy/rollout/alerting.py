"""Alert policies of a rollout: made before traffic moves, read at every poll, removed at the end.

Pure: ``policies_for`` (gates to policies; ``spec.alerts`` makes the conditions) and ``alarm_of`` (incidents to what
follows). ``AlertWatch`` is what the controller asks; where policies and incidents are is in ``alert_clients``.

An alert knows no statistics: one error among the first ten requests is over any limit. So an incident of a gate counts
once the canary has answered the gate's ``min_requests`` in the step, while it is open, and unless stable breaks the
same limit (``if_stable_too``). Incidents of ``monitoring.alerts`` count at once.

Left out: acknowledging and closing incidents, which the API cannot; incidents in a pause that a person asked for (the
first poll after ``resume`` sees what is open).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vertex_deploy.errors import CloudError
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.spec import names
from vertex_deploy.spec.alerts import evaluates_promql, expressible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vertex_deploy.rollout.record import Record
    from vertex_deploy.spec.gates import Gate
    from vertex_deploy.spec.models import Spec

ROLLOUT_LABEL = "vertex_deploy_rollout"
"""User label of a rollout's own policies; its value is ``Record.label``."""
_SKEW = 900.0
"""Seconds by which our clock may be ahead of Cloud Monitoring's: incidents opened so long before our start are read."""
AUTO_CLOSE = "1800s"
"""An incident without data closes after this: the shortest that the API takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident as far as a rollout cares.

    Args:
        name: projects/P/alerts/ID.
        title: display name of its policy.
        labels: user labels of its policy.
        opened: seconds since the epoch.
        open: it is not closed yet.
        deployed_id: of the version that it is about; "" where its series does not say.
    """

    name: str
    title: str
    labels: Mapping[str, str]
    opened: float
    open: bool
    deployed_id: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """What incidents lead to.

    Args:
        action: ``rollback``, ``pause``, or ``blind``: incidents could not be read, so nothing may pass.
        reason: one line.
    """

    action: str
    reason: str


class Alerts(Protocol):
    """Alert policies and incidents of one project."""

    def policies(self, rollout_id: str) -> Mapping[str, str]:
        """Resource names of a rollout's own policies, and their display names."""
        ...

    def create(self, policy: Mapping[str, Any]) -> None:
        """Make a policy, given as the REST API's JSON."""
        ...

    def delete(self, name: str) -> None:
        """Remove a policy; one that is gone already is no error."""
        ...

    def incidents(self, since: float) -> Sequence[Incident]:
        """Incidents that opened at ``since`` (seconds since the epoch) or later."""
        ...


# --- pure -------------------------------------------------------------------------------------------------------------


def watching(spec: Spec) -> bool:
    """Whether any alert can end this spec's rollouts."""
    return bool(spec.monitoring.alerts) or bool(policies_for(spec, "id", "projects/p/locations/l/endpoints/1", "1"))


def policies_for(spec: Spec, rollout_id: str, endpoint: str, canary: str) -> tuple[dict[str, Any], ...]:
    """The rollout's own policies: one a critical gate with an absolute limit, on the canary alone.

    Args:
        spec: one deploy.yaml.
        rollout_id: names them.
        endpoint: projects/P/locations/L/endpoints/E.
        canary: deployed model id.

    Returns:
        ``AlertPolicy`` in the REST API's JSON.
    """
    if not spec.rollout.alerts.from_gates:
        return ()
    private = spec.target.endpoint.access in {"psc", "psa"}
    gates = [gate for gate in spec.rollout.gates if gate.critical]
    found = expressible(
        gates,
        endpoint_id=endpoint.rpartition("/")[2],
        private=private,
        deployed_model_id=canary,
        promql=evaluates_promql(spec.monitoring),
    )
    return tuple(
        {
            "displayName": f"{spec.name} {rollout_id}: {gate.label}",
            "userLabels": {names.OWNER_LABEL: spec.name, ROLLOUT_LABEL: rollout_id},
            "documentation": {
                "content": f"Made by rollout {rollout_id} for its own time; it goes back to stable when this fires.",
                "mimeType": "text/markdown",
            },
            "combiner": "OR",
            "conditions": list(conditions),
            "severity": "CRITICAL",
            "alertStrategy": {"autoClose": AUTO_CLOSE},
            "notificationChannels": list(spec.monitoring.notification_channels),
        }
        for gate, conditions in found
    )


def alarm_of(incidents: Iterable[Incident], spec: Spec, record: Record) -> Alarm | None:
    """What the incidents of this rollout's time lead to, or None.

    Args:
        incidents: of the whole project; only those of the rollout's own policies and of the spec's are looked at.
        spec: of the rollout.
        record: where it is, with the judge's last readings.
    """
    readings = (record.verdict or {}).get("readings", ())
    alarms = []
    for incident in incidents:
        own = incident.labels.get(ROLLOUT_LABEL)
        standing = own is None and incident.labels.get(names.OWNER_LABEL) == spec.name
        if own != record.label and not standing:
            continue
        if incident.deployed_id not in {"", record.canary}:
            alarms += _on_another(incident, spec, record)
        elif _believed(incident, spec, record, readings):
            whose = "the canary" if incident.deployed_id else "the endpoint, no version named"
            alarms.append(Alarm("rollback", f"alert {incident.title!r} fired for {whose} ({incident.name})"))
    return max(alarms, key=lambda alarm: alarm.action == "rollback", default=None)


def _on_another(incident: Incident, spec: Spec, record: Record) -> list[Alarm]:
    policy = spec.rollout.alerts.on_stable
    if policy == "ignore" or incident.deployed_id != record.stable or not _fresh(incident, record):
        return []
    return [Alarm(policy, f"alert {incident.title!r} fired for stable, and alerts.on_stable is {policy}")]


def _fresh(incident: Incident, record: Record) -> bool:
    """Open, or opened since the current phase began: one that closed between two looks counts too."""
    # The canary's id is new: no incident of it is older than the rollout, whatever our clock says.
    ours = incident.opened >= record.started or incident.deployed_id == record.canary
    return ours and (incident.open or incident.opened >= record.entered)


def _believed(incident: Incident, spec: Spec, record: Record, readings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an incident is held against the canary."""
    _, _, label = incident.title.partition(": ")
    own = ROLLOUT_LABEL in incident.labels
    standing = {gate.label for gate in spec.monitoring.alerts}
    gate = next((gate for gate in spec.rollout.gates if gate.label == label), None)
    if not own and (gate is None or label in standing):
        return _fresh(incident, record)
    if gate is None or not gate.critical or gate.dry_run or not incident.open:
        return False
    return any(_sure(gate, r) for r in readings if r["gate"] == label and r["kind"] == "absolute")


def _sure(gate: Gate, reading: Mapping[str, Any]) -> bool:
    """Enough requests to believe an alert on this gate, the step itself over the limit, and stable not as bad.

    An alert looks back over minutes that may lie before the step, in a pause or in ``initial_delay``: what the canary
    did there is not held against it while this step measures it within the limit.
    """
    if reading["samples"] < (1 if gate.custom else gate.min_requests):
        return False
    value, stable, limit = reading["value"], reading["stable"], reading["threshold"]
    if limit is None:
        return True
    floor = gate.min is not None and limit == gate.min
    if value is not None and (value >= limit if floor else value <= limit):
        return False
    if gate.if_stable_too == "fail" or stable is None:
        return True
    return bool(stable >= limit if floor else stable <= limit)


# --- what the controller asks -----------------------------------------------------------------------------------------


class AlertWatch:
    """The alerts of one rollout, as its controller uses them. Everything may be repeated.

    Args:
        spec: of the rollout.
        alerts: where policies and incidents are.
    """

    def __init__(self, spec: Spec, alerts: Alerts) -> None:
        self._spec = spec
        self._alerts = alerts

    def prepare(self, record: Record, endpoint: str) -> int:
        """Make the policies that are not there yet, and see that incidents can be read; how many policies there are.

        Raises:
            CloudError: a policy is refused, or incidents cannot be read; names the way out.
        """
        wanted = policies_for(self._spec, record.label, endpoint, record.canary)
        try:
            known = set(self._alerts.policies(record.label).values()) if wanted else set()
            for policy in wanted:
                if policy["displayName"] not in known:
                    self._alerts.create(policy)
            self._alerts.incidents(record.started)
        except CloudError as error:
            fix = "to go without alert policies of its gates, write rollout.alerts: {from_gates: false}"
            raise CloudError(
                f"alerts cannot watch this rollout: {error}; {fix}", code=error.code, transient=error.transient
            ) from error
        return len(wanted)

    def look(self, record: Record) -> Alarm | None:
        """What the incidents of now lead to."""
        try:
            return alarm_of(self._alerts.incidents(record.started - _SKEW), self._spec, record)
        except CloudError as error:
            return Alarm("blind", f"alert incidents could not be read: {error}")

    def clear(self, record: Record) -> str:
        """Remove the rollout's own policies.

        Returns:
            What to warn of, or "".

        Raises:
            CloudError: an API did not answer, or the credentials expired; try again.
        """
        if not policies_for(self._spec, record.label, record.endpoint or "endpoints/0", record.canary):
            return ""
        try:
            for name in self._alerts.policies(record.label):
                self._alerts.delete(name)
        except CloudError as error:
            # Whoever renews the credentials can still have them removed; a refusal will not change.
            if may_pass(error) or error.code == "UNAUTHENTICATED":
                raise
            return f"alert policies with the label {ROLLOUT_LABEL}={record.label} could not be removed: {error}"
        return ""

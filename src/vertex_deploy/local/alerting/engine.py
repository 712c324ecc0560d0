"""Evaluates every policy at the end of every sample period: reads the series, runs the machine, keeps incidents, tells.

The recorder writes the points of a period when it ends; an evaluation comes just after and looks at what ended then. A
policy whose evaluation fails is logged and tried again at the next; the others are evaluated all the same.

Left out: evaluating periods that were missed while the process was stopped.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import machine
from vertex_deploy.local.alerting.book import incident_id
from vertex_deploy.local.alerting.compile import compile_policy
from vertex_deploy.local.alerting.conditions import Threshold
from vertex_deploy.local.alerting.incidents import Incident
from vertex_deploy.local.alerting.measure import At, Meter
from vertex_deploy.local.alerting.payload import notification
from vertex_deploy.local.alerting.snoozes import silencer
from vertex_deploy.local.monitoring.catalogue import RESOURCE_BY_TYPE
from vertex_deploy.local.monitoring.values import SeriesKey
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vertex_deploy.local.alerting.book import Book
    from vertex_deploy.local.alerting.conditions import Policy
    from vertex_deploy.local.alerting.measure import Source
    from vertex_deploy.local.alerting.notifier import Notifier
    from vertex_deploy.local.monitoring.catalogue import Metric

_log = logging.getLogger(__name__)
NS = 10**9
MODIFIED = "Incident cancelled because the alert policy condition was deleted or modified while incident was active."
DISABLED = "Incident cancelled because the alert policy was disabled while incident was active."
_AFTER = 0.05
"""Seconds after the end of a period: the recorder's flush comes first."""
_CLOSED_PROMPT = m.AlertPolicy.AlertStrategy.NotificationPrompt.CLOSED


class AlertEngine:
    """Implements ``policies.Watcher``.

    Args:
        book: policies, snoozes, incidents.
        source: the time series.
        notifier: sends notifications.
        metric: project id and metric type -> metric, None if there is no such one.
        period: seconds between evaluations: the sample period.
        minute: what counts as a minute, nanoseconds.
    """

    def __init__(
        self,
        book: Book,
        source: Source,
        notifier: Notifier,
        *,
        metric: Callable[[str, str], Metric | None],
        period: float = 60.0,
        minute: int = 60 * NS,
    ) -> None:
        self._book = book
        self._meter = Meter(source)
        self._notifier = notifier
        self._metric = metric
        self._period = round(period * NS)
        self._minute = minute
        self._policies: dict[str, m.AlertPolicy] = {}
        self._compiled: dict[str, Policy] = {}
        self._invalid: set[str] = set()
        self._states: dict[str, machine.State] = {}
        for policy in book.policies.under():
            self._adopt(policy)

    # --- what changes ---------------------------------------------------------------------------------------------

    def changed(self, policy: m.AlertPolicy) -> None:
        """Take over a new or updated policy; incidents of conditions that changed close."""
        before = self._policies.get(policy.name)
        kept: frozenset[str] = frozenset()
        if before is not None:
            kept = _unchanged(before, policy)
            self._cancel(before, MODIFIED, keep=kept)
            if not policy.enabled:
                kept = frozenset()
                self._cancel(before, DISABLED)
        self._adopt(policy, kept)

    def removed(self, policy: m.AlertPolicy) -> None:
        """Forget a policy; its incidents close."""
        self._cancel(policy, MODIFIED)
        self._policies.pop(policy.name, None)
        self._compiled.pop(policy.name, None)
        self._invalid.discard(policy.name)
        self._states.pop(policy.name, None)

    def _adopt(self, policy: m.AlertPolicy, kept: frozenset[str] = frozenset()) -> None:
        """Evaluate a policy from now on; what is remembered of the ``kept`` conditions stays."""
        name = policy.name
        self._policies[name] = policy
        before = self._compiled.pop(name, None)
        known = name in self._invalid
        self._invalid.discard(name)
        since = m.AlertPolicy.pb(policy).mutation_record.mutate_time.ToNanoseconds()
        try:
            found = compile_policy(policy, self._metric, minute=self._minute, since=since)
        except ApiError as error:
            # A custom metric that was deleted, or another sample period than when the policy was written. It is tried
            # again at every evaluation: the metric may come back.
            self._invalid.add(name)
            if not known:
                _log.warning("%s is not evaluated: %s", name, error.message)
            return
        self._compiled[name] = found
        index = {condition.name: at for at, condition in enumerate(found.conditions)}
        old = self._states.get(name, machine.State())
        tracks = {}
        for (at, key), track in old.tracks.items():
            condition = before.conditions[at].name if before else ""
            if condition in kept and condition in index:
                tracks[index[condition], key] = track
        for incident in self._book.open_incidents(name):
            if incident.condition in index:
                where = (index[incident.condition], _key(incident))
                if where in tracks:
                    continue
                tracks[where] = machine.Track(found.conditions[where[0]].retest, incident.opened, incident.id)
        self._states[name] = machine.State(tracks, old.at)

    def _cancel(self, policy: m.AlertPolicy, why: str, *, keep: frozenset[str] = frozenset()) -> None:
        for incident in self._book.open_incidents(policy.name):
            if incident.condition not in keep:
                self._close(policy, incident, incident.value, why)

    # --- evaluations ----------------------------------------------------------------------------------------------

    def tick(self) -> int:
        """Evaluate every policy at the end of the last whole period; how many incidents opened or closed."""
        now = self._last_end()
        return sum(self._evaluated(name, now) for name in list(self._policies))

    def _last_end(self) -> int:
        now = int(self._book.clock.now() * NS)
        return now - now % self._period

    def _evaluated(self, name: str, now: int) -> int:
        """Evaluate one policy, if it is still there and enabled; a failure is logged."""
        message = self._policies.get(name)
        if message is None or not message.enabled:
            return 0
        try:
            policy = self._current(message)
            return self._evaluate(policy, now) if policy else 0
        except ApiError as error:
            _log.warning("%s could not be evaluated: %s", name, error.message)
        except Exception:  # noqa: BLE001 - the others must be evaluated, and nothing else may stop with it
            _log.exception("%s could not be evaluated", name)
        return 0

    def _current(self, message: m.AlertPolicy) -> Policy | None:
        """What is evaluated, compiled anew where a metric of it is not what it was; None while it is not valid."""
        policy = self._compiled.get(message.name)
        if policy is None or any(self._metric(policy.project, x.type) != x for x in _metrics(policy)):
            self._adopt(message, frozenset(condition.name for condition in message.conditions))
        return self._compiled.get(message.name)

    def _evaluate(self, policy: Policy, now: int) -> int:
        state = self._states[policy.name]
        if now <= state.at:
            return 0
        readings = self._meter.measure(policy, At(now, self._minute))
        parent = policy.name.partition("/alertPolicies/")[0]
        snoozed = silencer(self._book.snoozes.under(f"{parent}/snoozes/"), policy.name, now)
        after, events = machine.evaluate(
            policy, readings, now, state, step=self._period, new_id=incident_id, snoozed=snoozed
        )
        message = self._policies[policy.name]
        incidents = [self._incident(policy, message, event, now) for event in events]
        if incidents:
            self._book.save(*incidents)
        # Only now: what could not be written happens again at the next evaluation.
        self._states[policy.name] = after
        for incident, event in zip(incidents, events, strict=True):
            _log.info("%s %s of %s", "opened" if incident.open else "closed", incident.name, policy.name)
            if not snoozed(event.reading.key):
                self._tell(message, incident)
        return len(events)

    def _incident(self, policy: Policy, message: m.AlertPolicy, event: machine.Event, now: int) -> Incident:
        """The incident after an event."""
        key, value = event.reading.key, event.reading.value
        if isinstance(event, machine.Opened):
            metric, resource = event.condition.series.metric, RESOURCE_BY_TYPE.get(key.resource)
            return Incident(
                id=event.incident,
                project=policy.project,
                policy=policy.name,
                policy_name=message.display_name,
                policy_labels=dict(message.user_labels),
                severity=message.severity.name if message.severity else "",
                condition=event.condition.name,
                condition_name=event.condition.display_name,
                metric=metric.type,
                metric_name=metric.display_name,
                metric_labels=dict(key.metric_labels),
                resource=key.resource,
                resource_name=resource.display_name if resource else key.resource,
                resource_labels=dict(key.resource_labels),
                opened=now,
                value=value,
            )
        found = self._book.incident(f"projects/{policy.project}/alerts/{event.incident}")
        if found is None:
            raise LookupError(f"the incident {event.incident} of {policy.name} is not kept")
        return replace(found, closed=now, value=value, why=event.why)

    def _close(self, policy: m.AlertPolicy, incident: Incident, value: float | None, why: str) -> None:
        now = int(self._book.clock.now() * NS)
        closed = replace(incident, closed=max(now, incident.opened + 1), value=value, why=why)
        self._book.save(closed)
        parent = policy.name.partition("/alertPolicies/")[0]
        if not silencer(self._book.snoozes.under(f"{parent}/snoozes/"), policy.name, now)(_key(incident)):
            self._tell(policy, closed)

    def _tell(self, policy: m.AlertPolicy, incident: Incident) -> None:
        condition = next((c for c in policy.conditions if c.name == incident.condition), None)
        prompts = policy.alert_strategy.notification_prompts
        if condition is None or (not incident.open and prompts and _CLOSED_PROMPT not in prompts):
            return
        number = self._book.project_number(incident.project)
        body = notification(incident, policy, condition, project_number=number)
        # Read afresh: channels may have been taken out since.
        current = self._book.policies.get(policy.name) or policy
        for name in current.notification_channels:
            channel = self._book.channels.get(name)
            if channel is not None:
                self._notifier.notify(channel, body)

    async def run(self) -> None:
        """Evaluate at the end of every period until cancelled."""
        while True:
            now = int(self._book.clock.now() * NS)
            await asyncio.sleep((self._period - now % self._period) / NS + _AFTER)
            end = self._last_end()
            for name in list(self._policies):
                self._evaluated(name, end)
                await asyncio.sleep(0)  # predictions go first


def _unchanged(before: m.AlertPolicy, after: m.AlertPolicy) -> frozenset[str]:
    """Names of the conditions whose incidents stay open."""
    if before.combiner != after.combiner:
        return frozenset()
    old = {c.name: type(c).serialize(c) for c in before.conditions}
    return frozenset(c.name for c in after.conditions if old.get(c.name) == type(c).serialize(c))


def _metrics(policy: Policy) -> Iterator[Metric]:
    for condition in policy.conditions:
        yield condition.series.metric
        if isinstance(condition, Threshold) and condition.denominator:
            yield condition.denominator.metric


def _key(incident: Incident) -> SeriesKey:
    return SeriesKey.of(
        project=incident.project,
        metric=incident.metric,
        metric_labels=incident.metric_labels,
        resource=incident.resource,
        resource_labels=incident.resource_labels,
    )

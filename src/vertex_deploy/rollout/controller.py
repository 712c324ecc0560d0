"""The driver of a rollout: looks, asks ``decide``, performs, commits.

A controller killed at any instruction can be started again: ``decide`` is asked anew with the record and with what is
observed then. An error that may pass (``faults``) is raised, and waited out by ``driver``. Any other error of an effect
ends the phase that wanted it; any other error of a reading, or of the split, ends the controller, not the rollout.
Metrics that cannot be read are no evidence: the rollout goes on looking and cannot pass.

Left out: choosing what to do (``decide``), the calls that change the cloud (``effects``), waiting (``driver``), and
printing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.metrics import codec
from vertex_deploy.rollout.actions import Begin, Drop, Inspect, Look, Measure, Move, Poll, SetSplit, Wait
from vertex_deploy.rollout.decide import Seen, decide, describe
from vertex_deploy.rollout.driver import run
from vertex_deploy.rollout.effects import Effects
from vertex_deploy.rollout.evidence import Evidence
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.group import arrival
from vertex_deploy.rollout.journal import Journal
from vertex_deploy.rollout.machine import Ending, Event, Phase, advance, can
from vertex_deploy.rollout.readiness import look

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.metrics.types import MetricSource
    from vertex_deploy.rollout.actions import Action
    from vertex_deploy.rollout.alerting import Alarm, AlertWatch
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.group import Others
    from vertex_deploy.rollout.notify import Notifier
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.readiness import Quotas
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.rollout.siblings import Siblings
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.gates import Gate
    from vertex_deploy.targets.types import Observation, Target


class Controller:
    """Drives one rollout. The store's lease must be held.

    Args:
        store: where the rollout is durable.
        record: the rollout, as stored.
        plan: its numbers.
        gates: what the judge judges.
        target: where traffic is split.
        source_for: gives the metric source of an endpoint.
        clock: time.
        alerts: alert policies that can end the rollout.
        siblings: the other members of its lockstep group; None outside of one.
        quotas: reads what is left for the new version, in preflight.
        notifier: tells of transitions and failures; never waited for.
        on_entry: told of every history entry, after it was committed.
        on_idle: told about once a second while nothing is due.
    """

    def __init__(
        self,
        *,
        store: RolloutStore,
        record: Record,
        plan: Plan,
        gates: Sequence[Gate],
        target: Target,
        source_for: Callable[[str], MetricSource],
        clock: Clock,
        alerts: AlertWatch | None = None,
        quotas: Quotas | None = None,
        siblings: Siblings | None = None,
        notifier: Notifier | None = None,
        on_entry: Callable[[LogEntry, Record], None] | None = None,
        on_idle: Callable[[Record], None] | None = None,
    ) -> None:
        self.journal = Journal(store, record, clock=clock, notifier=notifier, on_entry=on_entry)
        self._store = store
        self._plan = plan
        self._target = target
        self._clock = clock
        self._alerts = alerts
        self._quotas = quotas
        self._siblings = siblings
        self._unseen = ""
        self._blind = ""
        self._unread = False
        self._on_idle = on_idle or (lambda _record: None)
        self._evidence = Evidence(plan=plan, gates=gates, source_for=source_for, log=lambda: store.log(self.record.id))
        self._effects = Effects(target, self.journal, clock)

    @property
    def record(self) -> Record:
        """The rollout as it was last written."""
        return self.journal.record

    def run(self, stop: Callable[[Record], bool] = lambda _record: False) -> Record:
        """Drive until the rollout is over or paused, or ``stop`` says so while nothing is due; see ``driver.run``.

        Raises:
            CloudError: an API kept failing; the rollout stands where it was and can be started again.
            RolloutBusy: another controller took over.
        """
        run([self], clock=self._clock, stop=stop)
        return self.record

    def tick(self) -> Wait | None:
        """Do everything that is due now, and say what is waited for; None if the rollout is over."""
        while not self.record.over:
            seen, etag = self._look()
            action = decide(self.record, self._plan, seen)
            if isinstance(action, Wait):
                return action
            self.journal.renew()
            self._perform(action, etag)
        return None

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Seen, str]:
        record = self.record
        endpoint: Observation | None = None
        if record.endpoint:
            endpoint = self._target.observe(record.endpoint)
            if endpoint is not None and dict(endpoint.split) != dict(record.actual):
                self.journal.commit(
                    replace(record, actual=dict(endpoint.split)),
                    "split",
                    f"split read back: {describe(endpoint.split)}",
                    {"actual": dict(endpoint.split)},
                )
            if endpoint is not None and endpoint.replicas != dict(self.record.replicas):
                self.journal.save(replace(self.record, replicas=endpoint.replicas))
        request = self._store.next_request(record.handled, record.id)
        seen = Seen(
            now=self._clock.now(), endpoint=endpoint, request=request, alarm=self._alarm(), others=self._others()
        )
        return seen, endpoint.etag if endpoint else ""

    def _others(self) -> Others | None:
        """What the rest of the group says; that it cannot be read is told once."""
        others = self._siblings.look(self.record) if self._siblings else None
        unread = others.unread if others else ""
        if unread and not self._unseen:
            self.journal.note("warning", f"{unread}; it counts as not ready")
        self._unseen = unread
        return others

    def _alarm(self) -> Alarm | None:
        """What incidents lead to, where an alert means anything; that they cannot be read is told once."""
        if self._alerts is None or self.record.held or not can(self.record.phase, Event.ALERT_FIRED):
            return None
        alarm = self._alerts.look(self.record)
        blind = alarm.reason if alarm is not None and alarm.action == "blind" else ""
        if blind and not self._blind:
            self.journal.note("warning", blind)
        self._blind = blind
        return alarm

    def idle(self) -> bool:
        """To be called about once a second while nothing is due: keeps the lease; whether a request waits."""
        self.journal.renew()
        self._on_idle(self.record)
        self.journal.undelivered(self.journal.notifier.failures())
        return self._store.next_request(self.record.handled, self.record.id) is not None

    def close(self) -> None:
        """Wait a little for notifications that are under way; what did not arrive is in the history."""
        with suppress(CloudError, RolloutError):
            self.journal.undelivered(self.journal.notifier.close())

    # -- performing --------------------------------------------------------------------------------------------------

    def _perform(self, action: Action, etag: str) -> None:
        match action:
            case Inspect():
                self._inspect()
            case Begin():
                self._effects.begin(action)
            case Poll():
                self._effects.poll()
            case Look():
                self._effects.find(action.kind)
            case SetSplit():
                self._effects.set_split(action.split, etag)
            case Measure():
                self._measure()
            case Move():
                self._move(action)
            case Drop():
                self.journal.commit(replace(self.record, handled=action.request.id), "request", action.reason)
            case Wait():
                pass

    def _move(self, move: Move) -> None:
        if self._alerts is not None and advance(self.record.phase, move.event) is Phase.DONE:
            # Before the end is committed: a controller killed in between finds them again.
            left = self._alerts.clear(self.record)
            if left:
                self.journal.note("warning", left)
        before, now = self.record, self._clock.now()
        record = before.moved(move.event, now=now, reason=move.reason, ending=move.ending, step=move.step)
        record = replace(record, ready=move.ready, model=move.model or record.model)
        if move.split is not None:
            record = replace(record, split=dict(move.split))
        if move.request is not None:
            record = replace(record, handled=move.request.id)
        record = replace(record, held=move.event is Event.PAUSE and move.request is not None)
        data: dict[str, Any] = {"from": before.phase, "event": move.event, "to": record.phase, "step": record.step}
        if move.request is not None:
            data["request"] = move.request.to_json()
        if move.split is not None:
            data["split"] = dict(move.split)
        if record.over:
            data["ending"] = record.ending
        # A reason that lasts from phase to phase is told once.
        text = move.reason if move.reason != before.reason else move.event.replace("_", " ")
        self.journal.commit(record, "transition", text, data)
        self._evidence.moved(record, now)

    def _inspect(self) -> None:
        try:
            found = look(
                plan=self._plan,
                target=self._target,
                evidence=self._evidence,
                canary=self.record.canary,
                now=self._clock.now(),
                quotas=self._quotas,
            )
            stable = found.found.stable
            if self._alerts is not None and found.endpoint and stable and found.ready:
                # Nothing proves that they can be deployed but deploying them, and no traffic has moved yet.
                self._alerts.prepare(self.record, found.endpoint)
        except (CloudError, RolloutError) as error:
            if isinstance(error, CloudError) and may_pass(error):
                raise
            self._move(Move(Event.REFUSED, str(error), Ending.FAILED))
            return
        self.journal.record = replace(
            self.record,
            endpoint=found.endpoint,
            stable=stable.id if stable else None,
            stable_model=stable.reference if stable else None,
            model=found.model,
            split=found.split,
            actual=found.split,
        )
        for warning in found.warnings:
            self.journal.note("warning", warning)
        self._move(arrival(self.record, found.found.move))

    def _measure(self) -> None:
        record, now = self.record, self._clock.now()
        reading = self._evidence.measure(record, now)
        verdict, intervals = reading.verdict, reading.intervals
        after = replace(record, measured=now, verdict=verdict)
        if intervals:
            after = replace(after, measured_until=intervals[-1].end.timestamp())
            data = {"intervals": [codec.to_json(interval) for interval in intervals], "verdict": verdict}
            self.journal.commit(after, "measured", f"{verdict['outcome']}: {verdict['explanation']}", data)
        else:
            self.journal.save(after)
        # Told once, until metrics can be read again; without all of them there may be intervals too.
        if reading.problem and not self._unread:
            self.journal.note("warning", f"metrics could not be read: {reading.problem}")
        self._unread = bool(reading.problem)

"""The driver of a rollout: looks, asks ``decide``, performs, commits. All effects of a rollout happen here.

An effect is committed as an intention before the call and as a fact after it, so a controller killed at any instruction
can be started again: ``decide`` is asked anew with the record and with what is observed then.

Failures: an error that may pass (``faults``) is waited out, with growing pauses, up to ``PATIENCE`` times in a row. Any
other error of an effect ends the phase that wanted it; any other error of a reading, or of the split, ends the
controller, not the rollout.
Metrics that cannot be read are no evidence: the rollout goes on looking and cannot pass.

Left out: choosing what to do (``decide``), and printing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError, SplitConflict
from vertex_deploy.metrics import codec
from vertex_deploy.rollout.actions import Begin, Drop, Inspect, Look, Measure, Move, Poll, SetSplit, Wait
from vertex_deploy.rollout.decide import Seen, decide, describe
from vertex_deploy.rollout.evidence import Evidence
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.machine import Ending, Event, Phase, advance, can
from vertex_deploy.rollout.notify import Notifier
from vertex_deploy.rollout.preflight import inspect
from vertex_deploy.rollout.record import LogEntry, Pending, Record
from vertex_deploy.rollout.store import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.metrics.types import MetricSource
    from vertex_deploy.rollout.actions import Action
    from vertex_deploy.rollout.alerting import Alarm, AlertWatch
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.gates import Gate
    from vertex_deploy.targets.types import Observation, Target

PATIENCE = 10
"""Transient failures in a row before a controller gives up (the rollout can be started again)."""

_MOST_CONFLICTS = 10
_NAP = 1.0


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
        notifier: Notifier | None = None,
        on_entry: Callable[[LogEntry, Record], None] | None = None,
        on_idle: Callable[[Record], None] | None = None,
    ) -> None:
        self.record = store.take_over(record)
        self._store = store
        self._plan = plan
        self._target = target
        self._clock = clock
        self._alerts = alerts
        self._notifier = notifier or Notifier(())
        self._blind = ""
        self._on_entry = on_entry or (lambda _entry, _record: None)
        self._on_idle = on_idle or (lambda _record: None)
        self._evidence = Evidence(plan=plan, gates=gates, source_for=source_for, log=lambda: store.log(self.record.id))
        self._conflicts = 0
        self._renewed = clock.now()

    def run(self, stop: Callable[[Record], bool] = lambda _record: False) -> Record:
        """Drive until the rollout is over or paused, or ``stop`` says so while nothing is due.

        Raises:
            CloudError: an API kept failing; the rollout stands where it was and can be started again.
            RolloutBusy: another controller took over.
        """
        failures = 0
        while True:
            try:
                wait = self.tick()
            except CloudError as error:
                failures += 1
                if not may_pass(error) or failures > PATIENCE:
                    left = f"the split is {describe(self.record.actual)}; go on with `rollout start`"
                    self._note_if_possible(f"the controller stops: {error}; {left}")
                    raise
                self._note_if_possible(f"will try again: {error}")
                self._sleep_until(self._clock.now() + min(LEASE_SECONDS / 2, 2.0**failures))
                continue
            failures = 0
            if wait is None or wait.until is None or stop(self.record):
                return self.record
            self._sleep_until(wait.until)

    def tick(self) -> Wait | None:
        """Do everything that is due now, and say what is waited for; None if the rollout is over."""
        while not self.record.over:
            seen, etag = self._look()
            action = decide(self.record, self._plan, seen)
            if isinstance(action, Wait):
                return action
            self._renew()
            self._perform(action, etag)
        return None

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Seen, str]:
        record = self.record
        endpoint: Observation | None = None
        if record.endpoint:
            endpoint = self._target.observe(record.endpoint)
            if endpoint is not None and dict(endpoint.split) != dict(record.actual):
                self._commit(
                    replace(record, actual=dict(endpoint.split)),
                    "split",
                    f"split read back: {describe(endpoint.split)}",
                    {"actual": dict(endpoint.split)},
                )
        request = self._store.next_request(record.handled)
        seen = Seen(now=self._clock.now(), endpoint=endpoint, request=request, alarm=self._alarm())
        return seen, endpoint.etag if endpoint else ""

    def _alarm(self) -> Alarm | None:
        """What incidents lead to, where an alert means anything; that they cannot be read is told once."""
        if self._alerts is None or not can(self.record.phase, Event.ALERT_FIRED):
            return None
        alarm = self._alerts.look(self.record)
        blind = alarm.reason if alarm is not None and alarm.action == "blind" else ""
        if blind and not self._blind:
            self._note("warning", blind)
        self._blind = blind
        return alarm

    def _sleep_until(self, until: float) -> None:
        """Nap, so that the lease stays ours and a request is answered within about a second."""
        while (left := until - self._clock.now()) > 0:
            self._clock.sleep(min(left, _NAP))
            self._renew()
            self._on_idle(self.record)
            self._undelivered(self._notifier.failures())
            if self._store.next_request(self.record.handled) is not None:
                return

    def _renew(self) -> None:
        if self._clock.now() - self._renewed >= LEASE_SECONDS / 3:
            self._renewed = self._clock.now()
            self._store.renew(self._renewed)

    # -- committing --------------------------------------------------------------------------------------------------

    def _commit(self, record: Record, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        entry = LogEntry(seq=record.seq, at=self._clock.now(), kind=kind, text=text, data=data or {})
        record = replace(record, seq=record.seq + 1, tail=entry)
        self._store.commit(record)
        self.record = record
        self._on_entry(entry, record)
        self._notifier.tell(entry, record)

    def close(self) -> None:
        """Wait a little for notifications that are under way; what did not arrive is in the history."""
        with suppress(CloudError, RolloutError):
            self._undelivered(self._notifier.close())

    def _undelivered(self, failures: Sequence[str]) -> None:
        for failure in failures:
            self._commit(self.record, "warning", failure, {"notification": True})

    def _save(self, record: Record) -> None:
        """Commit without a history entry."""
        record = replace(record, tail=None)
        self._store.commit(record)
        self.record = record

    def _note(self, kind: str, text: str) -> None:
        self._commit(self.record, kind, text)

    def _note_if_possible(self, text: str) -> None:
        # What failed may be the store itself: a note about it must not hide it.
        with suppress(CloudError):
            self._note("warning", text)

    # -- performing --------------------------------------------------------------------------------------------------

    def _perform(self, action: Action, etag: str) -> None:
        match action:
            case Inspect():
                self._inspect()
            case Begin():
                self._begin(action)
            case Poll():
                self._poll()
            case Look():
                self._find(action.kind)
            case SetSplit():
                self._set_split(dict(action.split), etag)
            case Measure():
                self._measure()
            case Move():
                self._move(action)
            case Drop():
                self._commit(replace(self.record, handled=action.request.id), "request", action.reason)
            case Wait():
                pass

    def _move(self, move: Move) -> None:
        if self._alerts is not None and advance(self.record.phase, move.event) is Phase.DONE:
            # Before the end is committed: a controller killed in between finds them again.
            left = self._alerts.clear(self.record)
            if left:
                self._note("warning", left)
        before, now = self.record, self._clock.now()
        record = before.moved(move.event, now=now, reason=move.reason, ending=move.ending, step=move.step)
        if move.split is not None:
            record = replace(record, split=dict(move.split))
        if move.request is not None:
            record = replace(record, handled=move.request.id)
        data: dict[str, Any] = {"from": before.phase, "event": move.event, "to": record.phase, "step": record.step}
        if move.request is not None:
            data["request"] = move.request.to_json()
        if move.split is not None:
            data["split"] = dict(move.split)
        if record.over:
            data["ending"] = record.ending
        # A reason that lasts from phase to phase is told once.
        text = move.reason if move.reason != before.reason else move.event.replace("_", " ")
        self._commit(record, "transition", text, data)
        self._evidence.moved(record, now)

    def _inspect(self) -> None:
        try:
            endpoint = self._target.find_endpoint()
            observed = self._target.observe(endpoint) if endpoint else None
            model = self._target.find_model()
            found = inspect(self._plan, endpoint=observed, model=model, canary=self.record.canary)
            warning = self._metrics_missing(endpoint, found.stable.id) if endpoint and found.stable else ""
            if self._alerts is not None and endpoint and found.stable and found.move.event is Event.READY:
                # Nothing proves that they can be deployed but deploying them, and no traffic has moved yet.
                self._alerts.prepare(self.record, endpoint)
        except (CloudError, RolloutError) as error:
            if isinstance(error, CloudError) and may_pass(error):
                raise
            self._move(Move(Event.REFUSED, str(error), Ending.FAILED))
            return
        self.record = replace(
            self.record,
            endpoint=endpoint,
            stable=found.stable.id if found.stable else None,
            stable_model=found.stable.reference if found.stable else None,
            model=model,
            split=dict(observed.split) if observed else {},
            actual=dict(observed.split) if observed else {},
        )
        if warning and self._plan.on_missing_metrics == "refuse" and self._plan.gated:
            self._move(Move(Event.REFUSED, f"{warning} (rollout.on_missing_metrics is refuse)", Ending.FAILED))
            return
        if warning:
            self._note("warning", warning)
        self._move(found.move)

    def _metrics_missing(self, endpoint: str, stable: str) -> str:
        """What to warn of; raises ``CloudError`` if the metrics cannot be read at all."""
        if not self._plan.gated:
            return "no gates are configured: steps only take time"
        if self._evidence.measured_lately(endpoint, stable, self._clock.now()):
            return ""
        return "stable has no metrics of the last hour: gates cannot pass until requests come"

    def _begin(self, action: Begin) -> None:
        record, now = self.record, self._clock.now()
        old = record.pending if record.pending and record.pending.kind == action.kind else None
        pending = (
            replace(old, name=None, polled=now, looked=0.0) if old else Pending(kind=action.kind, since=now, polled=now)
        )
        if pending != old:
            self._save(replace(record, pending=pending))
        # The write may have taken long: what is begun after our lease is over is not ours to begin.
        self._renew()
        try:
            name = self._start(action)
        except (CloudError, RolloutError) as error:
            if isinstance(error, CloudError) and may_pass(error):
                raise
            self._commit(
                replace(self.record, pending=replace(pending, done=True, error=str(error))),
                "operation",
                f"{action.kind} was refused: {error}",
            )
            return
        started = replace(self.record, pending=replace(pending, name=name, done=False, error=None))
        if name or old is None:
            text = f"{action.kind} began: {name}" if name else f"{action.kind}: the API has it already"
            self._commit(started, "operation", text, {"kind": action.kind, "operation": name})
        else:
            self._save(started)

    def _start(self, action: Begin) -> str:
        record = self.record
        if action.kind == "endpoint":
            return self._target.create_endpoint()
        if action.kind == "upload":
            return self._target.start_upload()
        endpoint = record.endpoint or ""
        if action.kind == "undeploy":
            return self._target.start_undeploy(endpoint, action.deployed_id)
        return self._target.start_deploy(
            endpoint, model=record.model or "", deployed_id=record.canary, first=record.stable is None
        )

    def _poll(self) -> None:
        pending, now = self.record.pending, self._clock.now()
        if pending is None or not pending.name:
            if pending is not None:
                self._save(replace(self.record, pending=replace(pending, polled=now)))
            return
        progress = self._target.poll(pending.name)
        if progress.lost:
            # The API forgot the operation: its effect has to be looked for, and begun again if it is not there.
            lost = replace(pending, name=None, polled=now, done=False)
            self._commit(
                replace(self.record, pending=lost), "warning", f"{pending.kind}: the API knows no {pending.name}"
            )
            return
        after = replace(pending, polled=now, done=progress.done, error=progress.error, stage=progress.stage)
        record = replace(self.record, pending=after, model=progress.result or self.record.model)
        if progress.done or progress.stage != pending.stage:
            ended = f"failed: {progress.error}" if progress.error else "is done" if progress.done else progress.stage
            data = {"kind": pending.kind, "stage": progress.stage, "done": progress.done, "error": progress.error}
            self._commit(record, "operation", f"{pending.kind} {ended}", data)
        else:
            self._save(record)

    def _find(self, kind: str) -> None:
        pending, record = self.record.pending, self.record
        if kind == "endpoint":
            record = replace(record, endpoint=self._target.find_endpoint())
        else:
            record = replace(record, model=self._target.find_model())
        if pending is not None:
            now = self._clock.now()
            record = replace(record, pending=replace(pending, polled=now, looked=pending.looked or now))
        self._save(record)

    def _set_split(self, split: dict[str, int], etag: str) -> None:
        try:
            self._target.set_split(self.record.endpoint or "", split, etag=etag)
        except SplitConflict as error:
            self._conflicts += 1
            self._note("warning", f"the endpoint changed while its split was written; looking again: {error}")
            if self._conflicts > _MOST_CONFLICTS:
                raise
            return
        self._conflicts = 0
        self._commit(
            replace(self.record, split=split, actual=split),
            "split",
            f"split set: {describe(split)}",
            {"desired": split},
        )

    def _measure(self) -> None:
        record, now = self.record, self._clock.now()
        reading = self._evidence.measure(record, now)
        verdict, intervals = reading.verdict, reading.intervals
        after = replace(record, measured=now, verdict=verdict)
        if intervals:
            after = replace(after, measured_until=intervals[-1].end.timestamp())
            data = {"intervals": [codec.to_json(interval) for interval in intervals], "verdict": verdict}
            self._commit(after, "measured", f"{verdict['outcome']}: {verdict['explanation']}", data)
        elif reading.problem:
            self._commit(after, "warning", f"metrics could not be read: {reading.problem}")
        else:
            self._save(after)

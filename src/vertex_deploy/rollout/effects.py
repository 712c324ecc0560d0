"""Performs what changes the cloud: begins long-running effects, polls them, looks for what they made, writes the split.

An effect is committed as an intention before the call and as a fact after it, so that a controller killed in between
can be started again. Choosing the effect is left out (``decide``, ``operations``), and so is retrying (``driver``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError, RolloutError, SplitConflict
from vertex_deploy.rollout.decide import describe
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.record import Pending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.actions import Begin
    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.journal import Journal
    from vertex_deploy.targets.types import Target

_MOST_CONFLICTS = 10


class Effects:
    """The effects of one rollout.

    Args:
        target: where traffic is split.
        journal: where each effect is written down.
        clock: time.
    """

    def __init__(self, target: Target, journal: Journal, clock: Clock) -> None:
        self._target = target
        self._journal = journal
        self._clock = clock
        self._conflicts = 0

    def begin(self, action: Begin) -> None:
        """Intend, call, and write down the operation's name. A refusal is written down as the operation's end.

        Raises:
            CloudError: the call may succeed later.
            RolloutBusy: the lease was taken over.
        """
        record, now = self._journal.record, self._clock.now()
        old = record.pending if record.pending and record.pending.kind == action.kind else None
        pending = (
            replace(old, name=None, polled=now, looked=0.0) if old else Pending(kind=action.kind, since=now, polled=now)
        )
        if pending != old:
            self._journal.save(replace(record, pending=pending))
        # The write may have taken long: what is begun after our lease is over is not ours to begin.
        self._journal.renew()
        try:
            name = self._start(action)
        except (CloudError, RolloutError) as error:
            if isinstance(error, CloudError) and may_pass(error):
                raise
            self._journal.commit(
                replace(self._journal.record, pending=replace(pending, done=True, error=str(error))),
                "operation",
                f"{action.kind} was refused: {error}",
            )
            return
        started = replace(self._journal.record, pending=replace(pending, name=name, done=False, error=None))
        if name or old is None:
            text = f"{action.kind} began: {name}" if name else f"{action.kind}: the API has it already"
            self._journal.commit(started, "operation", text, {"kind": action.kind, "operation": name})
        else:
            self._journal.save(started)

    def _start(self, action: Begin) -> str:
        record = self._journal.record
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

    def poll(self) -> None:
        """Read the operation in flight.

        Raises:
            CloudError: it cannot be read now.
        """
        pending, now = self._journal.record.pending, self._clock.now()
        if pending is None or not pending.name:
            if pending is not None:
                self._journal.save(replace(self._journal.record, pending=replace(pending, polled=now)))
            return
        progress = self._target.poll(pending.name)
        if progress.lost:
            # The API forgot the operation: its effect has to be looked for, and begun again if it is not there.
            lost = replace(pending, name=None, polled=now, done=False)
            self._journal.commit(
                replace(self._journal.record, pending=lost),
                "warning",
                f"{pending.kind}: the API knows no {pending.name}",
            )
            return
        after = replace(pending, polled=now, done=progress.done, error=progress.error, stage=progress.stage)
        record = self._journal.record
        record = replace(record, pending=after, model=progress.result or record.model)
        if progress.done or progress.stage != pending.stage:
            ended = f"failed: {progress.error}" if progress.error else "is done" if progress.done else progress.stage
            data = {"kind": pending.kind, "stage": progress.stage, "done": progress.done, "error": progress.error}
            self._journal.commit(record, "operation", f"{pending.kind} {ended}", data)
        else:
            self._journal.save(record)

    def find(self, kind: str) -> None:
        """Look for what an ``endpoint`` or ``upload`` operation should have made.

        Raises:
            CloudError: it cannot be read now.
        """
        record = self._journal.record
        pending = record.pending
        if kind == "endpoint":
            record = replace(record, endpoint=self._target.find_endpoint())
        else:
            record = replace(record, model=self._target.find_model())
        if pending is not None:
            now = self._clock.now()
            record = replace(record, pending=replace(pending, polled=now, looked=pending.looked or now))
        self._journal.save(record)

    def set_split(self, wanted: Mapping[str, int], etag: str) -> None:
        """Write the split over the endpoint that was read.

        Args:
            wanted: deployed model id -> percent.
            etag: of the endpoint as it was read.

        Raises:
            SplitConflict: the endpoint changed under our hands too often.
            CloudError: it cannot be written now.
        """
        split = dict(wanted)
        try:
            self._target.set_split(self._journal.record.endpoint or "", split, etag=etag)
        except SplitConflict as error:
            self._conflicts += 1
            self._journal.note("warning", f"the endpoint changed while its split was written; looking again: {error}")
            if self._conflicts > _MOST_CONFLICTS:
                raise
            return
        self._conflicts = 0
        self._journal.commit(
            replace(self._journal.record, split=split, actual=split),
            "split",
            f"split set: {describe(split)}",
            {"desired": split},
        )

"""What a controller writes: the record, its history, and word of both to whoever listens. One commit point.

``commit`` writes the record with the history entry that it carries; ``save`` writes the record alone. Listeners are
told after the write, never before.

Left out: what is written, which ``controller`` and ``effects`` decide, and where, which is the store's business.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError, one_line
from vertex_deploy.rollout.lease import LEASE_SECONDS
from vertex_deploy.rollout.notify import Notifier
from vertex_deploy.rollout.record import LogEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vertex_deploy.rollout.clock import Clock
    from vertex_deploy.rollout.record import Record
    from vertex_deploy.rollout.store import RolloutStore


class Journal:
    """The one writer of a rollout. The store's lease must be held.

    Args:
        store: where the rollout is durable.
        record: the rollout, as stored; it is taken over from whoever wrote it before.
        clock: time.
        notifier: tells of transitions and failures; never waited for.
        on_entry: told of every history entry, after it was committed.

    Raises:
        RolloutBusy: another controller keeps writing the record.
    """

    def __init__(
        self,
        store: RolloutStore,
        record: Record,
        *,
        clock: Clock,
        notifier: Notifier | None = None,
        on_entry: Callable[[LogEntry, Record], None] | None = None,
    ) -> None:
        self.record = store.take_over(record)
        self.notifier = notifier or Notifier(())
        self.on_entry = on_entry or (lambda _entry, _record: None)
        self._store = store
        self._clock = clock
        self._renewed = clock.now()

    def commit(self, record: Record, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Write the record and its next history entry (see ``LogEntry``)."""
        entry = LogEntry(seq=record.seq, at=self._clock.now(), kind=kind, text=one_line(text), data=data or {})
        record = replace(record, seq=record.seq + 1, tail=entry)
        self._store.commit(record)
        self.record = record
        self.on_entry(entry, record)
        self.notifier.tell(entry, record)

    def save(self, record: Record) -> None:
        """Write the record without a history entry."""
        record = replace(record, tail=None)
        self._store.commit(record)
        self.record = record

    def note(self, kind: str, text: str) -> None:
        """Write a history entry that changes nothing."""
        self.commit(self.record, kind, text)

    def note_if_possible(self, text: str) -> None:
        """Write a warning, unless the store is what failed: a note about it must not hide it.

        Nor is it here that a lease which was taken over ends anything: the next write does.
        """
        with suppress(CloudError, RolloutError):
            self.note("warning", text)

    def undelivered(self, failures: Sequence[str]) -> None:
        """Write down the notifications that did not arrive, one sentence each."""
        for failure in failures:
            self.commit(self.record, "warning", failure, {"notification": True})

    def renew(self) -> None:
        """Prolong the lease, if a third of it is over.

        Raises:
            RolloutBusy: it was taken over.
        """
        if self._clock.now() - self._renewed >= LEASE_SECONDS / 3:
            self._renewed = self._clock.now()
            self._store.renew(self._renewed)

"""The durable side of rollouts of one name: the lease, the current record, the history, and what operators ask.

The record is the only commit point. Each version of it carries the history entry that it commits; the entry is copied
to the log afterwards, and copied again when a controller starts, so a crash between the two loses and doubles nothing.
A record is written only over the one that was read: a controller whose lease was taken over fails at its next commit.

Layout below one folder (or prefix)::

    lease.json  current.json  requests/ID.json  ID/record.json  ID/log/00000001.json  ID/report.html

See ``log`` for the pages of the history.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from vertex_deploy.errors import CloudError, RolloutBusy, StateError
from vertex_deploy.rollout.blobs import Stale
from vertex_deploy.rollout.lease import LEASE_SECONDS, Lease, is_dead
from vertex_deploy.rollout.log import Log
from vertex_deploy.rollout.record import MALFORMED, Record, described
from vertex_deploy.rollout.requests import Request, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.rollout.blobs import Blobs
    from vertex_deploy.rollout.record import LogEntry

_TAKEOVERS = 5

# What else lies in the folder or bucket is not ours, and never leads out of it.
_OURS = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
_REQUEST = re.compile(r"requests/([0-9]{15}-[0-9a-f]{6})\.json")

_SHOWN = 5
"""Rollouts that an error names."""


def some_of(ids: Sequence[str]) -> str:
    """Rollouts for an error that asks for one: the newest of them, as there may be hundreds.

    Args:
        ids: oldest first.
    """
    older = len(ids) - _SHOWN
    return ", ".join([*([f"{older} older"] if older > 0 else []), *ids[-_SHOWN:]]) or "none"


class RolloutStore:
    """Everything durable about the rollouts of one name.

    Args:
        blobs: where it is kept.
        where: how messages name the place.
        dead: whether a lease's process is known to be dead; tests pass their own.
        beside: opens the store of another name in the same place.
    """

    def __init__(
        self,
        blobs: Blobs,
        where: str,
        *,
        dead: Callable[[Lease], bool] = is_dead,
        beside: Callable[[str], RolloutStore] | None = None,
    ) -> None:
        self._blobs = blobs
        self.where = where
        self._dead = dead
        self._beside = beside
        self._lease: tuple[Lease, str] | None = None
        self._generations: dict[str, str] = {}
        self._uncopied: Record | None = None

    # -- the lease ---------------------------------------------------------------------------------------------------

    def holder(self, now: float) -> Lease | None:
        """The controller that is at work, or None."""
        raw, generation = self._blobs.read("lease.json")
        if not generation:
            return None
        try:
            lease = Lease(**json.loads(raw))
            return None if lease.expires <= now or self._dead(lease) else lease
        except MALFORMED as error:
            raise StateError(
                f"{self.where}/lease.json: not a lease ({described(error)}); delete it if no controller runs"
            ) from error

    def acquire(self, lease: Lease, now: float) -> None:
        """Become the one writer; an expired lease, or that of a dead process on this machine, is taken over.

        Raises:
            RolloutBusy: another controller is at work.
        """
        _, generation = self._blobs.read("lease.json")
        holder = self.holder(now)
        if holder is not None:
            raise RolloutBusy(
                f"{self.where}: a controller is at work (pid {holder.pid} on {holder.host}); watch it with "
                "`rollout watch`, or stop it with `rollout abort`"
            )
        self._put_lease(lease, generation)

    def renew(self, now: float) -> None:
        """Prolong our lease.

        Raises:
            RolloutBusy: it was taken over.
        """
        if self._lease is None:
            raise RolloutBusy(f"{self.where}: the lease is not held")
        lease, generation = self._lease
        self._put_lease(Lease(**{**asdict(lease), "expires": now + LEASE_SECONDS}), generation)

    def release(self) -> None:
        """Let others in; nothing happens if the lease is not ours any more."""
        if self._lease is not None:
            with suppress(Stale):
                self._blobs.delete("lease.json", generation=self._lease[1])
        self._lease = None

    def _put_lease(self, lease: Lease, generation: str) -> None:
        try:
            written = self._blobs.write("lease.json", json.dumps(asdict(lease)).encode(), generation=generation)
        except Stale:
            self._lease = None
            raise RolloutBusy(f"{self.where}: another controller took the lease; this one stops") from None
        self._lease = (lease, written)

    def beside(self, name: str) -> RolloutStore:
        """The store of another name in the same place.

        Raises:
            StateError: this store was opened alone.
        """
        if self._beside is None:
            raise StateError(f"{self.where}: {name} is kept elsewhere; open the store by its root")
        return self._beside(name)

    # -- records -----------------------------------------------------------------------------------------------------

    def current(self) -> Record | None:
        """The newest rollout, over or not."""
        raw, self._generations["current.json"] = self._blobs.read("current.json")
        # An empty file is not a missing one: without it the next start would begin beside what is under way.
        if not self._generations["current.json"]:
            return None
        try:
            newest = str(json.loads(raw)["id"])
        except MALFORMED as error:
            raise StateError(
                f'{self.where}/current.json: does not name a rollout; write {{"id": "ID"}} with one of: {self._known()}'
            ) from error
        return self.load(newest)

    def load(self, rollout_id: str) -> Record:
        """One rollout.

        Raises:
            StateError: it is not there, or cannot be read.
        """
        name = f"{rollout_id}/record.json"
        raw, generation = self._blobs.read(name) if _ID.fullmatch(rollout_id) else (b"", "")
        if not generation:
            raise StateError(f"{self.where}: no rollout {rollout_id!r}; there is: {self._known()}")
        record = Record.loads(raw, f"{self.where}/{name}")
        if record.id != rollout_id:
            raise StateError(f"{self.where}/{name}: the record of {record.id!r}; give its folder that name again")
        self._generations[name] = generation
        return record

    def has(self, rollout_id: str) -> bool:
        """Whether there is such a rollout."""
        return bool(_ID.fullmatch(rollout_id) and self._blobs.read(f"{rollout_id}/record.json")[0])

    def ids(self) -> list[str]:
        """Every rollout of this name, oldest first."""
        return [folder for folder in self._blobs.folders() if _OURS.fullmatch(folder)]

    def _known(self) -> str:
        return some_of(self.ids())

    def create(self, record: Record) -> None:
        """Make a new rollout the current one.

        Raises:
            RolloutBusy: somebody else started one at the same moment.
        """
        self._put(f"{record.id}/record.json", record.dumps(), "")
        self.make_current(record)

    def make_current(self, record: Record) -> None:
        """Finish what a killed ``create`` began. Requests that were left for earlier rollouts are swept away.

        Raises:
            RolloutBusy: somebody else started another at the same moment.
        """
        self._copy_tail(record)
        for request_id in self._waiting():
            if self._request(request_id).rollout != record.id:
                self._blobs.delete(_place(request_id))
        self._put("current.json", json.dumps({"id": record.id}).encode(), self._generations.get("current.json", ""))

    def commit(self, record: Record) -> None:
        """Write a new version of a record over the one that was read, then its history entry.

        The record is the commit: an entry that cannot be copied now is copied before the record is written again.

        Raises:
            RolloutBusy: another controller wrote it in between; nothing was written.
            CloudError: nothing was written, or the answer to a write was lost.
        """
        name = f"{record.id}/record.json"
        if self._uncopied is not None:
            self._copy_tail(self._uncopied)
        self._put(name, record.dumps(), self._generations.get(name, ""))
        self._uncopied = record
        with suppress(CloudError, StateError):
            self._copy_tail(record)

    def take_over(self, record: Record) -> Record:
        """Make the record ours, and its history whole: its writer may have been killed before it copied the last entry.

        The record is written again with our token, so that a controller that held it before, and only slept, fails at
        its next commit, whatever the clocks say.

        Returns:
            The record as it is now: the one before us may have committed until this moment.

        Raises:
            RolloutBusy: somebody else keeps writing it.
        """
        token = self._lease[0].token if self._lease else ""
        name = f"{record.id}/record.json"
        for _ in range(_TAKEOVERS):
            self._copy_tail(record)
            ours = replace(record, driver=token)
            try:
                self._generations[name] = self._blobs.write(name, ours.dumps(), generation=self._generations[name])
            except Stale:
                record = self.load(record.id)
                continue
            self.bind(record)
            return ours
        raise RolloutBusy(f"{self.where}: another controller keeps writing {name}; stop it first")

    def owns(self, record: Record) -> bool:
        """Whether nobody took the record over since ``take_over`` gave it."""
        raw, _ = self._blobs.read(f"{record.id}/record.json")
        return bool(raw) and Record.loads(raw, f"{self.where}/{record.id}/record.json").driver == record.driver

    def _put(self, name: str, data: bytes, generation: str) -> None:
        try:
            self._generations[name] = self._blobs.write(name, data, generation=generation)
        except Stale:
            raise RolloutBusy(f"{self.where}: another controller took over ({name} changed); this one stops") from None

    def _copy_tail(self, record: Record) -> None:
        if record.tail is not None:
            self._log(record.id).write(record.tail)
        self._uncopied = None

    def _log(self, rollout_id: str) -> Log:
        return Log(self._blobs, self.where, rollout_id)

    def bind(self, record: Record) -> None:
        """Put the history together in pages: a controller a minute, as `rollout tick` makes, reads it all each time."""
        self._log(record.id).bind(record.seq - 1)

    def log(self, rollout_id: str, after: int = 0) -> list[LogEntry]:
        """The history of a rollout, oldest first.

        Args:
            rollout_id: which.
            after: only entries with a higher number.

        Raises:
            StateError: an entry is not there, or cannot be read.
        """
        # The record first: what is committed meanwhile is in the log, and not a tail with nothing before it.
        name = f"{rollout_id}/record.json"
        raw, _ = self._blobs.read(name)
        record = Record.loads(raw, f"{self.where}/{name}") if raw else None
        tail = record.tail if record else None
        entries = self._log(rollout_id).read(after, until=record.seq - (2 if tail else 1) if record else 0)
        # The last entry may be committed but not copied, if the controller was killed in between.
        if tail is not None and tail.seq > max(after, entries[-1].seq if entries else 0):
            entries.append(tail)
        return entries

    def attach(self, rollout_id: str, name: str, data: bytes) -> str:
        """Keep a file (a report) with a rollout; where it is."""
        self._blobs.write(f"{rollout_id}/{name}", data)
        return f"{self.where}/{rollout_id}/{name}"

    # -- requests ----------------------------------------------------------------------------------------------------

    def ask(self, verb: Verb, *, who: str, now: float, approver: str = "", rollout: str = "") -> Request:
        """Leave a request for whoever controls the rollout; see ``Request`` for the arguments."""
        unique = f"{int(now * 1000):015d}-{secrets.token_hex(3)}"
        request = Request(id=unique, verb=verb, who=who, at=now, approver=approver, rollout=rollout)
        self._blobs.write(_place(request.id), json.dumps(request.to_json()).encode(), generation="")
        return request

    def next_request(self, handled: str, rollout: str = "") -> Request | None:
        """The oldest request to a rollout that was not acted on.

        Nothing follows from the times in their names: those are of other machines' clocks, and one that is slow must
        not lose its request.

        Args:
            handled: id of the last one that was acted on; it is removed first, because once another one has been acted
                on the record does not tell any more.
            rollout: id of the rollout; "": whatever rollout a request is for.
        """
        waiting = self._waiting()
        if handled in waiting:
            self._blobs.delete(_place(handled))
            waiting.remove(handled)
        found = (self._request(request_id) for request_id in waiting)
        return next((request for request in found if not rollout or request.rollout in {"", rollout}), None)

    def _waiting(self) -> list[str]:
        return [match[1] for name in self._blobs.names("requests/") if (match := _REQUEST.fullmatch(name))]

    def _request(self, request_id: str) -> Request:
        return Request.read(self._blobs.read(_place(request_id))[0], request_id)


def _place(request_id: str) -> str:
    return f"requests/{request_id}.json"

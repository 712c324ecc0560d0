"""The history of one rollout as blobs: an entry each, and pages of many, so that a week of minutes is read in seconds.

An entry is written once it is committed and never changes. ``bind`` writes whole pages of entries beside them; the
entries stay, so that whoever reads meanwhile misses nothing. Left out: what is committed, and when (``store``).

Layout: ``ID/log/00000001.json`` is an entry, ``ID/log/00000001-00000200.json`` a list of the first 200.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import StateError
from vertex_deploy.rollout.record import MALFORMED, LogEntry, described

if TYPE_CHECKING:
    from vertex_deploy.rollout.blobs import Blobs

PAGE = 200
"""Entries of a page: some hours of measurements, about 300 kB. Pages of other lengths are read as well."""

# What else lies there is not ours.
_ENTRY = re.compile(r"([0-9]{8})\.json")
_BOUND = re.compile(r"([0-9]{8})-([0-9]{8})\.json")


class Log:
    """The history of one rollout.

    Args:
        blobs: where it is kept.
        where: how messages name the place.
        rollout_id: which rollout.
    """

    def __init__(self, blobs: Blobs, where: str, rollout_id: str) -> None:
        self._blobs = blobs
        self._where = where
        self._folder = f"{rollout_id}/log/"

    def write(self, entry: LogEntry) -> None:
        """Keep an entry; the same one may be written again.

        Raises:
            CloudError, StateError: it cannot be written now.
        """
        self._blobs.write(self._name(entry.seq), json.dumps(entry.to_json(), default=str).encode())

    def read(self, after: int = 0, *, until: int = 0) -> list[LogEntry]:
        """The entries, oldest first.

        Args:
            after: only those with a higher number.
            until: number of an entry that must be there, as must all before any other.

        Raises:
            StateError: one is not there or cannot be read; its place is named.
        """
        entries, pages = self._listed()
        wanted = [numbers for numbers in pages if numbers[-1] > after]
        paged = {seq for numbers in wanted for seq in numbers}
        single = [range(seq, seq + 1) for seq in entries if seq > after and seq not in paged]
        names = [*(self._page(numbers) for numbers in wanted), *(self._name(numbers[0]) for numbers in single)]
        contents = zip([*wanted, *single], names, self._blobs.read_all(names), strict=True)
        found = {entry.seq: entry for numbers, name, raw in contents for entry in self._entries(numbers, name, raw)}
        for seq in range(after + 1, max([until, *found]) + 1):
            # A listing that takes several calls may have later entries and lack one that was written while it went on.
            if seq not in found and (raw := self._blobs.read(self._name(seq))[0]):
                (found[seq],) = self._entries(range(seq, seq + 1), self._name(seq), raw)
            if seq not in found:
                raise StateError(
                    f"{self._where}/{self._name(seq)}: the history lacks this entry, and nothing is judged by a part "
                    "of it; restore it (does the bucket delete old objects?), or `vertex-deploy rollout abort`"
                )
        return [found[seq] for seq in sorted(found) if seq > after]

    def bind(self, until: int) -> None:
        """Put entries together in pages, as far as pages are full and were not bound before.

        Args:
            until: number of the last entry that is committed: later ones may still be written anew.

        Raises:
            CloudError, StateError: something cannot be read or written now.
        """
        entries, pages = self._listed()
        there = set(entries)
        for first in range(1, until - PAGE + 2, PAGE):
            numbers = range(first, first + PAGE)
            if numbers in pages or not there.issuperset(numbers):
                continue
            names = [self._name(seq) for seq in numbers]
            read = zip(numbers, names, self._blobs.read_all(names), strict=True)
            page = [self._entries(range(seq, seq + 1), name, raw)[0].to_json() for seq, name, raw in read]
            self._blobs.write(self._page(numbers), json.dumps(page, default=str).encode())

    def _listed(self) -> tuple[list[int], list[range]]:
        """Numbers of the entries, and those of the pages, each rising."""
        names = [PurePosixPath(name).name for name in self._blobs.names(self._folder)]
        entries = [int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))]
        pages = [range(int(match[1]), int(match[2]) + 1) for name in names if (match := _BOUND.fullmatch(name))]
        return entries, [numbers for numbers in pages if numbers]

    def _name(self, seq: int) -> str:
        return f"{self._folder}{seq:08d}.json"

    def _page(self, numbers: range) -> str:
        return f"{self._folder}{numbers[0]:08d}-{numbers[-1]:08d}.json"

    def _entries(self, numbers: range, name: str, raw: bytes) -> list[LogEntry]:
        """What a blob holds, if it is just these entries: the judge is rebuilt from them, and must miss none."""
        try:
            held: Any = json.loads(raw)
            found = [
                LogEntry.from_json(item) for item in (held if _BOUND.fullmatch(PurePosixPath(name).name) else [held])
            ]
            if [entry.seq for entry in found] != list(numbers):
                raise ValueError(f"holds other entries than {numbers[0]} to {numbers[-1]}")
        except MALFORMED as error:
            raise StateError(
                f"{self._where}/{name}: not a history entry ({described(error)}); restore it from a backup, or delete "
                "it where it is a page (two numbers): its entries are beside it"
            ) from error
        return found

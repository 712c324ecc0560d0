"""SnoozeService: intervals in which policies have no open incidents and send no notifications.

What may change of a snooze follows from the time (UpdateSnoozeRequest): nothing once it has ended, the end and the name
while it is active, the start too before it begins. Snoozes cannot be deleted, in the API neither: end them.

Left out: filters on ``metadata`` (Local Vertex has none), which are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.cloud import monitoring_v3 as m
from google.protobuf import json_format

from vertex_deploy.local.alerting import listing
from vertex_deploy.local.alerting.book import check_text, missing, new_id
from vertex_deploy.local.control import masks
from vertex_deploy.local.monitoring import errors, filters, query
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vertex_deploy.local.alerting.book import Book
    from vertex_deploy.local.monitoring.values import SeriesKey

FIELDS = frozenset({"interval.start_time", "interval.end_time"})
"""What lists can be filtered by."""
MAX_POLICIES = 16
_SKEW = 15 * 10**9
_MAX_NAME = 512


def silencer(snoozes: Iterable[m.Snooze], policy: str, now: int) -> Callable[[SeriesKey], bool]:
    """Whether a series of a policy is snoozed.

    Args:
        snoozes: of the project.
        policy: full resource name.
        now: nanoseconds.
    """
    active = [s.criteria.filter for s in snoozes if policy in s.criteria.policies and _active(s, now)]
    if not active:
        return lambda _: False
    trees = [filters.parse(text) if text else None for text in active]
    return lambda key: any(tree is None or filters.matches(tree, query.subject(key)) for tree in trees)


def _bounds(snooze: m.Snooze) -> tuple[int, int]:
    raw = m.Snooze.pb(snooze).interval
    return raw.start_time.ToNanoseconds(), raw.end_time.ToNanoseconds()


def _active(snooze: m.Snooze, now: int) -> bool:
    start, end = _bounds(snooze)
    return start <= now < end


class SnoozeService:
    """google.monitoring.v3.SnoozeService.

    Args:
        book: keeps the snoozes.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def _now(self) -> int:
        return int(self._book.clock.now() * 10**9)

    async def create_snooze(self, request: m.CreateSnoozeRequest, _context: object = None) -> m.Snooze:
        """Create a snooze; it may not begin in the past."""
        parent = self._book.parent(request.parent, "parent")
        snooze = request.snooze
        if snooze.name:
            raise errors.field("snooze.name", snooze.name, "The name is assigned by the service; leave it out.")
        if not snooze.display_name:
            raise errors.field("snooze.displayName", "", "The display name must be specified.")
        self._check_criteria(snooze, parent)
        _check_interval(snooze)
        if _bounds(snooze)[0] < self._now() - _SKEW:
            raise errors.field("snooze.interval.startTime", "...", "The start time must not be in the past.")
        snooze.name = f"{parent}/snoozes/{new_id()}"
        self._book.snoozes.put(snooze.name, snooze)
        return snooze

    def _check_criteria(self, snooze: m.Snooze, parent: str) -> None:
        check_text(snooze.display_name, _MAX_NAME, "snooze.displayName")
        criteria, path = snooze.criteria, "snooze.criteria.policies"
        if not 0 < len(criteria.policies) <= MAX_POLICIES:
            why = f"A snooze must name from one to {MAX_POLICIES} policies."
            raise errors.field(path, len(criteria.policies), why)
        names = [self._book.sibling(name, "alertPolicies", path, parent) for name in criteria.policies]
        for name in names:
            if self._book.policies.get(name) is None:
                raise missing("alert policy", name)
        criteria.policies = names
        if criteria.filter:
            if len(names) != 1:
                raise errors.field(path, len(names), "Exactly 1 alert policy is required if filter is specified.")
            _check_filter(criteria.filter)

    async def get_snooze(self, request: m.GetSnoozeRequest, _context: object = None) -> m.Snooze:
        """One snooze."""
        return self._get(request.name)

    def _get(self, name: str, path: str = "name") -> m.Snooze:
        full = self._book.resource(name, "snoozes", path)
        found = self._book.snoozes.get(full)
        if found is None:
            raise missing("snooze", full)
        return found

    async def list_snoozes(self, request: m.ListSnoozesRequest, _context: object = None) -> m.ListSnoozesResponse:
        """The snoozes of a project, also those that have ended."""
        parent = self._book.parent(request.parent, "parent")
        matches = listing.matcher(request.filter, FIELDS)
        found = [
            s
            for s in self._book.snoozes.under(f"{parent}/snoozes/")
            if matches(json_format.MessageToDict(m.Snooze.pb(s)))
        ]
        page, token = listing.page(found, request.page_size, request.page_token)
        return m.ListSnoozesResponse(snoozes=page, next_page_token=token)

    async def update_snooze(self, request: m.UpdateSnoozeRequest, _context: object = None) -> m.Snooze:
        """Change name, end and, before it begins, start; without a mask, all of them that differ.

        The reference wants a mask, but ``gcloud monitoring snoozes cancel`` sends none, and the same start and end.
        """
        snooze, now = self._get(request.snooze.name, "snooze.name"), self._now()
        start, end = _bounds(snooze)
        if end <= now:
            raise ApiError(
                grpc.StatusCode.FAILED_PRECONDITION, f"The snooze {snooze.name} has ended and cannot be updated."
            )
        allowed = {"display_name", "interval.end_time", *(["interval.start_time"] if start > now else [])}
        paths = list(request.update_mask.paths) if request.update_mask else []
        paths = paths or _different(snooze, request.snooze)
        if paths:
            masks.update(snooze, request.snooze, paths, allowed)
        check_text(snooze.display_name, _MAX_NAME, "snooze.displayName")
        _check_interval(snooze, least=0)
        if start > now and _bounds(snooze)[0] < now - _SKEW:
            raise errors.field("snooze.interval.startTime", "...", "The start time must not be in the past.")
        self._book.snoozes.put(snooze.name, snooze)
        return snooze


def _different(kept: m.Snooze, sent: m.Snooze) -> list[str]:
    """What an update without a mask changes."""
    found = ["display_name"] if sent.display_name != kept.display_name else []
    found += ["criteria"] if sent.criteria and sent.criteria != kept.criteria else []
    names = ("interval.start_time", "interval.end_time")
    return found + [name for name, a, b in zip(names, _bounds(kept), _bounds(sent), strict=True) if a != b]


def _check_interval(snooze: m.Snooze, *, least: int = 1) -> None:
    raw = m.Snooze.pb(snooze).interval
    for name, given in (("startTime", raw.HasField("start_time")), ("endTime", raw.HasField("end_time"))):
        if not given:
            raise errors.field(f"snooze.interval.{name}", "", "The time must be specified.")
    start, end = _bounds(snooze)
    if end - start < least:
        why = "The end time must be after the start time."
        raise errors.field("snooze.interval.endTime", raw.end_time.ToJsonString(), why)


def _check_filter(text: str) -> None:
    path = "snooze.criteria.filter"
    try:
        tree = filters.parse(text)
    except filters.FilterError as error:
        raise errors.field(path, text[:1000], f"{error}.") from error
    terms = tree.terms if isinstance(tree, filters.And) else (tree,)
    for term in terms:
        plain = isinstance(term, filters.Comparison) and term.op == "=" and not term.function
        if not plain or ".labels." not in getattr(term, "selector", ""):
            why = 'Only labels of resource and metric, with "=" and joined by AND, are supported.'
            raise errors.field(path, text[:1000], why)

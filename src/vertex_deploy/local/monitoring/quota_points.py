"""Writes quotas as Cloud Monitoring has them: ``quota/limit`` and ``quota/allocation/usage`` of ``consumer_quota``.

A point of each at the end of every sample period, for every region in use. Limits hold in any project: the first
question after a project's quotas writes its limits, as of the start of the server.

Left out: the other quota metrics (rates, ``quota/exceeded``), and other services' quotas.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Protocol

from vertex_deploy.local.monitoring.catalogue import CONSUMER_QUOTA, QUOTA_LIMIT, QUOTA_USAGE
from vertex_deploy.local.monitoring.values import NS, Point, SeriesKey
from vertex_deploy.spec.quotas import SERVICE, by_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.local.monitoring.store import SeriesStore
    from vertex_deploy.local.seams import Clock

_LOG = logging.getLogger(__name__)
_NO_LIMIT = -1


class Book(Protocol):
    """What quotas there are; ``control.quotas.QuotaBook`` is one."""

    limits: Mapping[str, int]

    def used(self, parent: str) -> Mapping[str, int]:
        """What is used, by metric, of projects/P/locations/L."""
        ...

    def parents(self) -> set[tuple[str, str]]:
        """(project id, location) of all that is in use."""
        ...


class QuotaPoints:
    """Keeps the series of quotas up to date.

    Args:
        store: where points go.
        clock: the time.
        book: limits and usage.
        region: whose limits every project has from the start; other regions follow once they are in use.
        project_number: gives the number for a project's id.
        sample_period: seconds between points.
    """

    def __init__(
        self,
        store: SeriesStore,
        clock: Clock,
        book: Book,
        *,
        region: str,
        project_number: Callable[[str], str],
        sample_period: float = 60.0,
    ) -> None:
        self._store, self._clock, self._book = store, clock, book
        self._region = region
        self._number = project_number
        self._period = round(sample_period * NS)
        self._began = int(clock.now() * NS)
        self._begun: set[str] = set()

    def asked(self, project: str, metric: str) -> None:
        """Somebody asks for a metric of a project: see that its limits are there.

        Args:
            project: project id.
            metric: full type; anything but a quota's limit is left alone.
        """
        if metric == QUOTA_LIMIT:
            self._begin(project)

    def _begin(self, project: str) -> None:
        """Write a project's limits as of the start, and take back those of an earlier run that are no more."""
        if project in self._begun:
            return
        self._begun.add(project)
        points = [(self._limit(project, self._region, metric), value) for metric, value in self._book.limits.items()]
        for key in self._store.keys(project, QUOTA_LIMIT):
            quota = by_metric(dict(key.metric_labels).get("quota_metric", ""))
            if quota is not None and quota.metric not in self._book.limits:
                points.append((key, _NO_LIMIT))
        self._append(points, self._began)

    def write(self) -> None:
        """Write the limits and the usage of every region in use, as of now."""
        points: list[tuple[SeriesKey, int]] = []
        for project, location in sorted(self._book.parents()):
            self._begin(project)
            used = self._book.used(f"projects/{self._number(project)}/locations/{location}")
            for metric, limit in self._book.limits.items():
                points.append((self._limit(project, location, metric), limit))
                points.append((_key(project, location, QUOTA_USAGE, metric, {}), used[metric]))
        self._append(points, int(self._clock.now() * NS))

    async def run(self) -> None:
        """Write at the end of every sample period until cancelled."""
        while True:
            try:
                self.write()
            except sqlite3.Error as error:
                _LOG.error("quotas could not be written: %s", error)
            now = int(self._clock.now() * NS)
            await asyncio.sleep((self._period - now % self._period) / NS + 0.001)

    def _append(self, values: list[tuple[SeriesKey, int]], at: int) -> None:
        if values:
            points = [(key, Point(at, at, value)) for key, value in values]
            self._store.append(points, now=self._clock.now())

    @staticmethod
    def _limit(project: str, location: str, metric: str) -> SeriesKey:
        quota = by_metric(metric)
        return _key(project, location, QUOTA_LIMIT, metric, {"limit_name": quota.id if quota else metric})


def _key(project: str, location: str, series: str, metric: str, labels: Mapping[str, str]) -> SeriesKey:
    return SeriesKey.of(
        project=project,
        metric=series,
        metric_labels={"quota_metric": f"{SERVICE}/{metric}", **labels},
        resource=CONSUMER_QUOTA,
        resource_labels={"project_id": project, "service": SERVICE, "location": location},
    )

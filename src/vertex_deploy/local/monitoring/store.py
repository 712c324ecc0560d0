"""Time series in memory, made durable by sqlite. One writer, many readers, bounded.

Reads never touch the disk. Each ``append`` is one transaction (WAL; ``synchronous=NORMAL``: after a power cut the last
flushes may be missing, never torn). Points older than ``retention`` and beyond ``max_points`` a series are dropped.

Left out: compaction into coarser points, which Cloud Monitoring does after six weeks.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vertex_deploy.errors import LocalError
from vertex_deploy.local.monitoring.catalogue import Label, Metric
from vertex_deploy.local.monitoring.values import NS, Buckets, Dist, Kind, Point, SeriesKey, Type, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS points (series INTEGER NOT NULL, end_ns INTEGER NOT NULL, start_ns INTEGER NOT NULL,
  value TEXT NOT NULL, PRIMARY KEY (series, end_ns)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS descriptors (project TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (project, type)) WITHOUT ROWID;
"""
FILE = "monitoring.sqlite"


@dataclass(slots=True)
class _Kept:
    id: int
    points: list[Point] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class SeriesStore:
    """The time series and custom descriptors of all projects.

    Args:
        folder: where the database lies; None: in memory only.
        retention: seconds that points are kept.
        max_points: points kept a series: a week of minutes, or 2.8 hours of a rehearsal's seconds, when the three
            latencies of a deployed model take some 60 MB.

    Raises:
        LocalError: the database cannot be opened or read.
    """

    def __init__(self, folder: Path | None = None, *, retention: float = 7 * 86_400, max_points: int = 10_080) -> None:
        self._retention = int(retention * NS)
        self._max_points = max_points
        self._series: dict[SeriesKey, _Kept] = {}
        self._by_metric: dict[tuple[str, str], dict[SeriesKey, None]] = {}
        self._descriptors: dict[tuple[str, str], Metric] = {}
        self._lock = threading.RLock()
        self._next = 1
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            path = ":memory:" if folder is None else str(folder / FILE)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._load()
        except (OSError, sqlite3.Error, ValueError, KeyError) as error:
            where = folder / FILE if folder else "memory"
            raise LocalError(
                f"{where}: the metrics cannot be read ({error}); move the file away to start afresh"
            ) from error

    def _load(self) -> None:
        kept: dict[int, _Kept] = {}
        for number, text in self._db.execute("SELECT id, key FROM series ORDER BY id"):
            project, metric, labels, resource, resource_labels = json.loads(text)
            key = SeriesKey(project, metric, _pairs(labels), resource, _pairs(resource_labels))
            kept[number] = self._add(key, number)
        for number, end, start, text in self._db.execute(
            "SELECT series, end_ns, start_ns, value FROM points ORDER BY series, end_ns"
        ):
            kept[number].points.append(Point(start, end, _value(json.loads(text))))
            kept[number].ends.append(end)
        for project, text in self._db.execute("SELECT project, body FROM descriptors"):
            metric_ = _metric(json.loads(text))
            self._descriptors[project, metric_.type] = metric_

    def _add(self, key: SeriesKey, number: int) -> _Kept:
        kept = self._series[key] = _Kept(number)
        self._by_metric.setdefault((key.project, key.metric), {})[key] = None
        self._next = max(self._next, number + 1)
        return kept

    def append(self, points: Iterable[tuple[SeriesKey, Point]], *, now: float) -> int:
        """Add points in one transaction; drop what has expired.

        A point that is not later than the last of its series is skipped.

        Args:
            points: with the series they belong to.
            now: seconds since the epoch.

        Returns:
            How many were added.

        Raises:
            sqlite3.Error: the disk is full or the database locked; nothing was added.
        """
        with self._lock:
            batch = self._later(points)
            fresh: dict[SeriesKey, int] = {}
            rows = []
            for key, point in batch:
                kept = self._series.get(key)
                number = kept.id if kept else fresh.setdefault(key, self._next + len(fresh))
                rows.append((number, point.end, point.start, json.dumps(_plain(point.value))))
            oldest = int(now * NS) - self._retention
            with self._transaction():
                self._db.executemany(
                    "INSERT INTO series VALUES (?, ?)",
                    [
                        (n, json.dumps([k.project, k.metric, k.metric_labels, k.resource, k.resource_labels]))
                        for k, n in fresh.items()
                    ],
                )
                self._db.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", rows)
                gone = self._expire(batch, oldest)
                self._db.executemany("DELETE FROM points WHERE series = ? AND end_ns <= ?", gone)
            for key, number in fresh.items():
                self._add(key, number)
            for key, point in batch:
                self._series[key].points.append(point)
                self._series[key].ends.append(point.end)
            for kept in self._series.values():
                self._trim(kept, oldest)
        return len(batch)

    def _later(self, points: Iterable[tuple[SeriesKey, Point]]) -> list[tuple[SeriesKey, Point]]:
        newest: dict[SeriesKey, int] = {}
        out = []
        for key, point in points:
            last = self.last(key)
            if point.end > newest.get(key, last.end if last else -1):
                newest[key] = point.end
                out.append((key, point))
        return out

    def _expire(self, batch: list[tuple[SeriesKey, Point]], oldest: int) -> list[tuple[int, int]]:
        """(series, last end to delete) for every series that holds something too old or too much."""
        adds: dict[SeriesKey, int] = {}
        for key, _ in batch:
            adds[key] = adds.get(key, 0) + 1
        gone = []
        for key, kept in self._series.items():
            drop = max(bisect_right(kept.ends, oldest), len(kept.ends) + adds.get(key, 0) - self._max_points)
            if drop > 0 and kept.ends:
                gone.append((kept.id, kept.ends[min(drop, len(kept.ends)) - 1]))
        return gone

    def _trim(self, kept: _Kept, oldest: int) -> None:
        drop = max(bisect_right(kept.ends, oldest), len(kept.ends) - self._max_points)
        if drop > 0:
            del kept.ends[:drop], kept.points[:drop]

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db  # as a context manager it commits, or rolls back on an exception

    def last(self, key: SeriesKey) -> Point | None:
        """The newest point of a series."""
        kept = self._series.get(key)
        return kept.points[-1] if kept and kept.points else None

    def keys(self, project: str, metric: str) -> list[SeriesKey]:
        """The series of a metric."""
        with self._lock:
            return list(self._by_metric.get((project, metric), ()))

    def points(self, key: SeriesKey, after: int, until: int) -> tuple[Point, ...]:
        """Points whose end lies in ``(after, until]`` nanoseconds, oldest first."""
        with self._lock:
            kept = self._series.get(key)
            if kept is None:
                return ()
            return tuple(kept.points[bisect_right(kept.ends, after) : bisect_right(kept.ends, until)])

    def descriptors(self, project: str) -> list[Metric]:
        """The custom metrics of a project, by type."""
        with self._lock:
            return [m for (p, _), m in sorted(self._descriptors.items()) if p == project]

    def descriptor(self, project: str, metric: str) -> Metric | None:
        """A custom metric."""
        return self._descriptors.get((project, metric))

    def put_descriptor(self, project: str, metric: Metric) -> None:
        """Create or replace a custom metric."""
        body = {
            "type": metric.type,
            "kind": metric.kind,
            "value": metric.value,
            "unit": metric.unit,
            "display_name": metric.display_name,
            "description": metric.description,
            "labels": [[label.key, label.description, label.type] for label in metric.labels],
        }
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO descriptors VALUES (?, ?, ?)", (project, metric.type, json.dumps(body))
            )
            self._descriptors[project, metric.type] = metric

    def delete_descriptor(self, project: str, metric: str) -> None:
        """Delete a custom metric and its series."""
        with self._lock:
            keys = self.keys(project, metric)
            with self._transaction():
                self._db.execute("DELETE FROM descriptors WHERE project = ? AND type = ?", (project, metric))
                for key in keys:
                    self._db.execute("DELETE FROM points WHERE series = ?", (self._series[key].id,))
                    self._db.execute("DELETE FROM series WHERE id = ?", (self._series[key].id,))
            self._descriptors.pop((project, metric), None)
            self._by_metric.pop((project, metric), None)
            for key in keys:
                del self._series[key]

    def close(self) -> None:
        """Close the database; what was appended is on disk."""
        with self._lock:
            self._db.close()


def _pairs(pairs: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in pairs)


def _plain(value: Value) -> object:
    if isinstance(value, Dist):
        # Most buckets are empty: only the others are written.
        held = {i: c for i, c in enumerate(value.counts) if c}
        return [value.count, value.mean, value.ssd, value.buckets.kind, value.buckets.params, held]
    return value


def _value(plain: object) -> Value:
    if not isinstance(plain, list):
        return plain  # type: ignore[return-value]  # JSON gives back the bool, int, float or str that was written
    count, mean, ssd, kind, params, held = plain
    buckets = Buckets(kind, tuple(params))
    counts = [0] * (len(buckets.bounds) + 1)
    for i, c in held.items():
        counts[int(i)] = c
    return Dist(count, mean, ssd, buckets, tuple(counts))


def _metric(body: dict[str, object]) -> Metric:
    labels: Iterator[list[str]] = iter(body.pop("labels"))  # type: ignore[call-overload]  # our own JSON
    return Metric(
        **(body | {"kind": Kind(body["kind"]), "value": Type(body["value"])}),  # type: ignore[arg-type]  # our own JSON
        labels=tuple(Label(k, d, Type(t)) for k, d, t in labels),
    )

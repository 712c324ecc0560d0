"""Requests and gauges of the data plane, turned into points of Vertex AI's metrics.

Counting a request is one dictionary update and three histogram updates; disk and store are touched only by ``flush``.
A request belongs to the sample period in which it was answered, however late the flush comes, and DELTA points lie on
the grid of the sample period: (10:00:00, 10:01:00], (10:01:00, 10:02:00], ...

Decisions where the documentation is silent: a period without a request gives no point (no zeros); ``error_count``
counts answers of 400 and above; ``prediction_latencies`` counts every answer, errors too; ``overhead`` is total minus
model.

Left out: sampling (every request is counted), and Google's ingestion delay unless ``MetricService`` is given one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vertex_deploy.local.monitoring.catalogue import BY_TYPE, ENDPOINT, PREFIX
from vertex_deploy.local.monitoring.values import NS, Buckets, DistBuilder, Kind, Point, SeriesKey, Type, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.local.monitoring.store import SeriesStore
    from vertex_deploy.local.seams import Clock, Served

LATENCY_BUCKETS = Buckets.exponential(240, 1.05, 1.0)
"""1 ms to 121 s in steps of 5%: interpolation inside a bucket is never more than 5% from the sample's percentile."""

MAX_WAITING = 600
"""Sample periods that wait in memory while the store cannot be written; older ones are lost."""

_ENDPOINT_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/endpoints/([^/]+)")
_LOG = logging.getLogger(__name__)
_Who = tuple[str, str, bool]
_Gauge = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Counts:
    """What one deployed model answered in one sample period."""

    codes: dict[int, int] = field(default_factory=dict)
    errors: int = 0
    predictions: int = 0
    latencies: dict[str, DistBuilder] = field(
        default_factory=lambda: {kind: DistBuilder(LATENCY_BUCKETS) for kind in ("overhead", "model", "total")}
    )


class MetricRecorder:
    """Implements ``seams.Recorder``.

    Args:
        store: where points go.
        clock: the time; tests pass their own.
        sample_period: seconds between points: 60 in the cloud, 1 in a rehearsal.
        project_id: gives the project id for the project in an endpoint's name, which may be a number.
        private: tells whether an endpoint is reached privately (PSC or VPC peering); the requests of such a one are
            counted under ``private/*``, with the code itself as ``response_code``, and nowhere else.
    """

    def __init__(
        self,
        store: SeriesStore,
        clock: Clock,
        *,
        sample_period: float = 60.0,
        project_id: Callable[[str], str] = str,
        private: Callable[[str], bool] = lambda _: False,
    ) -> None:
        if sample_period <= 0:
            raise ValueError(f"the sample period must be above 0 s, not {sample_period}")
        self._store = store
        self._clock = clock
        self._period = round(sample_period * NS)
        self._project_id = project_id
        self._private = private
        self._counts: dict[int, dict[_Who, _Counts]] = {}
        self._gauges: dict[tuple[str, str], dict[_Gauge, float]] = {}
        self._began = int(clock.now() * NS)
        self._flushed = self._slot()

    def _slot(self) -> int:
        return int(self._clock.now() * NS) // self._period

    def served(self, request: Served) -> None:
        """Count one request, in the sample period that holds now."""
        slot = max(self._slot(), self._flushed)  # a clock set back must not write into a period already flushed
        who = (request.endpoint, request.deployed_model_id, request.spot)
        period = self._counts.setdefault(slot, {})
        counts = period.get(who)
        if counts is None:  # not setdefault: it would build histograms for every request
            counts = period[who] = _Counts()
        counts.codes[request.code] = counts.codes.get(request.code, 0) + 1
        counts.errors += request.code >= 400  # noqa: PLR2004 - HTTP: errors of client and server
        counts.predictions += request.predictions
        counts.latencies["total"].add(request.total_ms)
        counts.latencies["model"].add(request.model_ms)
        counts.latencies["overhead"].add(max(request.total_ms - request.model_ms, 0.0))

    def gauge(
        self,
        metric: str,
        value: float,
        *,
        endpoint: str,
        deployed_model_id: str,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Set a gauge, written at the end of every sample period until it is set again or forgotten.

        An unknown metric is logged and dropped: a recorder never raises.

        Args:
            metric: name without prefix, ``replicas`` or ``cpu/utilization``.
            value: in the metric's unit; a fraction for ``cpu/utilization``.
            endpoint: full resource name.
            deployed_model_id: id within the endpoint.
            labels: further labels, ``replica_id`` and ``spot`` ("true" or "false", the default).
        """
        known = BY_TYPE.get(PREFIX + metric)
        if known is None or known.kind is not Kind.GAUGE:
            _LOG.warning("dropped a value of %s: Vertex AI has no such gauge", metric)
            return
        key = (metric, tuple(sorted((labels or {}).items())))
        self._gauges.setdefault((endpoint, deployed_model_id), {})[key] = value

    def forget(self, *, endpoint: str, deployed_model_id: str) -> None:
        """Write no more gauges for a deployed model; what was counted is still written."""
        self._gauges.pop((endpoint, deployed_model_id), None)

    def flush(self, *, final: bool = False) -> int:
        """Write every sample period that has ended.

        Args:
            final: write the one that has not ended too, as far as it got; nothing may be counted afterwards.

        Returns:
            Points written.

        Raises:
            sqlite3.Error: nothing was written; the counts are kept for the next flush.
        """
        slot = self._slot()
        if slot <= self._flushed and not final:
            return 0
        done = sorted(s for s in self._counts if s < slot or final)
        points = [
            entry
            for s in done
            for who, counts in self._counts[s].items()
            for entry in self._deltas(who, counts, *self._interval(s))
        ]
        if slot > self._flushed:
            points += self._levels(slot * self._period)
        added = self._store.append(points, now=self._clock.now())
        if added < len(points):
            _LOG.warning(
                "dropped %d points that were not later than those stored: was the clock set back?", len(points) - added
            )
        self._flushed = slot
        for s in done:
            del self._counts[s]
        return added

    def _interval(self, slot: int) -> tuple[int, int]:
        """A sample period, less the part before this process began and after now."""
        start, end = max(slot * self._period, self._began), (slot + 1) * self._period
        now = int(self._clock.now() * NS)
        return (start, min(end, now)) if start < now else (start, end)

    def _deltas(self, who: _Who, counts: _Counts, start: int, end: int) -> list[tuple[SeriesKey, Point]]:
        endpoint, deployed, spot = who
        values: list[tuple[str, dict[str, str], Value]]
        if self._private(endpoint):
            own = {"deployed_model_id": deployed}
            values = [("private/response_count", {"response_code": str(code)}, n) for code, n in counts.codes.items()]
            values.append(("private/prediction_latencies", {}, counts.latencies["total"].build()))
            return [(self._key(m, endpoint, own | labels), Point(start, end, v)) for m, labels, v in values]
        own = {"deployed_model_id": deployed, "spot": str(spot).lower()}
        classes = Counter[str]()
        for code, n in counts.codes.items():
            classes[f"{code // 100}xx"] += n
        values = [("response_count", {"response_code": code}, n) for code, n in classes.items()]
        if counts.errors:
            values.append(("error_count", {}, counts.errors))
        if counts.predictions:
            values.append(("prediction_count", {}, counts.predictions))
        values += [("prediction_latencies", {"latency_type": k}, made.build()) for k, made in counts.latencies.items()]
        return [(self._key(m, endpoint, own | labels), Point(start, end, v)) for m, labels, v in values]

    def _levels(self, end: int) -> list[tuple[SeriesKey, Point]]:
        out = []
        for (endpoint, deployed), gauges in self._gauges.items():
            for (metric, labels), value in gauges.items():
                known = BY_TYPE[PREFIX + metric]
                key = self._key(metric, endpoint, {"deployed_model_id": deployed, "spot": "false", **dict(labels)})
                out.append((key, Point(end, end, round(value) if known.value is Type.INT64 else float(value))))
        return out

    def _key(self, metric: str, endpoint: str, labels: Mapping[str, str]) -> SeriesKey:
        found = _ENDPOINT_NAME.fullmatch(endpoint)
        project, location, endpoint_id = found.groups() if found else ("", "", endpoint)
        project = self._project_id(project)
        return SeriesKey.of(
            project=project,
            metric=PREFIX + metric,
            metric_labels=labels,
            resource=ENDPOINT,
            resource_labels={"resource_container": project, "location": location, "endpoint_id": endpoint_id},
        )

    async def run(self) -> None:
        """Flush at the end of every sample period until cancelled, and once more then."""
        try:
            while True:
                now = int(self._clock.now() * NS)
                await asyncio.sleep((self._period - now % self._period) / NS + 0.001)
                self._try_flush()
        finally:
            self._try_flush(final=True)

    def _try_flush(self, *, final: bool = False) -> None:
        try:
            self.flush(final=final)
        except sqlite3.Error as error:
            # Counts are kept: the next flush writes them. Serving must not stop because a disk is full.
            _LOG.error("metrics could not be written: %s", error)
            for slot in sorted(self._counts)[:-MAX_WAITING]:
                del self._counts[slot]

"""MetricService of Cloud Monitoring: the RPCs over the store and the pure parts.

Left out: MQL (QueryService), organizations and folders as scopes, metrics scopes of several projects. Asked for, they
are refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, TypeVar

from google.cloud import monitoring_v3 as m
from google.protobuf import empty_pb2

from vertex_deploy.local.monitoring import errors, filters, messages, query, selection, writes
from vertex_deploy.local.monitoring.catalogue import BY_TYPE, METRICS, RESOURCE_BY_TYPE, RESOURCES, Metric
from vertex_deploy.local.monitoring.ingest import Ingest
from vertex_deploy.local.monitoring.values import NS, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.api import metric_pb2, monitored_resource_pb2

    from vertex_deploy.local.monitoring.store import SeriesStore
    from vertex_deploy.local.seams import Clock

MAX_POINTS = 100_000
MAX_DESCRIPTORS = 10_000
T = TypeVar("T")


class MetricService:
    """google.monitoring.v3.MetricService.

    Args:
        store: the time series.
        clock: the time; tests pass their own.
        project_id: gives the project id for what a request names, which may be a number.
        min_alignment: smallest alignment period, seconds: 60 in the cloud. A rehearsal whose sample period is shorter
            passes its sample period, which is to it what a minute is to the cloud.
        min_write_period: seconds between two written points of a custom metric: 5 in the cloud.
        ingest_delay: seconds until a point of a service metric can be read.
        asked: is told project and metric before series are listed, for what is written when it is asked for.
    """

    def __init__(
        self,
        store: SeriesStore,
        clock: Clock,
        *,
        project_id: Callable[[str], str] = str,
        min_alignment: float = 60.0,
        min_write_period: float = 5.0,
        ingest_delay: float = 0.0,
        asked: Callable[[str, str], None] = lambda _project, _metric: None,
    ) -> None:
        self._store = store
        self._asked = asked
        self._clock = clock
        self._project_id = project_id
        self._min_alignment = round(min_alignment * NS)
        self._delay = round(ingest_delay * NS)
        self._ingest = Ingest(store, clock, min_period=round(min_write_period * NS))

    def _project(self, name: str, suffix: str = "") -> str:
        """The project id of a request's name, ``projects/P`` or ``projects/P/<suffix>/...``."""
        parts = name.split("/", 3)
        wanted = f"projects/[PROJECT_ID_OR_NUMBER]{'/' + suffix + '/[ID]' if suffix else ''}"
        shape = len(parts) == 4 and parts[2] == suffix and parts[3] if suffix else len(parts) == 2  # noqa: PLR2004 - segments
        if parts[0] != "projects" or not shape or not parts[1]:
            raise errors.field("name", name, f"The name must be of the form {wanted}.")
        return self._project_id(parts[1])

    def metric(self, project: str, metric: str) -> Metric | None:
        """A metric by its type: one of Vertex AI's, or one that the project wrote."""
        return BY_TYPE.get(metric) or self._store.descriptor(project, metric)

    async def list_monitored_resource_descriptors(
        self, request: m.ListMonitoredResourceDescriptorsRequest, _context: object = None
    ) -> m.ListMonitoredResourceDescriptorsResponse:
        """The monitored resource types, filtered by ``resource.type``."""
        project = self._project(request.name)
        tree = selection.parsed(request.filter, {"resource.type", "project"}) if request.filter else None
        found = [
            r for r in RESOURCES if not tree or filters.matches(tree, filters.Subject(project, resource_type=r.type))
        ]
        page, token = _page(found, request.page_size, request.page_token, MAX_DESCRIPTORS, request.filter)
        return m.ListMonitoredResourceDescriptorsResponse(
            resource_descriptors=[messages.resource_descriptor(r, project) for r in page], next_page_token=token
        )

    async def get_monitored_resource_descriptor(
        self, request: m.GetMonitoredResourceDescriptorRequest, _context: object = None
    ) -> monitored_resource_pb2.MonitoredResourceDescriptor:
        """One monitored resource type."""
        project = self._project(request.name, "monitoredResourceDescriptors")
        resource = RESOURCE_BY_TYPE.get(request.name.split("/", 3)[3])
        if resource is None:
            raise errors.not_found(f"Could not find descriptor for monitored resource '{request.name}'.")
        return messages.resource_descriptor(resource, project)

    async def list_metric_descriptors(
        self, request: m.ListMetricDescriptorsRequest, _context: object = None
    ) -> m.ListMetricDescriptorsResponse:
        """Vertex AI's metrics and the project's own, filtered by ``metric.type``."""
        if request.active_only:
            raise errors.field("activeOnly", "true", "The option is not implemented by Local Vertex.")
        project = self._project(request.name)
        tree = selection.parsed(request.filter, {"metric.type", "project"}) if request.filter else None
        known = sorted((*METRICS, *self._store.descriptors(project)), key=lambda x: x.type)
        found = [x for x in known if not tree or filters.matches(tree, filters.Subject(project, x.type))]
        page, token = _page(found, request.page_size, request.page_token, MAX_DESCRIPTORS, request.filter)
        return m.ListMetricDescriptorsResponse(
            metric_descriptors=[messages.descriptor(x, project) for x in page], next_page_token=token
        )

    async def get_metric_descriptor(
        self, request: m.GetMetricDescriptorRequest, _context: object = None
    ) -> metric_pb2.MetricDescriptor:
        """One metric."""
        project, metric = self._named(request.name)
        return messages.descriptor(metric, project)

    def _named(self, name: str) -> tuple[str, Metric]:
        project = self._project(name, "metricDescriptors")
        metric = self.metric(project, name.split("/", 3)[3])
        if metric is None:
            raise errors.not_found(f"Could not find descriptor for metric '{name.split('/', 3)[3]}'.")
        return project, metric

    async def create_metric_descriptor(
        self, request: m.CreateMetricDescriptorRequest, _context: object = None
    ) -> metric_pb2.MetricDescriptor:
        """Create a custom metric, or add labels to one."""
        project = self._project(request.name)
        sent = request.metric_descriptor
        metric = writes.check_descriptor(
            messages.metric(sent),
            self._store.descriptor(project, sent.type),
            kind=messages.kind_of(sent.metric_kind),
            value=messages.type_of(sent.value_type),
        )
        self._store.put_descriptor(project, metric)
        return messages.descriptor(metric, project)

    async def delete_metric_descriptor(
        self, request: m.DeleteMetricDescriptorRequest, _context: object = None
    ) -> empty_pb2.Empty:
        """Delete a custom metric and its data."""
        project, metric = self._named(request.name)
        if not writes.user_defined(metric.type):
            raise errors.field("name", request.name, "Only user-created metric descriptors can be deleted.")
        self._store.delete_descriptor(project, metric.type)
        return empty_pb2.Empty()

    async def create_time_series(self, request: m.CreateTimeSeriesRequest, _context: object = None) -> empty_pb2.Empty:
        """Write points of custom metrics."""
        self._ingest.write(self._project(request.name), request.time_series, service=False)
        return empty_pb2.Empty()

    async def create_service_time_series(
        self, request: m.CreateTimeSeriesRequest, _context: object = None
    ) -> empty_pb2.Empty:
        """Write points of service metrics, as Google's own services do."""
        self._ingest.write(self._project(request.name), request.time_series, service=True)
        return empty_pb2.Empty()

    async def list_time_series(
        self, request: m.ListTimeSeriesRequest, _context: object = None
    ) -> m.ListTimeSeriesResponse:
        """Series that match a filter, aligned and reduced, newest point first."""
        project = self._project(request.name)
        if request.order_by:
            raise errors.field("orderBy", request.order_by, "Ordering is not supported; the field must be left blank.")
        start, end = _interval(request.interval)
        tree = selection.parsed(request.filter)
        metric = selection.metric_of(request.filter, tree, lambda name: self.metric(project, name))
        steps = [
            messages.aggregation(request.aggregation, "aggregation"),
            messages.aggregation(request.secondary_aggregation, "secondaryAggregation"),
        ]
        query.check(steps, metric.kind, metric.value, min_period=self._min_alignment)
        until = end if writes.user_defined(metric.type) else min(end, int(self._clock.now() * NS) - self._delay)
        self._asked(project, metric.type)
        raw = [
            Series(key, metric.kind, metric.value, metric.unit, self._store.points(key, start, until))
            for key in self._store.keys(project, metric.type)
            if filters.matches(tree, query.subject(key))
        ]
        series = query.run(raw, steps, start=start, end=end)
        return _answer(series, request)


def _interval(message: m.TimeInterval) -> tuple[int, int]:
    """(start, end] in nanoseconds; no start means the end alone."""
    raw = m.TimeInterval.pb(message)
    if not raw.HasField("end_time"):
        raise errors.field("interval.endTime", "", "The end time must be specified.")
    end = raw.end_time.ToNanoseconds()
    start = raw.start_time.ToNanoseconds() if raw.HasField("start_time") else end
    if start > end:
        raise errors.field(
            "interval.startTime", raw.start_time.ToJsonString(), "The start time must be before the end time."
        )
    return min(start, end - 1), end


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _token(digest: str, *position: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([digest, *position]).encode()).decode()


def _position(token: str, digest: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Where a page begins.

    Raises:
        ApiError: the token is not ours or belongs to another request.
    """
    if not token:
        return default
    try:
        found, *position = json.loads(base64.urlsafe_b64decode(token.encode()))
        valid = found == digest and len(position) == len(default) and all(type(n) is int and n >= 0 for n in position)
    except (ValueError, TypeError):
        valid, position = False, []
    if not valid:
        raise errors.field("pageToken", token, "The page token is not valid for this request.")
    return tuple(position)


def _page(found: Sequence[T], size: int, token: str, most: int, what: object) -> tuple[Sequence[T], str]:
    digest = _digest(what)
    (first,) = _position(token, digest, (0,))
    last = first + (size if 0 < size <= most else most)
    return found[first:last], _token(digest, last) if last < len(found) else ""


def _answer(series: Sequence[Series], request: m.ListTimeSeriesRequest) -> m.ListTimeSeriesResponse:
    """One page: ``page_size`` counts points in view FULL and series in view HEADERS, as in the API."""
    units = {s.unit for s in series}
    unit = units.pop() if len(units) == 1 else "{not_a_unit}" if units else ""
    same = m.ListTimeSeriesRequest.pb(request)
    digest = _digest(
        (same.filter, same.view, str(same.interval), str(same.aggregation), str(same.secondary_aggregation))
    )
    size = request.page_size if 0 < request.page_size <= MAX_POINTS else MAX_POINTS
    if request.view == m.ListTimeSeriesRequest.TimeSeriesView.HEADERS:
        (first,) = _position(request.page_token, digest, (0,))
        token = _token(digest, first + size) if first + size < len(series) else ""
        return m.ListTimeSeriesResponse(
            time_series=[messages.header(s) for s in series[first : first + size]], next_page_token=token, unit=unit
        )
    at, skip = _position(request.page_token, digest, (0, 0))
    out: list[m.TimeSeries] = []
    while at < len(series) and size:
        newest_first = series[at].points[::-1]
        taken = newest_first[skip : skip + size]
        if taken:
            out.append(messages.header(series[at]))
            messages.add_points(out[-1], taken, series[at].type)
        size -= len(taken)
        skip += len(taken)
        if skip >= len(newest_first):
            at, skip = at + 1, 0
    token = _token(digest, at, skip) if at < len(series) else ""
    return m.ListTimeSeriesResponse(time_series=out, next_page_token=token, unit=unit)

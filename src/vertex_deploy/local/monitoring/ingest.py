"""CreateTimeSeries: check each series, write those that pass, report the others as the real API does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.cloud import monitoring_v3 as m
from google.rpc import status_pb2

from vertex_deploy.local.monitoring import errors, messages, writes
from vertex_deploy.local.monitoring.catalogue import BY_TYPE, Metric
from vertex_deploy.local.monitoring.values import NS, Point, SeriesKey
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.local.monitoring.store import SeriesStore
    from vertex_deploy.local.seams import Clock


class Ingest:
    """Writes the series of a request.

    Args:
        store: where they go.
        clock: the time.
        min_period: nanoseconds between two points of a custom metric's series.
    """

    def __init__(self, store: SeriesStore, clock: Clock, *, min_period: int) -> None:
        self._store = store
        self._clock = clock
        self._min_period = min_period

    def write(self, project: str, series: Sequence[m.TimeSeries], *, service: bool) -> None:
        """Write what can be written.

        Args:
            project: project id.
            series: of the request; one point each.
            service: whether the call is CreateServiceTimeSeries.

        Raises:
            ApiError: INVALID_ARGUMENT with a CreateTimeSeriesSummary; the series that it does not name were written.
        """
        if len(series) > writes.MAX_SERIES:
            why = f"The maximum number of TimeSeries objects per request is {writes.MAX_SERIES}."
            raise errors.field("timeSeries", len(series), why)
        if not series:
            raise errors.field("timeSeries", "", "At least one TimeSeries must be specified.")
        now = self._clock.now()
        passed: dict[SeriesKey, Point] = {}
        created: dict[str, Metric] = {}
        refused: list[str] = []
        for index, message in enumerate(series):
            try:
                write = _decoded(index, message, project)
                metric = BY_TYPE.get(write.key.metric) or created.get(write.key.metric)
                metric = metric or self._store.descriptor(project, write.key.metric)
                writes.check_type(write, metric, service=service)
                writes.check_single(write, passed)
                descriptor = metric or writes.descriptor_for(write)
                last = self._store.last(write.key)
                writes.check_interval(
                    write, descriptor.kind, last, now=int(now * NS), min_period=0 if service else self._min_period
                )
            except writes.RefusedError as error:
                refused.append(f"{error}: timeSeries[{index}]")
                continue
            passed[write.key] = write.point
            if metric is None:
                created[write.key.metric] = descriptor
        for metric in created.values():
            self._store.put_descriptor(project, metric)
        if passed:
            self._store.append(passed.items(), now=now)
        if refused:
            raise _refusal(refused, len(series))


def _decoded(index: int, message: m.TimeSeries, project: str) -> writes.Write:
    raw = m.TimeSeries.pb(message)
    if len(raw.points) != 1:
        raise writes.RefusedError(
            f"Field timeSeries[{index}].points had an invalid value: Only one point can be written per TimeSeries per "
            "request."
        )
    try:
        found = messages.value(message.points[0].value)
    except ValueError as error:
        raise writes.RefusedError(
            f"Field timeSeries[{index}].points[0].distributionValue had an invalid value: {error}"
        ) from error
    if found is None:
        raise writes.RefusedError(
            f"Field timeSeries[{index}].points[0].value had an invalid value: A value must be specified."
        )
    interval = raw.points[0].interval
    end = interval.end_time.ToNanoseconds()
    start = interval.start_time.ToNanoseconds() if interval.HasField("start_time") else end
    value_type, value = found
    return writes.Write(
        index=index,
        key=messages.key(message, project),
        kind=messages.kind_of(raw.metric_kind),
        type=messages.type_of(raw.value_type),
        value_type=value_type,
        unit=raw.unit,
        point=Point(start, end, value),
    )


def _refusal(refused: Sequence[str], total: int) -> ApiError:
    summary = m.CreateTimeSeriesSummary(
        total_point_count=total,
        success_point_count=total - len(refused),
        errors=[
            m.CreateTimeSeriesSummary.Error(
                status=status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0]), point_count=len(refused)
            )
        ],
    )
    return ApiError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"One or more TimeSeries could not be written: {'; '.join(refused)}",
        [m.CreateTimeSeriesSummary.pb(summary)],
    )

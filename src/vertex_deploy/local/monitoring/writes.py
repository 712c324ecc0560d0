"""What may be written to Cloud Monitoring: descriptors and points of custom metrics. Pure.

Limits are those of cloud.google.com/monitoring/quotas and the TimeInterval documentation; messages follow the real
API's. Left out: billing quotas and the ten-minute wait for new metrics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.monitoring.catalogue import BY_TYPE, RESOURCE_BY_TYPE, Label, Metric
from vertex_deploy.local.monitoring.values import NS, Kind, Point, SeriesKey, Type

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SERIES = 200
MAX_LABELS = 30
MAX_LABEL_KEY = 100
MAX_LABEL_VALUE = 1024
MAX_TYPE = 200
PAST = 25 * 3600 * NS
FUTURE = 300 * NS
DOMAINS = ("custom.googleapis.com/", "external.googleapis.com/", "workload.googleapis.com/")
"""Where a project may create metrics."""

_ORDER = (
    "Points must be written in order. One or more of the points specified had an older {} time than the most recent "
    "point."
)
_LABEL_KEY = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_METRIC_TYPE = re.compile(r"[a-z0-9.-]+\.[a-z]+(/[A-Za-z0-9_.%-]+)+")


class RefusedError(ValueError):
    """One series cannot be written; the message is the real API's, without the series."""


@dataclass(frozen=True, slots=True)
class Write:
    """One series of a CreateTimeSeries request.

    Args:
        index: position in the request.
        key: metric and resource.
        kind: as sent, or None.
        type: as sent, or None.
        value_type: type of the point's value.
        unit: as sent.
        point: the one point.
    """

    index: int
    key: SeriesKey
    kind: Kind | None
    type: Type | None
    value_type: Type
    unit: str
    point: Point


def user_defined(metric: str) -> bool:
    """Whether the metric type is one that projects create themselves."""
    return metric.startswith(DOMAINS)


def check_descriptor(metric: Metric, existing: Metric | None, *, kind: Kind | None, value: Type | None) -> Metric:
    """The descriptor to keep.

    Args:
        metric: as sent.
        existing: what is kept under that type; its labels are never removed.
        kind: as sent, None if unspecified.
        value: as sent, None if unspecified.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not user_defined(metric.type) or not _METRIC_TYPE.fullmatch(metric.type) or len(metric.type) > MAX_TYPE:
        why = "The metric type must be a URL-formatted string with a domain and non-empty path."
        raise errors.field("metricDescriptor.type", metric.type, why)
    if kind not in (Kind.GAUGE, Kind.CUMULATIVE):
        raise errors.field(
            "metricDescriptor.metricKind", kind or "", "User-defined metrics must be GAUGE or CUMULATIVE."
        )
    if value in (None, Type.STRING):
        why = "User-defined metrics must be BOOL, INT64, DOUBLE or DISTRIBUTION."
        raise errors.field("metricDescriptor.valueType", value or "", why)
    if value is Type.BOOL and kind is Kind.CUMULATIVE:
        raise errors.field("metricDescriptor.valueType", value, "A CUMULATIVE metric cannot be BOOL.")
    keys = [label.key for label in metric.labels]
    if len(keys) > MAX_LABELS or len(set(keys)) < len(keys):
        raise errors.field("metricDescriptor.labels", len(keys), f"At most {MAX_LABELS} different labels are allowed.")
    for key in keys:
        if not _LABEL_KEY.fullmatch(key) or len(key) > MAX_LABEL_KEY:
            raise errors.field("metricDescriptor.labels.key", key, "The label key is not valid.")
    if existing is None:
        return metric
    if (existing.kind, existing.value) != (metric.kind, metric.value):
        why = f"The metric exists with kind {existing.kind} and value type {existing.value}; neither can be changed."
        raise errors.field("metricDescriptor", metric.type, why)
    kept = tuple(label for label in existing.labels if label.key not in keys)
    return replace(metric, labels=metric.labels + kept)


def descriptor_for(write: Write) -> Metric:
    """The descriptor that is created when a metric is first written."""
    return Metric(
        type=write.key.metric,
        kind=write.kind or Kind.GAUGE,
        value=write.value_type,
        unit=write.unit,
        description="Auto created custom metric.",
        labels=tuple(Label(k, "") for k, _ in write.key.metric_labels),
    )


def check_type(write: Write, metric: Metric | None, *, service: bool) -> None:
    """Whether this metric and resource may be written, with these labels.

    Args:
        write: what was sent.
        metric: the descriptor, None if there is none yet.
        service: whether the call is CreateServiceTimeSeries.

    Raises:
        RefusedError: they may not.
    """
    key, where = write.key, f"timeSeries[{write.index}]"
    if service and key.metric not in BY_TYPE:
        raise RefusedError(
            f'Field {where}.metric.type had an invalid value of "{key.metric}": It is not a service metric.'
        )
    if not service and (not user_defined(key.metric) or not _METRIC_TYPE.fullmatch(key.metric)):
        why = "The metric type must be a URL-formatted string with a domain and non-empty path."
        if key.metric in BY_TYPE:
            why = "Metrics of Google Cloud services cannot be written by projects."
        raise RefusedError(f'Field {where}.metric.type had an invalid value of "{key.metric}": {why}')
    resource = RESOURCE_BY_TYPE.get(key.resource)
    allowed = resource is not None and (key.resource in metric.resources if service and metric else resource.custom)
    if resource is None or not allowed:
        raise RefusedError(
            f'Field {where}.resource.type had an invalid value of "{key.resource}": '
            "The monitored resource cannot be used."
        )
    _check_labels("resource", dict(key.resource_labels), {label.key for label in resource.labels})
    _check_labels("metric", dict(key.metric_labels), {label.key for label in metric.labels} if metric else None)
    kind = metric.kind if metric else Kind.GAUGE if write.kind is None else write.kind
    if write.kind not in (None, kind):
        raise RefusedError(
            f'Field {where}.metricKind had an invalid value of "{write.kind}": '
            f"Metric kind for metric {key.metric} must be {kind}, but is {write.kind}."
        )
    if metric is None and (kind is Kind.DELTA or write.value_type is Type.STRING):
        raise RefusedError(f"Field {where} had an invalid value: User-defined metrics cannot be DELTA or STRING.")
    wanted = metric.value if metric else write.value_type
    for sent in (write.type, write.value_type):
        if sent not in (None, wanted):
            raise RefusedError(
                f'Field {where}.valueType had an invalid value of "{sent}": Value type for metric {key.metric} must be '
                f"{wanted}, but is {sent}."
            )


def _check_labels(what: str, labels: Mapping[str, str], known: set[str] | None) -> None:
    if known is not None and (extra := sorted(set(labels) - known)):
        raise RefusedError(f"Unrecognized {what} labels: {extra}")
    if len(labels) > MAX_LABELS:
        raise RefusedError(f"A {what} may have at most {MAX_LABELS} labels, not {len(labels)}")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or len(key) > MAX_LABEL_KEY:
            raise RefusedError(f'The {what} label key "{key[:MAX_LABEL_KEY]}" is not valid')
        if len(value) > MAX_LABEL_VALUE:
            raise RefusedError(f'The value of the {what} label "{key}" has more than {MAX_LABEL_VALUE} characters')


def check_single(write: Write, passed: Mapping[SeriesKey, Point]) -> None:
    """Whether the series is the first of its key in the request.

    Raises:
        RefusedError: it is not.
    """
    if write.key in passed:
        raise RefusedError(
            f"Field timeSeries[{write.index}] had an invalid value: Duplicate TimeSeries encountered. "
            "Only one point can be written per TimeSeries per request."
        )


def check_interval(write: Write, kind: Kind, last: Point | None, *, now: int, min_period: int) -> None:
    """Whether a point may follow the last one of its series.

    Args:
        write: what was sent.
        kind: metric kind of the descriptor.
        last: newest point of the series, or None.
        now: nanoseconds.
        min_period: nanoseconds that must lie between two points (5 s in the cloud).

    Raises:
        RefusedError: it may not.
    """
    p, at = write.point, f"timeSeries[{write.index}].points[0].interval"
    end = _iso(p.end)
    if p.end <= 0:
        raise RefusedError(f"Field {at}.end_time had an invalid value: The end time must be specified.")
    if kind is Kind.GAUGE and p.start != p.end:
        raise RefusedError(
            f'Field {at}.start_time had an invalid value of "{_iso(p.start)}": The start time must be equal to the end '
            f"time ({end}) for the gauge metric '{write.key.metric}'."
        )
    if kind is not Kind.GAUGE and p.start >= p.end:
        raise RefusedError(
            f'Field {at}.start_time had an invalid value of "{_iso(p.start)}": The start time must be before the end '
            f"time ({end}) for the non-gauge metric '{write.key.metric}'."
        )
    if p.end < now - PAST:
        raise RefusedError(
            f'Field {at}.end_time had an invalid value of "{end}": '
            "Data points cannot be written more than 25h0s in the past."
        )
    if p.end > now + FUTURE:
        raise RefusedError(
            f'Field {at}.end_time had an invalid value of "{end}": '
            "Data points cannot be written more than 5m0s in the future."
        )
    if last is None:
        return
    if p.end <= last.end:
        raise RefusedError(_ORDER.format("end"))
    overlaps = p.start < last.start if kind is Kind.CUMULATIVE else p.start < last.end
    if overlaps or (kind is Kind.CUMULATIVE and last.start < p.start < last.end):
        raise RefusedError(_ORDER.format("start"))
    if p.end - last.end < min_period:
        raise RefusedError(
            "One or more points were written more frequently than the maximum sampling period configured for the "
            "metric."
        )


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat().replace("+00:00", "Z")

"""Google's messages to our values and back. No decisions.

Cloud Monitoring's client mixes two kinds of message: its own are proto-plus, those of google.api (Metric,
MonitoredResource, MetricDescriptor, Distribution) are raw protobuf. Series are built raw: with
proto-plus a few thousand points take ten times longer.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from google.api import distribution_pb2, label_pb2, launch_stage_pb2, metric_pb2, monitored_resource_pb2
from google.cloud import monitoring_v3 as m

from vertex_deploy.local.monitoring.catalogue import Label, Metric, Resource
from vertex_deploy.local.monitoring.query import Aggregation
from vertex_deploy.local.monitoring.values import Buckets, Dist, Kind, Point, Series, SeriesKey, Type, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = metric_pb2.MetricDescriptor.MetricKind
_TYPES = metric_pb2.MetricDescriptor.ValueType
_LABEL_TYPES = label_pb2.LabelDescriptor.ValueType
_FIELDS = {"bool_value": Type.BOOL, "int64_value": Type.INT64, "double_value": Type.DOUBLE, "string_value": Type.STRING}
_BY_TYPE = {t: f for f, t in _FIELDS.items()}


def kind_of(number: int) -> Kind | None:
    """The metric kind of an enum value; None if unspecified or unknown."""
    name = _KINDS.Name(number) if number in _KINDS.values() else ""
    return Kind(name) if name in Kind.__members__ else None


def type_of(number: int) -> Type | None:
    """The value type of an enum value; None if unspecified or one that Local Vertex lacks (MONEY)."""
    name = _TYPES.Name(number) if number in _TYPES.values() else ""
    return Type(name) if name in Type.__members__ else None


def descriptor(metric: Metric, project: str) -> metric_pb2.MetricDescriptor:
    """A metric descriptor as the API answers it."""
    out = metric_pb2.MetricDescriptor(
        name=f"projects/{project}/metricDescriptors/{metric.type}",
        type=metric.type,
        labels=[_label(label) for label in metric.labels],
        metric_kind=_KINDS.Value(metric.kind),
        value_type=_TYPES.Value(metric.value),
        unit=metric.unit,
        description=metric.description,
        display_name=metric.display_name,
        monitored_resource_types=metric.resources,
    )
    if metric.sample_period:
        out.launch_stage = launch_stage_pb2.LaunchStage.GA
        out.metadata.launch_stage = launch_stage_pb2.LaunchStage.GA
        out.metadata.sample_period.seconds = metric.sample_period
        out.metadata.ingest_delay.seconds = metric.ingest_delay
    return out


def metric(message: metric_pb2.MetricDescriptor) -> Metric:
    """A metric from a descriptor; kind GAUGE and type DOUBLE stand for unspecified (``writes`` refuses those first)."""
    return Metric(
        type=message.type,
        kind=kind_of(message.metric_kind) or Kind.GAUGE,
        value=type_of(message.value_type) or Type.DOUBLE,
        unit=message.unit,
        display_name=message.display_name,
        description=message.description,
        labels=tuple(Label(x.key, x.description, Type(_LABEL_TYPES.Name(x.value_type))) for x in message.labels),
    )


def resource_descriptor(resource: Resource, project: str) -> monitored_resource_pb2.MonitoredResourceDescriptor:
    """A monitored resource descriptor as the API answers it."""
    return monitored_resource_pb2.MonitoredResourceDescriptor(
        name=f"projects/{project}/monitoredResourceDescriptors/{resource.type}",
        type=resource.type,
        display_name=resource.display_name,
        description=resource.description,
        labels=[_label(label) for label in resource.labels],
        launch_stage=launch_stage_pb2.LaunchStage.GA,
    )


def _label(label: Label) -> label_pb2.LabelDescriptor:
    return label_pb2.LabelDescriptor(
        key=label.key, value_type=_LABEL_TYPES.Value(label.type), description=label.description
    )


def aggregation(message: m.Aggregation, path: str) -> Aggregation:
    """An aggregation; an enum number without a name stays a number, which no table holds."""
    raw = m.Aggregation.pb(message)
    return Aggregation(
        path=path,
        period=raw.alignment_period.ToNanoseconds(),
        aligner=_enum(m.Aggregation.Aligner, raw.per_series_aligner),
        reducer=_enum(m.Aggregation.Reducer, raw.cross_series_reducer),
        group_by=tuple(raw.group_by_fields),
    )


def _enum(kind: type[m.Aggregation.Aligner | m.Aggregation.Reducer], number: int) -> str:
    try:
        return str(kind(number).name)
    except ValueError:
        return str(number)


def header(series: Series) -> m.TimeSeries:
    """A series without its points."""
    raw = m.TimeSeries.pb(m.TimeSeries())
    raw.metric.type = series.key.metric
    raw.metric.labels.update(dict(series.key.metric_labels))
    raw.resource.type = series.key.resource
    raw.resource.labels.update(dict(series.key.resource_labels))
    raw.metric_kind = _KINDS.Value(series.kind)
    raw.value_type = _TYPES.Value(series.type)
    raw.unit = series.unit
    out: m.TimeSeries = m.TimeSeries.wrap(raw)
    return out


def add_points(message: m.TimeSeries, points: Sequence[Point], value_type: Type) -> None:
    """Append points in the order given."""
    raw = m.TimeSeries.pb(message)
    for p in points:
        out = raw.points.add()
        out.interval.start_time.FromNanoseconds(p.start)
        out.interval.end_time.FromNanoseconds(p.end)
        if isinstance(p.value, Dist):
            fill(out.value.distribution_value, p.value)
        else:
            setattr(out.value, _BY_TYPE[value_type], p.value)


def fill(out: distribution_pb2.Distribution, value: Dist) -> None:
    """Write a distribution; trailing empty buckets are left off, as google.api.Distribution allows and the API does."""
    last = len(value.counts)
    while last and not value.counts[last - 1]:
        last -= 1
    out.count, out.mean, out.sum_of_squared_deviation = value.count, value.mean, value.ssd
    out.bucket_counts.extend(value.counts[:last])
    options, params = out.bucket_options, value.buckets.params
    if value.buckets.kind == "explicit":
        options.explicit_buckets.bounds.extend(params)
    elif value.buckets.kind == "exponential":
        layout = options.exponential_buckets
        layout.num_finite_buckets, layout.growth_factor, layout.scale = int(params[0]), params[1], params[2]
    else:
        linear = options.linear_buckets
        linear.num_finite_buckets, linear.width, linear.offset = int(params[0]), params[1], params[2]


def value(message: m.TypedValue) -> tuple[Type, Value] | None:
    """A value and its type; None if the message holds none.

    Raises:
        ValueError: a distribution whose buckets do not fit together.
    """
    raw = m.TypedValue.pb(message)
    name = raw.WhichOneof("value")
    if name is None:
        return None
    if name == "distribution_value":
        return Type.DISTRIBUTION, _dist(raw.distribution_value)
    return _FIELDS[name], getattr(raw, name)


def _dist(raw: distribution_pb2.Distribution) -> Dist:
    options = raw.bucket_options
    match options.WhichOneof("options"):
        case "explicit_buckets":
            buckets = Buckets.explicit(options.explicit_buckets.bounds)
        case "exponential_buckets":
            e = options.exponential_buckets
            buckets = Buckets.exponential(e.num_finite_buckets, e.growth_factor, e.scale)
        case "linear_buckets":
            li = options.linear_buckets
            buckets = Buckets("linear", (li.num_finite_buckets, li.width, li.offset))
        case _:
            raise ValueError("the bucket options must be specified")
    if buckets.kind != "explicit" and not 0 < buckets.params[0] <= MAX_BUCKETS - 2:
        raise ValueError(f"the number of finite buckets must be between 1 and {MAX_BUCKETS - 2}")
    try:
        bounds = buckets.bounds
    except OverflowError:
        raise ValueError("the bounds are too large for numbers") from None
    if not all(map(math.isfinite, (*bounds, raw.mean, raw.sum_of_squared_deviation))):
        raise ValueError("the bounds, the mean and the sum of squared deviations must be finite")
    if len(bounds) >= MAX_BUCKETS or any(a >= b for a, b in itertools.pairwise(bounds)):
        raise ValueError(f"the bounds must rise and there must be fewer than {MAX_BUCKETS} of them")
    counts = list(raw.bucket_counts)
    if len(counts) > len(bounds) + 1 or any(c < 0 for c in counts):
        raise ValueError(f"there must be at most {len(bounds) + 1} bucket counts, none negative")
    if sum(counts) != raw.count:
        raise ValueError(f"the bucket counts add up to {sum(counts)}, the count is {raw.count}")
    counts += [0] * (len(bounds) + 1 - len(counts))
    return Dist(raw.count, raw.mean, raw.sum_of_squared_deviation, buckets, tuple(counts))


MAX_BUCKETS = 200
"""Buckets that a written distribution may have, as in Cloud Monitoring's quotas."""


def key(message: m.TimeSeries, project: str) -> SeriesKey:
    """What identifies the series; a resource's ``project_id`` is filled in if it is not given."""
    raw = m.TimeSeries.pb(message)
    labels = dict(raw.resource.labels)
    if raw.resource.type != "aiplatform.googleapis.com/Endpoint":
        labels.setdefault("project_id", project)
    return SeriesKey.of(
        project=project,
        metric=raw.metric.type,
        metric_labels=dict(raw.metric.labels),
        resource=raw.resource.type or "global",
        resource_labels=labels,
    )

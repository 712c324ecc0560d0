"""From an AlertPolicy message to what is evaluated; everything it may not say is refused here. No I/O.

Limits are those of the API's reference (AlertPolicy in monitoring.v3): one to six conditions, filters of 2,048
characters that name metric and resource type (a denominator's the metric alone), alignment periods of at most 25 hours,
durations in whole minutes, auto-close of 30 minutes to 7 days. Where the sample period is shorter than a minute,
``minute`` is the sample period and these limits shrink with it. Places and words of refusals are those of the real API
where public reports of its clients quote them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting.conditions import (
    MINUTE,
    Absence,
    Combiner,
    Condition,
    Missing,
    Policy,
    Selection,
    Threshold,
    Trigger,
)
from vertex_deploy.local.monitoring import errors, filters, messages, query, selection
from vertex_deploy.local.monitoring.catalogue import RESOURCE_BY_TYPE
from vertex_deploy.local.monitoring.values import NUMERIC, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vertex_deploy.local.monitoring.catalogue import Metric

MAX_CONDITIONS = 6
MAX_FILTER = 2048
MAX_AGGREGATIONS = 2
_LONGEST = 23 * 60 + 30
_SHORTEST_ABSENCE = 2
_AUTO_CLOSE = (30, 7 * 24 * 60)
MAX_PERIOD = 90_000 * 10**9
"""Longest alignment period of an alerting policy, nanoseconds (Aggregation's reference)."""
_OTHER_CONDITIONS = frozenset(
    {
        "condition_matched_log", "condition_monitoring_query_language", "condition_prometheus_query_language",
        "condition_sql",
    }
)  # fmt: skip
_RESOURCES = "https://cloud.google.com/monitoring/api/resources"
_MISSING = {
    0: Missing.NO_OP,
    1: Missing.INACTIVE,
    2: Missing.ACTIVE,
    3: Missing.NO_OP,
}
_LEFT_OUT = "Local Vertex does not evaluate it; it evaluates condition_threshold and condition_absent."


def compile_policy(
    policy: m.AlertPolicy, metric: Callable[[str, str], Metric | None], *, minute: int = MINUTE, since: int = 0
) -> Policy:
    """What is evaluated of a policy.

    Args:
        policy: it and its conditions have names.
        metric: project id and metric type -> metric, None if there is no such one.
        minute: what counts as a minute, nanoseconds.
        since: when the policy was last changed, nanoseconds.

    Raises:
        ApiError: INVALID_ARGUMENT naming the first thing that is wrong or cannot be evaluated; NOT_FOUND for a metric.
    """
    if not 0 < len(policy.conditions) <= MAX_CONDITIONS:
        why = f"A policy must have from one to {MAX_CONDITIONS} conditions."
        raise errors.field("alert_policy.conditions", len(policy.conditions), why)
    name = getattr(policy.combiner, "name", str(policy.combiner))
    if name not in Combiner.__members__:
        raise errors.field("alert_policy.combiner", name, "The combiner must be AND, OR or AND_WITH_MATCHING_RESOURCE.")
    project = policy.name.split("/")[1]
    context = _Context(lambda name: metric(project, name), minute)
    return Policy(
        name=policy.name,
        project=project,
        conditions=tuple(
            context.condition(condition, f"alert_policy.conditions[{index}]")
            for index, condition in enumerate(policy.conditions)
        ),
        combiner=Combiner[name],
        auto_close=_auto_close(policy, minute),
        since=since,
    )


def _auto_close(policy: m.AlertPolicy, minute: int) -> int:
    raw = m.AlertPolicy.pb(policy).alert_strategy
    low, high = (n * minute for n in _AUTO_CLOSE)
    if not raw.HasField("auto_close"):
        return _AUTO_CLOSE[1] * MINUTE
    found: int = raw.auto_close.ToNanoseconds()
    if not low <= found <= max(high, _AUTO_CLOSE[1] * MINUTE):
        least = "30 minutes" if minute == MINUTE else f"{low / 1e9:g}s"
        why = f"the autoclose duration should be at least {least} and at most 7 days"
        raise errors.field("alertStrategy.autoClose", f"seconds: {found // 10**9}", why)
    return found


class _Context:
    """What all conditions of a policy are compiled with."""

    def __init__(self, lookup: Callable[[str], Metric | None], minute: int) -> None:
        self._lookup = lookup
        self._minute = minute

    def condition(self, message: m.AlertPolicy.Condition, path: str) -> Condition:
        """One condition; ``path`` is its place, for messages."""
        kind = m.AlertPolicy.Condition.pb(message).WhichOneof("condition")
        if kind in _OTHER_CONDITIONS:
            raise errors.field(f"{path}.{kind}", "...", _LEFT_OUT)
        if kind == "condition_threshold":
            return self._threshold(message, f"{path}.condition_threshold")
        if kind == "condition_absent":
            return self._absence(message, f"{path}.condition_absent")
        raise errors.field(path, "", "A condition must be specified.")

    def _threshold(self, message: m.AlertPolicy.Condition, path: str) -> Threshold:
        sent = message.condition_threshold
        raw = m.AlertPolicy.Condition.MetricThreshold.pb(sent)
        if raw.HasField("forecast_options"):
            raise errors.field(f"{path}.forecast_options", "...", "Forecasts are not implemented by Local Vertex.")
        if raw.comparison not in {1, 3}:
            why = "Only COMPARISON_LT and COMPARISON_GT are supported."
            raise errors.field(f"{path}.comparison", getattr(sent.comparison, "name", sent.comparison), why)
        if not math.isfinite(sent.threshold_value):
            raise errors.field(f"{path}.threshold_value", sent.threshold_value, "The value must be a finite number.")
        duration = self._duration(raw, path, 0)
        missing = _MISSING.get(raw.evaluation_missing_data)
        if missing is None or (raw.evaluation_missing_data and duration < self._minute):
            value = getattr(sent.evaluation_missing_data, "name", sent.evaluation_missing_data)
            why = "Conditions setting evaluation_missing_data must have a non-zero duration."
            raise errors.field(f"{path}.evaluation_missing_data", value, why)
        series, value = self._selection(sent.filter, sent.aggregations, path, "filter", "aggregations")
        denominator = None
        if sent.denominator_filter:
            names = ("denominator_filter", "denominator_aggregations")
            denominator, below = self._selection(
                sent.denominator_filter, sent.denominator_aggregations, path, *names, any_resource=True
            )
            if _periods(series) != _periods(denominator):
                why = "The aggregations of numerator and denominator must use the same alignment period."
                raise errors.field(f"{path}.denominator_aggregations", "...", why)
            if below not in NUMERIC:
                raise errors.field(f"{path}.denominator_aggregations", "...", _not_numeric(below))
            _check_ratio(series, denominator, path)
        elif sent.denominator_aggregations:
            why = "The field needs a denominator_filter."
            raise errors.field(f"{path}.denominator_aggregations", "...", why)
        if value not in NUMERIC:
            raise errors.field(f"{path}.aggregations", "...", _not_numeric(value))
        return Threshold(
            name=message.name,
            display_name=message.display_name,
            series=series,
            denominator=denominator,
            above=raw.comparison == 1,
            limit=sent.threshold_value,
            duration=duration,
            trigger=_trigger(raw, path),
            missing=missing,
        )

    def _absence(self, message: m.AlertPolicy.Condition, path: str) -> Absence:
        sent = message.condition_absent
        raw = m.AlertPolicy.Condition.MetricAbsence.pb(sent)
        raw.duration.nanos = 0  # ignored, says the reference
        series, _ = self._selection(sent.filter, sent.aggregations, path, "filter", "aggregations")
        return Absence(
            name=message.name,
            display_name=message.display_name,
            series=series,
            duration=self._duration(raw, path, _SHORTEST_ABSENCE),
            trigger=_trigger(raw, path),
        )

    def _duration(self, raw: Any, path: str, least: int) -> int:
        found: int = raw.duration.ToNanoseconds()
        low, high = least * self._minute, max(_LONGEST * self._minute, _LONGEST * MINUTE)
        if not low <= found <= high or found % self._minute:
            minute = f"{self._minute / 1e9:g}s"
            why = f"The duration must be a multiple of {minute}, at least {low / 1e9:g}s and at most 23.5h."
            raise errors.field(f"{path}.duration", f"{found / 1e9:g}s", why)
        return found

    def _selection(
        self,
        text: str,
        aggregations: Sequence[m.Aggregation],
        path: str,
        filter_name: str,
        aggregations_name: str,
        *,
        any_resource: bool = False,
    ) -> tuple[Selection, Type]:
        where = f"{path}.{filter_name}"
        if not text or len(text) > MAX_FILTER:
            raise errors.field(where, text[:100], f"The filter must have from 1 to {MAX_FILTER} characters.")
        tree = selection.parsed(text, path=where)
        types = [t for t in filters.comparisons(tree) if t.selector == "resource.type"]
        for term in types:
            if (term.op, term.function) == ("=", "") and term.values[0] not in RESOURCE_BY_TYPE:
                raise errors.field(where, text, f"The filter contains unknown resource type: {term.values[0]}")
        metric = selection.metric_of(text, tree, self._lookup, path=where)
        if not types and not any_resource:
            why = 'must specify a restriction on "resource.type" in the filter; '
            raise errors.field(where, text, f'{why}see "{_RESOURCES}" for a list of available resource types.')
        if len(aggregations) > MAX_AGGREGATIONS:
            why = f"At most {MAX_AGGREGATIONS} aggregations are supported."
            raise errors.field(f"{path}.{aggregations_name}", len(aggregations), why)
        steps = tuple(
            messages.aggregation(sent, f"{path}.{aggregations_name}[{index}]")
            for index, sent in enumerate(aggregations)
        )
        for step in steps:
            if step.group_by and step.reducer == "REDUCE_NONE":
                why = "An aggregation cannot have group-by fields without a reducer."
                raise errors.field(f"{step.path}.groupByFields", ", ".join(step.group_by), why)
        _, value = query.check(steps, metric.kind, metric.value, min_period=self._minute, max_period=MAX_PERIOD)
        # What changes nothing must not widen the window.
        return Selection(metric, tree, tuple(step for step in steps if not step.empty)), value


def _periods(found: Selection) -> tuple[int, ...]:
    return tuple(step.period for step in found.steps)


def _check_ratio(above: Selection, below: Selection, path: str) -> None:
    """Refuse a ratio that can never have a value: of series whose labels differ, whatever is measured."""
    kept = [_kept(above), _kept(below)]
    if None not in kept and kept[0] != kept[1]:
        told = " and ".join(", ".join(sorted(names or ())) or "none" for names in kept)
        why = f"Numerator and denominator must have the same labels; they are grouped by {told}."
        raise errors.field(f"{path}.denominator_aggregations", "...", why)
    types = [filters.single_value(selection.tree, "resource.type") for selection in (above, below)]
    if None not in types and types[0] != types[1]:
        why = "Numerator and denominator must be of one resource type."
        raise errors.field(f"{path}.denominator_filter", types[1], why)


def _kept(found: Selection) -> frozenset[str] | None:
    """The labels that are left after aggregation; None: all."""
    kept = [frozenset(map(filters.canonical, step.group_by)) for step in found.steps if step.reducer != "REDUCE_NONE"]
    return frozenset.intersection(*kept) if kept else None


def _not_numeric(value: Type) -> str:
    return f"A threshold needs numbers, not {value}: choose an aligner that gives INT64 or DOUBLE."


def _trigger(raw: Any, path: str) -> Trigger:
    kind = raw.trigger.WhichOneof("type")
    if kind == "count" and raw.trigger.count < 1:
        raise errors.field(f"{path}.trigger.count", raw.trigger.count, "The count must be at least 1.")
    if kind == "percent" and not 0 < raw.trigger.percent <= 100:  # noqa: PLR2004 - percent
        why = "The percentage must be above 0 and at most 100."
        raise errors.field(f"{path}.trigger.percent", raw.trigger.percent, why)
    if kind == "percent":
        return Trigger(percent=raw.trigger.percent)
    return Trigger(count=raw.trigger.count if kind else 1)

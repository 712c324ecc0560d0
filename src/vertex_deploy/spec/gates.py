"""One gate: a condition on a metric that a rollout must meet, and the alert policy made of the same object.

A gate only says what is wanted. How a measurement is weighed against it, and why one bad minute does not fail a
rollout, is ``vertex_deploy.rollout.judge``. What it leaves out: expressions over several metrics, gates without a
condition.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_serializer, model_validator

from vertex_deploy.spec.base import Says, SpecModel
from vertex_deploy.spec.units import Duration, Share, format_duration, format_share, parse_duration, parse_share

_LATENCY = re.compile(r"latency_p([1-9]\d?(?:\.\d)?)")
_CUSTOM = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FACTOR = re.compile(r"(\d+(?:\.\d+)?)\s*x")
_RATES = ("error_rate", "rejection_rate")
_KNOWN = (*_RATES, "latency_p50", "latency_p90", "latency_p95", "latency_p99")
_PERCENT_AS_FRACTION = 0.1
_LARGEST = 1e12


def parse_margin(value: Any) -> float:
    """How far from stable: ``"10%"`` is 0.1, ``"1.1x"`` and ``"0.9x"`` are 0.1 as well.

    Raises:
        ValueError: neither a percentage nor a factor.
    """
    match = _FACTOR.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return round(abs(float(match[1]) - 1), 12)
    try:
        return parse_share(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not a margin; write a percentage such as 10%, or a factor such as 1.1x"
        ) from None


Margin = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(lambda v: v if isinstance(v, float) else parse_margin(v)),
    PlainSerializer(format_share, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(%|x)$"}),
    Says("a percentage such as 10%, or a factor such as 1.1x"),
]
"""A fraction as a float; written ``10%`` or ``1.1x`` in a spec."""


class Query(SpecModel):
    """Where a custom metric comes from: exactly one of the two.

    The query is run once for each version; ``{deployed_model_id}`` in it is replaced by the version's id. It gives one
    number a version and interval: the mean over that interval.
    """

    cloud_monitoring: str | None = None
    """A Cloud Monitoring filter, such as metric.type="custom.googleapis.com/rating". Without {deployed_model_id} the
    term metric.labels.deployed_model_id="ID" is added. GAUGE numbers, or distributions; several series of a version are
    taken together."""
    prometheus: str | None = None
    """A PromQL expression that gives one series, such as
    sum(rate(cost_total{deployed_model_id="{deployed_model_id}"}[{interval}])). {interval} is the length of the
    interval that is judged; windows must not be longer. Asked at monitoring.prometheus.url."""
    values: Literal["number", "distribution"] = "number"
    """What the points of a cloud_monitoring query are: alert policies take the mean of numbers and of distributions in
    different ways. The metrics that the model server itself writes are known to be distributions."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.cloud_monitoring is None) == (self.prometheus is None):
            raise ValueError("a query is either cloud_monitoring (a filter) or prometheus (an expression); write one")
        if self.prometheus is not None and self.values != "number":
            raise ValueError("values is for cloud_monitoring; a prometheus expression gives numbers")
        return self


class Evidence(SpecModel):
    """How the evidence against the canary is weighed; the defaults suit independent requests."""

    odds: float = Field(default=1.25, ge=1, le=100)
    """Odds of a bad request, canary against stable, that are tolerated where no margin is written (1.25: a quarter
    more)."""
    overdispersion: float = Field(default=1.0, ge=1, le=1000)
    """By how much errors cluster beyond independent requests (variance over the binomial's): with retrying clients or
    bursts that hit one version alone, 2 to 10. Evidence is divided by it."""
    detect: float = Field(default=4.0, gt=1, le=100)
    """Times the accepted odds of a bad request that must be ruled out before the gate passes."""


def _quantity(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return parse_share(text) if text.endswith("%") else parse_duration(text)
    return value


Quantity = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(_quantity),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9.]+\s*(%|[a-z0-9.]+)$"}]}),
    Says("a percentage such as 0.5%, a duration such as 500ms, or a number, by metric"),
]
"""A limit in the metric's own unit: ``0.5%`` for rates, ``500ms`` for latencies, a number for custom metrics."""


class Gate(SpecModel):
    """A condition on one metric that the canary must meet."""

    metric: str
    """error_rate (answers with 5xx), rejection_rate (4xx: the server blames the client), latency_p50, latency_p95,
    latency_p99 (any percentile, one decimal), or a custom metric's name."""
    name: str | None = None
    """Shown in verdicts and alerts; the metric's name where absent."""
    max: Quantity | None = None
    """Absolute ceiling: a share for rates (0.5%), a duration for latencies (500ms), else a number."""
    min: Quantity | None = None
    """Absolute floor, for custom metrics."""
    worse_than_stable: Margin | None = None
    """How much worse than stable, over the same minutes, is accepted (10%, or the factor 1.1x)."""
    better_than_stable: Margin | None = None
    """How much better than stable, over the same minutes, the canary must be (10%, or the factor 0.9x)."""
    evidence: Evidence | None = None
    """Weighs the evidence; with no other condition it makes a rate a pure comparison with stable."""
    if_stable_too: Literal["hold", "fail"] = "hold"
    """When stable breaks the same absolute limit in the same minutes: wait (it is not the canary's doing), or fail."""
    min_requests: int = Field(default=100, ge=1)
    """Requests that the canary must have answered in a step before this gate can pass."""
    initial_delay: Duration = 0.0
    """How long after a step begins this gate looks away (cold caches, new replicas)."""
    no_data: Literal["wait", "fail"] = "wait"
    """When nothing was measured for no_data_after: stay insufficient, or fail. Never pass."""
    no_data_after: Duration = 300.0
    """How long without a measurement counts as no data."""
    inconclusive: Literal["hold", "ignore", "fail"] = "hold"
    """When a hold ends without a conclusion: on_inconclusive of the rollout decides, go on without it, or fail."""
    critical: bool = True
    """A failing critical gate fails the rollout; the others fail it when those failing weigh more than half of all."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """How much the gate counts: in the vote of gates that are not critical, and in its share of the false-alarm
    budget."""
    dry_run: bool = False
    """Measure and report, decide nothing."""
    query: Query | None = None
    """Where a custom metric comes from."""
    range: tuple[float, float] | None = None
    """Smallest and largest possible value of a custom metric; the tighter, the sooner there is a conclusion."""
    better: Literal["lower", "higher"] = "lower"
    """Which direction is good for a custom metric."""

    @property
    def label(self) -> str:
        """What the gate is called in verdicts."""
        return self.name or self.metric

    @property
    def quantile(self) -> float | None:
        """0.95 for latency_p95; None for other metrics."""
        match = _LATENCY.fullmatch(self.metric)
        return float(match[1]) / 100 if match else None

    @property
    def custom(self) -> bool:
        """True if the metric is neither a rate of answers nor a latency percentile."""
        return not self.rate and self.quantile is None

    @property
    def rate(self) -> bool:
        """True for error_rate and rejection_rate: shares of the requests."""
        return self.metric in _RATES

    @property
    def factor(self) -> float | None:
        """The worst accepted ratio canary/stable (1.1, or 0.9 for "10% better"); None without a relative condition."""
        worse_is_more = not (self.custom and self.better == "higher")
        if self.worse_than_stable is not None:
            return 1 + self.worse_than_stable if worse_is_more else 1 - self.worse_than_stable
        if self.better_than_stable is not None:
            return 1 - self.better_than_stable if worse_is_more else 1 + self.better_than_stable
        return None

    @model_validator(mode="before")
    @classmethod
    def _units(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        metric = data.get("metric")
        latency = isinstance(metric, str) and _LATENCY.fullmatch(metric) is not None
        for key in ("max", "min"):
            value: Any = data.get(key)
            share = isinstance(value, str) and value.strip().endswith("%")
            bare = isinstance(value, int | float) and not isinstance(value, bool)
            if metric in _RATES and not share and (not bare or value >= _PERCENT_AS_FRACTION) and value is not None:
                raise ValueError(f"{key} of {metric} is a share, not {value!r}; write it with a percent sign (0.5%)")
            if latency and (share or isinstance(value, int)):
                raise ValueError(f"{key} of {metric} is a duration, not {value!r}; write it with a unit (500ms)")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for problem in _problems(self):
            raise ValueError(problem)
        return self

    @field_serializer("max", "min", when_used="json")
    def _compact(self, value: float | None) -> str | float | None:
        if value is None or self.custom:
            return value
        return format_share(value) if self.rate else format_duration(value)


def _problems(gate: Gate) -> list[str]:
    """What is wrong with a gate whose fields are each right; each entry says the fix."""
    rules = (*(_custom_rules(gate) if gate.custom else _builtin_rules(gate)), *_condition_rules(gate))
    return [message for broken, message in rules if broken]


def _custom_rules(gate: Gate) -> tuple[tuple[bool, str], ...]:
    if gate.query is None:
        near = difflib.get_close_matches(gate.metric, _KNOWN, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(_KNOWN)
        return (
            (True, f"unknown metric {gate.metric!r}; {hint}use {known}, or give a custom metric a query and a range"),
        )
    return (
        (
            not _CUSTOM.fullmatch(gate.metric),
            f"{gate.metric!r} cannot name a custom metric; use lower case letters, digits and underscores",
        ),
        (gate.range is None, f"{gate.metric} needs its range, such as range: [0, 5]; evidence on a mean rests on it"),
        (
            gate.range is not None and not gate.range[0] < gate.range[1],
            f"range of {gate.metric} must rise, smallest value first",
        ),
        (
            any(not abs(value) <= _LARGEST for value in (*(gate.range or ()), gate.max or 0.0, gate.min or 0.0)),
            f"range and limits of {gate.metric} must lie within {_LARGEST:g} of zero",
        ),
        (
            gate.evidence is not None,
            f"evidence is for rates and latencies; {gate.metric} is judged as a mean",
        ),
    )


def _builtin_rules(gate: Gate) -> tuple[tuple[bool, str], ...]:
    return (
        (
            gate.query is not None or gate.range is not None,
            f"query and range are for custom metrics; {gate.metric} is measured by the endpoint",
        ),
        (gate.min is not None, f"min is for custom metrics; {gate.metric} has a max"),
        (gate.better != "lower", f"better: higher is for custom metrics; {gate.metric} is better when lower"),
        (
            gate.max is not None and (gate.max <= 0 or (gate.rate and gate.max >= 1)),
            f"max of {gate.metric} is out of range; write more than 0"
            + (" and less than 100%" if not gate.quantile else ""),
        ),
    )


def _condition_rules(gate: Gate) -> tuple[tuple[bool, str], ...]:
    margins = (gate.worse_than_stable, gate.better_than_stable)
    return (
        (
            None not in margins,
            "worse_than_stable and better_than_stable contradict each other; keep one",
        ),
        (any(m is not None and m < 0 for m in margins), "a margin against stable must not be negative"),
        (
            gate.factor is not None and gate.factor <= 0,
            "a margin of 100% or more leaves nothing to compare with; use a smaller one",
        ),
        (
            gate.min is not None and gate.max is not None and gate.min > gate.max,
            f"min of {gate.metric} is above its max",
        ),
        (
            not _has_condition(gate),
            f"the gate on {gate.metric} has no condition; write max, worse_than_stable or better_than_stable",
        ),
    )


def _has_condition(gate: Gate) -> bool:
    conditions = (gate.max, gate.min, gate.worse_than_stable, gate.better_than_stable)
    return any(c is not None for c in conditions) or (gate.evidence is not None and not gate.custom)


__all__ = ["Evidence", "Gate", "Margin", "Quantity", "Query", "Share", "parse_margin"]

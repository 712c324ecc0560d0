"""One gate: a condition on a metric that a rollout must meet, and the alert policy made of the same object."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from vertex_deploy.spec.base import SpecModel
from vertex_deploy.spec.units import Share, parse_duration, parse_share


class Gate(SpecModel):
    """A condition on one metric. First draft: absolute and relative-to-stable thresholds."""

    metric: str
    """error_rate, latency_p50, latency_p95, latency_p99 (any whole percentile)."""
    max: float | None = None
    """Absolute ceiling: a share for error_rate (0.5%), a duration for latencies (500ms; seconds inside)."""
    worse_than_stable: Share | None = None
    """How much worse than stable, over the same minutes, is accepted (10%)."""
    min_requests: int = Field(default=100, ge=1)
    """Requests that the canary must have answered before this gate can pass."""

    @field_validator("max", mode="before")
    @classmethod
    def _quantity(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_share(value) if value.strip().endswith("%") else parse_duration(value)
        return value

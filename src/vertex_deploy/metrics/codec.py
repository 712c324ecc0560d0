"""Intervals as JSON, the form in which histories are recorded and replayed. Pure.

One interval is ``{"end": RFC 3339, "seconds": 60, "stable": {...}, "canary": {...}}``, a version is ``{"requests": n,
"errors": n, "rejected": n, "latency_ms": {"bounds": [...], "counts": [...]}}`` or null where it was not measured.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from vertex_deploy.metrics.types import Histogram, Interval, VersionSample

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_json(interval: Interval) -> dict[str, Any]:
    """A value that ``json.dumps`` takes."""
    return {
        "end": interval.end.isoformat(),
        "seconds": interval.seconds,
        "stable": _sample_to_json(interval.stable),
        "canary": _sample_to_json(interval.canary),
    }


def from_json(data: Mapping[str, Any]) -> Interval:
    """What ``to_json`` wrote.

    Raises:
        KeyError, TypeError, ValueError: it did not.
    """
    return Interval(
        end=datetime.fromisoformat(data["end"]),
        seconds=float(data["seconds"]),
        stable=_sample_from_json(data["stable"]),
        canary=_sample_from_json(data["canary"]),
    )


def _sample_to_json(sample: VersionSample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    shape = sample.latency_ms
    return {
        "requests": sample.requests,
        "errors": sample.errors,
        "rejected": sample.rejected,
        "latency_ms": {"bounds": list(shape.bounds), "counts": list(shape.counts)} if shape else None,
        "gauges": dict(sample.gauges),
    }


def _sample_from_json(data: Mapping[str, Any] | None) -> VersionSample | None:
    if data is None:
        return None
    shape = data.get("latency_ms")
    return VersionSample(
        requests=data["requests"],
        errors=data["errors"],
        latency_ms=Histogram(tuple(shape["bounds"]), tuple(shape["counts"])) if shape else None,
        gauges=dict(data.get("gauges") or {}),
        rejected=data.get("rejected", 0),
    )

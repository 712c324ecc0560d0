"""The report of a rollout: one HTML file that needs nothing else, and the same data as JSON.

``report_data`` gathers, ``report_page.render_report`` draws, ``write_report`` keeps both beside the rollout's record.
Left out: comparing several rollouts.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vertex_deploy.metrics import codec
from vertex_deploy.rollout.bands import Count, rates
from vertex_deploy.rollout.judge.histograms import quantile
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.report_page import RATES, VERSIONS, render_report
from vertex_deploy.rollout.view import view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vertex_deploy.metrics.types import VersionSample
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.rollout.store import RolloutStore
    from vertex_deploy.spec.gates import Gate

__all__ = ["render_report", "report_data", "write_report"]

_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
# The part of a reading that is plotted; its sentence is kept only where an outcome changed.
_PLOTTED = ("value", "threshold", "stable", "samples", "stable_samples", "evidence", "outcome")


def report_data(store: RolloutStore, record: Record) -> dict[str, Any]:
    """All that the report shows, as JSON values; times are seconds since ``started``, unless named ``at``."""
    log = store.log(record.id)
    now = record.ended or max((entry.at for entry in log), default=record.started)
    spec = spec_of(record)
    view = view_of(record, plan_of(spec), now=now)
    percentiles = _percentiles(spec.rollout.gates)
    measured = (
        _measured(entry, item, record, percentiles) for entry in log for item in entry.data.get("intervals", ())
    )
    # What the judge was shown of stable from before the rollout is not plotted.
    intervals = [interval for interval in measured if interval["seconds"] > 0]
    looks = _looks(log, record)
    return {
        "rollout": view.to_json(),
        "started": record.started,
        "seconds": now - record.started,
        "release": {
            "image": record.release.image,
            "artifact": record.release.artifact,
            "commit": record.release.commit,
            "hash": record.release.hash,
        },
        "endpoint": record.endpoint,
        "ids": {"stable": record.stable, "canary": record.canary},
        "models": {"stable": record.stable_model, "canary": record.model},
        "split": _splits(log, record),
        "intervals": intervals,
        "rates": {name: _banded(intervals, bad, now - record.started) for name, (_, bad) in RATES.items()},
        "checks": _checks(looks),
        "verdicts": list({look["step"]: look for look in looks}.values()),
        "changes": _changes(looks),
        "log": [{**entry.to_json(), "data": _without_intervals(entry.data)} for entry in log],
    }


def write_report(store: RolloutStore, record: Record) -> str:
    """Keep ``report.html`` and ``report.json`` with the rollout; where the HTML is."""
    data = report_data(store, record)
    store.attach(record.id, "report.json", json.dumps(data, indent=1, default=str).encode())
    return store.attach(record.id, "report.html", render_report(data).encode())


def _percentiles(gates: Sequence[Gate]) -> dict[str, float]:
    """The usual ones, and those that gates are on."""
    asked = {gate.metric.removeprefix("latency_"): gate.quantile for gate in gates if gate.quantile is not None}
    return dict(sorted((_PERCENTILES | asked).items(), key=lambda item: item[1]))


def _splits(log: Sequence[LogEntry], record: Record) -> list[dict[str, Any]]:
    """The split as it was read back or written, at each change."""
    found: list[dict[str, Any]] = []
    for entry in log:
        split = entry.data.get("actual") or entry.data.get("desired") or entry.data.get("split")
        if split is not None and (not found or found[-1]["split"] != split):
            found.append({"seconds": entry.at - record.started, "split": dict(split)})
    start = {record.stable: 100} if record.stable else {}
    return [{"seconds": 0.0, "split": start}, *found]


def _measured(
    entry: LogEntry, item: Mapping[str, Any], record: Record, percentiles: Mapping[str, float]
) -> dict[str, Any]:
    interval = codec.from_json(item)
    return {
        "seconds": interval.end.timestamp() - record.started,
        "length": interval.seconds,
        "seq": entry.seq,
        "stable": _numbers(interval.stable, percentiles),
        "canary": _numbers(interval.canary, percentiles),
    }


def _numbers(sample: VersionSample | None, percentiles: Mapping[str, float]) -> dict[str, Any] | None:
    if sample is None:
        return None
    shape = sample.latency_ms
    return {
        "requests": sample.requests,
        "errors": sample.errors,
        "error_rate": sample.errors / sample.requests if sample.requests else None,
        "rejected": sample.rejected,
        "rejection_rate": sample.rejected / sample.requests if sample.requests else None,
        "latency_ms": {name: quantile(shape, q) if shape else None for name, q in percentiles.items()},
    }


def _banded(intervals: Sequence[Mapping[str, Any]], bad: str, span: float) -> dict[str, list[dict[str, Any]]]:
    """A rate of each version with its 95% band, over stretches that hold enough requests to say something."""
    return {
        version: [asdict(rate) for rate in rates(_counts(intervals, version, bad), span=span)] for version in VERSIONS
    }


def _counts(intervals: Sequence[Mapping[str, Any]], version: str, bad: str) -> list[Count]:
    found = []
    for item in sorted(intervals, key=lambda item: item["seconds"]):
        sample = item[version]
        # A counter that was reset: the judge takes it as not measured.
        whole = sample is not None and 0 <= sample[bad] <= sample["requests"]
        requests, spoiled = (sample["requests"], sample[bad]) if whole else (0, 0)
        end = item["seconds"]
        found.append(Count(start=end - item["length"], end=end, requests=requests, bad=spoiled))
    return found


def _looks(log: Sequence[LogEntry], record: Record) -> list[dict[str, Any]]:
    """Every verdict, by time; the last look too, which has no entry if nothing new was measured."""
    found = [(entry.at, entry.data["verdict"]) for entry in log if "verdict" in entry.data]
    if record.verdict is not None and (not found or found[-1][1] != record.verdict):
        found.append((record.measured, record.verdict))
    return [{"seconds": at - record.started, **verdict} for at, verdict in found]


def _checks(looks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each check of each gate with what it read at every look."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for look in looks:
        seen: dict[tuple[str, str], int] = {}
        for reading in look["readings"]:
            # Two gates may have one name: told apart by their order, which is the spec's.
            name = (reading["gate"], reading["kind"])
            seen[name] = seen.get(name, 0) + 1
            check = found.setdefault(
                (*name, seen[name]),
                {key: reading[key] for key in ("gate", "metric", "kind", "unit", "dry_run", "critical")}
                | {"evidence_needed": reading["evidence_needed"], "looks": []},
            )
            read = {key: reading[key] for key in _PLOTTED}
            check["looks"].append({"seconds": look["seconds"], "step": look["step"], **read})
    return list(found.values())


def _changes(looks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The looks at which the verdict or the outcome of a check became another, explained in full."""

    def outcomes(look: Mapping[str, Any]) -> tuple[Any, ...]:
        return (look["step"], look["outcome"], *(reading["outcome"] for reading in look["readings"]))

    return [dict(next(same)) for _, same in groupby(looks, key=outcomes)]


def _without_intervals(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in {"intervals", "verdict"}}

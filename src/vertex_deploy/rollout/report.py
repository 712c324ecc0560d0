"""The report of a rollout: one HTML file that needs nothing else, and the same data as JSON.

``report_data`` gathers, ``render_report`` draws, ``write_report`` keeps both beside the rollout's record. Every value
that came from outside (names, reasons, errors) is escaped. Left out: comparing several rollouts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from vertex_deploy.metrics import codec
from vertex_deploy.rollout.charts import Line, Mark, chart
from vertex_deploy.rollout.judge.histograms import quantile
from vertex_deploy.rollout.plan import plan_of, spec_of
from vertex_deploy.rollout.report_style import STYLE
from vertex_deploy.rollout.view import ICONS, quantity, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vertex_deploy.metrics.types import VersionSample
    from vertex_deploy.rollout.record import LogEntry, Record
    from vertex_deploy.rollout.store import RolloutStore

VERSIONS = ("stable", "canary")
_PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def report_data(store: RolloutStore, record: Record) -> dict[str, Any]:
    """All that the report shows, as JSON values; times are seconds since ``started``, unless named ``at``."""
    log = store.log(record.id)
    now = record.ended or max((entry.at for entry in log), default=record.started)
    view = view_of(record, plan_of(spec_of(record)), now=now)
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
        "intervals": [_measured(entry, item, record) for entry in log for item in entry.data.get("intervals", ())],
        "verdicts": _verdicts(log, record),
        "log": [{**entry.to_json(), "data": _without_intervals(entry.data)} for entry in log],
    }


def write_report(store: RolloutStore, record: Record) -> str:
    """Keep ``report.html`` and ``report.json`` with the rollout; where the HTML is."""
    data = report_data(store, record)
    store.attach(record.id, "report.json", json.dumps(data, indent=1, default=str).encode())
    return store.attach(record.id, "report.html", render_report(data).encode())


def render_report(data: Mapping[str, Any]) -> str:
    """The HTML of ``report_data``. Pure."""
    rollout = data["rollout"]
    state = rollout["ending"] or rollout["phase"]
    facts = [
        ("Reason", rollout["reason"]),
        ("Endpoint", data["endpoint"] or "none"),
        ("New version", f"{data['models']['canary'] or 'not uploaded'} as {data['ids']['canary']}"),
        (
            "Stable version",
            f"{data['models']['stable']} as {data['ids']['stable']}" if data["ids"]["stable"] else "none",
        ),
        ("Image", data["release"]["image"]),
        ("Artifact", data["release"]["artifact"] or "none"),
        ("Commit", data["release"]["commit"] or "not known"),
        ("Started", rollout["started"]),
        ("Ended", rollout["ended"] or "not yet"),
    ]
    table = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts)
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Rollout {escape(rollout['id'])}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(rollout["name"])} <span class="badge {escape(state)}">'
        f"{escape(state.replace('_', ' '))}</span></h1>"
        f'<p class="id">{escape(rollout["id"])}</p><table class="facts">{table}</table>'
        f"<h2>Traffic</h2>{_split_chart(data)}"
        f"<h2>Errors and latency</h2>{_rate_charts(data)}{_latency_chart(data)}"
        f"<h2>Verdicts</h2>{_verdict_tables(data['verdicts'])}"
        f"<h2>Events</h2>{_events(data['log'])}"
        "</main></body></html>\n"
    )


def _splits(log: Sequence[LogEntry], record: Record) -> list[dict[str, Any]]:
    """The split as it was read back or written, at each change."""
    found: list[dict[str, Any]] = []
    for entry in log:
        split = entry.data.get("actual") or entry.data.get("desired") or entry.data.get("split")
        if split is not None and (not found or found[-1]["split"] != split):
            found.append({"seconds": entry.at - record.started, "split": dict(split)})
    start = {record.stable: 100} if record.stable else {}
    return [{"seconds": 0.0, "split": start}, *found]


def _measured(entry: LogEntry, item: Mapping[str, Any], record: Record) -> dict[str, Any]:
    interval = codec.from_json(item)
    return {
        "seconds": interval.end.timestamp() - record.started,
        "length": interval.seconds,
        "seq": entry.seq,
        "stable": _numbers(interval.stable),
        "canary": _numbers(interval.canary),
    }


def _numbers(sample: VersionSample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    shape = sample.latency_ms
    return {
        "requests": sample.requests,
        "errors": sample.errors,
        "error_rate": sample.errors / sample.requests if sample.requests else None,
        "rejected": sample.rejected,
        "rejection_rate": sample.rejected / sample.requests if sample.requests else None,
        "latency_ms": {name: quantile(shape, q) if shape else None for q, name in _PERCENTILES},
    }


def _verdicts(log: Sequence[LogEntry], record: Record) -> list[dict[str, Any]]:
    """The last verdict of each step: what it was decided on."""
    last: dict[str, dict[str, Any]] = {}
    for entry in log:
        if "verdict" in entry.data:
            verdict = entry.data["verdict"]
            last[verdict["step"]] = {"seconds": entry.at - record.started, **verdict}
    return list(last.values())


def _without_intervals(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in {"intervals", "verdict"}}


def _marks(data: Mapping[str, Any]) -> list[Mark]:
    names = {"shifted": "shift", "promoted": "100%", "gate_failed": "gate failed", "pause": "paused", "abort": "abort"}
    return [
        Mark(at=entry["at"] - data["started"], label=names[entry["data"]["event"]])
        for entry in data["log"]
        if entry["kind"] == "transition" and entry["data"].get("event") in names
    ]


def _split_chart(data: Mapping[str, Any]) -> str:
    span, changes = data["seconds"], data["split"]
    ids = {data["ids"][version]: version for version in VERSIONS if data["ids"][version]}
    others = {key for change in changes for key in change["split"]} - set(ids)
    lines = []
    for key, label in [*ids.items(), *((key, f"other {key}") for key in sorted(others))]:
        points: list[tuple[float, float | None]] = [(c["seconds"], float(c["split"].get(key, 0))) for c in changes]
        points.append((span, points[-1][1]))
        lines.append(Line(label=label, colour=label if label in VERSIONS else "other", points=points, steps=True))
    return chart("Traffic split", lines, span=span, unit="%", top=100.0, marks=_marks(data))


def _rate_charts(data: Mapping[str, Any]) -> str:
    rates = (("Error rate (5xx)", "error_rate"), ("Rejection rate (4xx)", "rejection_rate"))
    return "".join(_rate_chart(data, title, name) for title, name in rates)


def _rate_chart(data: Mapping[str, Any], title: str, name: str) -> str:
    lines = [
        Line(
            label=version,
            colour=version,
            points=[
                (item["seconds"], item[version][name] * 100 if _has(item, version, name) else None)
                for item in data["intervals"]
            ],
        )
        for version in VERSIONS
    ]
    return chart(title, lines, span=data["seconds"], unit="%", marks=_marks(data))


def _latency_chart(data: Mapping[str, Any]) -> str:
    charts = []
    for _, name in _PERCENTILES:
        lines = [
            Line(
                label=version,
                colour=version,
                points=[
                    (item["seconds"], item[version]["latency_ms"][name] if item[version] else None)
                    for item in data["intervals"]
                ],
            )
            for version in VERSIONS
        ]
        charts.append(chart(f"Latency {name}", lines, span=data["seconds"], unit=" ms", marks=_marks(data)))
    return "".join(charts)


def _has(item: Mapping[str, Any], version: str, name: str) -> bool:
    return item[version] is not None and item[version][name] is not None


def _verdict_tables(verdicts: Sequence[Mapping[str, Any]]) -> str:
    if not verdicts:
        return '<p class="none">No verdict: nothing was measured, or there are no gates.</p>'
    columns = ("outcome", "gate", "canary", "limit", "stable", "requests", "evidence", "explanation")
    heads = "".join(f"<th>{column}</th>" for column in columns)
    found = []
    for verdict in verdicts:
        rows = "".join(
            f'<tr class="{escape(r["outcome"])}"><td>{ICONS[r["outcome"]]} {escape(r["outcome"])}</td>'
            f"<td>{escape(r['gate'])} <small>{escape(r['kind'])}</small></td>"
            f"<td>{quantity(r['value'], r['unit'])}</td><td>{quantity(r['threshold'], r['unit'])}</td>"
            f"<td>{quantity(r['stable'], r['unit'])}</td><td>{r['samples']}</td>"
            f"<td>{r['evidence']:.3g} of {r['evidence_needed']:.3g}</td><td>{escape(r['explanation'])}</td></tr>"
            for r in verdict["readings"]
        )
        title, why = f"{verdict['step'] or 'start'}: {verdict['outcome']}", verdict["explanation"]
        found.append(
            f'<h3>{escape(title)}</h3><p>{escape(why)}</p><div class="scroll"><table class="readings">'
            f"<tr>{heads}</tr>{rows}</table></div>"
        )
    return "".join(found)


def _events(log: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr class="{escape(entry["kind"])}"><td>{_time(entry["at"])}</td><td>{escape(entry["kind"])}</td>'
        f"<td>{escape(entry['text'])}</td></tr>"
        for entry in log
    )
    return (
        f'<div class="scroll"><table class="events"><tr><th>UTC</th><th>kind</th><th>what</th></tr>{rows}</table></div>'
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")

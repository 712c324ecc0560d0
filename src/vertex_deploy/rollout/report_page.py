"""The HTML of a rollout's report. Pure: the data of ``report.report_data`` in, one page out.

Every value that came from outside (names, reasons, errors) is escaped, and should one ever not be, the page's own
policy lets a browser run and fetch nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from vertex_deploy.rollout.charts import Axis, Band, Level, Line, Mark, chart, nice, powers
from vertex_deploy.rollout.machine import Event
from vertex_deploy.rollout.report_style import STYLE
from vertex_deploy.rollout.view import ICONS, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

VERSIONS = ("stable", "canary")
RATES = {"error_rate": ("Error rate (5xx)", "errors"), "rejection_rate": ("Rejection rate (4xx)", "rejected")}
"""Rate -> what it is called, and the count that it is the share of."""

# What moved traffic, or kept it from moving.
_MARKED = {
    Event.SHIFTED: "shift",
    Event.PROMOTED: "100%",
    Event.GATE_FAILED: "gate failed",
    Event.ALERT_FIRED: "alert",
    Event.INCONCLUSIVE: "inconclusive",
    Event.PAUSE: "paused",
    Event.RESUME: "resumed",
    Event.ADOPTED: "adopted",
    Event.ABORT: "abort",
    Event.ROLL_BACK: "rollback",
}
# Evidence below is drawn here: the new version is not suspected at all.
_NO_EVIDENCE = 0.01
# A path need not have more points than the chart has pixels.
_POINTS = 400
# A band of fewer requests is cut off rather than made to fit.
_FITTED = 30


def render_report(data: Mapping[str, Any]) -> str:
    """The page: facts, plots, verdicts and events."""
    rollout = data["rollout"]
    state = rollout["ending"] or rollout["phase"]
    facts = [
        ("Reason", rollout["reason"]),
        ("Endpoint", data["endpoint"] or "none"),
        ("New version", f"{data['models']['canary'] or 'not uploaded'} as {data['ids']['canary']}"),
        (
            "Stable before it",
            f"{data['models']['stable']} as {data['ids']['stable']}" if data["ids"]["stable"] else "none",
        ),
        ("Image", data["release"]["image"]),
        ("Artifact", data["release"]["artifact"] or "none"),
        ("Commit", data["release"]["commit"] or "not known"),
        ("Started", rollout["started"]),
        ("Ended", rollout["ended"] or "not yet"),
    ]
    table = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in facts
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Rollout {escape(rollout['id'])}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(rollout["name"])} <span class="badge {escape(state)}">'
        f"{escape(state.replace('_', ' '))}</span></h1>"
        f'<p class="id">{escape(rollout["id"])}</p><table class="facts">{table}</table>'
        f"<h2>Traffic</h2>{_split_chart(data)}"
        f"<h2>Errors</h2>{''.join(_rate_chart(data, name) for name in RATES)}"
        f"<h2>Latency</h2>{_latency_charts(data)}"
        f"<h2>Evidence</h2>{_evidence_charts(data)}"
        f"<h2>Verdicts</h2>{_verdict_tables(data)}"
        f"<h2>Events</h2>{_events(data['log'])}"
        "</main></body></html>\n"
    )


# -- charts ----------------------------------------------------------------------------------------------------------


def _marks(data: Mapping[str, Any]) -> list[Mark]:
    return [
        Mark(at=entry["at"] - data["started"], label=_MARKED[entry["data"]["event"]])
        for entry in data["log"]
        if entry["kind"] == "transition" and entry["data"].get("event") in _MARKED
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
    return chart("Traffic split", lines, span=span, unit="%", axis=Axis(high=100.0), marks=_marks(data))


def _rate_chart(data: Mapping[str, Any], name: str) -> str:
    """A rate of both versions, each stretch as a bar with its band."""
    lines, bands, highs = [], [], []
    levels = _limits(data, name, scale=100)
    for version in VERSIONS:
        found = data["rates"][name][version]
        points: list[tuple[float, float | None]] = []
        for rate in found:
            if points and rate["start"] - (points[-1][0]) > (rate["end"] - rate["start"]) / 2:
                points.append((rate["start"], None))
            points += [(rate["start"], rate["rate"] * 100), (rate["end"], rate["rate"] * 100)]
        lines.append(Line(label=version, colour=version, points=points))
        boxes = [(rate["start"], rate["end"], rate["low"] * 100, rate["high"] * 100) for rate in found]
        bands.append(Band(colour=version, boxes=boxes))
        highs += [rate["high"] * 100 for rate in found if rate["requests"] >= _FITTED]
        highs += [rate["rate"] * 100 for rate in found]
        # Of too few requests everywhere, the best known stretch still shows how little is known.
        highs += [min((rate["high"] * 100 for rate in found), default=0.0)]
    axis = Axis(high=min(100.0, nice(max([*highs, *(level.value for level in levels)], default=1.0))))
    title = f"{RATES[name][0]}, with 95% bands"
    return chart(
        title, lines, span=data["seconds"], unit="%", axis=axis, marks=_marks(data), bands=bands, levels=levels
    )


def _latency_charts(data: Mapping[str, Any]) -> str:
    names = next((item[v]["latency_ms"] for item in data["intervals"] for v in VERSIONS if item[v]), {"p95": None})
    found = []
    for name in names:
        lines = [
            Line(
                label=version,
                colour=version,
                points=_percentile(data["intervals"], version, name),
            )
            for version in VERSIONS
        ]
        levels = _limits(data, f"latency_{name}")
        found.append(
            chart(f"Latency {name}", lines, span=data["seconds"], unit=" ms", marks=_marks(data), levels=levels)
        )
    return "".join(found)


def _percentile(intervals: Sequence[Mapping[str, Any]], version: str, name: str) -> list[tuple[float, float | None]]:
    """A percentile of one version, interval by interval; broken where nothing was measured."""
    points: list[tuple[float, float | None]] = []
    for item in sorted(intervals, key=lambda item: item["seconds"]):
        start = item["seconds"] - item["length"]
        if points and start - points[-1][0] > item["length"] / 2:
            points.append((start, None))
        points.append((item["seconds"], item[version]["latency_ms"][name] if item[version] else None))
    return points


def _limits(data: Mapping[str, Any], metric: str, *, scale: float = 1) -> list[Level]:
    """The absolute limits on a metric, as the judge read them last."""
    values = {
        check["looks"][-1]["threshold"]
        for check in data["checks"]
        if check["metric"] == metric and check["kind"] == "absolute"
    }
    return [Level(value=value * scale, label="limit") for value in sorted(values - {None})]


def _evidence_charts(data: Mapping[str, Any]) -> str:
    """Of each gate, the evidence of its checks and what it would take to fail."""
    if not data["checks"]:
        return '<p class="none">No evidence: nothing was measured, or there are no gates.</p>'
    titles = {"absolute": "against its limit", "relative": "against stable"}
    charts = []
    for gate in dict.fromkeys(check["gate"] for check in data["checks"]):
        checks = [check for check in data["checks"] if check["gate"] == gate]
        lines = [
            Line(
                label=titles[check["kind"]],
                colour="canary",
                points=_thinned([(look["seconds"], look["evidence"]) for look in check["looks"]]),
                dashed=check["kind"] == "relative",
            )
            for check in checks
        ]
        needed = sorted({check["evidence_needed"] for check in checks})
        drawn = [value for line in lines for _, value in line.points if value is not None]
        charts.append(
            chart(
                f"{gate}: evidence against the new version" + (" (dry run)" if checks[0]["dry_run"] else ""),
                lines,
                span=data["seconds"],
                unit="",
                axis=powers([*drawn, *needed], least=_NO_EVIDENCE),
                marks=_marks(data),
                levels=[Level(value=value, label="fails at") for value in needed],
            )
        )
    return (
        "<p>An e-value: what a stake of 1 has become by betting, at fair odds and over the whole rollout, that the "
        "new version breaks the gate. 1 is no evidence. If it meets all gates, the chance that any ever gets to its "
        "line is at most 5%, however often it is looked at.</p>" + "".join(charts)
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """As many points as can be seen; the highest of those that share a place, so that no peak is lost."""
    size = -(-len(points) // _POINTS)
    groups = (points[start : start + size] for start in range(0, len(points), max(size, 1)))
    return [max(group, key=lambda point: point[1]) for group in groups]


# -- tables ----------------------------------------------------------------------------------------------------------


def _verdict_tables(data: Mapping[str, Any]) -> str:
    if not data["verdicts"]:
        return '<p class="none">No verdict: nothing was measured, or there are no gates.</p>'
    heads = _heads("outcome", "gate", "canary", "limit", "stable", "requests", "evidence", "explanation")
    found = []
    for verdict in data["verdicts"]:
        rows = "".join(
            f'<tr class="{escape(r["outcome"])}"><td>{ICONS[r["outcome"]]} {escape(r["outcome"])}</td>'
            f"<td>{escape(r['gate'])} <small>{escape(r['kind'])}</small></td>"
            f"<td>{escape(quantity(r['value'], r['unit']))}</td><td>{escape(quantity(r['threshold'], r['unit']))}</td>"
            f"<td>{escape(quantity(r['stable'], r['unit']))}</td><td>{r['samples']}</td>"
            f"<td>{r['evidence']:.3g} of {r['evidence_needed']:.3g}</td><td>{escape(r['explanation'])}</td></tr>"
            for r in verdict["readings"]
        )
        title, why = f"{verdict['step'] or 'start'}: {verdict['outcome']}", verdict["explanation"]
        notes = "".join(f'<p class="none">{escape(note)}</p>' for note in verdict["notes"])
        found.append(
            f'<h3>{escape(title)}</h3><p>{escape(why)}</p>{notes}<div class="scroll"><table class="readings">'
            f"{heads}{rows}</table></div>{_history(data, verdict['step'])}"
        )
    return "".join(found)


def _history(data: Mapping[str, Any], step: str) -> str:
    """How the verdict of a step came about: each change of an outcome, with the sentences that were new."""
    rows, before = [], dict[int, str]()
    for change in (change for change in data["changes"] if change["step"] == step):
        told = "<br>".join(_told(change, before)) or escape(change["explanation"])
        before = {index: reading["outcome"] for index, reading in enumerate(change["readings"])}
        rows.append(
            f'<tr class="{escape(change["outcome"])}"><td>{ICONS[change["outcome"]]} {escape(change["outcome"])}</td>'
            f"<td>{_time(data['started'] + change['seconds'])}</td><td>{told}</td></tr>"
        )
    return (
        f"<details><summary>How it came to that, in {len(rows)} verdict{'s' if len(rows) > 1 else ''}</summary>"
        f'<div class="scroll"><table class="changes">{_heads("outcome", "UTC", "what was new")}'
        f"{''.join(rows)}</table></div></details>"
    )


def _told(change: Mapping[str, Any], before: Mapping[int, str]) -> Iterator[str]:
    for index, reading in enumerate(change["readings"]):
        if before.get(index) != reading["outcome"]:
            yield f"{ICONS[reading['outcome']]} {escape(reading['explanation'])}"


def _events(log: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr class="{escape(entry["kind"])}"><td>{_time(entry["at"])}</td><td>{escape(entry["kind"])}</td>'
        f"<td>{escape(entry['text'])}</td></tr>"
        for entry in log
    )
    return f'<div class="scroll"><table class="events">{_heads("UTC", "kind", "what")}{rows}</table></div>'


def _heads(*names: str) -> str:
    return "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr>"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")

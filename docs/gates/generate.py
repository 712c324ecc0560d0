# ruff: noqa: INP001 - a script beside the pages it writes
"""Writes the pages of this folder: a page a kind of gate, every number in the examples from the judge itself.

``python docs/gates/generate.py`` writes them; with ``--check`` it fails if one is stale.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.rollout.judge import Judge, Reading, Verdict, run_history
from vertex_deploy.rollout.judge.history import Entry, read_history, replay_entries
from vertex_deploy.spec import load
from vertex_deploy.spec.gates import Gate
from vertex_deploy.spec.pages import write_or_check

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "python docs/gates/generate.py"
START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
BOUNDS = (100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 700.0, 1000.0)
NOTE = "<!-- Written by docs/gates/generate.py; do not edit. -->\n"


def verdicts(gates: list[Gate], minutes: list[tuple[VersionSample | None, VersionSample | None]]) -> list[Verdict]:
    """The verdict after each minute of one step."""
    judge = Judge(gates)
    judge.begin_step("10%", START)
    return [
        judge.update(Interval(START + timedelta(minutes=n + 1), 60.0, stable, canary))
        for n, (stable, canary) in enumerate(minutes)
    ]


def table(seen: list[Verdict], reading: int = 0, *, pick: tuple[int, ...] = ()) -> str:
    """What a reading said at some minutes, and the last sentence."""
    lines = [
        "| minute | canary | limit | stable | requests of the canary | evidence | outcome |",
        "|---|---|---|---|---|---|---|",
    ]
    for minute in pick or range(1, len(seen) + 1):
        r = seen[minute - 1].readings[reading]
        values = [number(v, r.unit) for v in (r.value, r.threshold, r.stable)]
        evidence = f"{r.evidence:.3g} : {r.evidence_needed:.3g}"
        lines.append(f"| {minute} | {' | '.join(values)} | {r.samples} | {evidence} | {r.outcome} |")
    last = seen[(pick[-1] if pick else len(seen)) - 1].readings[reading]
    return "\n".join([*lines, "", f"> {last.explanation}"])


def number(value: float | None, unit: str) -> str:
    """For a cell."""
    if value is None:
        return "-"
    return f"{value:.3%}" if unit == "share" else f"{value:.4g} {unit}".strip()


def spec(*gates: dict[str, Any]) -> tuple[str, list[Gate]]:
    """Gates as YAML, and read."""
    text = yaml.safe_dump({"gates": list(gates)}, sort_keys=False, default_flow_style=None, width=110)
    return f"```yaml\n{text}```", [Gate.model_validate(gate) for gate in gates]


def errors(requests: int, bad: int) -> VersionSample:
    """A minute without latencies."""
    return VersionSample(requests, bad)


def slow(requests: int, shares: tuple[int, ...]) -> VersionSample:
    """A minute of latencies; ``shares`` are percents per bucket."""
    counts = tuple(round(requests * share / 100) for share in shares)
    return VersionSample(sum(counts), 0, Histogram(BOUNDS, counts))


def first_pass(gate: Gate, stable: VersionSample, canary: VersionSample, most: int = 20_000) -> int | None:
    """Requests of the canary, in minutes that are all alike, until the gate passes."""
    judge = Judge([gate])
    for n in range(1, most):
        verdict = judge.update(Interval(START + timedelta(minutes=n), 60.0, stable, canary))
        if verdict.outcome == "pass":
            return verdict.readings[0].samples
    return None


def absolute() -> str:
    """The page on limits."""
    text, gates = spec({"metric": "error_rate", "max": "0.5%", "min_requests": 200})
    good = verdicts(gates, [(errors(540, 1), errors(60, 0))] * 6)
    bad = verdicts(gates, [(errors(540, 1), errors(60, n)) for n in (1, 2, 1, 3, 2, 2)])
    both = verdicts(gates, [(errors(540, 27), errors(60, 3))] * 10)
    _, strict = spec({"metric": "error_rate", "max": "0.5%", "min_requests": 200, "if_stable_too": "fail"})
    fails = verdicts(strict, [(errors(540, 27), errors(60, 3))] * 10)
    rows = []
    for limit in ("0.1%", "0.5%", "1%", "5%"):
        gate = Gate.model_validate({"metric": "error_rate", "max": limit, "min_requests": 1})
        rows.append(f"| {limit} | {first_pass(gate, errors(90, 0), errors(10, 0))} |")
    latency_text, latency = spec({"metric": "latency_p95", "max": "500ms"})
    tail = verdicts(
        latency, [(slow(500, (5, 20, 40, 25, 6, 2, 1, 1, 0)), slow(100, (5, 15, 30, 25, 9, 4, 7, 4, 1)))] * 6
    )
    return f"""{NOTE}# Absolute limits

{text}

The canary must stay below a limit. One bad minute does not fail it: the gate fails when a binomial e-process over the
whole rollout proves that the canary is over the limit, and it passes when the window of the current step is within the
limit, has `min_requests`, and is long enough that `evidence.detect` (4) times the limit's odds would have shown.

Sixty requests a minute, none of them failing:

{table(good)}

With failures:

{table(bad, pick=tuple(range(1, next(n for n, v in enumerate(bad, 1) if v.outcome == "fail") + 1)))}

## When stable breaks the limit too

An incident hits both versions: 5% of errors on either side. With `if_stable_too: hold`, the default, that is no
evidence against the canary, and no pass either:

{table(both, pick=(1, 5, 10))}

With `if_stable_too: fail`:

{table(fails, pick=tuple(range(1, next(n for n, v in enumerate(fails, 1) if v.outcome == "fail") + 1)))}

## How many requests a pass takes

Requests of the canary, none failing, until the gate passes (`min_requests: 1`):

| max | requests |
|---|---|
{chr(10).join(rows)}

## Latencies

{latency_text}

"p95 at most 500 ms" is "at most 5% take longer than 500 ms". Only requests in buckets that lie above the limit as a
whole count as evidence, so put the limit on a bucket bound. Here 12% are above it:

{table(tail, pick=tuple(range(1, next(n for n, v in enumerate(tail, 1) if v.outcome == "fail") + 1)))}
"""


def relative() -> str:
    """The page on comparisons with stable."""
    text, gates = spec({"metric": "latency_p95", "worse_than_stable": "10%"})
    fast = (5, 20, 40, 25, 6, 2, 1, 1, 0)
    equal = verdicts(gates, [(slow(900, fast), slow(100, fast))] * 10)
    worse = verdicts(gates, [(slow(900, fast), slow(100, (5, 15, 30, 30, 10, 5, 3, 2, 0)))] * 10)
    shared = verdicts(
        gates, [(slow(900, (0, 0, 5, 20, 40, 25, 6, 2, 2)), slow(100, (0, 0, 5, 20, 40, 25, 6, 2, 2)))] * 10
    )
    better_text, better_gates = spec({"metric": "latency_p95", "better_than_stable": "10%"})
    better = verdicts(better_gates, [(slow(900, fast), slow(100, (35, 40, 20, 3, 1, 1, 0, 0, 0)))] * 20)
    done = next(n for n, v in enumerate(better, 1) if v.outcome == "pass")
    failed = next(n for n, v in enumerate(worse, 1) if v.outcome == "fail")
    return f"""{NOTE}# Against stable, over the same minutes

{text}

A margin is a percentage (`10%`) or a factor (`1.1x`). Stable's value of the very same minutes is the yardstick, so what
hits both versions cancels: time of day, a slow dependency, an incident.

An equal canary, 100 requests a minute of 1000:

{table(equal, pick=(1, 2, 5, 10))}

A canary with a longer tail:

{table(worse, pick=tuple(range(1, failed + 1)))}

Both slow at the same time:

{table(shared, pick=(1, 10))}

## An improvement must be shown

{better_text}

With `better_than_stable` the canary passes only when the evidence shows the improvement, and fails when it shows that
there is none:

{table(better, pick=tuple(sorted({1, 2, done})))}
"""


def evidence() -> str:
    """The page on sequential evidence."""
    text, gates = spec({"metric": "error_rate", "evidence": {"odds": 1.25}})
    _, careful = spec({"metric": "error_rate", "evidence": {"odds": 1.25, "overdispersion": 4}})
    minutes = [(errors(5400, 27), errors(600, n)) for n in (5, 9, 12, 8, 11, 13, 10, 12, 9, 12, 14, 11, 10, 13, 12)]
    plain, tempered = verdicts(gates, minutes), verdicts(careful, minutes)
    failed = next(n for n, v in enumerate(plain, 1) if v.outcome == "fail")
    clean = verdicts(gates, [(errors(540, 0), errors(60, n)) for n in (0, 1, 0, 0, 1, 0, 1, 1, 1, 1)])
    ended = next((n for n, v in enumerate(clean, 1) if v.outcome == "fail"), len(clean))
    return f"""{NOTE}# Sequential evidence

{text}

A pure comparison of error rates: it fails when the evidence for "the canary's odds of an error are more than `odds`
times stable's" reaches what is needed (1/alpha, divided among the gates). The evidence is an e-value: it may be read
after every minute, and the chance that it ever gets there while the canary is within the margin is at most alpha.

Stable fails 0.5% of 5400 requests a minute, the canary about 1.8% of 600:

{table(plain, pick=tuple(range(1, failed + 1)))}

The same minutes with `overdispersion: 4`, for errors that cluster (retries, bursts that hit one version alone):

{table(tempered, pick=tuple(range(1, failed + 1)))}

## No errors in stable

Zero is a rate like any other: each error that only the canary has is evidence.

{table(clean, pick=tuple(range(1, ended + 1)))}
"""


def custom() -> str:
    """The page on custom metrics."""
    text, gates = spec(
        {
            "metric": "rating",
            "better": "higher",
            "better_than_stable": "5%",
            "range": [1, 5],
            "query": {"cloud_monitoring": 'metric.type="custom.googleapis.com/rating"'},
        }
    )
    cost_text, _ = spec(
        {
            "metric": "cost_per_request",
            "worse_than_stable": "20%",
            "range": [0, 0.02],
            "query": {
                "prometheus": 'sum(rate(cost_total{v="{deployed_model_id}"}[{interval}])) '
                '/ sum(rate(requests_total{v="{deployed_model_id}"}[{interval}]))'
            },
        }
    )
    wave = (0.03, -0.02, 0.01, -0.04, 0.02)

    def rated(stars: float, n: int, requests: int) -> VersionSample:
        return VersionSample(requests, 0, None, {"rating": stars + wave[n % 5]})

    def hour(stars: float, minutes: int) -> list[Verdict]:
        return verdicts(gates, [(rated(4.0, n, 540), rated(stars, n + 2, 60)) for n in range(minutes)])

    good, same = hour(4.6, 240), hour(4.0, 240)
    done = next(n for n, v in enumerate(good, 1) if v.outcome == "pass")
    failed = next(n for n, v in enumerate(same, 1) if v.outcome == "fail")
    return f"""{NOTE}# Custom metrics

{text}

The same from Prometheus, which `monitoring.prometheus` gives the address of:

{cost_text}

Anything that Cloud Monitoring or Prometheus can give as one number a minute and version: cost a request, a rating,
tokens a second. The gate bets on the mean, between the two ends of `range`; the tighter the range, the sooner it knows.
Every minute counts as one observation, whatever its requests. It passes when the condition is shown, and fails when
the opposite is. The means that the bets do not rule out at any minute are a confidence sequence; the gate asks of it
only whether it still holds the limit.

A critical gate with `max` or `min` on a `cloud_monitoring` query becomes an alert policy too. Its
filter must name a resource, which `vertex-deploy check` demands: `... AND resource.type="global"`. Preflight warns (or
refuses, see `on_missing_metrics`) where stable had no value of the metric in the last hour.

A canary rated 4.6 where stable has 4.0 (5% more would be 4.2; "requests" counts minutes here):

{table(good, pick=tuple(sorted({1, 10, done})))}

A canary rated like stable does not meet "at least 5% better":

{table(same, pick=tuple(sorted({1, 10, failed})))}
"""


def criteria() -> str:
    """The page on the decision criteria of examples/judge, judged on the history that is recorded there."""
    example = ROOT / "examples" / "judge"
    gates = load(example / "deploy.yaml").rollout.gates
    seen = run_history(example / "history.json", gates)
    entries = read_history(example / "history.json")
    others = (
        ("is rated 3.4", {"rating": 3.4}),
        ("is rated like stable", {"rating": 4.0}),
        ("costs 0.018", {"cost_per_request": 0.018}),
    )
    rows, ended = [], []
    for what, gauges in others:
        last = replay_entries([_with_gauges(entry, gauges) for entry in entries], gates)
        minute = next((n for n, v in enumerate(last, 1) if v.outcome == "fail"), len(last))
        verdict = last[minute - 1]
        ended.append(f"| {what} | {minute} | {verdict.outcome} | {verdict.explanation} |")
    first = next(n for n, v in enumerate(seen, 1) if v.outcome == "pass")
    for reading in seen[-1].readings:
        passes = next(n for n, v in enumerate(seen, 1) if _named(v, reading.gate).outcome == "pass")
        rows.append(
            f"| {reading.gate} | {number(reading.value, reading.unit)} | {number(reading.threshold, reading.unit)} "
            f"| {number(reading.stable, reading.unit)} | {passes} | {reading.explanation} |"
        )
    table_rows, ended_rows = "\n".join(rows), "\n".join(ended)
    return f"""{NOTE}# Decision criteria of four gates

When may a new version replace the old one? A common answer: it is at least 10% faster at p95, rated at least 5% better,
costs at most 20% more a request, and fails fewer than 0.5% of its requests. Each is a gate in
[`examples/judge/deploy.yaml`](../../examples/judge/deploy.yaml); the first two ask for an improvement, which must be
shown.

```sh
vertex-deploy rollout judge --history examples/judge/history.json --gates examples/judge/deploy.yaml
```

The history has {len(seen)} minutes; all four pass from minute {first} on. After the last minute:

| gate | canary | limit | stable | first passes in minute | what the judge says |
|---|---|---|---|---|---|
{table_rows}

The gates share one alpha of 5%. The e-value at which each fails, in whatever minute it is read:
{_needed(seen)}.

Means of custom metrics take the longest, since a minute is one observation. The same history with another rating or
cost:

| the canary | after minute | outcome | by |
|---|---|---|---|
{ended_rows}
"""


def _named(verdict: Verdict, gate: str) -> Reading:
    return next(reading for reading in verdict.readings if reading.gate == gate)


def _needed(seen: list[Verdict]) -> str:
    needed = {reading.gate: reading.evidence_needed for reading in seen[-1].readings}
    return ", ".join(f"{value:.4g} ({gate})" for gate, value in needed.items())


def _with_gauges(entry: Entry, gauges: dict[str, float]) -> Entry:
    """The entry with other means of the canary's custom metrics."""
    canary = entry.interval.canary
    if canary is None:
        return entry
    changed = replace(canary, gauges={**canary.gauges, **gauges})
    return replace(entry, interval=replace(entry.interval, canary=changed))


PAGES = {
    "criteria.md": criteria,
    "absolute.md": absolute,
    "relative.md": relative,
    "evidence.md": evidence,
    "custom.md": custom,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are stale."""
    texts = {f"docs/gates/{name}": make() for name, make in PAGES.items()}
    return write_or_check(texts, ROOT, arguments, COMMAND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

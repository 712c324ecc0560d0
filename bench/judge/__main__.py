"""``python -m bench.judge``: simulate, print the table, write JSON and the page of the documentation.

The default takes about a quarter of an hour of one core. ``--runs 20 --fast`` is the seed that the tests use.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.judge.limits import hardest
from bench.judge.measure import BARE, OURS, Row, Target, alarm_rate, measure, targets, title, worst
from bench.judge.peers import PEERS
from bench.judge.scenarios import Scenario, apart, grid

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "judge.md"
# Where a judge of ours fails more than alpha of the runs without cause, so many times as many are added.
MORE = 4
# Where the canary is worse, so many times as many: the mean of a hundred runs is only good to a twentieth.
WORSE = 2
RESULTS = ROOT / "bench" / "judge" / "results.json"

_HEAD = """# The judge against its peers

Written by `python -m bench.judge --runs {runs} --seed {seed} --write`; do not edit.

An hour is simulated minute by minute, {runs} times a scenario, and {worse} times where the canary is worse; every judge
sees the same runs, and half an hour of stable alone before each. Each cell says the share of runs failed, the median
minute of failing, and the mean number of bad requests that the canary served until then (in the whole hour where it was
not failed). How each judge decides is said in `bench/judge/peers.py`, what is simulated in `bench/judge/scenarios.py`.

Ours is the class that rollouts use, with one gate (`worse_than_stable: 25%` on errors, `10%` on latency_p95) and alpha
at its default of 5%; apart, without a margin, since Mann-Whitney and the z-test know none, and with a limit only
(`max: 1%`, `500ms`) as the thresholds have. The thresholds look at the canary alone: in "on both" they blame it for
what hits everybody.

Of the half hour before, ours takes where stable's slow requests begin. Kayenta compares the same minutes of both
versions, and so does Mann-Whitney here; apart, it takes the values of the half hour for stable's as well. It then
detects sooner, and fails sound canaries wherever the day moves on.
"""

_ALARMS = """## False alarms

The worst rate of each judge over the {count} scenarios in which nothing is wrong with the canary, with its 95% (Wilson)
interval. Where a judge of ours failed more than 5% of the first {runs} runs, {more} more are in the figures. A judge
breaks its promise where the whole interval lies above 5%. One that spends its alpha to detect sooner comes close to it,
so some of {runs} runs may be more than 5% by chance.
"""

_LIMITS = """Some of this no test can do. However it is made, a test that fails an accepted canary in at most 5% of
the hours needs so many requests to tell a worse one from it; `bench/judge/limits.py` has the two bounds (Wald's on
the mean, for the bad requests; Neyman's and Pearson's on the median, for the time). "At least" is that bound, for a
test that detects as often as the less able of the two and, for latencies, counts requests above the bucket bound
nearest to p95. Mann-Whitney is not held to it: nothing bounds its false alarms when it is read again and again.

"If told how much worse" is Wald's own test on the same runs, minute by minute, which knows the size of the regression
and stakes everything on it at once (`bench/judge/told.py`). The gap between ours and that test is the price of finding
regressions of every size, at any time. Where that test misses a target too, there is little that ours could do.
"""

_MARGIN = """## What a margin costs

With stable at 0.5%, a gate that accepts 25% more errors must tell a canary at 1% from one at 0.625%, not from one at
0.5%. The table says how many times as long any test takes for that: the ratio of the information in a minute without
and with the margin. A margin is worth that where a canary that is a little worse is to be promoted; where it is not,
leave it out.
"""

_APART = """## Apart: bursts that hit the canary alone

The canary's mean error rate is stable's, but it moves by itself from minute to minute (AR(1), phi 0.8, standard
deviation 0.7 of the log). Its requests are not independent, which the evidence supposes; the option
`evidence: {overdispersion: 4}` allows for it, at the price of slower detection. What to write is the variance of the
errors of an hour over that of independent ones, which grows with the requests.
"""


def table(rows: list[Row]) -> list[str]:
    """Markdown, one line a scenario."""
    judges = [cell.judge for cell in rows[0].cells]
    lines = ["| scenario | " + " | ".join(judges) + " |", "|---|" + "---|" * len(judges)]
    for row in rows:
        cells = []
        for cell in row.cells:
            when = "-" if cell.minutes is None else f"{cell.minutes:g} min"
            cells.append(f"{cell.failed:.1%}, {when}, {cell.bad:.3g} bad")
        lines.append(f"| {title(row)} | " + " | ".join(cells) + " |")
    return lines


def _said(target: Target) -> list[str]:
    apart = f"; in {len(target.impossible)} more no test can" if target.impossible else ""
    lines = [f"- {target.text}: {target.met} of {target.of} scenarios{apart}."]
    lines += [f"    - not met: {miss}" for miss in target.misses]
    return lines + [f"    - not possible at this alpha: {least}" for least in target.impossible]


def margins(rows: list[Row]) -> list[str]:
    """Markdown: how many times as long any test takes with the margin, by what is wrong and the canary's weight."""
    worse = [row.scenario for row in rows if not row.scenario.null]
    names, weights = list(dict.fromkeys(s.name for s in worse)), list(dict.fromkeys(s.weight for s in worse))
    lines = [
        "| what is wrong | " + " | ".join(f"{w:.0%} canary" for w in weights) + " |",
        "|---|" + "---|" * len(weights),
    ]
    for name in names:
        cells = []
        for weight in weights:
            one = next(s for s in worse if (s.name, s.weight) == (name, weight))
            cells.append(f"{hardest(one, margin=False).information / hardest(one, margin=True).information:.2g}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def page(data: dict[str, Any]) -> str:
    """The page of the documentation, from the results."""
    every = [Row.from_json(item) for item in data["rows"]]
    rows, special = [r for r in every if not r.scenario.canary_noise], [r for r in every if r.scenario.canary_noise]
    runs, seed = data["runs"], data["seed"]
    lines = [_HEAD.format(runs=runs, seed=seed, worse=runs + WORSE * runs), "## Targets", "", _LIMITS]
    for target in (*targets(rows, OURS), *targets(rows, BARE)):
        lines += _said(target)
    count = sum(row.scenario.null for row in rows)
    lines += [
        "",
        _ALARMS.format(count=count, runs=runs, more=MORE * runs),
        "| judge | worst rate | where |",
        "|---|---|---|",
    ]
    for judge in data["judges"]:
        row = worst(rows, judge)
        where = title(row) if row.cell(judge).failed else "-"
        lines.append(f"| {judge} | {alarm_rate(row, judge)} | {where} |")
    lines += ["", _MARGIN, *margins(rows)]
    lines += ["", "## Nothing is wrong with the canary: every failure is a false alarm", ""]
    lines += table([row for row in rows if row.scenario.null])
    lines += ["", "## The canary is worse: failures are detections", ""]
    lines += table([row for row in rows if not row.scenario.null])
    lines += ["", _APART, *table(special), ""]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="simulated hours a scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures do not depend on it")
    parser.add_argument("--fast", action="store_true", help="10% canary at 600 requests a minute only")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {RESULTS.name}")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument(
        "--render", action="store_true", help=f"write {PAGE.name} from {RESULTS.name}; simulate nothing"
    )
    parser.add_argument("--check", action="store_true", help=f"fail if {PAGE.name} does not follow from {RESULTS.name}")
    options = parser.parse_args(argv)
    if options.check or options.render:
        text = page(json.loads(RESULTS.read_text(encoding="utf-8")))
        if options.render:
            PAGE.write_text(text, encoding="utf-8")
        if PAGE.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{PAGE} is stale; run: python -m bench.judge --render\n")
            return 1
        return 0
    chosen = [s for s in grid() if not options.fast or (s.volume, s.weight) == (600, 0.1)]
    rows = _measured([*chosen, *apart()], options.runs, options.seed, options.jobs)
    data = {
        "runs": options.runs,
        "seed": options.seed,
        "judges": list(PEERS),
        "rows": [row.to_json() for row in rows],
    }
    results = json.dumps(data, indent=1) + "\n"
    text = page(data)
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        RESULTS.write_text(results, encoding="utf-8")
    if options.json:
        options.json.write_text(results, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def _measured(scenarios: list[Scenario], runs: int, seed: int, jobs: int) -> list[Row]:
    rows = []
    seeds = [seed * 1000 + number for number in range(len(scenarios))]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        # Of another module: a spawned process does not import __main__ of a package.
        begun = [
            pool.submit(measure, scenario, runs, number, more=(MORE if scenario.null else WORSE) * runs)
            for scenario, number in zip(scenarios, seeds, strict=True)
        ]
        for future in begun:
            rows.append(row := future.result())
            sys.stderr.write(f"{len(rows)}/{len(scenarios)} {title(row)}: {row.cell(OURS).failed:.1%}\n")
    return rows


if __name__ == "__main__":
    sys.exit(main())

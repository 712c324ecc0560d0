"""``python -m bench.judge``: simulate, print the table, write JSON and the page of the documentation.

The default takes a few minutes on one core. ``--runs 20 --fast`` is the seed that the tests use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.judge.measure import BARE, OURS, Row, measure, targets, title
from bench.judge.peers import PEERS
from bench.judge.scenarios import Scenario, apart, grid

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "judge.md"
RESULTS = ROOT / "bench" / "judge" / "results.json"

_HEAD = """# The judge against its peers

Written by `python -m bench.judge --runs {runs} --seed {seed} --write` ({seconds:.0f} s on a shared core); do not edit.

An hour is simulated minute by minute, {runs} times a scenario; every judge sees the same runs. Each cell says the share
of runs failed, the median minute of failing, and the mean number of bad requests that the canary served until then (in
the whole hour where it was not failed). How each judge decides is said in `bench/judge/peers.py`, what is simulated in
`bench/judge/scenarios.py`.

Ours is the class that rollouts use, with one gate (`worse_than_stable: 25%` on errors, `10%` on latency_p95) and alpha
at its default of 5%; apart, without a margin, since Mann-Whitney and the z-test know none, and with a limit only
(`max: 1%`, `500ms`) as the thresholds have. The thresholds look at the canary alone: in "on both" they blame it for
what hits everybody.
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


def page(data: dict[str, Any]) -> str:
    """The page of the documentation, from the results."""
    every = [Row.from_json(item) for item in data["rows"]]
    rows, special = [r for r in every if not r.scenario.canary_noise], [r for r in every if r.scenario.canary_noise]
    lines = [_HEAD.format(runs=data["runs"], seed=data["seed"], seconds=data["seconds"]), "## Targets", ""]
    for target in (*targets(rows, OURS), *targets(rows, BARE)):
        lines.append(f"- {target.text}: {target.met} of {target.of} scenarios.")
        lines += [f"    - not met: {miss}" for miss in target.misses]
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
    begin = time.perf_counter()
    chosen = [s for s in grid() if not options.fast or (s.volume, s.weight) == (600, 0.1)]
    rows = _measured([*chosen, *apart()], options.runs, options.seed)
    data = {
        "runs": options.runs,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - begin, 1),
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


def _measured(scenarios: list[Scenario], runs: int, seed: int) -> list[Row]:
    rows = []
    for number, scenario in enumerate(scenarios):
        rows.append(measure(scenario, runs, seed * 1000 + number))
        done = rows[-1]
        sys.stderr.write(f"{number + 1}/{len(scenarios)} {title(done)}: {done.cell(OURS).failed:.1%}\n")
    return rows


if __name__ == "__main__":
    sys.exit(main())

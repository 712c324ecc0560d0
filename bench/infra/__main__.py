"""``python -m bench.infra``: what 100 endpoints cost with the components, against bare pulumi-gcp; prints a table.

Each run is a process of its own. Two figures a run: the processor time of the program alone, and that of the whole
process with its imports, which is what a user's `pulumi up` waits for. Runs come in pairs, one of each program right
after the other, so that whatever else the machine does meets both; the median of the pairs' ratios is what counts.
``--limit`` fails the command where that of the first figure is higher.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
LIMIT = 1.2


def child(name: str, count: int) -> None:
    """Run one program in this process and print its figures."""
    from bench.infra.programs import run  # noqa: PLC0415 - the parent must not pay for it

    run(name, 1)  # the provider's modules are imported at the first resource
    started = time.process_time()
    made = run(name, count)
    seconds = time.process_time() - started
    print(json.dumps({"program": seconds, "process": time.process_time(), "resources": len(made)}))  # noqa: T201


def measure(count: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Figures of each program, run by run."""
    figures: dict[str, list[dict[str, float]]] = {"bare": [], "components": []}
    for _ in range(runs):
        for name, seen in figures.items():
            command = [sys.executable, "-W", "ignore", "-m", "bench.infra", "--child", name, "--count", str(count)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
            seen.append(json.loads(result.stdout))
    return figures


def medians(figures: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The median of each figure, by program."""
    return {
        name: {key: statistics.median(run[key] for run in seen) for key in seen[0]} for name, seen in figures.items()
    }


def ratios(figures: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """What the components cost, in times of the bare program: the median over the pairs of runs, by figure."""
    pairs = list(zip(figures["components"], figures["bare"], strict=True))
    return {key: statistics.median(ours[key] / bare[key] for ours, bare in pairs) for key in ("program", "process")}


def main() -> int:
    """Measure, print, and compare with the limit.

    Returns:
        0, or 1 if the components cost more than the limit allows.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.infra", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="endpoints (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=11, help="runs of each program (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=LIMIT, help="highest accepted ratio (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.count)
        return 0
    figures = measure(options.count, options.runs)
    median = medians(figures)
    ratio = ratios(figures)
    lines = ["| program | resources | program alone | whole process |", "|---|---|---|---|"]
    for name, seen in median.items():
        lines.append(f"| {name} | {seen['resources']:.0f} | {seen['program']:.3f} s | {seen['process']:.3f} s |")
    lines.append(f"| ratio | | {ratio['program']:.2f} | {ratio['process']:.2f} |")
    print("\n".join(lines))  # noqa: T201 - the command's output
    if options.write:
        told = {"count": options.count, "runs": figures, "median": median, "ratio": ratio}
        RESULTS.write_text(json.dumps(told, indent=2) + "\n")
    return int(ratio["program"] > options.limit)


if __name__ == "__main__":
    sys.exit(main())

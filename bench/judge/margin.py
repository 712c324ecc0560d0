"""How often the judge fails a canary that is slower by exactly the margin, for latencies of several shapes.

What a margin accepts is read off stable's buckets, which do not say where in them the requests are. Were it less than
the margin says, a canary that is just within it would be failed more often than alpha::

    python -m bench.judge.margin [--runs 300] [--seed 1] [--volume 600]

prints a line a shape: the share of hours in which an equal canary, and one slower by the gate's 10%, was failed: on the
average of four places of the buckets' bounds, and at the worst. Half of the requests are the canary's. It leaves out
what ``bench.judge`` simulates: incidents, noise and drift.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np

from bench.judge.limits import LATENCY_MARGIN
from bench.judge.peers import gate_for, ours
from bench.judge.scenarios import BOUNDS, LEAD, MEDIAN_MS, MINUTES, SIGMA, Draw, Scenario, normal_cdf

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.judge.scenarios import Floats

SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "lognormal": lambda ms: normal_cdf(np.log(ms / MEDIAN_MS) / SIGMA),
    "normal": lambda ms: normal_cdf((ms - 200) / 60),
    "exponential": lambda ms: 1 - np.exp(-np.maximum(ms - 100, 0) / 60),
    "weibull": lambda ms: 1 - np.exp(-((ms / 200) ** 4)),
    "uniform": lambda ms: np.clip((ms - 100) / 200, 0, 1),
}
"""Share of requests that take at most so many milliseconds; the last two have a lighter tail than a normal."""

PLACES = (1.0, 1.05, 1.1, 1.15)
"""All latencies are so many times longer: p95 lies elsewhere in its bucket, which is a fifth wide."""


def alarms(shape: str, factor: float, place: float, *, runs: int, seed: int, volume: int) -> float:
    """Share of the hours in which a canary was failed whose latencies are ``factor`` times stable's.

    Args:
        shape: one of ``SHAPES``.
        factor: 1 is an equal canary, ``LATENCY_MARGIN`` what the gate just accepts.
        place: one of ``PLACES``.
        runs: hours.
        seed: of what is drawn.
        volume: requests a minute of both versions.
    """
    rng = np.random.default_rng(seed)
    edges: list[Floats] = [
        np.concatenate([[0.0], SHAPES[shape]((BOUNDS / slower).astype(np.float64)), [1.0]])
        for slower in (place, place * factor)
    ]
    stable, canary = (np.diff(edge) for edge in edges)
    requests = rng.poisson(volume / 2, size=(2, runs, MINUTES))
    counts = np.stack([rng.multinomial(requests[0], stable), rng.multinomial(requests[1], canary)])
    lead = rng.poisson(volume, size=(runs, LEAD))
    before = lead, np.zeros_like(lead), rng.multinomial(lead, stable)
    drawn = Draw(requests, np.zeros_like(requests), counts, before)
    scenario = Scenario(shape, "latency", MEDIAN_MS, factor, volume=volume, weight=0.5)
    return float((ours(gate_for)(scenario, drawn) > 0).mean())


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.judge.margin", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="simulated hours a shape, canary and place")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--volume", type=int, default=600, help="requests a minute of both versions")
    options = parser.parse_args(argv)
    sys.stdout.write("latencies     equal  worst  slower by the margin  worst\n")
    for shape in SHAPES:
        cells: list[float] = []
        for factor in (1.0, LATENCY_MARGIN):
            found = [
                alarms(shape, factor, place, runs=options.runs, seed=options.seed + number, volume=options.volume)
                for number, place in enumerate(PLACES)
            ]
            cells += [sum(found) / len(found), max(found)]
        sys.stdout.write(f"{shape:<12} {cells[0]:>6.1%} {cells[1]:>6.1%} {cells[2]:>21.1%} {cells[3]:>6.1%}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

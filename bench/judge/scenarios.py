"""What is simulated: an hour of minutes of two versions, drawn with numpy from named scenarios.

Before it lies half an hour in which stable had all traffic. Requests of each minute are Poisson, split by the canary's
weight; errors are binomial; latencies are lognormal (median 200 ms, sigma 0.35: p95 of 356 ms), counted in buckets that
grow by a fifth. It leaves out retries, warm-up, and queueing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MINUTES = 60
LEAD = 30
"""Minutes of stable alone before the split."""
BOUNDS = 50 * 1.2 ** np.arange(20)
MEDIAN_MS, SIGMA = 200.0, 0.35
_PHI = 0.8
VOLUMES = (60, 600, 6000)
WEIGHTS = (0.01, 0.10, 0.50)


@dataclass(frozen=True)
class Scenario:
    """One cell of the benchmark.

    Args:
        name: of the family.
        metric: "errors" or "latency".
        base: stable's error rate, or its median in ms.
        factor: the canary's error rate or median, over stable's.
        null: True where failing the canary is a false alarm.
        shape: how both versions' level moves: "flat", "incident", "shared noise", "diurnal".
        canary_noise: standard deviation of noise (log scale, AR(1)) that hits the canary alone.
        volume: requests a minute of both versions.
        weight: the canary's share.
        overdispersion: the judge's option.
    """

    name: str
    metric: str
    base: float
    factor: float = 1.0
    null: bool = True
    shape: str = "flat"
    canary_noise: float = 0.0
    volume: int = 600
    weight: float = 0.1
    overdispersion: float = 1.0


@dataclass(frozen=True)
class Draw:
    """Simulated runs; axis 0 are runs, axis 1 minutes, the last one buckets.

    Args:
        requests: per version (0 stable, 1 canary), shape (2, runs, minutes).
        errors: the same shape.
        counts: latency buckets, shape (2, runs, minutes, buckets); None for error scenarios.
        before: stable alone in the minutes before: requests and errors of shape (runs, minutes), and counts.
    """

    requests: Ints
    errors: Ints
    counts: Ints | None
    before: tuple[Ints, Ints, Ints | None]


def families() -> list[Scenario]:
    """Every kind of hour, at one volume and weight."""
    errors = partial_scenario("errors", 0.005)
    latency = partial_scenario("latency", MEDIAN_MS)
    return [
        errors(name="A/A"),
        errors(name="incident on both", shape="incident"),
        errors(name="noise on both", shape="shared noise"),
        errors(name="diurnal drift", shape="diurnal"),
        errors(name="errors 0.5% to 1%", factor=2.0, null=False),
        errors(name="errors 0.5% to 2%", factor=4.0, null=False),
        errors(name="errors 0.1% to 1%", base=0.001, factor=10.0, null=False),
        latency(name="A/A"),
        latency(name="slowdown of both", shape="incident"),
        latency(name="noise on both", shape="shared noise"),
        latency(name="diurnal drift", shape="diurnal"),
        latency(name="latency x 1.25", factor=1.25, null=False),
        latency(name="latency x 1.5", factor=1.5, null=False),
        latency(name="latency x 2", factor=2.0, null=False),
    ]


def apart() -> list[Scenario]:
    """Bursts of errors that hit the canary alone, without and with the documented option."""
    burst = Scenario("bursts on the canary alone", "errors", 0.005, canary_noise=0.7)
    return [replace(burst, volume=volume, overdispersion=spread) for volume in VOLUMES for spread in (1.0, 4.0, 16.0)]


def grid() -> list[Scenario]:
    """All families at all volumes and weights."""
    return [
        replace(family, volume=volume, weight=weight)
        for family, volume, weight in product(families(), VOLUMES, WEIGHTS)
    ]


def partial_scenario(metric: str, base: float) -> Callable[..., Scenario]:
    """A maker of scenarios on one metric."""

    def make(*, name: str, base: float = base, **options: object) -> Scenario:
        return replace(Scenario(name, metric, base), **options)  # type: ignore[arg-type]

    return make


def draw(scenario: Scenario, runs: int, rng: np.random.Generator) -> Draw:
    """Simulate ``runs`` hours of a scenario."""
    level = _level(scenario, runs, rng)
    share = np.array([1 - scenario.weight, scenario.weight])[:, None, None]
    hour = _minutes(scenario, scenario.volume * share * _load(scenario, 0, MINUTES), level, rng)
    # Drawn last: the hour is the same with any lead-in.
    before = _level_before(scenario, level[0], rng)
    return Draw(*hour, _minutes(scenario, scenario.volume * _load(scenario, -LEAD, 0), before, rng))


def _minutes(
    scenario: Scenario, expected: Floats, level: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints | None]:
    """Requests, errors and latency counts of minutes with so many expected requests."""
    requests = rng.poisson(expected, size=level.shape)
    if scenario.metric == "errors":
        return requests, rng.binomial(requests, np.minimum(scenario.base * level, 0.9)), None
    z = (np.log(BOUNDS) - np.log(scenario.base * level)[..., None]) / SIGMA
    edges = np.concatenate([np.zeros((*level.shape, 1)), normal_cdf(z), np.ones((*level.shape, 1))], axis=-1)
    return requests, np.zeros_like(requests), rng.multinomial(requests, np.diff(edges, axis=-1))


def _load(scenario: Scenario, begin: int, end: int) -> Floats:
    minutes = np.arange(begin, end)
    return 1 + 0.5 * np.sin(2 * np.pi * minutes / 120) if scenario.shape == "diurnal" else np.ones(minutes.size)


def _level(scenario: Scenario, runs: int, rng: np.random.Generator) -> Floats:
    """Factor on the base, shape (2, runs, minutes)."""
    level = np.ones((2, runs, MINUTES))
    level[1] *= scenario.factor
    gentle = scenario.metric == "latency"
    if scenario.shape == "incident":
        start = rng.integers(5, 40, size=runs)[:, None]
        minutes = np.arange(MINUTES)[None, :]
        during = (minutes >= start) & (minutes < start + 15)
        level *= np.where(during, 3.0 if gentle else 20.0, 1.0)[None]
    elif scenario.shape == "shared noise":
        level *= np.exp(_ar1(runs, 0.15 if gentle else 0.5, rng))[None]
    elif scenario.shape == "diurnal":
        level *= np.linspace(1.0, 1.5 if gentle else 4.0, MINUTES)[None, None]
    if scenario.canary_noise:
        level[1] *= np.exp(_ar1(runs, scenario.canary_noise, rng) - scenario.canary_noise**2 / 2)
    return level


def _level_before(scenario: Scenario, stable: Floats, rng: np.random.Generator) -> Floats:
    """Stable's factor before the split, shape (runs, minutes): what drifts begins to with the hour."""
    level = np.ones((len(stable), LEAD))
    if scenario.shape == "shared noise":
        # The same in both directions of time: continued backwards from the first minute of the hour.
        spread = 0.15 if scenario.metric == "latency" else 0.5
        level = np.exp(_ar1(len(stable), spread, rng, LEAD + 1, np.log(stable[:, 0]))[:, :0:-1])
    return level


def _ar1(
    runs: int, spread: float, rng: np.random.Generator, minutes: int = MINUTES, first: Floats | None = None
) -> Floats:
    noise = rng.normal(0, spread * np.sqrt(1 - _PHI**2), size=(runs, minutes))
    path = np.empty_like(noise)
    path[:, 0] = rng.normal(0, spread, size=runs) if first is None else first
    for minute in range(1, minutes):
        path[:, minute] = _PHI * path[:, minute - 1] + noise[:, minute]
    return path


def normal_cdf(z: Floats) -> Floats:
    """Share of a standard normal below ``z``."""
    # Abramowitz and Stegun 26.2.17, absolute error below 7.5e-8: scipy is an oracle of the tests, not needed here.
    t = 1 / (1 + 0.2316419 * np.abs(z))
    poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * poly
    return np.asarray(np.where(z >= 0, 1 - tail, tail))

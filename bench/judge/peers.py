"""The judges that are compared: ours, and own implementations of how its peers decide.

Each takes simulated runs and gives the minute (1 to 60) at which each run is failed, or 0 where it never is. The peers
are written from their descriptions; no code of theirs is used. What each is given:

- ours: the gate of the spec that fits the metric, at the default alpha of 5%, looked at every minute; the same
  without a margin; and a gate with nothing but the limit that the thresholds have (max: 1%, or 500ms). Gates on latency
  are shown stable before the split, as the controller does it.
- Mann-Whitney as Kayenta uses it: the values of each minute (error rate, p95) of both versions so far; fails when the
  lower end of the 98% interval of the Hodges-Lehmann shift is above a quarter of the shift's size. Looked at every five
  minutes, and, apart, every minute; and apart with stable's values of the minutes before the split as well.
- threshold as in Argo Rollouts: the canary's error rate over five minutes above 1% (p95 above 500 ms), once.
- threshold as in Flagger: the canary's error rate over one minute above 1% (p95 above 500 ms), five times.
- fixed-horizon z-test: one one-sided test of two proportions at 5%, at minute 60. For latency the proportion is
  that above the bucket bound nearest to stable's p95.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from math import floor, sqrt
from typing import TYPE_CHECKING

import numpy as np

from bench.judge.scenarios import BOUNDS, LEAD, MINUTES
from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.rollout.judge import Judge, Outcome
from vertex_deploy.spec.gates import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.judge.scenarios import Draw, Floats, Ints, Scenario

START = datetime(2026, 1, 1, tzinfo=UTC)
_BOUNDS = tuple(float(bound) for bound in BOUNDS)
ERROR_LIMIT, LATENCY_LIMIT = 0.01, 500.0
_Z98, _Z95 = 2.3263478740408408, 1.6448536269514722


def gate_for(scenario: Scenario, *, margin: bool = True) -> Gate:
    """The gate that our judge is given."""
    if scenario.metric == "errors":
        fields = {"metric": "error_rate", "worse_than_stable": "25%" if margin else "0%"}
    else:
        fields = {"metric": "latency_p95", "worse_than_stable": "10%" if margin else "0%"}
    return Gate.model_validate(fields | {"evidence": {"overdispersion": scenario.overdispersion}})


def limit_for(scenario: Scenario) -> Gate:
    """The gate with the limit that the thresholds have."""
    if scenario.metric == "errors":
        fields: dict[str, object] = {"metric": "error_rate", "max": "1%"}
    else:
        fields = {"metric": "latency_p95", "max": "500ms"}
    return Gate.model_validate(fields | {"evidence": {"overdispersion": scenario.overdispersion}})


def ours(gate_of: Callable[[Scenario], Gate]) -> Callable[[Scenario, Draw], Ints]:
    """The judge itself, minute by minute."""

    def judge(scenario: Scenario, drawn: Draw) -> Ints:
        gate, runs = gate_of(scenario), drawn.requests.shape[1]
        return np.array([_one(gate, drawn, run) for run in range(runs)])

    return judge


def _one(gate: Gate, drawn: Draw, run: int) -> int:
    judge = Judge([gate])
    if gate.quantile is not None:
        # The controller shows it stable before the split where a gate is on latencies; others do not look at it.
        for minute in range(LEAD):
            judge.take(Interval(START + timedelta(minutes=minute + 1 - LEAD), 60.0, _before(drawn, run, minute), None))
    judge.begin_step("", START)
    for minute in range(MINUTES):
        end = START + timedelta(minutes=minute + 1)
        stable, canary = (_sample(drawn, version, run, minute) for version in (0, 1))
        if judge.update(Interval(end, 60.0, stable, canary)).outcome is Outcome.FAIL:
            return minute + 1
    return 0


def _before(drawn: Draw, run: int, minute: int) -> VersionSample:
    requests, errors, counts = drawn.before
    latency = None if counts is None else Histogram(_BOUNDS, tuple(counts[run, minute].tolist()))
    return VersionSample(int(requests[run, minute]), int(errors[run, minute]), latency)


def _sample(drawn: Draw, version: int, run: int, minute: int) -> VersionSample:
    latency = None
    if drawn.counts is not None:
        latency = Histogram(_BOUNDS, tuple(drawn.counts[version, run, minute].tolist()))
    return VersionSample(int(drawn.requests[version, run, minute]), int(drawn.errors[version, run, minute]), latency)


def values(requests: Ints, errors: Ints, counts: Ints | None) -> Floats:
    """Error rate or p95 of each minute, of the shape of ``requests``; not a number without requests."""
    if counts is not None:
        return quantiles(counts, 0.95)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(errors / requests)


def quantiles(counts: Ints, q: float) -> Floats:
    """Interpolated quantile of bucket counts along the last axis, in ms."""
    total = counts.sum(axis=-1)
    rank = q * total
    seen = counts.cumsum(axis=-1)
    index = np.minimum((seen < rank[..., None]).sum(axis=-1), len(BOUNDS) - 1)
    low_edges = np.concatenate([[0.0], BOUNDS])
    inside = np.take_along_axis(counts, index[..., None], axis=-1)[..., 0]
    before = np.take_along_axis(seen, index[..., None], axis=-1)[..., 0] - inside
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((rank - before) / inside, 0, 1)
    low, high = low_edges[index], low_edges[index + 1]
    return np.asarray(np.where(total > 0, low + (high - low) * part, np.nan))


def mann_whitney(every: int, *, lead: bool = False) -> Callable[[Scenario, Draw], Ints]:
    """Kayenta's classifier, looked at every so many minutes, over all minutes so far.

    Args:
        every: minutes between looks.
        lead: whether stable's values are also those of the minutes before the split.
    """

    def judge(scenario: Scenario, drawn: Draw) -> Ints:
        del scenario
        stable, canary = values(drawn.requests, drawn.errors, drawn.counts)
        before = values(*drawn.before) if lead else np.empty((len(stable), 0))
        return np.array([_first_high(*run, every) for run in zip(canary, stable, before, strict=True)])

    return judge


def _first_high(canary: Floats, stable: Floats, before: Floats, every: int) -> int:
    # The look that decides needs a few values of each; with fewer than four no 98% interval is finite.
    for minute in range(max(every, 4), MINUTES + 1, every):
        if is_high(canary[:minute], np.concatenate([before, stable[:minute]])):
            return minute
    return 0


def is_high(canary: Floats, stable: Floats, tolerance: float = 0.25) -> bool:
    """Whether the canary's values are classified as high.

    Args:
        canary: one value a minute.
        stable: one value a minute.
        tolerance: share of the estimated shift that the interval's lower end must exceed.
    """
    canary, stable = canary[~np.isnan(canary)], stable[~np.isnan(stable)]
    n, m = len(canary), len(stable)
    rank = floor(n * m / 2 - _Z98 * sqrt(n * m * (n + m + 1) / 12))
    if rank < 1 or np.array_equal(canary, stable):
        return False
    shifts = np.sort(np.subtract.outer(canary, stable), axis=None)
    return bool(shifts[rank - 1] > tolerance * abs(np.median(shifts)))


def _windowed(drawn: Draw, minutes: int) -> Floats:
    """The canary's error rate or p95 over the last so many minutes, shape (runs, minutes)."""
    kernel = np.ones(minutes)

    def rolling(series: Ints) -> Ints:
        sums = np.apply_along_axis(lambda row: np.convolve(row, kernel)[: len(row)], 1, series)
        return np.asarray(sums)

    if drawn.counts is None:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(rolling(drawn.errors[1]) / rolling(drawn.requests[1]))
    return quantiles(rolling(drawn.counts[1]), 0.95)


def threshold(window: int, every: int, failures: int) -> Callable[[Scenario, Draw], Ints]:
    """A limit on the canary alone.

    Args:
        window: minutes that a reading covers.
        every: minutes between readings.
        failures: readings above the limit until it fails.
    """

    def judge(scenario: Scenario, drawn: Draw) -> Ints:
        limit = ERROR_LIMIT if scenario.metric == "errors" else LATENCY_LIMIT
        over = np.nan_to_num(_windowed(drawn, window)) > limit
        looked = np.zeros(MINUTES, dtype=bool)
        looked[window - 1 :: every] = True
        failed = (over & looked).cumsum(axis=1) >= failures
        return np.where(failed.any(axis=1), failed.argmax(axis=1) + 1, 0)

    return judge


def z_test(scenario: Scenario, drawn: Draw) -> Ints:
    """One test at the end."""
    del scenario
    if drawn.counts is None:
        bad = drawn.errors.sum(axis=2)
    else:
        cut = int(np.argmin(np.abs(BOUNDS - np.nanmedian(quantiles(drawn.counts[0].sum(axis=1), 0.95)))))
        bad = drawn.counts[..., cut + 1 :].sum(axis=(2, 3))
    total = drawn.requests.sum(axis=2)
    return np.where(z_statistic(bad, total) > _Z95, MINUTES, 0)


def z_statistic(bad: Ints, total: Ints) -> Floats:
    """Pooled z of canary (row 1) above stable (row 0); 0 where it is not defined."""
    pooled = bad.sum(axis=0) / total.sum(axis=0)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / total).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nan_to_num((bad[1] / total[1] - bad[0] / total[0]) / spread))


PEERS: dict[str, Callable[[Scenario, Draw], Ints]] = {
    "ours": ours(gate_for),
    "ours, no margin": ours(partial(gate_for, margin=False)),
    "ours, limit only": ours(limit_for),
    "mann-whitney, every 5 min": mann_whitney(5),
    "mann-whitney, every min": mann_whitney(1),
    "mann-whitney, every 5 min, with lead-in": mann_whitney(5, lead=True),
    "argo threshold": threshold(5, 5, 1),
    "flagger threshold": threshold(1, 1, 5),
    "z-test at the end": z_test,
}

"""From the minutes at which runs were failed to the figures of the table, and whether the targets are met. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.judge.limits import bad_a_minute, hardest, least_mean, least_median
from bench.judge.peers import PEERS
from bench.judge.scenarios import BOUNDS, MEDIAN_MS, MINUTES, SIGMA, Scenario, draw
from bench.judge.told import TOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.judge.limits import Hardest
    from bench.judge.scenarios import Draw, Ints

    Judges = Mapping[str, Callable[[Scenario, Draw], Ints]]
    Seen = dict[str, tuple[Ints, Ints]]

ALPHA = 0.05
OURS, BARE, RIVAL = "ours", "ours, no margin", "mann-whitney, every 5 min"
# A judge "detects" a scenario if it fails at least half of its runs; medians of fewer say little.
DETECTS = 0.5


@dataclass(frozen=True)
class Cell:
    """One judge in one scenario.

    Args:
        judge: which one.
        failed: share of runs failed.
        low: lower end of that share's 95% Wilson interval.
        high: upper end.
        minutes: median minute of failing, over the runs that were failed; None without any.
        bad: mean of the bad requests that the canary served until then, or in the whole hour where it was not failed.
            Bad is an error, or an answer slower than stable's nominal p95.
    """

    judge: str
    failed: float
    low: float
    high: float
    minutes: float | None
    bad: float


@dataclass(frozen=True)
class Row:
    """One scenario with every judge.

    Args:
        scenario: what was simulated.
        runs: hours.
        cells: one a judge.
        told: where the canary is worse: the judges of ``bench.judge.told`` on the same runs.
    """

    scenario: Scenario
    runs: int
    cells: tuple[Cell, ...]
    told: tuple[Cell, ...] = ()

    def cell(self, judge: str) -> Cell:
        """That of one judge."""
        return next(cell for cell in self.cells if cell.judge == judge)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        judges, told = ([asdict(cell) for cell in cells] for cells in (self.cells, self.told))
        return {"scenario": asdict(self.scenario), "runs": self.runs, "judges": judges, "told": told}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """What ``to_json`` gave."""
        judges, told = (tuple(Cell(**cell) for cell in data[key]) for key in ("judges", "told"))
        return cls(Scenario(**data["scenario"]), data["runs"], judges, told)


def wilson(share: float, runs: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson interval of a share."""
    middle = share + z * z / (2 * runs)
    spread = z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    whole = 1 + z * z / runs
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def bad_requests(drawn: Draw) -> Ints:
    """Bad requests of the canary in each minute, shape (runs, minutes)."""
    if drawn.counts is None:
        return np.asarray(drawn.errors[1])

    nominal = MEDIAN_MS * np.exp(1.6448536269514722 * SIGMA)
    slow = drawn.counts[1][..., int(np.searchsorted(BOUNDS, nominal)) + 1 :]
    return np.asarray(slow.sum(axis=-1))


def simulate(scenario: Scenario, runs: int, seed: Sequence[int], judges: Judges) -> Seen:
    """Let each judge see the same runs.

    Returns:
        Per judge the minute of failing of each run (0: never), and the bad requests that the canary served until then.
    """
    drawn = draw(scenario, runs, np.random.default_rng(seed))
    bad, seen = bad_requests(drawn).cumsum(axis=1), {}
    for name, judge in judges.items():
        minute = judge(scenario, drawn)
        until = np.where(minute > 0, minute, MINUTES) - 1
        seen[name] = minute, np.take_along_axis(bad, until[:, None], axis=1)[:, 0]
    return seen


def measure(scenario: Scenario, runs: int, seed: int, judges: Iterable[str] = tuple(PEERS), *, more: int = 0) -> Row:
    """Simulate a scenario.

    Args:
        scenario: what is simulated.
        runs: hours.
        seed: of the random numbers.
        judges: which ones look.
        more: hours added where the canary is worse, since means scatter, and where nothing is wrong and one of our
            judges failed more than alpha of the first ones. The first ones stay in: what is added cannot hide what
            they showed.
    """
    peers = {name: PEERS[name] for name in judges}
    told = {} if scenario.null else {name: judge for name, judge in TOLD.items() if name in peers}
    # Told first and under other names: one draw for all.
    every = {f"told {name}": judge for name, judge in told.items()} | peers
    seen = simulate(scenario, runs, (seed, 0), every)
    doubtful = any(float((seen[judge][0] > 0).mean()) > ALPHA for judge in (OURS, BARE) if judge in seen)
    if more and (not scenario.null or (doubtful and not scenario.canary_noise)):
        added = simulate(scenario, more, (seed, 1), every)
        seen = {
            name: (np.concatenate([first[0], added[name][0]]), np.concatenate([first[1], added[name][1]]))
            for name, first in seen.items()
        }
        runs += more
    return Row(
        scenario,
        runs,
        tuple(_cell(name, *seen[name]) for name in peers),
        tuple(_cell(name, *seen[f"told {name}"]) for name in told),
    )


def _cell(judge: str, minute: Ints, served: Ints) -> Cell:
    failed = float((minute > 0).mean())
    when = float(np.median(minute[minute > 0])) if failed else None
    return Cell(judge, failed, *wilson(failed, minute.size), when, float(served.mean()))


@dataclass(frozen=True)
class Target:
    """One target of the project and how it came out.

    Args:
        text: what is asked.
        met: scenarios that meet it.
        of: scenarios in which some test could.
        misses: those that do not, each with its figures.
        impossible: scenarios in which no test that keeps alpha could, each with the least that is possible.
    """

    text: str
    met: int
    of: int
    misses: tuple[str, ...]
    impossible: tuple[str, ...] = ()


def targets(rows: Sequence[Row], judge: str = OURS) -> tuple[Target, ...]:
    """The three targets, over the grid, for one of our columns."""
    both = [
        row for row in rows if not row.scenario.null and min(row.cell(judge).failed, row.cell(RIVAL).failed) >= DETECTS
    ]
    return _alarms(rows, judge), _time(both, judge), _bad(both, judge)


def alarm_rate(row: Row, judge: str) -> str:
    """A rate with its interval."""
    cell = row.cell(judge)
    return f"{cell.failed:.1%} ({cell.low:.1%} to {cell.high:.1%} of {row.runs} runs)"


def worst(rows: Sequence[Row], judge: str) -> Row:
    """Where nothing is wrong with the canary, the scenario in which a judge fails it most."""
    return max((row for row in rows if row.scenario.null), key=lambda row: row.cell(judge).failed)


def _alarms(rows: Sequence[Row], judge: str) -> Target:
    nulls = [row for row in rows if row.scenario.null]
    over = [row for row in nulls if row.cell(judge).low > ALPHA]
    return Target(
        f"{judge}: false alarms in at most {ALPHA:.0%} of the runs",
        len(nulls) - len(over),
        len(nulls),
        tuple(f"{title(row)}: {alarm_rate(row, judge)}" for row in over),
    )


def _pair(row: Row, judge: str) -> tuple[Hardest, float]:
    """What must be told, and how often the judge that detects less does."""
    return hardest(row.scenario, margin=judge == OURS), min(row.cell(judge).failed, row.cell(RIVAL).failed)


def _told(row: Row, judge: str, what: Literal["minutes", "bad"], unit: str = "") -> str:
    cell = next((cell for cell in row.told if cell.judge == judge), None)
    return "" if cell is None else f"; {getattr(cell, what):.3g}{unit} if told how much worse"


def _time(rows: Sequence[Row], judge: str) -> Target:
    possible, misses, impossible = 0, [], []
    for row in rows:
        mine, theirs = row.cell(judge).minutes or inf, row.cell(RIVAL).minutes or 0.0
        said = f"{title(row)}: {mine:g} against {theirs:g} min{_told(row, judge, 'minutes', ' min')}"
        pair, detected = _pair(row, judge)
        least = least_median(pair, detected, ALPHA)
        if least > theirs / 2:
            impossible.append(f"{said}; at least {least}")
            continue
        possible += 1
        if mine > theirs / 2:
            misses.append(f"{said}; at least {least}")
    text = f"{judge}: detection in at most half the time of {RIVAL}, where both detect"
    return Target(text, possible - len(misses), possible, tuple(misses), tuple(impossible))


def _bad(rows: Sequence[Row], judge: str) -> Target:
    possible, misses, impossible = 0, [], []
    for row in rows:
        mine, theirs = row.cell(judge).bad, row.cell(RIVAL).bad
        pair, detected = _pair(row, judge)
        least = least_mean(pair, detected, ALPHA) * bad_a_minute(row.scenario)
        said = f"{title(row)}: {mine:.3g} against {theirs:.3g}{_told(row, judge, 'bad')}; at least {least:.3g}"
        if least > theirs / 3:
            impossible.append(said)
            continue
        possible += 1
        if mine > theirs / 3:
            misses.append(said)
    text = f"{judge}: at most a third of the bad requests of {RIVAL}, where both detect"
    return Target(text, possible - len(misses), possible, tuple(misses), tuple(impossible))


def title(row: Row) -> str:
    """A scenario in words."""
    s = row.scenario
    option = f", overdispersion: {s.overdispersion:g}" if s.overdispersion != 1 else ""
    return f"{s.metric}: {s.name}, {s.volume}/min, {s.weight:.0%} canary{option}"

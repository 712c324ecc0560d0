"""From the minutes at which runs were failed to the figures of the table, and whether the targets are met. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.judge.peers import PEERS
from bench.judge.scenarios import BOUNDS, MEDIAN_MS, MINUTES, SIGMA, Scenario, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.judge.scenarios import Draw, Floats, Ints

ALPHA = 0.05
OURS, BARE, RIVAL = "ours", "ours, no margin", "mann-whitney, every 5 min"
# A judge "detects" a scenario if it fails at least half of its runs; medians of fewer say little.
DETECTS = 0.5


@dataclass(frozen=True)
class Cell:
    """One judge in one scenario.

    Args:
        failed: share of runs failed. low: lower end of that share's 95% Wilson interval. minutes: median minute of
        failing, over the runs that were failed; None without any. bad: mean of the bad requests that the canary
        served until then, or in the whole hour where it was not failed. Bad is
            an error, or an answer slower than stable's nominal p95.
    """

    judge: str
    failed: float
    low: float
    minutes: float | None
    bad: float


@dataclass(frozen=True)
class Row:
    """One scenario with every judge."""

    scenario: Scenario
    runs: int
    cells: tuple[Cell, ...]

    def cell(self, judge: str) -> Cell:
        """That of one judge."""
        return next(cell for cell in self.cells if cell.judge == judge)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"scenario": asdict(self.scenario), "runs": self.runs, "judges": [asdict(cell) for cell in self.cells]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """What ``to_json`` gave."""
        return cls(Scenario(**data["scenario"]), data["runs"], tuple(Cell(**cell) for cell in data["judges"]))


def wilson(share: float, runs: int, z: float = 1.959963984540054) -> float:
    """Lower end of the Wilson interval of a share."""
    middle = share + z * z / (2 * runs)
    spread = z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, (middle - spread) / (1 + z * z / runs))


def bad_requests(drawn: Draw) -> Ints:
    """Bad requests of the canary in each minute, shape (runs, minutes)."""
    if drawn.counts is None:
        return np.asarray(drawn.errors[1])

    nominal = MEDIAN_MS * np.exp(1.6448536269514722 * SIGMA)
    slow = drawn.counts[1][..., int(np.searchsorted(BOUNDS, nominal)) + 1 :]
    return np.asarray(slow.sum(axis=-1))


def measure(scenario: Scenario, runs: int, seed: int, judges: Iterable[str] = tuple(PEERS)) -> Row:
    """Simulate a scenario and let each judge see the same runs."""
    drawn = draw(scenario, runs, np.random.default_rng(seed))
    bad = bad_requests(drawn).cumsum(axis=1)
    cells = []
    for judge in judges:
        minute = PEERS[judge](scenario, drawn)
        until = np.where(minute > 0, minute, MINUTES) - 1
        served: Floats = np.take_along_axis(bad, until[:, None], axis=1)[:, 0].astype(float)
        failed = float((minute > 0).mean())
        cells.append(
            Cell(
                judge,
                failed,
                wilson(failed, runs),
                float(np.median(minute[minute > 0])) if failed else None,
                float(served.mean()),
            )
        )
    return Row(scenario, runs, tuple(cells))


@dataclass(frozen=True)
class Target:
    """One target of the project and how it came out.

    Args:
        text: what is asked.
        met: scenarios that meet it.
        of: scenarios that it applies to.
        misses: those that do not, each with its figures.
    """

    text: str
    met: int
    of: int
    misses: tuple[str, ...]


def targets(rows: Sequence[Row], judge: str = OURS) -> tuple[Target, ...]:
    """The three targets, over the grid, for one of our columns."""
    nulls = [row for row in rows if row.scenario.null]
    alarms = [row for row in nulls if row.cell(judge).failed > ALPHA]
    both = [
        row for row in rows if not row.scenario.null and min(row.cell(judge).failed, row.cell(RIVAL).failed) >= DETECTS
    ]

    def half(row: Row) -> bool:
        mine, theirs = row.cell(judge).minutes, row.cell(RIVAL).minutes
        return mine is not None and theirs is not None and mine <= theirs / 2

    def third(row: Row) -> bool:
        return row.cell(judge).bad <= row.cell(RIVAL).bad / 3

    slow, costly = [row for row in both if not half(row)], [row for row in both if not third(row)]
    return (
        Target(
            f"{judge}: false alarms in at most {ALPHA:.0%} of the runs",
            len(nulls) - len(alarms),
            len(nulls),
            tuple(f"{title(row)}: {row.cell(judge).failed:.1%}" for row in alarms),
        ),
        Target(
            f"{judge}: detection in at most half the time of {RIVAL}, where both detect",
            len(both) - len(slow),
            len(both),
            tuple(f"{title(row)}: {row.cell(judge).minutes:g} against {row.cell(RIVAL).minutes:g} min" for row in slow),
        ),
        Target(
            f"{judge}: at most a third of the bad requests of {RIVAL}, where both detect",
            len(both) - len(costly),
            len(both),
            tuple(f"{title(row)}: {row.cell(judge).bad:.3g} against {row.cell(RIVAL).bad:.3g}" for row in costly),
        ),
    )


def title(row: Row) -> str:
    """A scenario in words."""
    s = row.scenario
    option = f", overdispersion: {s.overdispersion:g}" if s.overdispersion != 1 else ""
    return f"{s.metric}: {s.name}, {s.volume}/min, {s.weight:.0%} canary{option}"

"""Which measurements count, and for what: duplicates, late points, gaps, resets and intervals cut by a change of split.

The rules, each pinned by a test:

- An interval that was taken already is ignored, also if its numbers were revised since: evidence is not spent twice.
- An interval that overlaps one that was taken is ignored: its requests would count twice.
- A late interval is taken. It counts as evidence, and in the window of the step that it belongs to if that is still on.
- An interval in which a step begins has two splits. It counts against absolute limits only.
- Negative counts, or more errors than requests, are a counter that was reset: that version was not measured.
- Minutes that are missing are not measured; too many of them and nothing can pass.

It leaves out reading clocks and repairing data.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_deploy.metrics.types import Interval, VersionSample

# Time stamps of sampled points jitter; an overlap shorter than this share of the interval is none.
_JITTER = 0.05


class Intake(Enum):
    """What becomes of an interval."""

    TAKEN = auto()
    DUPLICATE = auto()
    REVISED = auto()
    OVERLAP = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the rollout with one split.

    Args:
        name: for people.
        start: when the split was in place; None: before the first interval.
        bake: all traffic is the canary's; only absolute limits are judged.
    """

    name: str
    start: datetime | None
    bake: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """An interval with what it may be used for.

    Args:
        interval: with samples that were reset replaced by None.
        in_window: lies in the current step as a whole.
        one_split: the split did not change inside it: the versions can be compared.
        age: seconds from the beginning of its step to its own; infinite where the step has no start.
    """

    interval: Interval
    in_window: bool
    one_split: bool
    age: float = inf


def start_of(interval: Interval) -> datetime:
    """When the interval begins."""
    return interval.end - timedelta(seconds=interval.seconds)


def sound(sample: VersionSample | None) -> bool:
    """False for a sample whose counters were reset."""
    if sample is None:
        return True
    negative = sample.latency_ms is not None and any(count < 0 for count in sample.latency_ms.counts)
    bad = (sample.errors, sample.rejected)
    return min(bad) >= 0 and sum(bad) <= sample.requests and not negative


@dataclass(slots=True)
class Ledger:
    """Remembers which stretches of time were taken, and the steps."""

    steps: list[Step] = field(default_factory=lambda: [Step("", None)])
    newest: datetime | None = None
    counts: dict[str, int] = field(default_factory=dict)
    _taken: list[tuple[datetime, datetime, Interval]] = field(default_factory=list)

    @property
    def step(self) -> Step:
        """The current one."""
        return self.steps[-1]

    def classify(self, interval: Interval) -> Intake:
        """What becomes of ``interval``; changes nothing."""
        start, slack = start_of(interval), timedelta(seconds=interval.seconds * _JITTER)
        index = bisect_left(self._taken, start, key=lambda entry: entry[0])
        for low, high, other in self._taken[max(0, index - 1) : index + 2]:
            if high == interval.end and other.seconds == interval.seconds:
                return Intake.DUPLICATE if other == interval else Intake.REVISED
            if low < interval.end - slack and start + slack < high:
                return Intake.OVERLAP
        return Intake.TAKEN

    def take(self, interval: Interval) -> Placed | None:
        """Enter an interval.

        Returns:
            How it may be used, or None if it is ignored.
        """
        if not 0 < interval.seconds < inf:
            self._count("empty")
            return None
        intake = self.classify(interval)
        if intake is not Intake.TAKEN:
            self._count(intake.name.lower())
            return None
        start = start_of(interval)
        index = bisect_left(self._taken, start, key=lambda entry: entry[0])
        self._taken.insert(index, (start, interval.end, interval))
        if self.newest is not None and interval.end <= self.newest:
            self._count("late")
        self.newest = max(self.newest or interval.end, interval.end)
        if not sound(interval.stable):
            self._count("reset")
            interval = replace(interval, stable=None)
        if not sound(interval.canary):
            self._count("reset")
            interval = replace(interval, canary=None)
        slack = timedelta(seconds=interval.seconds * _JITTER)
        cut = any(s.start is not None and start + slack < s.start < interval.end - slack for s in self.steps)
        if cut:
            self._count("cut")
        begun = self.step.start is None or self.step.start <= start + slack
        starts = [s.start for s in self.steps if s.start is not None and s.start <= start + slack]
        age = (start - max(starts)).total_seconds() if starts else inf
        return Placed(interval, in_window=begun and not cut, one_split=not cut, age=age)

    def missing(self, window_start: datetime | None, measured: float, delay: float = 0.0) -> float:
        """Share of the current step's time, up to the newest interval, in which a metric was not measured.

        Args:
            window_start: start of the first interval of the window, for a step that has no start of its own.
            measured: seconds that are accounted for, in intervals that lie in the step as a whole.
            delay: seconds at the step's beginning that do not count.
        """
        begin = self.step.start + timedelta(seconds=delay) if self.step.start else window_start
        if begin is None or self.newest is None or self.newest <= begin:
            return 0.0
        # Intervals do not overlap: no more than the last ones that began before can reach past the beginning.
        index, cut = bisect_left(self._taken, begin, key=lambda entry: entry[0]) - 1, 0.0
        while index >= 0 and self._taken[index][1] > begin:
            cut += (self._taken[index][1] - begin).total_seconds()
            index -= 1
        return max(0.0, 1 - (measured + cut) / (self.newest - begin).total_seconds())

    def notes(self) -> tuple[str, ...]:
        """One sentence for each oddity seen so far."""
        texts = {
            "duplicate": "{n} interval{s} came twice and {was} counted once",
            "revised": "{n} interval{s} came again with other numbers; the first numbers stand",
            "overlap": "{n} interval{s} overlapped others that were counted and {was} ignored",
            "empty": "{n} interval{s} had no length and {was} ignored",
            "late": "{n} interval{s} came late and {was} counted as evidence",
            "reset": "{n} sample{s} had counters that went backwards: not measured",
            "cut": "{n} interval{s} held a change of split and {was} not used to compare the versions",
        }
        return tuple(_counted(text, self.counts[key]) for key, text in texts.items() if key in self.counts)

    def _count(self, key: str) -> None:
        self.counts[key] = self.counts.get(key, 0) + 1


def _counted(text: str, n: int) -> str:
    one = n == 1
    return text.format(n=n, s="" if one else "s", was="was" if one else "were")

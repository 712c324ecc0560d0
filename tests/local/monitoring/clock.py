"""A clock that tests set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FakeClock:
    time: float = 1_800_000_000.0  # a whole minute

    def now(self) -> float:
        return self.time

"""What the judge says: an outcome, and for each check a reading that explains itself.

Plain frozen dataclasses that are written to JSON and read back the same. No decisions here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Kind = Literal["absolute", "relative"]
Unit = Literal["share", "ms", ""]


class Outcome(StrEnum):
    """What a check, or all of them, came to."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    CONTINUE = "continue"
    """Enough data, no conclusion: over a limit without proof of it, or held back because stable does the same."""
    INSUFFICIENT = "insufficient"
    """Not enough data, or none. Never a pass."""


@dataclass(frozen=True, slots=True)
class Window:
    """The measured part of the current step.

    Args:
        start: where the first interval that counts begins; None if there is none.
        end: where the last one ends.
        seconds: how much of that time was measured, gaps left out.
    """

    start: datetime | None
    end: datetime | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One check of one gate at one look.

    Args:
        gate: the gate's label.
        metric: what is measured.
        kind: against a limit (absolute) or against stable (relative).
        unit: of ``value``, ``threshold`` and ``stable``: a share, milliseconds, or the custom metric's own.
        value: canary's value over the window; None if not measured.
        threshold: what ``value`` is held against; for a relative check the limit that follows from stable's value.
        stable: stable's value over the same window.
        window: what was measured.
        samples: canary's requests in the window (intervals, for a custom metric).
        stable_samples: the same of stable.
        evidence: e-value against the canary over the whole rollout, capped at 1e12.
        evidence_needed: e-value at which this check fails.
        outcome: what this check came to.
        explanation: one sentence.
        dry_run: reported only.
        critical: fails the rollout by itself.
    """

    gate: str
    metric: str
    kind: Kind
    unit: Unit
    value: float | None
    threshold: float | None
    stable: float | None
    window: Window
    samples: int
    stable_samples: int
    evidence: float
    evidence_needed: float
    outcome: Outcome
    explanation: str
    dry_run: bool = False
    critical: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all gates came to at one look.

    Args:
        outcome: of the whole.
        explanation: one sentence: which reading decided.
        readings: every check, in the order of the gates.
        at: the time of the look: the newest measurement, or the clock that was passed in.
        step: name of the current step, or "".
        notes: what was odd about the data (duplicates, gaps, resets), one sentence each.
        if_hold_ended: the outcome if the hold ended now, each gate's ``inconclusive`` policy applied.
        if_hold_ended_why: one sentence: which reading decided that.
    """

    outcome: Outcome
    explanation: str
    readings: tuple[Reading, ...]
    at: datetime | None
    step: str
    notes: tuple[str, ...]
    if_hold_ended: Outcome
    if_hold_ended_why: str

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes; times are RFC 3339."""
        data = asdict(self)
        data["at"] = self.at.isoformat() if self.at else None
        for reading in data["readings"]:
            for key in ("start", "end"):
                moment = reading["window"][key]
                reading["window"][key] = moment.isoformat() if moment else None
        data["readings"] = list(data["readings"])
        data["notes"] = list(data["notes"])
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """What ``to_json`` wrote; unknown keys of a newer version are ignored."""
        return cls(
            outcome=Outcome(data["outcome"]),
            explanation=data["explanation"],
            readings=tuple(_reading(item) for item in data["readings"]),
            at=_moment(data["at"]),
            step=data["step"],
            notes=tuple(data["notes"]),
            if_hold_ended=Outcome(data["if_hold_ended"]),
            # What an older version wrote has none.
            if_hold_ended_why=data.get("if_hold_ended_why", data["explanation"]),
        )


def digits(value: float) -> str:
    """A number for a sentence: four digits, or all before the point."""
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"  # noqa: PLR2004 - what four digits can say


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _reading(data: dict[str, Any]) -> Reading:
    window = data["window"]
    known = {key: data[key] for key in Reading.__dataclass_fields__ if key in data}
    return Reading(
        **known
        | {
            "outcome": Outcome(data["outcome"]),
            "window": Window(_moment(window["start"]), _moment(window["end"]), window["seconds"]),
        }
    )

"""What was found, as data. Left out: printing it (`cli/` does)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Level(StrEnum):
    """How much a rule matters."""

    MUST = "must"
    SHOULD = "should"


class Outcome(StrEnum):
    """How a check ended. Skipped is not passed."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One check of one server.

    Args:
        check: its name.
        level: must or should.
        rule: the sentence that was checked.
        outcome: how it ended.
        detail: what the server did, or what was missing; empty if it passed.
        seconds: how long it took.
    """

    check: str
    level: Level
    rule: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they were made."""

    findings: Sequence[Finding]

    def of(self, outcome: Outcome, level: Level | None = None) -> list[Finding]:
        """Return the findings that ended so, of one level or of both."""
        return [f for f in self.findings if f.outcome is outcome and (level is None or f.level is level)]

    @property
    def conforms(self) -> bool:
        """Whether no `must` rule is broken or was skipped."""
        return not any(f.level is Level.MUST and f.outcome is not Outcome.PASSED for f in self.findings)

    def require(self, *, strict: bool = False) -> None:
        """Raise if a rule is broken.

        Args:
            strict: `should` rules too.

        Raises:
            ContractError: one line that names every broken rule, or the `must` rules that could not be checked.
        """
        broken = self.of(Outcome.FAILED, None if strict else Level.MUST)
        if broken:
            raise ContractError("; ".join(f"{f.check}: {f.rule}; got {f.detail}" for f in broken))
        unchecked = self.of(Outcome.SKIPPED, Level.MUST)
        if unchecked:
            raise ContractError("not checked: " + "; ".join(f"{f.check}: {f.detail}" for f in unchecked))

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"conforms": self.conforms, "findings": [asdict(finding) for finding in self.findings]}

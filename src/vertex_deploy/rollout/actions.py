"""What ``decide`` may answer: one small value an action. The driver performs them; nothing here does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.machine import Ending, Event
    from vertex_deploy.rollout.requests import Request


@dataclass(frozen=True, slots=True)
class Inspect:
    """Look before anything is changed: endpoint, stable version, model versions, metrics."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a long-running effect: ``endpoint``, ``upload``, ``deploy`` or ``undeploy`` (of ``deployed_id``)."""

    kind: str
    deployed_id: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """Read the operation in flight."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for what an operation should have made (``endpoint`` or ``upload``), because its answer cannot tell."""

    kind: str


@dataclass(frozen=True, slots=True)
class SetSplit:
    """Write the traffic split, in one update, if the endpoint is still as it was read."""

    split: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measure:
    """Read new intervals and let the judge see them."""


@dataclass(frozen=True, slots=True)
class Move:
    """An event happened: go to the next phase, for this reason."""

    event: Event
    reason: str
    ending: Ending | None = None
    step: int | None = None
    request: Request | None = None
    split: Mapping[str, int] | None = None
    """The split that is ours from now on."""
    ready: int = 0
    """What a member of a lockstep group is ready for; see ``group``."""
    model: str | None = None
    """The model version that another member uploaded."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Put a request aside that means nothing now."""

    request: Request
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due before ``until`` (seconds since the epoch); None: not before somebody asks for something."""

    until: float | None
    why: str


Action = Inspect | Begin | Poll | Look | SetSplit | Measure | Move | Drop | Wait

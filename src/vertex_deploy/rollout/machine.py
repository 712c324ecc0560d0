"""The state machine of a rollout as data: phases, events, and one table of transitions. No I/O, no decisions.

``decide`` says which event happens; this table says where it leads. A pair that is not in the table cannot happen:
asking for it is a programming error and raises. The page ``docs/reference/rollout-states.md`` is generated from here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from vertex_deploy.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(StrEnum):
    """Where a rollout is."""

    PREFLIGHT = "preflight"
    CREATING_ENDPOINT = "creating_endpoint"
    UPLOADING = "uploading"
    DEPLOYING = "deploying"
    WARMING_UP = "warming_up"
    SHIFTING = "shifting"
    HOLDING = "holding"
    AWAITING_APPROVAL = "awaiting_approval"
    AWAITING_GROUP = "awaiting_group"
    PAUSED = "paused"
    KEEPING_STABLE = "keeping_stable"
    REMOVING_STABLE = "removing_stable"
    ROLLING_BACK = "rolling_back"
    REMOVING_CANARY = "removing_canary"
    DONE = "done"


class Event(StrEnum):
    """What happened."""

    READY = "ready"
    REFUSED = "refused"
    NOTHING_TO_DO = "nothing_to_do"
    ENDPOINT_READY = "endpoint_ready"
    ENDPOINT_FAILED = "endpoint_failed"
    UPLOADED = "uploaded"
    UPLOAD_FAILED = "upload_failed"
    DEPLOYED = "deployed"
    DEPLOY_FAILED = "deploy_failed"
    WARM = "warm"
    SERVES_ALONE = "serves_alone"
    SHIFTED = "shifted"
    PROMOTED = "promoted"
    PASSED = "passed"
    NEEDS_APPROVAL = "needs_approval"
    APPROVED = "approved"
    ADOPTED = "adopted"
    GATE_FAILED = "gate_failed"
    ALERT_FIRED = "alert_fired"
    INCONCLUSIVE = "inconclusive"
    SKIP = "skip"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLL_BACK = "roll_back"
    CANARY_GONE = "canary_gone"
    STABLE_GONE = "stable_gone"
    ENDPOINT_GONE = "endpoint_gone"
    KEPT = "kept"
    STABLE_REMOVED = "stable_removed"
    RESTORED = "restored"
    CANARY_REMOVED = "canary_removed"
    ARRIVED = "arrived"
    GROUP_BEGINS = "group_begins"
    GROUP_ADVANCES = "group_advances"
    GROUP_KEPT = "group_kept"
    GROUP_FELL = "group_fell"


class Ending(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    """The new version has all the traffic."""
    ROLLED_BACK = "rolled_back"
    """The new version was found wanting; the old one has all the traffic again."""
    ABORTED = "aborted"
    """Somebody stopped it; the old version has all the traffic again."""
    FAILED = "failed"
    """It could not be carried out (upload, deployment, or its endpoint vanished); the reason says how it was left."""

    @property
    def exit_code(self) -> ExitCode:
        """What ``vertex-deploy rollout`` exits with."""
        return _EXITS[self]


_EXITS = {
    Ending.PROMOTED: ExitCode.OK,
    Ending.ROLLED_BACK: ExitCode.ROLLED_BACK,
    Ending.ABORTED: ExitCode.ABORTED,
    Ending.FAILED: ExitCode.ROLLOUT,
}

SUMMARY: Mapping[Phase, str] = {
    Phase.PREFLIGHT: "Reads the endpoint, the stable version and its metrics. Changes nothing.",
    Phase.CREATING_ENDPOINT: "Creates the endpoint where there is none.",
    Phase.UPLOADING: "Uploads the release as a model version, or finds the one that is there.",
    Phase.DEPLOYING: "Deploys it under an id chosen before, without traffic.",
    Phase.WARMING_UP: "Checks that the deployed model is the one meant and that its replicas are available.",
    Phase.SHIFTING: "Sets the step's traffic split with one update.",
    Phase.HOLDING: "Measures both versions over the same minutes and judges the gates.",
    Phase.AWAITING_APPROVAL: "Waits at its split for somebody's approval of the next step; gates still watch.",
    Phase.AWAITING_GROUP: "Waits until every member of its lockstep group is as far; gates still watch.",
    Phase.PAUSED: "Stands still and waits for a person; unless one paused it, each tick still watches.",
    Phase.KEEPING_STABLE: "The new version has all traffic; stable stays warm; absolute gates still watch.",
    Phase.REMOVING_STABLE: "Undeploys the old version, if it has no traffic.",
    Phase.ROLLING_BACK: "Gives the canary's traffic back to stable with one update.",
    Phase.REMOVING_CANARY: "Undeploys the canary, if it has no traffic.",
    Phase.DONE: "Over; the ending says how.",
}
"""What each phase does, one sentence; shown by the docs and by ``status``."""

# Everything between the first change and the end can be stopped.
_STOPPABLE = (
    Phase.CREATING_ENDPOINT,
    Phase.UPLOADING,
    Phase.DEPLOYING,
    Phase.WARMING_UP,
    Phase.SHIFTING,
    Phase.HOLDING,
    Phase.AWAITING_APPROVAL,
    Phase.AWAITING_GROUP,
    Phase.PAUSED,
    Phase.KEEPING_STABLE,
)
_WITH_ENDPOINT = (*_STOPPABLE[2:], Phase.REMOVING_STABLE, Phase.ROLLING_BACK, Phase.REMOVING_CANARY)
_WITH_TRAFFIC = (
    Phase.SHIFTING,
    Phase.HOLDING,
    Phase.AWAITING_APPROVAL,
    Phase.AWAITING_GROUP,
    Phase.KEEPING_STABLE,
)
# Where a member of a lockstep group comes to a barrier.
_BEFORE_BARRIER = (
    Phase.PREFLIGHT,
    Phase.WARMING_UP,
    Phase.HOLDING,
    Phase.AWAITING_APPROVAL,
    Phase.PAUSED,
    Phase.KEEPING_STABLE,
)

TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.PREFLIGHT, Event.READY): Phase.CREATING_ENDPOINT,
    (Phase.PREFLIGHT, Event.REFUSED): Phase.DONE,
    (Phase.PREFLIGHT, Event.NOTHING_TO_DO): Phase.DONE,
    (Phase.PREFLIGHT, Event.ABORT): Phase.DONE,
    (Phase.CREATING_ENDPOINT, Event.ENDPOINT_READY): Phase.UPLOADING,
    (Phase.CREATING_ENDPOINT, Event.ENDPOINT_FAILED): Phase.DONE,
    (Phase.UPLOADING, Event.UPLOADED): Phase.DEPLOYING,
    (Phase.UPLOADING, Event.UPLOAD_FAILED): Phase.DONE,
    (Phase.DEPLOYING, Event.DEPLOYED): Phase.WARMING_UP,
    (Phase.DEPLOYING, Event.DEPLOY_FAILED): Phase.REMOVING_CANARY,
    (Phase.WARMING_UP, Event.WARM): Phase.SHIFTING,
    (Phase.WARMING_UP, Event.NEEDS_APPROVAL): Phase.AWAITING_APPROVAL,
    (Phase.WARMING_UP, Event.SERVES_ALONE): Phase.DONE,
    (Phase.WARMING_UP, Event.DEPLOY_FAILED): Phase.REMOVING_CANARY,
    (Phase.WARMING_UP, Event.PAUSE): Phase.PAUSED,
    (Phase.SHIFTING, Event.SHIFTED): Phase.HOLDING,
    (Phase.SHIFTING, Event.PROMOTED): Phase.KEEPING_STABLE,
    (Phase.SHIFTING, Event.ADOPTED): Phase.HOLDING,
    (Phase.HOLDING, Event.PASSED): Phase.SHIFTING,
    (Phase.HOLDING, Event.SKIP): Phase.SHIFTING,
    (Phase.HOLDING, Event.NEEDS_APPROVAL): Phase.AWAITING_APPROVAL,
    (Phase.HOLDING, Event.ADOPTED): Phase.HOLDING,
    (Phase.HOLDING, Event.INCONCLUSIVE): Phase.ROLLING_BACK,
    (Phase.HOLDING, Event.GATE_FAILED): Phase.ROLLING_BACK,
    (Phase.AWAITING_APPROVAL, Event.APPROVED): Phase.SHIFTING,
    (Phase.AWAITING_APPROVAL, Event.ADOPTED): Phase.HOLDING,
    (Phase.AWAITING_APPROVAL, Event.GATE_FAILED): Phase.ROLLING_BACK,
    (Phase.AWAITING_GROUP, Event.GROUP_BEGINS): Phase.CREATING_ENDPOINT,
    (Phase.AWAITING_GROUP, Event.GROUP_ADVANCES): Phase.SHIFTING,
    (Phase.AWAITING_GROUP, Event.GROUP_KEPT): Phase.REMOVING_STABLE,
    (Phase.AWAITING_GROUP, Event.SKIP): Phase.AWAITING_GROUP,
    (Phase.AWAITING_GROUP, Event.GATE_FAILED): Phase.ROLLING_BACK,
    (Phase.KEEPING_STABLE, Event.GATE_FAILED): Phase.ROLLING_BACK,
    (Phase.KEEPING_STABLE, Event.KEPT): Phase.REMOVING_STABLE,
    (Phase.REMOVING_STABLE, Event.STABLE_REMOVED): Phase.DONE,
    (Phase.PAUSED, Event.RESUME): Phase.SHIFTING,
    (Phase.PAUSED, Event.SKIP): Phase.SHIFTING,
    (Phase.PAUSED, Event.NEEDS_APPROVAL): Phase.AWAITING_APPROVAL,
    (Phase.PAUSED, Event.GATE_FAILED): Phase.ROLLING_BACK,
    (Phase.PAUSED, Event.ALERT_FIRED): Phase.ROLLING_BACK,
    (Phase.ROLLING_BACK, Event.RESTORED): Phase.REMOVING_CANARY,
    (Phase.ROLLING_BACK, Event.STABLE_GONE): Phase.DONE,
    (Phase.REMOVING_CANARY, Event.CANARY_REMOVED): Phase.DONE,
    **{(phase, Event.PAUSE): Phase.PAUSED for phase in _WITH_TRAFFIC},
    **{(phase, Event.ALERT_FIRED): Phase.ROLLING_BACK for phase in _WITH_TRAFFIC if phase is not Phase.SHIFTING},
    **{
        (phase, Event.CANARY_GONE): Phase.ROLLING_BACK
        for phase in (*_WITH_TRAFFIC, Phase.PAUSED, Phase.REMOVING_STABLE)
    },
    (Phase.PREFLIGHT, Event.GROUP_FELL): Phase.DONE,
    **{(phase, Event.ARRIVED): Phase.AWAITING_GROUP for phase in _BEFORE_BARRIER},
    **{(phase, Event.GROUP_FELL): Phase.ROLLING_BACK for phase in _STOPPABLE},
    **{(phase, Event.ABORT): Phase.ROLLING_BACK for phase in _STOPPABLE},
    **{(phase, Event.ROLL_BACK): Phase.ROLLING_BACK for phase in _STOPPABLE},
    **{(phase, Event.ENDPOINT_GONE): Phase.DONE for phase in _WITH_ENDPOINT},
}
"""(phase, event) -> next phase: all that can happen."""


def advance(phase: Phase, event: Event) -> Phase:
    """The phase that follows.

    Raises:
        LookupError: this cannot happen in this phase; a programming error, never a user's.
    """
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise LookupError(f"{event} cannot happen while {phase}") from None


def can(phase: Phase, event: Event) -> bool:
    """Whether the event has a meaning in this phase."""
    return (phase, event) in TRANSITIONS


def diagram() -> str:
    """The table as a Mermaid state diagram; events that join the same two phases share an arrow."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, event), following in TRANSITIONS.items():
        arrows.setdefault((phase, following), []).append(event.value)
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.PREFLIGHT}"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    lines.append(f"    {Phase.DONE} --> [*]")
    return "\n".join(lines)

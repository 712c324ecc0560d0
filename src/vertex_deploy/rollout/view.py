"""What a person sees of a rollout: a view model made from the record, and its lines. Pure; nothing is printed here.

Terminal, JSON and report all start from ``View``, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import log
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import ExitCode
from vertex_deploy.rollout.judge.verdict import digits
from vertex_deploy.rollout.machine import SUMMARY, Ending, Phase
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.rollout.lease import Lease
    from vertex_deploy.rollout.plan import Plan
    from vertex_deploy.rollout.record import Record

ICONS = {"pass": "✔", "fail": "✖", "continue": "…", "insufficient": "○"}
_BAR, _EVIDENCE_BAR = 20, 10
_NEXT: Mapping[str, str] = {
    Phase.PAUSED: "go on: `rollout resume` (the step anew) or `rollout promote` (the next one); back: `rollout abort`",
}
"""What a person can do where a rollout waits for one, and the reason does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One version, its traffic and its replicas.

    Args:
        role: what it is at that moment: stable and canary until all traffic has moved; then, while stable is kept,
            stable and promoted; once that is over, previous and stable. Or other: of somebody else.
        id: deployed model id.
        model: such as m@2, or "" where that is not known.
        desired: its traffic as it should be, percent.
        actual: its traffic as it was read back, percent.
        replicas: those that answered at the last look, or None where the API does not say.
        replicas_min: the fewest that the spec asks for; None where the spec does not say it of this version.
        replicas_max: the most that the spec allows; None with ``replicas_min``.
    """

    role: str
    id: str
    model: str
    desired: int
    actual: int
    replicas: int | None = None
    replicas_min: int | None = None
    replicas_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """One reading of the judge, ready to be printed.

    Args:
        gate: its label.
        kind: absolute or relative.
        outcome: pass, fail, continue or insufficient.
        value: of the canary, with its unit.
        limit: what the value is held against.
        stable: stable's value, or "".
        samples: the canary's requests in this step.
        evidence: e-value against the canary, over the whole rollout.
        needed: e-value at which the check fails.
        explanation: one sentence.
        dry_run: reported only.
    """

    gate: str
    kind: str
    outcome: str
    value: str
    limit: str
    stable: str
    samples: int
    evidence: float
    needed: float
    explanation: str
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A rollout at one moment.

    Args:
        name: of the spec.
        id: of the rollout.
        endpoint: full resource name, or "" before it exists.
        phase: where it is.
        doing: one sentence about that phase.
        step: such as "2 of 3", or "".
        weight: the canary's share at this step, percent; None before the first.
        left: seconds until the hold or the keeping ends; None where nothing is timed.
        stage: the API's word for the operation in flight.
        shares: both versions.
        gates: the latest readings.
        reason: why it is where it is.
        ending: promoted, rolled_back, aborted, failed, or "" while it lasts; not_begun: see ``never_begun``.
        exit_code: what a controller that stops here exits with.
        controller: who drives it, or "".
        started: RFC 3339.
        ended: RFC 3339, or "".
    """

    name: str
    id: str
    endpoint: str
    phase: str
    doing: str
    step: str
    weight: int | None
    left: float | None
    stage: str
    shares: tuple[Share, ...]
    gates: tuple[GateView, ...]
    reason: str
    ending: str
    exit_code: int
    controller: str
    started: str
    ended: str

    def to_json(self) -> dict[str, Any]:
        """A value that ``json.dumps`` takes."""
        return asdict(self)


def exit_code(record: Record) -> ExitCode:
    """What a controller that stops at this record exits with."""
    if record.over and record.ending is not None:
        return record.ending.exit_code
    waits = record.phase in {Phase.PAUSED, Phase.AWAITING_APPROVAL}
    return ExitCode.INCONCLUSIVE if waits else ExitCode.OK


def view_of(record: Record, plan: Plan, *, now: float, holder: Lease | None = None) -> View:
    """The view of a record.

    Args:
        record: as stored.
        plan: its numbers.
        now: seconds since the epoch.
        holder: the controller at work, if there is one.
    """
    shown = 0 <= record.step <= plan.last
    return View(
        name=record.name,
        id=record.id,
        endpoint=record.endpoint or "",
        phase=record.phase,
        doing=SUMMARY[record.phase],
        step=f"{record.step + 1} of {plan.last + 1}" if shown else "",
        weight=plan.weights[record.step] if shown else None,
        left=time_left(record, plan, now),
        stage=record.pending.stage if record.pending else "",
        shares=_shares(record),
        gates=tuple(_gate(reading) for reading in (record.verdict or {}).get("readings", ())),
        reason=record.reason,
        ending=record.ending or "" if record.over else "",
        exit_code=int(exit_code(record)),
        controller=f"pid {holder.pid} on {holder.host}" if holder else "",
        started=_moment(record.started),
        ended=_moment(record.ended) if record.ended else "",
    )


def never_begun(view: View) -> View:
    """The view of a rollout whose record was written, while the store failed before it became the newest.

    No controller ever had it: whatever drives a rollout goes by the newest one.
    """
    why = "the store failed while it was written down, and nothing was done; use `rollout start`"
    return replace(view, ending="not_begun", reason=why)


def time_left(record: Record, plan: Plan, now: float) -> float | None:
    """Seconds until the current hold, or the keeping of stable, ends."""
    if record.phase is Phase.HOLDING:
        return max(0.0, record.entered + plan.holds[record.step] - now)
    if record.phase is Phase.KEEPING_STABLE:
        return max(0.0, record.entered + plan.keep_stable - now)
    return None


def lines(view: View) -> list[str]:
    """The view as a tree of plain text: the endpoint with its versions, then the gates with their evidence."""
    head = f"{view.name}  {view.ending or view.phase}"
    if view.step:
        head += f"  step {view.step} ({view.weight}%)"
    if view.left is not None:
        head += f"  {format_duration(float(round(view.left)))} left"
    if view.stage:
        head += f"  {view.stage}"
    found = [head, f"├─ {view.reason or view.doing}"]
    if view.phase in _NEXT:
        found.append(f"├─ {_NEXT[view.phase]}")
    if view.shares:
        width = max(len(share.role) for share in view.shares)
        shares = [_share_line(share, width, over=bool(view.ended)) for share in view.shares]
        found += [f"├─ endpoint {short(view.endpoint)}", *_branch(shares)]
    if view.gates:
        widths = (max(len(gate.gate) for gate in view.gates), max(len(gate.kind) for gate in view.gates))
        title = "├─ gates, with the evidence against the new version"
        found += [title, *_branch([_gate_line(gate, widths) for gate in view.gates])]
    driver = f"driven by {view.controller}" if view.controller else "no controller is at work"
    found.append(f"└─ {view.id}, started {view.started}" + (f", ended {view.ended}" if view.ended else f", {driver}"))
    return found


def evidence_bar(evidence: float, needed: float, width: int = _EVIDENCE_BAR) -> str:
    """How far evidence has come, on a log scale: empty at 1 (none) and below, full only when it is enough to fail.

    Args:
        evidence: e-value.
        needed: e-value at which the check fails, above 1.
        width: characters.
    """
    if evidence >= needed:
        return "█" * width
    reached = log(evidence) / log(needed) if evidence > 1 else 0.0
    return ("█" * min(int(reached * width), width - 1)).ljust(width, "·")


def _branch(entries: list[str]) -> list[str]:
    return [f"│  {'└' if number == len(entries) else '├'}─ {entry}" for number, entry in enumerate(entries, 1)]


def _share_line(share: Share, width: int, *, over: bool) -> str:
    bar = ("█" * round(share.actual * _BAR / 100)).ljust(_BAR, "·")
    off = "" if share.actual == share.desired else f"  (desired {share.desired}%)"
    # At the end, what has no traffic is undeployed as a rule, and the API no longer speaks of its replicas.
    gone = over and share.replicas is None and not share.actual
    replicas = "" if gone else _replicas(share)
    parts = (f"{share.role:<{width}} {bar} {share.actual:>3}%{off}", share.id, share.model, replicas)
    return "  ".join(part for part in parts if part)


def _replicas(share: Share) -> str:
    """``2 of 2..10 replicas``, ``1 replica`` where the spec gives no range, or that their number is unknown."""
    if share.replicas is None:
        return "replicas unknown"
    if share.replicas_min is None:
        return f"{share.replicas} replica{'' if share.replicas == 1 else 's'}"
    low, high = share.replicas_min, share.replicas_max
    return f"{share.replicas} of {low if low == high else f'{low}..{high}'} replica{'' if high == 1 else 's'}"


def _gate_line(gate: GateView, widths: tuple[int, int]) -> str:
    name, kind = gate.gate.ljust(widths[0]), gate.kind.ljust(widths[1])
    versus = f", stable {gate.stable}" if gate.stable else ""
    return (
        f"{ICONS[gate.outcome]} {name}  {kind}  {evidence_bar(gate.evidence, gate.needed)} "
        f"{gate.evidence:.3g} of {gate.needed:.3g}  {gate.value}, limit {gate.limit}{versus}, "
        f"{gate.samples} requests: {gate.outcome}" + (" (dry run)" if gate.dry_run else "")
    )


def quantity(value: float | None, unit: str) -> str:
    """``0.0123`` share as ``1.23%``, ``87.2`` ms as ``87.2 ms``; "not measured" for None."""
    if value is None:
        return "not measured"
    if unit == "share":
        return f"{value * 100:.3g}%"
    return f"{digits(value)} {unit}".rstrip()


def _shares(record: Record) -> tuple[Share, ...]:
    # Where stable was that version already, nothing was ever deployed under the id that was chosen.
    idle = record.over and record.ending is Ending.PROMOTED and not record.actual.get(record.canary)
    old, new = ("stable", "canary") if idle else _roles(record)
    versions = [(old, record.stable, record.stable_model)]
    if (record.model and not idle) or record.actual.get(record.canary):
        versions.append((new, record.canary, record.model))
    known = {deployed for _, deployed, _ in versions if deployed}
    others = sorted((set(record.actual) | set(record.split)) - known)
    return tuple(
        _share(record, role, deployed, model)
        for role, deployed, model in [*versions, *(("other", other, None) for other in others)]
        if deployed
    )


def _roles(record: Record) -> tuple[str, str]:
    """What the old version and the new one are now: see ``Share``."""
    if record.over and record.ending is Ending.PROMOTED:
        return "previous", "stable"
    standing = record.phase in {Phase.PAUSED, Phase.AWAITING_GROUP} and set(record.split) == {record.canary}
    kept = standing or record.phase in {Phase.KEEPING_STABLE, Phase.REMOVING_STABLE}
    return "stable", "promoted" if kept else "canary"


def _share(record: Record, role: str, deployed: str, model: str | None) -> Share:
    # The spec at hand is the canary's: that of another version may have asked for other numbers.
    wanted = _wanted_replicas(record.spec) if deployed == record.canary else {}
    return Share(
        role=role,
        id=deployed,
        model=short(model or ""),
        desired=record.split.get(deployed, 0),
        actual=record.actual.get(deployed, 0),
        replicas=record.replicas.get(deployed),
        replicas_min=wanted.get("min"),
        replicas_max=wanted.get("max"),
    )


def _wanted_replicas(spec: Mapping[str, Any]) -> Mapping[str, int]:
    """The replicas of the spec's target; none with a pool, whose replicas all its models share."""
    target = spec.get("target", {})
    return {} if target.get("pool") else target.get("replicas") or {}


def short(model: str) -> str:
    """``projects/p/locations/l/models/M@3`` as ``M@3``."""
    return model.rpartition("/")[2]


def _gate(reading: Mapping[str, Any]) -> GateView:
    unit = reading["unit"]
    return GateView(
        gate=reading["gate"],
        kind=reading["kind"],
        outcome=reading["outcome"],
        value=quantity(reading["value"], unit),
        limit=quantity(reading["threshold"], unit),
        stable=quantity(reading["stable"], unit) if reading["stable"] is not None else "",
        samples=reading["samples"],
        evidence=reading["evidence"],
        needed=reading["evidence_needed"],
        explanation=reading["explanation"],
        dry_run=reading["dry_run"],
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

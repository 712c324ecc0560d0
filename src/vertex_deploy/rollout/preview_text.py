"""A rollout's preview as lines of plain text, for `rollout plan`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vertex_deploy.rollout.preview import Preview

_VERDICT = {
    "start": "would start",
    "resume": "would go on",
    "nothing": "nothing to do",
    "refuse": "would be refused",
}


def preview_lines(found: Preview) -> list[str]:
    """The verdict, what was checked, what would be done in order, when it would end, and what commands would do."""
    checks = [found.machine] if found.machine else []
    checks += [quota.text for quota in found.quotas if quota.state == "ok"]
    if found.policies:
        checks.append(
            f"alert policies for its own time: {', '.join(found.policies)}; they keep the API's rules and can be "
            "listed, and incidents can be read; whether you may create them only the start shows"
        )
    lines = [f"{_VERDICT[found.outcome]}: {found.reason}", *(f"warning: {warning}" for warning in found.warnings)]
    lines += [f"checked: {check}" for check in checks]
    lines += [f"{number}. {line}" for number, line in enumerate(_todo(found), 1)]
    if found.steps:
        gates = ", ".join(found.gates) or "none"
        lines.append(f"gates: {gates}; at least {format_duration(found.hold_seconds)} of holds")
        lines.append(_times(found))
    width = max((len(name) for name in found.commands or ()), default=0)
    lines += [f"rollout {name.ljust(width)}  {what}" for name, what in (found.commands or {}).items()]
    return [*lines, "Nothing was changed."]


def _todo(found: Preview) -> Iterator[str]:
    yield from found.actions
    for step in found.steps:
        split = ", ".join(f"{key} {value}%" for key, value in step.split.items())
        asks = "wait for `rollout promote --approver NAME`, then " if step.approval else ""
        hold = f", hold {format_duration(step.hold)}" if step.hold else ""
        yield f"{asks}set the split to {split}{hold}"
    if found.steps:
        yield f"keep stable warm for {format_duration(found.keep_stable)}, then undeploy it"


def _times(found: Preview) -> str:
    if found.promoted is None or found.over is None:
        return ""
    if found.deployed_in is None:
        counted = "not counting the deployment, as no rollout has been timed yet"
    else:
        counted = f"with {format_duration(float(round(found.deployed_in)))} until the first traffic, as last time"
    waits = " and not counting approvals" if any(step.approval for step in found.steps) else ""
    return f"started now: promoted from {_clock(found.promoted)}, over from {_clock(found.over)}, {counted}{waits}"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")

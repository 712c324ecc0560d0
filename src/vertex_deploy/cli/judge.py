"""``vertex-deploy rollout judge``: judge a recorded history; changes nothing and calls nobody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertex_deploy.cli.output import Output, OutputFormat, emit

if TYPE_CHECKING:
    from vertex_deploy.rollout.judge import Verdict

History = Annotated[Path, typer.Option("--history", help="JSON list of intervals.")]
Gates = Annotated[Path | None, typer.Option("--gates", help="Spec with the gates; absent: compare with stable.")]
Env = Annotated[str | None, typer.Option("--env", "-e", help="Environment whose overrides apply.")]


def judge(*, history: History, gates: Gates = None, env: Env = None, output: Output = OutputFormat.TEXT) -> None:
    """Judge a recorded history.

    Exits with 0 for pass, 10 for fail, 12 for undecided.

    Example: vertex-deploy rollout judge --history history.json --gates deploy.yaml -o json
    """
    from vertex_deploy.errors import ExitCode  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.judge import Outcome, run_history  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.judge.history import DEFAULT_GATES  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    verdicts = run_history(history, load(gates, env).rollout.gates if gates else DEFAULT_GATES)
    outcome = verdicts[-1].outcome if verdicts else Outcome.INSUFFICIENT
    data = {"outcome": outcome.value, "verdicts": [verdict.to_json() for verdict in verdicts]}
    emit(data, output, lambda: _text(verdicts))
    codes = {Outcome.PASS: ExitCode.OK, Outcome.FAIL: ExitCode.ROLLED_BACK}
    raise typer.Exit(codes.get(outcome, ExitCode.INCONCLUSIVE))


def _text(verdicts: list[Verdict]) -> str:
    """One line where the outcome changes, then every reading of the last verdict."""
    lines, before = [], None
    for verdict in verdicts:
        if verdict.outcome is not before:
            lines.append(f"{verdict.at:%Y-%m-%d %H:%M:%S}  {verdict.outcome:<12}  {verdict.explanation}")
        before = verdict.outcome
    if not verdicts:
        return "insufficient: the history holds no interval"
    last = verdicts[-1]
    lines += ["", f"after {len(verdicts)} intervals: {last.outcome}"]
    lines += [f"  {reading.outcome:<12}  {reading.explanation}" for reading in last.readings]
    return "\n".join([*lines, *(f"  note: {note}" for note in last.notes)])

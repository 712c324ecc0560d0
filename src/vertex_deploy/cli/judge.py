"""``vertex-deploy rollout judge``: judge a recorded history; changes nothing and calls nobody."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertex_deploy.cli.output import Output, OutputFormat, emit

if TYPE_CHECKING:
    from vertex_deploy.rollout.judge import Verdict
    from vertex_deploy.rollout.judge.history import Entry

History = Annotated[Path, typer.Option("--history", metavar="FILE|-", help="JSON list of intervals; - reads stdin.")]
Gates = Annotated[Path | None, typer.Option("--gates", help="Spec with the gates; absent: compare with stable.")]
Env = Annotated[str | None, typer.Option("--env", "-e", help="Environment of --gates whose overrides apply.")]


def judge(*, history: History, gates: Gates = None, env: Env = None, output: Output = OutputFormat.TEXT) -> None:
    """Judge a recorded history.

    Exits with 0 for pass, 10 for fail, 12 for undecided.
    """
    from vertex_deploy.errors import ExitCode, UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.judge import Outcome  # noqa: PLC0415 - see above
    from vertex_deploy.rollout.judge.history import DEFAULT_GATES, replay_entries  # noqa: PLC0415 - see above
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above

    if env is not None and gates is None:
        raise UsageError("--env is of the spec with the gates; name it with --gates deploy.yaml")
    judged = load(gates, env).rollout.gates if gates else DEFAULT_GATES
    if not judged:
        raise UsageError(f"{gates}: rollout.gates is empty, so nothing can be judged; add a gate, or leave out --gates")
    verdicts = replay_entries(_entries(history), judged)
    outcome = verdicts[-1].outcome if verdicts else Outcome.INSUFFICIENT
    data = {"outcome": outcome.value, "verdicts": [verdict.to_json() for verdict in verdicts]}
    emit(data, output, lambda: _text(verdicts))
    codes = {Outcome.PASS: ExitCode.OK, Outcome.FAIL: ExitCode.ROLLED_BACK}
    raise typer.Exit(codes.get(outcome, ExitCode.INCONCLUSIVE))


def _entries(history: Path) -> list[Entry]:
    """The recorded intervals of a file, or of standard input.

    Raises:
        UsageError: not a history.
    """
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.rollout.judge.history import MAX_BYTES, read_bytes, read_history  # noqa: PLC0415 - see above

    if str(history) != "-":
        return read_history(history)
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, AttributeError) as error:  # it is a folder, or was closed
        raise UsageError("stdin: cannot be read; pipe a JSON list of intervals into it") from error
    return read_bytes(data, "stdin")


def _text(verdicts: list[Verdict]) -> str:
    """One line where the outcome changes, then every reading of the last verdict."""
    lines, before = [], None
    for verdict in verdicts:
        if verdict.outcome is not before:
            lines.append(f"{verdict.at:%Y-%m-%d %H:%M:%SZ}  {verdict.outcome:<12}  {verdict.explanation}")
        before = verdict.outcome
    if not verdicts:
        return "insufficient: the history holds no interval"
    last = verdicts[-1]
    lines += ["", f"after {len(verdicts)} interval{'' if len(verdicts) == 1 else 's'}: {last.outcome}"]
    lines += [f"  {reading.outcome:<12}  {reading.explanation}" for reading in last.readings]
    return "\n".join([*lines, *(f"  note: {note}" for note in last.notes)])

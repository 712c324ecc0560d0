"""``vertex-deploy check`` and ``vertex-deploy schema``: read a deploy.yaml, print what is in it or wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertex_deploy.cli.output import Output, OutputFormat, emit

if TYPE_CHECKING:
    from vertex_deploy.spec import Examined, Spec
    from vertex_deploy.spec.models import VertexTarget

File = Annotated[str, typer.Argument(metavar="FILE", help="The spec.")]
Environment = Annotated[str | None, typer.Option("--env", "-e", help="Environment whose overrides apply.")]


def check(file: File = "deploy.yaml", env: Environment = None, output: Output = OutputFormat.TEXT) -> None:
    """Check deploy.yaml, all of its environments included, and say what is wrong with file and line."""
    from vertex_deploy.errors import ExitCode, SpecError  # noqa: PLC0415 - heavy: only when called
    from vertex_deploy.spec import examine  # noqa: PLC0415 - heavy: only when called

    examined = examine(file, env)
    if examined.spec is None and output is OutputFormat.TEXT:
        raise SpecError([str(problem) for problem in examined.problems])
    emit(_as_json(file, env, examined), output, lambda: _summary(file, env, examined))
    if examined.spec is None:
        raise typer.Exit(ExitCode.SPEC)


def schema() -> None:
    """Print the JSON Schema of deploy.yaml, for editors and other programs."""
    from vertex_deploy.spec.schema import schema_text  # noqa: PLC0415 - heavy: only when called

    typer.echo(schema_text(), nl=False)


def _as_json(file: str, env: str | None, examined: Examined) -> dict[str, Any]:
    from vertex_deploy.spec import to_storage  # noqa: PLC0415 - heavy: only when called

    return {
        "ok": examined.spec is not None,
        "file": file,
        "env": env,
        "environments": examined.environments,
        "lockstep": examined.groups,
        "problems": [
            {"file": p.file, "line": p.line, "column": p.column, "field": p.field, "message": p.message, "fix": p.fix}
            for p in examined.problems
        ],
        "spec": to_storage(examined.spec) if examined.spec else None,
    }


def _summary(file: str, env: str | None, examined: Examined) -> str:
    from vertex_deploy.spec.units import format_duration  # noqa: PLC0415 - heavy: only when called

    spec: Spec | None = examined.spec
    assert spec is not None  # noqa: S101 - only called for a spec without problems
    target, rollout = spec.target, spec.rollout
    steps = " -> ".join(
        f"{step.weight}%{f' for {format_duration(step.hold)}' if step.hold else ''}" for step in rollout.steps
    )
    gates = ", ".join(dict.fromkeys(gate.metric for gate in rollout.gates))
    rows = {
        "name": spec.name,
        "where": f"{spec.gcp.project}, {spec.gcp.region}, {target.endpoint.access} endpoint",
        **_machines(target),
        "rollout": steps,
        "gates": gates or "none",
        "environments": ", ".join(examined.environments) or "none",
    }
    if examined.groups:
        rows["lockstep"] = "; ".join(f"{name}: {', '.join(found)}" for name, found in examined.groups.items())
    lines = [f"{file}{f' ({env})' if env else ''} is valid", *(f"  {name:<12}  {row}" for name, row in rows.items())]
    return "\n".join(lines)


def _machines(target: VertexTarget) -> dict[str, str]:
    rows = {"pool": target.pool} if target.pool else {}
    if target.machine is not None:
        machine = target.machine
        gpu = f" with {machine.accelerator}" if machine.accelerator else ""
        rows["machine"] = f"{machine.type}{gpu}{', spot' if machine.spot else ''}"
        rows["replicas"] = f"{target.replicas.min} to {target.replicas.max}"
    return rows

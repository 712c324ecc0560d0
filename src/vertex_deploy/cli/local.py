"""``vertex-deploy local``: start, look at, break and stop a Local Vertex."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertex_deploy.cli.example import Command, Group
from vertex_deploy.cli.output import Output, OutputFormat, emit
from vertex_deploy.errors import UsageError
from vertex_deploy.local import client, daemon, environment, view

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Run a local Vertex AI for rehearsals: Google's own clients work with it unchanged.",
    cls=Group,
    epilog="vertex-deploy local up --image 'us-central1-docker.pkg.dev/p/r/app=python server.py'",
)
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Keep everything here; absent: gone after `down`.")
]
_TEXT = OutputFormat.TEXT
_IMAGE_HELP = "Run COMMAND for image REF; container:IMAGE runs that image, container: REF's own (repeatable)."
_SHORTEST_PERIOD_S, _LONGEST_PERIOD_S = 0.1, 3600.0


def _state(data: Path | None) -> daemon.State:
    return daemon.State(daemon.HOME, data)


@app.command(cls=Command, epilog="vertex-deploy local up --sample-period 1s --image 'REF=python -m serving'")
def up(
    *,
    data: Data = None,
    image: Annotated[list[str] | None, typer.Option(metavar="REF=COMMAND", help=_IMAGE_HELP)] = None,
    images: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML or JSON of REF: COMMAND.")] = None,
    sample_period: Annotated[str, typer.Option(metavar="TIME", help="Time between metric points.")] = "60s",
    probe_scale: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Multiplies probe periods and restart delays: 0.1 for a rehearsal.")
    ] = 1.0,
    webhook_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Allow webhooks of alerts to HOST (repeatable).")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LIMIT", help="Limit of a quota in every project and region (repeatable)."),
    ] = None,
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of REST; 0: a free one.")] = 0,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of gRPC; 0: a free one.")] = 0,
    project: Annotated[str, typer.Option(help="Project that `local env` names.")] = "local-project",
    region: Annotated[str, typer.Option(help="Region that `local env` names.")] = "us-central1",
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and log to stderr.")] = False,
    output: Output = _TEXT,
) -> None:
    """Start Local Vertex on loopback, in the background."""
    options = daemon.Options(
        data=data,
        image=tuple(image or ()),
        images=images,
        sample_period=_sample_period(sample_period),
        probe_scale=probe_scale,
        webhook_host=tuple(webhook_host or ()),
        quota=_quotas(quota),
        rest_port=rest_port,
        grpc_port=grpc_port,
        project=project,
        region=region,
    )
    if foreground:
        _serve(options)
        return
    began = time.monotonic()
    running = daemon.start(_state(data), options.arguments(), progress=_progress if sys.stderr.isatty() else _quiet)
    seconds = time.monotonic() - began
    emit(view.running(running), output, lambda: view.started(running, seconds))


def _serve(options: daemon.Options) -> None:
    # Here and not above: the server takes seconds to import, and nobody else needs the rest.
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    from vertex_deploy.local import quotas  # noqa: PLC0415
    from vertex_deploy.local.data import ImageMap  # noqa: PLC0415
    from vertex_deploy.local.server import Settings, serve  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    state = _state(options.data)
    settings = Settings(
        data=options.data or daemon.scratch_folder(state.home),
        images=ImageMap.parse(options.image, file=options.images),
        sample_period=options.sample_period,
        probe_scale=options.probe_scale,
        webhook_hosts=frozenset(options.webhook_host),
        quotas=quotas.limits(options.quota),
        region=options.region,
        rest_port=options.rest_port,
        grpc_port=options.grpc_port,
    )
    asyncio.run(serve(settings, state, project=options.project, region=options.region))


def _progress(waited: float) -> None:
    sys.stderr.write(f"\rstarting Local Vertex ... {waited:.1f}s\r")
    sys.stderr.flush()


def _quiet(_: float) -> None:
    pass


@app.command(cls=Command, epilog="vertex-deploy local down")
def down(*, data: Data = None, output: Output = _TEXT) -> None:
    """Stop Local Vertex and its replicas; what --data keeps stays."""
    running = daemon.stop(_state(data))
    kept = None if running.scratch else running.data
    emit(
        {"stopped": running.pid, "data": kept},
        output,
        lambda: f"stopped (pid {running.pid})" + (f"; everything is kept in {kept}" if kept else ""),
    )


@app.command(cls=Command, epilog="vertex-deploy local status -o json")
def status(*, data: Data = None, output: Output = _TEXT) -> None:
    """Show endpoints, their traffic split, deployed models and replicas."""
    running = _state(data).require()
    found = view.status(running, client.get(running, "/local/v1/state"), client.get(running, "/local/v1/status"))
    emit(found, output, lambda: view.status_text(found))


@app.command(cls=Command, epilog="vertex-deploy local logs --deployed-model 1234567890 -f")
def logs(
    *,
    data: Data = None,
    deployed_model: Annotated[
        str | None, typer.Option("--deployed-model", metavar="ID", help="Its replicas' output; absent: the server's.")
    ] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Lines from the end.")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come, until Ctrl-C.")] = False,
) -> None:
    """Print the log of the server, or of a deployed model's replicas."""
    state = _state(data)
    if deployed_model is None:
        paths = [state.log]
    else:
        paths = view.log_files(client.get(state.require(), "/local/v1/status"), deployed_model)
    client.print_logs(paths, lines=lines, follow=follow)


@app.command(cls=Command, epilog='eval "$(vertex-deploy local env)"')
def env(
    *,
    data: Data = None,
    shell: Annotated[bool, typer.Option("--shell", help="Lines for a shell (the default).")] = True,
    output: Output = _TEXT,
) -> None:
    """Print the variables that point clients at Local Vertex.

    Clients are gcloud, the SDK and this tool.
    """
    del shell
    running = _state(data).require()
    variables = environment.variables(running)
    comment = environment.sdk_lines(running)

    def text() -> str:
        return "\n".join([*(f"export {k}={shlex.quote(v)}" for k, v in variables.items()), *comment])

    emit(variables, output, text)


@app.command(cls=Command, epilog="vertex-deploy local fault my-model@2 --fail 20% --delay 300ms:50%")
def fault(
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="Deployed model id, MODEL or MODEL@VERSION.")
    ] = None,
    *,
    data: Data = None,
    fail: Annotated[str | None, typer.Option(metavar="SHARE", help="Share of requests that fail: 20%.")] = None,
    code: Annotated[int, typer.Option(min=400, max=599, help="HTTP status they fail with.")] = 500,
    delay: Annotated[
        str | None, typer.Option(metavar="TIME[:SHARE]", help="Delay of (a share of) requests: 300ms:50%.")
    ] = None,
    kill_replica: Annotated[bool, typer.Option("--kill-replica", help="SIGKILL one replica.")] = False,
    preempt: Annotated[bool, typer.Option("--preempt", help="Take one replica away, as Spot does.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the fault of TARGET, or all.")] = False,
    output: Output = _TEXT,
) -> None:
    """Break a model on purpose, or list the faults that are set.

    Without options they are listed.
    """
    running = _state(data).require()
    acts = [name for name, wanted in (("kill", kill_replica), ("preempt", preempt)) if wanted]
    if clear:
        if fail or delay or acts:
            raise UsageError("--clear removes what was set; leave out --fail, --delay, --kill-replica and --preempt")
        query = {"target": target} if target else {}
        found = client.send(running, "DELETE", "/local/v1/faults", query=query)
    elif not target:
        if fail or delay or acts:
            raise UsageError("fault needs a TARGET: a deployed model id, MODEL or MODEL@VERSION")
        found = client.get(running, "/local/v1/faults")
    else:
        bodies: list[dict[str, Any]] = [{"target": target, "act": act} for act in acts]
        if fail or delay:
            bodies.append({"target": target, **_fault(fail, code, delay)})
        if not bodies:
            raise UsageError(f"fault {target}: say what: --fail, --delay, --kill-replica, --preempt or --clear")
        found = {"done": [client.send(running, "POST", "/local/v1/faults", body=body) for body in bodies]}
    emit(found, output, lambda: view.faults_text(found))


def _fault(fail: str | None, code: int, delay: str | None) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if fail:
        wanted |= {"fail_share": _share("--fail", fail), "code": code}
    if delay:
        length, _, share = delay.partition(":")
        wanted |= {"delay_ms": _duration("--delay", length) * 1000, "delay_share": _share("--delay", share or "100%")}
    return wanted


def _parsed(option: str, parse: Callable[[str], float], value: str) -> float:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _duration(option: str, value: str) -> float:
    from vertex_deploy.spec.units import parse_duration  # noqa: PLC0415 - pydantic is not needed for --help

    return _parsed(option, parse_duration, value)


def _sample_period(value: str) -> float:
    period = _duration("--sample-period", value)
    if not _SHORTEST_PERIOD_S <= period <= _LONGEST_PERIOD_S:
        raise UsageError(f"--sample-period {value}: must be between 100ms and 1h; Cloud Monitoring's is 60s")
    return period


def _quotas(entries: list[str] | None) -> tuple[str, ...]:
    if entries:
        from vertex_deploy.local.quotas import limits  # noqa: PLC0415 - pydantic is not needed for --help

        return tuple(f"{metric}={limit}" for metric, limit in limits(entries).items())
    return ()


def _share(option: str, value: str) -> float:
    from vertex_deploy.spec.units import parse_share  # noqa: PLC0415 - pydantic is not needed for --help

    share = _parsed(option, parse_share, value)
    if not 0 < share <= 1:
        raise UsageError(f"{option} {value}: a share is more than 0% and at most 100%")
    return share

"""``vertex-deploy build``: the two steps of a build that know Vertex AI.

Everything else that a build does (images, scans, digests) is a tool's own work and is in cloudbuild.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertex_deploy.cli.output import Output, OutputFormat, emit

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="What a build calls: check a container, upload a release.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def contract(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of the running container, http://HOST:PORT.")],
    *,
    sample: Annotated[Path, typer.Option("--sample", help="A predict request that it accepts, in JSON.")],
    health: Annotated[str, typer.Option("--health-route", help="Its AIP_HEALTH_ROUTE.")] = "/health",
    predict: Annotated[str, typer.Option("--predict-route", help="Its AIP_PREDICT_ROUTE.")] = "/predict",
    wait: Annotated[float, typer.Option("--wait", help="Seconds that it may take to become healthy.")] = 600.0,
    strict: Annotated[bool, typer.Option("--strict", help="Broken `should` rules fail too.")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Check that a running container keeps Vertex AI's contract.

    Exits with 7 if it does not.
    """
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.contract import HttpServer, Routes, Sample, run  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.contract.healthy import wait_healthy  # noqa: PLC0415 - see above
    from vertex_deploy.errors import UsageError  # noqa: PLC0415 - see above

    try:
        request = Sample.from_request(sample.read_bytes())
    except OSError as error:
        raise UsageError(f"{sample}: cannot be read ({error.strerror}); give the path of a predict request") from error
    server, routes = HttpServer(url), Routes(health, predict)
    wait_healthy(server, routes, seconds=wait, sleep=time.sleep)
    report = run(server, routes, request)
    lines = [f"{f.outcome:<8}{f.level:<7}{f.check}{f': {f.detail}' if f.detail else ''}" for f in report.findings]
    findings = [{"check": f.check, "level": f.level, "outcome": f.outcome, "detail": f.detail} for f in report.findings]
    emit(findings, output, lambda: "\n".join(lines))
    report.require(strict=strict)


@app.command()
def upload(
    spec_file: Annotated[Path, typer.Argument(metavar="[DEPLOY.YAML]", help="The spec.")] = Path("deploy.yaml"),
    *,
    release_file: Annotated[Path, typer.Option("--release", help="JSON with image, artifact and commit.")],
    env: Annotated[str | None, typer.Option("--env", "-e", help="Environment whose overrides apply.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds that the upload may take.")] = 3600.0,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Upload a release as a model version, if it is not there.

    A rollout then finds it.
    """
    import time  # noqa: PLC0415 - beside its only use

    from vertex_deploy.release import build_release, read_pins  # noqa: PLC0415 - --help must not wait for it
    from vertex_deploy.spec import load  # noqa: PLC0415 - see above
    from vertex_deploy.targets.upload import ensure_uploaded  # noqa: PLC0415 - see above
    from vertex_deploy.targets.vertex import VertexTarget  # noqa: PLC0415 - see above

    spec = load(spec_file, env or None)
    release = build_release(spec, pins=read_pins(release_file))
    model, new = ensure_uploaded(VertexTarget(spec, release), sleep=time.sleep, timeout=timeout)
    data = {"model": model, "uploaded": new, "release": release.hash, "image": release.image}
    emit(data, output, lambda: f"{model}{'' if new else ' (was there already)'}")

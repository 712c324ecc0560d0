"""The options and arguments that several commands of ``rollout`` take, each said once.

Left out: ``-o/--output`` (``output``), which every command of the command line has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertex_deploy.cli.screen import PLAIN

SPEC = Path("deploy.yaml")
ROOT = ".vertex-deploy/rollouts"

SpecFile = Annotated[Path, typer.Argument(metavar="[DEPLOY.YAML]", help="The spec.", show_default=True)]
Env = Annotated[str | None, typer.Option("--env", "-e", help="Environment whose overrides apply, or a lockstep group.")]
Root = Annotated[
    str, typer.Option("--store", envvar="VERTEX_DEPLOY_STORE", help="Folder or gs://BUCKET/PREFIX that keeps rollouts.")
]
Events = Annotated[str | None, typer.Option("--events", metavar="FILE|-", help="Write events as NDJSON, one a line.")]
Plain = Annotated[bool, typer.Option("--plain", envvar=PLAIN, help="One line an event, on a terminal too.")]
Release = Annotated[
    Path | None, typer.Option("--release", help="JSON with image, artifact and commit, as a build hands over.")
]

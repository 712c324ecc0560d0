"""The root command and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from vertex_deploy import __version__
from vertex_deploy.errors import ExitCode, VertexDeployError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Command -> (module, attribute, one-line help). A module is imported only when its command is used: the help of the
# root lists these lines without importing any.
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "check": ("vertex_deploy.cli.spec", "check", "Check deploy.yaml and say what is wrong, with file and line."),
    "schema": ("vertex_deploy.cli.spec", "schema", "Print the JSON Schema of deploy.yaml."),
    "local": ("vertex_deploy.cli.local", "app", "Run a local Vertex AI for rehearsals."),
    "rollout": ("vertex_deploy.cli.rollout", "app", "Shift traffic to a new model version, step by step."),
}


class LazyGroup(typer.core.TyperGroup):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        """Names in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The real command if it is being called, a stand-in with its help line if the root's help is printed."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, summary = COMMANDS[cmd_name]
        called = cmd_name in sys.argv[1:] or "_VERTEX_DEPLOY_COMPLETE" in os.environ or ctx.resilient_parsing
        if not called:
            return typer.core.TyperCommand(cmd_name, help=summary)
        found = getattr(importlib.import_module(module), attribute)
        app = found if isinstance(found, typer.Typer) else _single(cmd_name, found)
        command = typer.main.get_command(app)
        command.name = cmd_name
        command.help = command.help or summary
        return command


def _single(name: str, function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(function)
    return app


app = typer.Typer(
    name="vertex-deploy",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vertex-deploy check deploy.yaml && vertex-deploy rollout start deploy.yaml",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vertex-deploy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Deploy models to Vertex AI from one deploy.yaml, and rehearse it on this machine."""
    ctx.obj = {"debug": debug}


def main() -> NoReturn:
    """Run the command line; never returns.

    Every ``VertexDeployError`` ends here as ``error: ...`` on stderr and its class's exit code.
    """
    try:
        code = app(standalone_mode=False)
    except VertexDeployError as error:
        if "--debug" in sys.argv:
            raise
        for line in str(error).splitlines() or [type(error).__name__]:
            sys.stderr.write(f"error: {line}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`): not our error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.ERROR)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)

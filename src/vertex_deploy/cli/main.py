"""The root command and the one place where an error becomes a line on stderr and an exit code.

Left out: any work. A command's module is imported when the command is called, not before, so that help is instant.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from vertex_deploy import __version__
from vertex_deploy.cli import deferred
from vertex_deploy.cli.example import write_example
from vertex_deploy.errors import ExitCode, UsageError, VertexDeployError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Command -> (module, attribute, one-line help).
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "check": ("vertex_deploy.cli.spec", "check", "Check deploy.yaml and say what is wrong, with file and line."),
    "schema": ("vertex_deploy.cli.spec", "schema", "Print the JSON Schema of deploy.yaml."),
    "local": ("vertex_deploy.cli.local", "app", "Run a local Vertex AI for rehearsals."),
    "build": ("vertex_deploy.cli.build", "app", "What a build calls: check a container, upload a release."),
    "rollout": ("vertex_deploy.cli.rollout", "app", "Shift traffic to a new model version, step by step."),
}

EXTRAS = ("local",)
"""Commands whose module needs the extra of the same name."""

SIGNALLED = 128
"""What a shell reports for a process ended by a signal, less the signal's number."""

INTERRUPTED = SIGNALLED + signal.SIGINT
"""Of Ctrl-C: 130."""

_REPEATED = 5.0
"""Seconds in which a signal that ends the process means no more than the first one."""

EXAMPLE = "vertex-deploy check && vertex-deploy rollout start --env local"


class LazyGroup(typer.core.TyperGroup):
    """A group of stand-ins that carry a name and a line of help; resolving one imports the command behind it.

    Help and completion of the root list the stand-ins, as ``commands`` of any group. Only ``resolve_command`` leads
    on: it is what both calling a command and completing its options go through.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for name, (_, _, summary) in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command; an unknown name fails as in any group, with the nearest one."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in if name is None else _real_command(name), rest

    def get_params(self, ctx: Any) -> list[Any]:
        """Flags are False where not given: to convert None, typer 0.29 imports pydantic before any command's help."""
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_bool_flag", False) and param.default is None:
                param.default = False
        return params

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """See ``write_example``."""
        write_example(EXAMPLE, formatter)


def _real_command(name: str) -> Any:
    module, attribute, summary = COMMANDS[name]
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("vertex_deploy"):
            raise
        fix = f"pip install 'vertex-deploy[{name}]'" if name in EXTRAS else "install vertex-deploy again"
        raise UsageError(f"vertex-deploy {name} needs {error.name}, which is not installed; {fix}") from error
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    command.help = command.help or summary
    return command


app = typer.Typer(
    name="vertex-deploy",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vertex-deploy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="VERTEX_DEPLOY_DEBUG", help="Show a traceback when something goes wrong.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Deploy models to Vertex AI from one deploy.yaml, and rehearse it on this machine."""
    ctx.obj["debug"] = debug


@contextmanager
def _interruptible(settings: dict[str, Any]) -> Iterator[None]:
    """Let SIGTERM (a scheduler, a cancelled build) and SIGHUP (a terminal that went away) end as Ctrl-C does.

    A lease is given back then, and the cursor with it. Which signal came is in the settings. One that is sent again at
    once, as by ``timeout`` and by a shell whose terminal went away too, does not break that off; later it does.
    """
    first = -inf

    def end(number: int, _frame: object) -> None:
        nonlocal first
        if monotonic() - first < _REPEATED:
            return
        first = monotonic()
        settings["signal"] = number
        raise KeyboardInterrupt

    # Windows has no SIGHUP. One that is ignored, as under nohup, stays ignored.
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def main() -> NoReturn:
    """Run the command line; never returns.

    Every ``VertexDeployError`` ends here as ``error: ...`` on stderr and its class's exit code; so does a wrong
    command line (exit code 2). Anything else is a bug and keeps its traceback.
    """
    settings: dict[str, Any] = {"debug": False, "signal": signal.SIGINT}
    deferred.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal of another encoding cannot show is a question mark, not the end of a rollout.
            stream.reconfigure(errors="replace")
    try:
        with _interruptible(settings):
            code = app(standalone_mode=False, prog_name="vertex-deploy", obj=settings)
        sys.stdout.flush()
        if code == INTERRUPTED:  # what typer makes of an interrupt
            code = SIGNALLED + settings["signal"]
    except VertexDeployError as error:
        if settings["debug"]:
            traceback.print_exc()
        _fail(str(error).splitlines() or [type(error).__name__], error.exit_code)
    except typer.TyperException as error:
        _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(SIGNALLED + settings["signal"])
    except BrokenPipeError:
        # The reader went away (`| head`): not our error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.ERROR)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _usage(error: typer.TyperException) -> NoReturn:
    """Print what typer found wrong with the command line as one line that names the help to read."""
    text = error.format_message()
    if text.startswith("Usage: "):
        # A group called without a command: typer's message is its whole help.
        sys.stderr.write(text + "\n")
        sys.exit(ExitCode.USAGE)
    command = getattr(getattr(error, "ctx", None), "command_path", "") or _called(sys.argv[1:])
    # Typer converts values with pydantic and shows its prefix.
    message = " ".join(text.split()).rstrip(".").replace("Value error, ", "")
    separator = "" if message.endswith("?") else ";"
    _fail([f"{message}{separator} see {command} --help"], ExitCode.USAGE)


def _called(words: list[str]) -> str:
    """The command that these words call, where typer does not say it: an option without its value."""
    named = [word for word in words[:2] if not word.startswith("-")]
    if not named or named[0] not in COMMANDS:
        return "vertex-deploy"
    whole = named if COMMANDS[named[0]][1] == "app" else named[:1]
    return " ".join(["vertex-deploy", *whole])


def _fail(lines: list[str], code: int) -> NoReturn:
    for line in lines:
        # It may quote a file's name or a value that somebody else chose.
        sys.stderr.write(f"error: {printable(line)}\n")
    sys.exit(code)

"""Pulumi's own engine for a test: whether it and its plugins are there, and a stack in a folder with a file backend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulumi import automation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLUGIN = Path(__file__).parents[3] / "infra" / "provider"


@cache
def missing(*plugins: str) -> str:
    """Why a test that needs the engine and these plugins cannot run; empty where it can.

    Args:
        plugins: names of resource plugins, such as gcp.
    """
    if shutil.which("pulumi") is None:
        return "the Pulumi engine (`pulumi`) is not on PATH"
    command = ["pulumi", "plugin", "ls", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    there = {item["name"] for item in listed if item["kind"] == "resource"}
    absent = [name for name in plugins if name not in there]
    return f"no plugin of {', '.join(absent)}; `pulumi plugin install resource {absent[0]}`" if absent else ""


def stack(
    folder: Path, name: str, program: Callable[[], Any], config: Mapping[str, str], variables: Mapping[str, str]
) -> automation.Stack:
    """A stack whose program is a function, so that no file of the repository is written.

    Args:
        folder: empty; for the project's file and the state.
        name: of the stack.
        program: that it runs.
        config: key with its namespace -> value.
        variables: of the environment, beside the backend's.
    """
    (folder / "state").mkdir()
    # What Pulumi.yaml of the repository says, for a program that is a function here.
    project = {
        "name": "shop",
        "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}},
        "plugins": {"providers": [{"name": "vertexdeploy", "path": str(PLUGIN)}]},
    }
    (folder / "Pulumi.json").write_text(json.dumps(project))
    options = automation.LocalWorkspaceOptions(
        work_dir=str(folder),
        env_vars={
            **variables,
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        },
    )
    made = automation.create_or_select_stack(name, project_name="shop", program=program, opts=options)
    for key, value in config.items():
        made.set_config(key, automation.ConfigValue(value))
    return made


def counted(summary: Mapping[Any, int] | None) -> dict[str, int]:
    """A change summary with plain words for keys, without the stack itself where it is the same."""
    return {str(getattr(step, "value", step)): count for step, count in (summary or {}).items()}

"""Run the demo: build, start Local Vertex, serve, roll out a good version, try a bad one, sum up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.imagenet.photos import photographs
from examples.imagenet.traffic import Traffic, by_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".vertex-deploy" / "demo"  # ignored by git; the demo writes nowhere else
RATE = 16.0  # requests a second: what two cores answer with room to spare
BUCKET = "my-project-models"
# version -> what is served: a small model, a better one, and the better one again, to be broken on purpose
VERSIONS = {1: "efficientnet-lite0", 2: "efficientnet-lite1", 3: "efficientnet-lite1"}
ROLLED_BACK = 10  # vertex-deploy's exit code for it


def say(text: str) -> None:
    """One line of the demo's own, set apart from the output of the commands."""
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)  # noqa: T201 - a program


def command(*words: str, expect: int = 0, capture: bool = False) -> str:
    """Run ``vertex-deploy WORDS`` in the demo's folder, as a user would type it.

    Raises:
        SystemExit: it exited with anything but ``expect``.
    """
    print(f"$ vertex-deploy {' '.join(words)}", flush=True)  # noqa: T201
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [sys.executable, "-m", "vertex_deploy", *words],
        cwd=HOME,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode != expect:
        sys.exit(f"error: vertex-deploy {words[0]} exited with {done.returncode}, expected {expect}")
    return done.stdout or ""


@contextmanager
def local_vertex() -> Iterator[dict[str, str]]:
    """Local Vertex up, its addresses in this process's environment; down again whatever happens."""
    server = f"{sys.executable} -m serving"
    command("local", "up", "--sample-period", "1s", "--image", f"*/torch-aoti*={server}")
    try:
        addresses: dict[str, str] = json.loads(command("local", "env", "-o", "json", capture=True))
        os.environ.update(addresses)
        yield addresses
    finally:
        command("local", "down")

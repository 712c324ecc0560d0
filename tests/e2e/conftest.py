"""A Local Vertex of its own for a module, started and stopped as a user does."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

IMAGE = "us-central1-docker.pkg.dev/my-project/repo/server"
SERVER = Path(__file__).with_name("model_server.py")


@dataclass
class Cli:
    """The command line in a directory of its own.

    Args:
        folder: the directory.
        begun: processes that tests began here; those that a failed test left are ended with the fixture.
    """

    folder: Path
    begun: list[subprocess.Popen] = field(default_factory=list)

    def run(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vertex_deploy", "local", *arguments]
        found = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert not check or found.returncode == 0, found.stderr
        return found

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "-o", "json").stdout)

    def up(self, *arguments: str) -> dict:
        regions = (IMAGE, IMAGE.replace("us-central1", "europe-west4"))
        images = [f"{image}={sys.executable} {SERVER}" for image in regions]
        return self.json("up", "--image", images[0], "--image", images[1], "--sample-period", "1s", *arguments)

    def down(self) -> None:
        """Stop it, and what a failed test left: a rollout that goes on would keep the machine busy for the next."""
        for process in self.begun:
            process.kill()
            process.wait()
        self.run("down")


@pytest.fixture(scope="module")
def vertex(tmp_path_factory):
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    cli.up()
    yield cli
    cli.down()

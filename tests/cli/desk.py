"""The whole command line in this process, with worlds in memory where Google's APIs are.

Everything between ``vertex-deploy`` and the seams (target, metric source, clock) is the real thing: parsing, stores in
a folder, controllers, exit codes, the one line of an error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.rollout.world import World
from vertex_deploy.cli import main as cli
from vertex_deploy.rollout import clock as clocks
from vertex_deploy.rollout import engine
from vertex_deploy.rollout.blobs import DirectoryBlobs
from vertex_deploy.rollout.clock import ManualClock
from vertex_deploy.spec import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vertex_deploy.release import Release
    from vertex_deploy.spec.models import Spec

SPEC: dict[str, Any] = {
    "name": "lite0",
    "gcp": {"project": "my-project", "region": "us-central1"},
    "model": {"artifact": "gs://my-project-models/lite0/2"},
    "container": {"image": "torch-aoti"},
    "target": {"type": "vertex", "machine": {"type": "n1-standard-4"}},
    "rollout": {
        "steps": [{"weight": 10, "hold": "1m"}, {"weight": 100}],
        "gates": [{"metric": "error_rate", "max": "1%", "min_requests": 100}],
        "keep_stable": "30s",
        "poll": "5s",
        "alerts": {"from_gates": False},
    },
}
REGIONS = {"us": "us-central1", "eu": "europe-west4"}
GROUPED = SPEC | {
    "environments": {member: {"gcp": {"region": region}} for member, region in REGIONS.items()},
    "lockstep": {"prod": list(REGIONS)},
}


@dataclass(slots=True)
class Shared(ManualClock):
    """A manual clock; ``meanwhile`` is what others do while a command sleeps."""

    meanwhile: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        ManualClock.sleep(self, seconds)
        self.meanwhile()


@dataclass
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Of standard output; NaN and Infinity are no JSON."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    @property
    def error(self) -> str:
        """The one line of an error: nothing on standard output, no traceback."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("error: "), line
        return line.removeprefix("error: ")


@dataclass
class Desk:
    """A working directory with ``deploy.yaml``, and a world for each region that it names."""

    folder: Path
    patch: pytest.MonkeyPatch
    spec: dict[str, Any] = field(default_factory=lambda: SPEC)
    worlds: dict[str, World] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file, self.root = self.folder / "deploy.yaml", self.folder / "rollouts"
        self.clock = Shared()
        self.write(self.spec)
        self.patch.setattr(engine, "VertexTarget", self._target)
        self.patch.setattr(engine, "source_for", lambda spec: lambda _endpoint: self._world(spec).source)
        self.patch.setattr(engine, "quotas_of", lambda _spec: lambda _now: ())
        self.patch.setattr(clocks, "SystemClock", lambda: self.clock)
        self.patch.setattr(os, "fsync", lambda _: None)  # a crash of the machine is not what is tried
        self.patch.delenv("VERTEX_DEPLOY_STORE", raising=False)

    def write(self, spec: dict[str, Any]) -> None:
        """The spec, and a world for each of its environments (for the spec itself, if it has none)."""
        self.file.write_text(yaml.safe_dump(spec))
        for env in [*spec.get("environments", {})] or [None]:
            found = load(self.file, env)
            world = self.worlds.setdefault(found.gcp.region, World(spec=found))
            world.clock = self.clock
            world.blobs = DirectoryBlobs(self.root / engine.key_of(found, env))  # type: ignore[assignment] # any Blobs

    def _world(self, spec: Spec) -> World:
        return self.worlds[spec.gcp.region]

    def _target(self, spec: Spec, release: Release) -> Any:
        world = self._world(spec)
        world.target.release = release.hash
        return world.target

    @property
    def world(self) -> World:
        """The one of a spec without environments."""
        return self.worlds["us-central1"]

    def run(self, verb: str, *arguments: str, stdin: bytes = b"", file: Path | str | None = None) -> Said:
        """``vertex-deploy rollout VERB deploy.yaml --store ...``; whatever is not an exit is the test's to see."""
        words = ["rollout", verb, str(file or self.file), "--store", str(self.root), *arguments]
        return self.call(*(words if verb != "judge" else ["rollout", verb, *arguments]), stdin=stdin)

    def call(self, *words: str, stdin: bytes = b"") -> Said:
        """``vertex-deploy WORDS``."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["vertex-deploy", *words])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as left:
                cli.main()
        return Said(int(left.value.code or 0), out.getvalue(), err.getvalue())

    def keeps(self, env: str = "") -> Path:
        """The folder of the newest rollout."""
        base = self.root / (f"lite0@{env}" if env else "lite0")
        return base / str(json.loads((base / "current.json").read_text())["id"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A spec of its own, with a stable version that has all traffic."""
    return Desk(tmp_path, monkeypatch)


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The lockstep group ``prod`` of ``us`` and ``eu``, each with a stable version that has all traffic."""
    return Desk(tmp_path, monkeypatch, GROUPED)

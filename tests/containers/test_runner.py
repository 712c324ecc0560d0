"""The runner's image, built from its Dockerfile: `rollout tick` in it takes a rollout to its end, a call at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import storage

from containers.tools import base as base_image
from containers.tools import gates, image
from containers.tools.job import run_to_end
from containers.tools.store import ROOT, Store
from tests.containers import engine
from tests.e2e.conftest import Cli
from tests.e2e.rollouts import HELD, Rollouts, until
from tests.waiting import PATIENCE
from vertex_deploy.rollout import session
from vertex_deploy.rollout.clock import SystemClock
from vertex_deploy.rollout.engine import open_store
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.container

TAG = "localhost/runner:test"
STATE = "gs://rollouts/team"
WHERE = ("--store", STATE)
ROLLOUT = {
    # The first hold is ended by a request, after Ctrl-C and a tick; the second one by its time, in whichever tick.
    "steps": [{"weight": 20, "hold": HELD}, {"weight": 50, "hold": "5s"}, {"weight": 100}],
    "gates": [{"metric": "error_rate", "max": "5%", "min_requests": 20}],
    # What is asked is who ticks, not whether a slow machine sends enough requests for a verdict.
    "on_inconclusive": "proceed",
    "keep_stable": "2s",
}
# What a container needs to know of a Local Vertex; the others name files of this machine.
PASSED = ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store.default()
    if (reason := engine.why_not(store)) is not None:
        engine.lacking(reason)
    return store


@pytest.fixture(scope="module")
def inspected(store: Store) -> dict[str, Any]:
    """The image, built by the command that the guide gives."""
    argv = [sys.executable, "-m", "containers.tools", "build", "runner", "--tag", TAG]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    argv = ["podman", "image", "inspect", TAG]
    done = subprocess.run(argv, env=store.environment(), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)[0]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    cli.up()
    yield cli
    cli.down()


def job(store: Store, args: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    wanted = image.Job(image=TAG, args=args, **options)
    return run_to_end(wanted, store, capture_output=True, text=True, timeout=PATIENCE)


def test_image_says_what_it_is_and_runs_as_nobody_in_particular(inspected: dict[str, Any]) -> None:
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["vertex-deploy"]
    assert config["Labels"]["org.opencontainers.image.base.name"] == base_image.NAME
    assert inspected["Size"] < 5e8  # Google's clients are 190 MB of it


@pytest.mark.usefixtures("inspected")
def test_image_holds_no_installer_and_nothing_but_the_dependencies(store: Store) -> None:
    program = """import importlib.util as u, shutil, os
print([n for n in ("pip", "torch", "aiohttp", "pulumi", "pytest", "hatchling") if u.find_spec(n)],
      [n for n in ("pip", "gcc", "curl") if shutil.which(n)], os.path.exists("/etc/pip.conf"), os.getuid())"""
    done = job(store, ["-c", program], entrypoint="python")
    assert done.stdout.strip() == "[] [] False 10001", done.stderr


@pytest.mark.usefixtures("inspected")
def test_image_holds_what_the_lock_names_says_syft(store: Store, tmp_path: Path) -> None:
    """As the build's own gate asks: the SBOM step and the gate on the image itself."""
    packages, failed = engine.packages_off_the_lock(store, TAG, tmp_path)
    assert failed == []
    assert {gates.OWN, "google-cloud-aiplatform", "google-cloud-storage"} <= set(packages)
    assert "pip" not in packages


@pytest.mark.usefixtures("inspected")
def test_ticks_in_the_container_take_a_rollout_from_a_bucket_to_its_end(
    store: Store, vertex: Cli, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    rollouts = Rollouts(vertex, "ticked", ROLLOUT)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", rollouts.env["STORAGE_EMULATOR_HOST"])
    bucket = storage.Client(project="my-project").create_bucket("rollouts")

    def phases_kept() -> set[str]:
        # Not `rollout status`: on a slow machine one takes as long as the hold.
        names = [blob.name for blob in bucket.list_blobs(prefix="team/") if blob.name.endswith("/record.json")]
        # By name: a blob that was listed stands for one generation, which the controller may have replaced by now.
        return {json.loads(bucket.blob(name).download_as_bytes())["phase"] for name in names}

    rollouts.write("one")
    code, out = rollouts.run("start", *WHERE)
    assert code == 0, out
    monkeypatch.setattr(Rollouts, "endpoint", lambda self: self.json("status", *WHERE)[1]["endpoint"])
    # What a shell starts with & ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with rollouts.traffic():
        rollouts.write("two")
        first = rollouts.begin("start", *WHERE)
        until(lambda: "holding" in phases_kept(), process=first)
        # Ctrl-C lets go of the lease; the rollout stays where it is.
        first.send_signal(signal.SIGINT)
        code, out = rollouts.finished(first)
        assert code == 130, out
        # As the job has it: the bucket with the spec is mounted read-only.
        mount = vertex.folder / "state"
        (mount / "spec").mkdir(parents=True)
        (mount / "spec/deploy.yaml").write_text((vertex.folder / "ticked.yaml").read_text())
        for path in (vertex.folder, *vertex.folder.parents[:1], mount, mount / "spec"):
            path.chmod(0o755)
        names = [name for name in rollouts.env if name in PASSED or name.startswith("VERTEX_DEPLOY_")]
        environment = {name: rollouts.env[name] for name in names if name != engine.REQUIRED}
        args = ["rollout", "tick", "/state/spec/deploy.yaml", "-o", "json", *WHERE]
        phases: list[str] = []
        state = open_store("ticked", STATE)
        started = time.monotonic()
        while time.monotonic() < started + 600:  # seconds that only a failure takes
            done = job(store, args, environment=environment, mounts={"/state": mount})
            assert done.stdout.startswith("{"), (done.returncode, done.stderr)
            found = json.loads(done.stdout)
            phases.append(found["phase"])
            if found["ending"]:
                break
            if len(phases) == 1:
                assert not session.ask(state, Verb.PROMOTE, clock=SystemClock()), "nobody drives it but who ticks"
            time.sleep(0.5)
    assert (found["ending"], done.returncode) == ("promoted", 0), (phases, done.stderr)
    assert phases[0] == "holding", phases
    assert {"one", "two"} <= set(rollouts.answers)
    tell(
        f"{len(phases)} ticks of the runner's image, {(time.monotonic() - started) / len(phases):.1f} s each: {phases}"
    )

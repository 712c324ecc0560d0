"""Decisions of containers.tools, without an engine: what a build may see, how a container is held."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from containers.tools import __main__ as command
from containers.tools import image, job, machine
from containers.tools.store import Store


def test_only_packages_that_dpkg_calls_installed_count_as_there() -> None:
    listing = "buildah installed\npodman config-files\nrunc installed\nempty\n"
    assert machine.missing_packages(listing, ["buildah", "podman", "runc", "skopeo"]) == ["podman", "skopeo"]


def test_pip_environment_wins_over_its_files_and_nothing_but_locations_is_taken() -> None:
    listing = (
        ":env:.find-links='/env'\n:env:.cert='/ca.crt'\nglobal.find-links='/file'\n"
        "global.extra-index-url='file:///a/simple https://b/simple'\nglobal.user='true'\ninstall.no-index='1'\n"
    )
    assert machine.pip_options(listing) == {
        "find-links": ["/env"],
        "extra-index-url": ["file:///a/simple", "https://b/simple"],
        "no-index": ["1"],
    }


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("/wheels", "/wheels"),
        ("file:///srv/pypi/simple", "/srv/pypi"),
        ("file:///srv/with%20space/", "/srv/with space"),
        ("https://pypi.org/simple", None),
        ("relative/wheels", None),
    ],
)
def test_folders_of_packages_are_found_with_the_files_they_link_to(location: str, folder: str | None) -> None:
    assert machine.local_folder(location) == (None if folder is None else Path(folder))


def test_folders_are_mounted_once_under_neutral_paths_and_addresses_stay() -> None:
    options = {
        "extra-index-url": ["file:///srv/pypi/simple", "https://b/simple"],
        "find-links": ["/wheels", "/srv/pypi"],
    }
    mounts = machine.plan_mounts(options, Path("/etc/ca.crt"))
    assert dict(mounts.paths) == {
        "/mnt/build/packages-0": Path("/srv/pypi"),
        "/mnt/build/packages-1": Path("/wheels"),
        "/mnt/build/ca.crt": Path("/etc/ca.crt"),
    }
    words = mounts.pip_conf.split()
    assert words == [
        "[global]",
        *("extra-index-url", "=", "file:///mnt/build/packages-0/simple", "https://b/simple"),
        *("find-links", "=", "/mnt/build/packages-1", "/mnt/build/packages-0"),
        *("cert", "=", "/mnt/build/ca.crt"),
    ]


def test_machine_with_nothing_configured_shows_the_build_nothing() -> None:
    assert machine.plan_mounts({}, None) == machine.Mounts("", {})


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [
        ("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl", False),
    ],
)
def test_cpu_torch_beside_the_machine_needs_no_other_index(tmp_path: Path, wheel: str, *, expected: bool) -> None:
    (tmp_path / wheel).touch()
    assert machine.has_local_torch({"find-links": [str(tmp_path)]}) is expected


def test_ca_bundle_must_exist(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    assert machine.ca_bundle({"SSL_CERT_FILE": str(bundle)}) is None
    bundle.touch()
    assert machine.ca_bundle({"PIP_CERT": str(bundle), "SSL_CERT_FILE": "/nowhere"}) == bundle


def test_only_the_packages_stage_sees_the_machine() -> None:
    first, second = image.build_argvs("torch-aoti", tag="t", mounts={"/in": Path("/out")}, build_args={"A": "b"})
    assert "/out:/in:ro" in first
    assert first[first.index("--target") + 1] == image.PACKAGES_STAGE
    assert "--volume" not in second
    assert "--target" not in second
    assert second[second.index("--tag") + 1] == "t"
    for argv in (first, second):
        assert argv[argv.index("--build-arg") + 1] == "A=b"
        assert "--pull-never" in argv
    assert f"AS {image.PACKAGES_STAGE}" in (image.FOLDER / "torch-aoti" / "Dockerfile").read_text()


def test_container_is_held_tightly_and_listens_on_loopback() -> None:
    argv = image.Run(image="i", name="n", environment={"A": "b"}, artifact=Path("/models")).argv()
    options = [" ".join(pair) for pair in itertools.pairwise(argv)]
    assert {"--cap-drop ALL", "--security-opt no-new-privileges", "--memory 2g", "--pids-limit 256"} <= set(options)
    assert {"--read-only", "--no-healthcheck"} <= set(argv)
    assert {"--env SERVING_HOST=127.0.0.1", "--env A=b", "--volume /models:/artifact:ro"} <= set(options)
    assert argv[-1] == "i"


def test_every_variable_of_the_contract_is_set() -> None:
    names = """AIP_HTTP_PORT AIP_HEALTH_ROUTE AIP_PREDICT_ROUTE AIP_STORAGE_URI AIP_MODE AIP_MODE_VERSION AIP_FRAMEWORK
        AIP_MACHINE_TYPE AIP_ACCELERATOR_TYPE AIP_PROJECT_NUMBER AIP_ENDPOINT_ID AIP_DEPLOYED_MODEL_ID AIP_MODEL_NAME
        AIP_VERSION_NAME"""
    environment = image.aip_environment(port=8081, storage_uri="/artifact", endpoint_id="7", deployed_model_id="9")
    assert set(environment) == set(names.split())
    assert environment["AIP_PREDICT_ROUTE"] == "/v1/endpoints/7/deployedModels/9:predict"
    assert environment["AIP_HTTP_PORT"] == "8081"


def test_job_is_held_as_tightly_and_runs_in_the_foreground() -> None:
    argv = image.Job(
        image="i", args=["rollout", "tick"], mounts={"/state": Path("/spec")}, environment={"A": "b"}
    ).argv("once")
    options = [" ".join(pair) for pair in itertools.pairwise(argv)]
    assert {"--cap-drop ALL", "--memory 512m", "--volume /spec:/state:ro", "--env A=b"} <= set(options)
    assert "--read-only" in argv
    assert "--detach" not in argv
    assert argv[-3:] == ["i", "rollout", "tick"]


def test_job_ends_as_its_program_did_and_its_container_is_removed_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed by us: `podman run --rm` may remove it before it has read the exit code."""
    podman = tmp_path / "podman"
    podman.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$1" = rm ] || exit 12\n')
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = job.run_to_end(image.Job(image="i", args=["rollout", "tick"]), Store(tmp_path))
    assert done.returncode == 12
    run, removal = (tmp_path / "calls").read_text().splitlines()
    assert "--rm" not in run.split()
    name = run.split()[run.split().index("--name") + 1]
    assert removal == f"rm --force --ignore --time 0 {name}"


def test_engines_are_configured_by_the_store_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write()
    environment = store.environment()
    assert environment["CONTAINERS_CONF"] == str(tmp_path / "store" / "containers.conf")
    assert f'graphroot = "{tmp_path}/store/graph"' in Path(environment["CONTAINERS_STORAGE_CONF"]).read_text()


def test_unknown_image_is_one_line_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VERTEX_DEPLOY_CONTAINERS", str(tmp_path))
    assert command.main(["build", "torch-aot"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "torch-aoti" in error

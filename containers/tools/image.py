"""The command lines: build an image with buildah, run one as a server or as a job with podman.

All are pure functions of their arguments, so that what a test runs, what CI runs and what a person runs are one thing.
A run is as strict as a hardened Kubernetes pod: read-only root, no capabilities, no new privileges, bounded memory,
CPU and processes. Vertex AI's own sandbox is not documented; a server that needs as little as this runs there too. Left
out: networks between containers (host network, loopback only).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from containers.tools.store import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FOLDER = ROOT / "containers"
ARTIFACT_MOUNT = "/artifact"
PACKAGES_STAGE = "packages"  # the stage of every Dockerfile that reaches an index


def names() -> list[str]:
    """Return the images of this checkout: the folders of `containers/` that hold a Dockerfile."""
    return sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile"))


def build_argvs(
    image: str, *, tag: str, mounts: Mapping[str, Path], build_args: Mapping[str, str], pull: bool = False
) -> list[list[str]]:
    """Return the commands that build one image, to be run in this order.

    buildah leaves an empty folder in a layer for each thing that it mounted. So the stage that installs packages is
    built first, with the mounts, and then the image without them: that stage then comes from the cache.

    Args:
        image: a folder of `containers/`.
        tag: the name that it gets.
        mounts: inside path -> outside path, read-only and only for the build.
        build_args: values for the Dockerfile's ARGs.
        pull: fetch a base image that the store lacks; otherwise one that is missing is an error.
    """
    dockerfile = FOLDER / image / "Dockerfile"
    argv = [
        "buildah",
        "build",
        "--format",
        "docker",
        "--layers",
        "--force-rm",
        "--isolation",
        "chroot",
        "--network",
        "host",
    ]
    argv += ["--pull" if pull else "--pull-never"]
    for name, value in build_args.items():
        argv += ["--build-arg", f"{name}={value}"]
    argv += ["--ignorefile", f"{dockerfile}.dockerignore", "--file", str(dockerfile)]
    volumes = [word for inside, outside in mounts.items() for word in ("--volume", f"{outside}:{inside}:ro")]
    return [[*argv, *volumes, "--target", PACKAGES_STAGE, str(ROOT)], [*argv, "--tag", tag, str(ROOT)]]


def aip_environment(
    *, port: int, storage_uri: str, endpoint_id: str = "1234567890", deployed_model_id: str = "1"
) -> dict[str, str]:
    """Return every AIP_* variable of Vertex AI's custom container contract, as for a deployment without an accelerator.

    Args:
        port: where the server listens.
        storage_uri: `gs://...`, or a path that the container sees.
        endpoint_id: digits.
        deployed_model_id: digits.
    """
    route = f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed_model_id}"
    return {
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": route,
        "AIP_PREDICT_ROUTE": f"{route}:predict",
        "AIP_STORAGE_URI": storage_uri,
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_MACHINE_TYPE": "n1-standard-2",
        "AIP_ACCELERATOR_TYPE": "",
        "AIP_PROJECT_NUMBER": "123456789012",
        "AIP_ENDPOINT_ID": endpoint_id,
        "AIP_DEPLOYED_MODEL_ID": deployed_model_id,
        "AIP_MODEL_NAME": endpoint_id,
        "AIP_VERSION_NAME": deployed_model_id,
    }


@dataclass(frozen=True)
class Limits:
    """What a container may use.

    Args:
        memory: bytes, with podman's suffixes; /tmp counts towards it.
        cpus: cores.
        pids: processes and threads.
        tmp: size of the only writable folder.
    """

    memory: str = "2g"
    cpus: float = 2
    pids: int = 256
    tmp: str = "512m"


@dataclass(frozen=True)
class Run:
    """One container to start in the background.

    Args:
        image: name or id.
        name: of the container.
        environment: as `aip_environment` gives it, and more.
        artifact: a folder mounted read-only at `/artifact`; nothing is mounted unless given.
        limits: what it may use.
        extra: further options of `podman run`.
    """

    image: str
    name: str
    environment: Mapping[str, str]
    artifact: Path | None = None
    limits: Limits = field(default_factory=Limits)
    extra: Sequence[str] = ()

    def argv(self) -> list[str]:
        """Return the command line; it prints the container's id."""
        argv = ["podman", "run", "--detach", "--name", self.name]
        argv += ["--no-healthcheck", "--log-driver", "k8s-file"]  # no systemd: no timers, no journal
        argv += _held(self.limits)
        if self.artifact is not None:
            argv += ["--volume", f"{self.artifact.resolve()}:{ARTIFACT_MOUNT}:ro"]
        # The network is the host's: the server must not be reachable from outside the machine.
        for name, value in {"SERVING_HOST": "127.0.0.1", **self.environment}.items():
            argv += ["--env", f"{name}={value}"]
        return [*argv, *self.extra, self.image]


@dataclass(frozen=True)
class Job:
    """One container that runs to its end, as a Cloud Run job does.

    Args:
        image: name or id.
        args: arguments of the image's entrypoint.
        environment: variables.
        mounts: inside path -> folder, read-only.
        limits: what it may use; Cloud Run's default is one core and 512 MiB.
        entrypoint: a program instead of the image's; empty: the image's.
    """

    image: str
    args: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(memory="512m", cpus=1, tmp="64m"))
    entrypoint: str = ""

    def argv(self, name: str) -> list[str]:
        """Return the command line; it writes what the program writes, exits as it does, and leaves the container.

        Args:
            name: of the container, which has to be removed by it; see ``job.run_to_end``.
        """
        argv = ["podman", "run", "--name", name, "--log-driver", "none", *_held(self.limits)]
        for inside, outside in self.mounts.items():
            argv += ["--volume", f"{outside.resolve()}:{inside}:ro"]
        for variable, value in self.environment.items():
            argv += ["--env", f"{variable}={value}"]
        if self.entrypoint:
            argv += ["--entrypoint", self.entrypoint]
        return [*argv, self.image, *self.args]


def _held(limits: Limits) -> list[str]:
    """The options that hold a container: the host's network, nothing to write to, no privileges, bounded resources."""
    argv = ["--pull", "never", "--network", "host"]
    argv += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    argv += ["--memory", limits.memory, "--cpus", str(limits.cpus), "--pids-limit", str(limits.pids)]
    # podman's own default is noexec; an AOTInductor package is unpacked here and mapped as a shared library.
    return [*argv, "--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={limits.tmp}"]  # noqa: S108 - in the container

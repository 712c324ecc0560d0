"""Where images live, and how buildah, podman and runc are configured: files of the project's own.

Nothing of the machine's own container configuration is read or changed: both programs are pointed at files under
`.vertex-deploy/containers/` by `CONTAINERS_CONF` and `CONTAINERS_STORAGE_CONF`, so that deleting that folder (after
`podman system reset`) removes everything. Left out: rootless mode, which needs user namespaces that build machines
often lack.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# runc: crun 1.8 (Debian 12) refuses machines with both cgroup versions mounted. cgroupfs and file: there may be no
# systemd and no journal. Host network: there may be no bridge module; servers under test bind loopback.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
netns = "host"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"

[network]
network_backend = "netavark"
"""

STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{store}/graph"
runroot = "{store}/run"
"""


@dataclass(frozen=True)
class Store:
    """A folder that holds configuration, images and running containers.

    Args:
        folder: absolute path; made when first needed. Not on a network or overlay file system.
    """

    folder: Path

    @classmethod
    def default(cls) -> Store:
        """Return the store that `VERTEX_DEPLOY_CONTAINERS` names, or `.vertex-deploy/containers` of this checkout."""
        named = os.environ.get("VERTEX_DEPLOY_CONTAINERS")
        return cls(Path(named).resolve() if named else ROOT / ".vertex-deploy" / "containers")

    @property
    def containers_conf(self) -> Path:
        """The file that `CONTAINERS_CONF` names."""
        return self.folder / "containers.conf"

    @property
    def storage_conf(self) -> Path:
        """The file that `CONTAINERS_STORAGE_CONF` names."""
        return self.folder / "storage.conf"

    def write(self) -> None:
        """Write both files, whole or not at all: another caller's program may be reading them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        texts = {self.containers_conf: CONTAINERS_CONF, self.storage_conf: STORAGE_CONF.format(store=self.folder)}
        for path, text in texts.items():
            whole = path.with_name(f"{path.name}.{os.getpid()}")
            whole.write_text(text, encoding="utf-8")
            whole.replace(path)

    def environment(self) -> dict[str, str]:
        """Return the process environment for buildah and podman: this one's, and where the two files are."""
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self.containers_conf),
            "CONTAINERS_STORAGE_CONF": str(self.storage_conf),
        }

"""What the machine has: Debian packages, its CA bundle, and how its pip reaches an index.

A build happens in a root filesystem that knows none of the latter two. Networks that sign index traffic with a private
CA, and machines whose wheels lie in a folder, need them inside; they are mounted read-only for the duration of a build,
under neutral paths, and are in no layer of the image. Left out: other distributions' package managers.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from containers.tools.process import ToolError, run, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What each is for: see docs/guides/containers.md.
PACKAGES = (
    "buildah",
    "podman",
    "runc",
    "skopeo",
    "debootstrap",
    "debian-archive-keyring",
    "fuse-overlayfs",
    "netavark",
    "aardvark-dns",
    "iptables",
    "uidmap",
    "catatonit",
)
CA_BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
MOUNT = "/mnt/build"  # inside a build: where the machine's files appear
# pip options that say where packages are; anything else of the machine's configuration stays outside.
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "no-index", "timeout")


@dataclass(frozen=True)
class Mounts:
    """What a build sees of the machine.

    Args:
        pip_conf: the text of the pip.conf inside the build; empty if pip has nothing configured.
        paths: inside path -> outside path, each mounted read-only.
    """

    pip_conf: str
    paths: Mapping[str, Path]


def missing_packages(installed: str, wanted: Sequence[str] = PACKAGES) -> list[str]:
    r"""Return the wanted packages that are not there.

    Args:
        installed: what `dpkg-query --show --showformat='${Package} ${db:Status-Status}\n'` printed.
        wanted: names of Debian packages.
    """
    have = {line.split()[0] for line in installed.splitlines() if line.split()[1:] == ["installed"]}
    return [name for name in wanted if name not in have]


def install_packages() -> list[str]:
    """Install what is missing with apt, and return the names of what was installed.

    Raises:
        ToolError: not Debian, not root, or apt failed.
    """
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        raise ToolError(
            "this is not a Debian system: install buildah, podman, runc and skopeo yourself, then call `build`"
        )
    missing = missing_packages(run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"]))
    if not missing:
        return []
    if os.geteuid() != 0:
        raise ToolError(f"root is needed to install {' '.join(missing)}")
    say(f"installing {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], env=env)
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=env)
    return missing


def ca_bundle(environ: Mapping[str, str]) -> Path | None:
    """Return the machine's own CA bundle, or None if its environment names none (then the image's own is used)."""
    for name in CA_BUNDLES:
        if (value := environ.get(name)) and Path(value).is_file():
            return Path(value).resolve()
    return None


def pip_options(listing: str) -> dict[str, list[str]]:
    """Merge what `pip config list` printed, the environment winning over files as in pip.

    Args:
        listing: lines such as `global.index-url='https://...'` and `:env:.find-links='/wheels'`.

    Returns:
        option name without dashes in front -> its words.
    """
    ranked: dict[str, tuple[int, list[str]]] = {}
    for line in listing.splitlines():
        key, _, quoted = line.partition("=")
        section, _, name = key.rpartition(".")
        if name not in _PIP_KEYS or section not in {"global", "install", ":env:"}:
            continue
        rank = ("global", "install", ":env:").index(section)
        if name not in ranked or ranked[name][0] <= rank:
            ranked[name] = (rank, str(ast.literal_eval(quoted)).split())
    return {name: words for name, (_, words) in ranked.items()}


def local_folder(location: str) -> Path | None:
    """Return the folder to mount for a pip location, or None if it is not on this machine.

    A `file://` index in the usual layout (`simple/NAME/index.html`) links to files beside `simple`, so its parent is
    what the build must see.
    """
    parts = urlsplit(location)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
    elif parts.scheme == "" and location.startswith("/"):
        folder = Path(location)
    else:
        return None
    return folder.parent if folder.name == "simple" else folder


def plan_mounts(options: Mapping[str, Sequence[str]], bundle: Path | None) -> Mounts:
    """Decide what a build sees: local folders of packages are moved under `/mnt/build`, everything else stays as it is.

    Args:
        options: as `pip_options` gives them.
        bundle: the machine's CA bundle.
    """
    paths: dict[str, Path] = {}
    lines: list[str] = []
    for name, words in options.items():
        inside: list[str] = []
        for word in words:
            folder = local_folder(word)
            if folder is None:
                inside.append(word)
                continue
            mount = next((at for at, path in paths.items() if path == folder), f"{MOUNT}/packages-{len(paths)}")
            paths[mount] = folder
            inside.append(word.replace(str(folder), mount, 1))
        lines.append(f"{name} =" + "".join(f"\n    {word}" for word in inside))
    if bundle is not None:
        paths[f"{MOUNT}/ca.crt"] = bundle
        lines.append(f"cert = {MOUNT}/ca.crt")
    return Mounts("[global]\n" + "\n".join(lines) + "\n" if lines else "", paths)


def has_local_torch(options: Mapping[str, Sequence[str]]) -> bool:
    """Return whether pip's `find-links` folders hold a CPU build of torch, so that no other index is needed for it."""
    folders = [folder for word in options.get("find-links", ()) if (folder := local_folder(word)) is not None]
    return any(
        path.name.partition("-cp")[0].endswith("+cpu") for folder in folders for path in folder.glob("torch-*.whl")
    )


def read_pip_options() -> dict[str, list[str]]:
    """Ask the pip of the running Python how it is configured; nothing if that Python has no pip."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return pip_options(done.stdout) if done.returncode == 0 else {}

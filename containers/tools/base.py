"""A base image for machines that reach no image registry, made of Debian's own packages.

The Dockerfiles' base, `docker.io/library/python:3.11-slim-bookworm`, is Debian 12 with CPython 3.11, and Debian 12's
own python3 is 3.11 too. So debootstrap makes a minimal Debian 12 with python3, `podman import` puts it into the
project's own store as `localhost/python:...`, and `build` hands it to the Dockerfile as BASE_IMAGE; an image's label
says what it was built on. It is a stand-in for builds and tests on one machine: a release is built on the official
image, pinned by digest (bases.json). What differs: Python lies in /usr/bin (linked from /usr/local/bin), and its patch
release is Debian's. Left out: other versions of Debian or Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from containers.tools.process import ToolError, run, say

if TYPE_CHECKING:
    from containers.tools.store import Store

NAME = "localhost/python:3.11-slim-bookworm"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"  # packages are signed: debootstrap checks them against Debian's keyring
_INCLUDE = ("ca-certificates", "python3", "python3-venv")
# Of the machine that made it, or of no use in an image.
_TRIM = (
    "etc/hostname",
    "etc/resolv.conf",
    "usr/lib/python3.11/EXTERNALLY-MANAGED",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)


def exists(store: Store, name: str) -> bool:
    """Return whether the store holds an image of that name."""
    done = subprocess.run(  # noqa: S603 - fixed program, no shell
        ["podman", "image", "exists", name],  # noqa: S607 - podman is where PATH says
        env=store.environment(),
        check=False,
    )
    return done.returncode == 0


def trim(root: Path) -> None:
    """Remove what an image does not need, and link `python` to where the official image has it."""
    for pattern in _TRIM:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in ("python", "python3"):
        link = root / "usr/local/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/usr/bin/python3")


def make(store: Store, *, cache: Path | None = None, mirror: str = MIRROR) -> bool:
    """Make the stand-in unless the store has it; return whether it was made.

    Args:
        store: where the image goes.
        cache: a folder that keeps the root filesystem as a tar file between stores; none is kept unless given.
        mirror: a Debian mirror.

    Raises:
        ToolError: not root, or debootstrap or podman failed.
    """
    if exists(store, NAME):
        return False
    if os.geteuid() != 0:
        raise ToolError("debootstrap needs root to make the base image")
    kept = None if cache is None else cache.resolve() / "python-3.11-slim-bookworm.tar"
    with tempfile.TemporaryDirectory(prefix="base-", dir=store.folder) as scratch:
        archive = kept if kept is not None and kept.is_file() else Path(scratch, "base.tar")
        if archive != kept:
            root = Path(scratch, "root")
            say(f"making {NAME} with debootstrap (about a minute)")
            log = Path(scratch, "debootstrap.log")
            _debootstrap(root, mirror, log)
            trim(root)
            run(["tar", "--directory", str(root), "--sort=name", "--numeric-owner", "-cf", str(archive), "."])
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(archive, kept)
                archive = kept
        change = 'CMD ["python3"]'
        run(
            ["podman", "import", "--quiet", "--change", change, str(archive), NAME], env=store.environment(), quiet=True
        )
    return True


def _debootstrap(root: Path, mirror: str, log: Path) -> None:
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(_INCLUDE)}", SUITE, str(root), mirror]
    with log.open("wb") as output:
        done = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False)  # noqa: S603 - no shell
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise ToolError(f"debootstrap exited {done.returncode}: {''.join(last)}; is {mirror} in reach?")

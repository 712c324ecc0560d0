"""What an image is made of: the files that its build is shown, and a tag that changes exactly when they do.

The build context is the repository's root, cut down by `Dockerfile.dockerignore`: nothing, but for the paths that
begin with `!`, but for the patterns below those. An image's tag is a digest over these files and the Dockerfile, so a
build can tell without building whether an image changed. The base image is in it by its digest, the packages by
constraints.txt.

Left out: the rest of .dockerignore's language; a line that is not of the forms above is refused, not guessed.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from containers.tools.process import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ARG = re.compile(r"^ARG\s+(\w+)", re.MULTILINE)
_LENGTH = 16  # hexadecimal digits of a tag


def declared(dockerfile: str) -> set[str]:
    """Return the names of the build arguments that a Dockerfile takes."""
    return set(_ARG.findall(dockerfile))


def rules(text: str, where: str) -> tuple[list[str], list[str]]:
    """Split a .dockerignore into the paths let in and the file and folder names left out of those.

    Args:
        text: of the file.
        where: its name, for messages.

    Raises:
        ToolError: it does not begin with `**`, or has a line of another form than `!path` or `**/name`.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or lines[0] != "**":
        raise ToolError(f"{where}: must begin with **, so that nothing is in the context by accident")
    let_in = [line[1:] for line in lines[1:] if line.startswith("!")]
    left_out = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    for line in lines[1:]:
        if not line.startswith(("!", "**/")) or (line.startswith("**/") and "/" in line.removeprefix("**/")):
            raise ToolError(f"{where}: {line}: write !path or **/name")
    if any("*" in path or ".." in path.split("/") for path in let_in):
        raise ToolError(f"{where}: write each path that is let in out in full")
    return let_in, left_out


def files(root: Path, folder: Path) -> Iterator[Path]:
    """Every file of an image's build: its context, its Dockerfile and its .dockerignore; each once, in no order.

    Args:
        root: of the repository.
        folder: of the image, with a Dockerfile and a Dockerfile.dockerignore.

    Raises:
        ToolError: something that is let in is not there.
    """
    ignore = folder / "Dockerfile.dockerignore"
    let_in, left_out = rules(ignore.read_text(encoding="utf-8"), str(ignore.relative_to(root)))
    yield folder / "Dockerfile"
    yield ignore
    for entry in let_in:
        path = root / entry
        if not path.exists():
            raise ToolError(f"{ignore.relative_to(root)}: !{entry}: no such file")
        for found in sorted(path.rglob("*")) if path.is_dir() else [path]:
            parts = found.relative_to(root).parts
            if found.is_file() and not any(fnmatch(part, name) for part in parts for name in left_out):
                yield found


def tag(root: Path, folder: Path) -> str:
    """Return the tag of an image as it would be built now: 16 hexadecimal digits.

    Args:
        root: of the repository.
        folder: of the image.

    Raises:
        ToolError: as `files`.
    """
    digest = hashlib.sha256()
    for path in sorted(set(files(root, folder))):
        name = path.relative_to(root).as_posix()
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()[:_LENGTH]

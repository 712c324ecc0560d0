"""Which base images the project is built on and which images its builds run in: tag and digest, in one file.

`containers/bases.json` has two tables. `images`: build argument -> base; each Dockerfile has the same reference as the
default of that argument, so that a plain `docker build` is pinned too. `builders`: substitution of cloudbuild.yaml ->
image that a step runs in; infra/components/triggers.py reads it. `pin` brings the digests up to date in all of them.

Left out: choosing newer tags. That is a decision, and is written by hand.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from containers.tools.process import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TABLES = ("images", "builders")


@dataclass(frozen=True)
class Reference:
    """One image: `HOST/REPOSITORY:TAG@sha256:...`.

    Args:
        host: registry, with its port where it has one.
        repository: path in it.
        tag: tells people what it is, and `pin` what to ask for.
        digest: what is built on; empty where none is known.
    """

    host: str
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference that names its registry and a tag.

        Raises:
            ToolError: no registry, no tag, or what follows @ is no SHA-256 digest.
        """
        name, at, digest = text.partition("@")
        path, _, tag = name.rpartition(":")
        host, slash, repository = path.partition("/")
        if not slash or "/" in tag or not tag or not repository or not ("." in host or ":" in host):
            raise ToolError(f"{text!r}: write an image as HOST/REPOSITORY:TAG, such as docker.io/library/python:3.11")
        if at and not DIGEST.fullmatch(digest):
            raise ToolError(f"{text!r}: what follows @ must be sha256: and 64 hexadecimal digits")
        return cls(host, repository, tag, digest)

    @property
    def name(self) -> str:
        """`HOST/REPOSITORY:TAG`."""
        return f"{self.host}/{self.repository}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else self.name

    def at(self, digest: str) -> Reference:
        """The same tag at another digest."""
        return replace(self, digest=digest)


def parse(text: str, where: str) -> dict[str, dict[str, Reference]]:
    """Read bases.json: table -> name -> reference.

    Args:
        text: of the file.
        where: its name, for messages.

    Raises:
        ToolError: not that form, or a reference without a digest.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ToolError(f"{where}: not JSON ({error})") from None
    if not isinstance(document, dict) or set(document) != set(_TABLES):
        raise ToolError(f"{where}: an object with {' and '.join(_TABLES)} is needed, and nothing else")
    tables: dict[str, dict[str, Reference]] = {}
    for table in _TABLES:
        if not isinstance(document[table], dict):
            raise ToolError(f"{where}: {table}: an object is needed, name to reference")
        tables[table] = {name: Reference.parse(str(value)) for name, value in document[table].items()}
        for name, reference in tables[table].items():
            if not reference.digest:
                raise ToolError(f"{where}: {table}.{name}: {reference} has no digest; python3 -m containers.tools pin")
    return tables


def load(path: Path) -> dict[str, dict[str, Reference]]:
    """Read the file; see `parse`.

    Raises:
        ToolError: not there, or not as `parse` says.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from None


def repinned(text: str, moved: Mapping[Reference, Reference]) -> str:
    """Return a file's text with references replaced, whole ones only.

    Args:
        text: of bases.json or a Dockerfile.
        moved: old reference, with its digest -> new one.
    """
    for old, new in moved.items():
        text = text.replace(str(old), str(new))
    return text

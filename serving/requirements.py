"""Print what the server needs, for an image that installs it without the rest of the project.

``python serving/requirements.py pyproject.toml > requirements.txt`` in a Dockerfile's build stage: the list lives in
one place, the extra ``serving`` of ``pyproject.toml``. Needs nothing but the standard library.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extra: str = "serving") -> list[str]:
    """The requirements of an extra.

    Args:
        pyproject: path of ``pyproject.toml``.
        extra: its name.

    Raises:
        KeyError: there is no such extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    listed: list[str] = project["optional-dependencies"][extra]
    return listed


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), *sys.argv[2:3])))  # noqa: T201 - its purpose

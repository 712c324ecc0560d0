"""Print the dependencies of pyproject.toml, or one extra, as a requirements file.

The images install what they need in a layer of its own, before the sources, and that list is written once, in
pyproject.toml: the runner's are the distribution's dependencies, the model server's an extra. A Dockerfile copies this
file alone, so it imports nothing but the standard library. Left out: extras that include other extras
(`vertex-deploy[...]`); they are refused.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")


def name_of(requirement: str) -> str:
    """Return the normalised name of a requirement: `"Types_PyYAML>=6"` gives `"types-pyyaml"` (PEP 503)."""
    match = _NAME.match(requirement.strip())
    if match is None:
        raise ValueError(f"{requirement!r} is not a requirement: it must start with the name of a distribution")
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def dependencies(document: dict[str, object]) -> list[str]:
    """Return the distribution's own dependencies, without any extra.

    Args:
        document: pyproject.toml, parsed.

    Raises:
        ValueError: it lists none.
    """
    project = document.get("project")
    listed = project.get("dependencies") if isinstance(project, dict) else None
    if not isinstance(listed, list) or not listed:
        raise ValueError("pyproject.toml has no [project] dependencies")
    return [str(line) for line in listed]


def select(document: dict[str, object], extra: str, *, only: set[str], without: set[str]) -> list[str]:
    """Return the requirements of one extra.

    Args:
        document: pyproject.toml, parsed.
        extra: a key of `[project.optional-dependencies]`.
        only: normalised names to keep; empty keeps all.
        without: normalised names to leave out.

    Raises:
        ValueError: no such extra, a name that it does not hold, or an extra that includes the distribution itself.
    """
    project = document.get("project")
    extras = project.get("optional-dependencies") if isinstance(project, dict) else None
    if not isinstance(project, dict) or not isinstance(extras, dict) or extra not in extras:
        known = ", ".join(sorted(extras)) if isinstance(extras, dict) else "none"
        raise ValueError(f"pyproject.toml has no extra {extra!r}; it has: {known}")
    requirements = {name_of(line): line for line in extras[extra]}
    if name_of(str(project.get("name", "-"))) in requirements:
        raise ValueError(f"the extra {extra!r} includes the distribution itself: list its requirements instead")
    if missing := (only | without) - requirements.keys():
        raise ValueError(f"the extra {extra!r} does not hold {', '.join(sorted(missing))}")
    return [line for name, line in requirements.items() if (not only or name in only) and name not in without]


def main(argv: list[str] | None = None) -> int:
    """Write the file; return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pyproject", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--extra", help="a key of [project.optional-dependencies]; the dependencies unless given")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="of the extra, keep this alone")
    parser.add_argument(
        "--except", action="append", default=[], metavar="NAME", dest="without", help="of the extra, leave this out"
    )
    parser.add_argument("--output", type=Path, help="where to write; stdout unless given")
    options = parser.parse_args(argv)
    try:
        document = tomllib.loads(options.pyproject.read_text(encoding="utf-8"))
        only, without = ({name_of(name) for name in names} for names in (options.only, options.without))
        lines = select(document, options.extra, only=only, without=without) if options.extra else dependencies(document)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"requirements: {error}\n")
        return 2
    text = "".join(f"{line}\n" for line in lines)
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

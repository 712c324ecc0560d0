"""The rules of the layout: who may import whom, and what every module owes its reader.

Found by reading syntax trees, so imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MAX_LINES = 400

PROGRAMS = {"serving", "infra", "pipelines", "containers"}
"""Deployed, never imported by the library."""
TOP = {*PROGRAMS, "vertex_deploy", "examples", "bench", "tests", "docs"}

BOTTOM = {"errors", "spec", "__init__"}
BELOW_CLI = BOTTOM | {"targets", "metrics", "gcp", "rest", "secrets", "storage"}
LIBRARY: dict[str, set[str]] = {
    "errors": set(),
    "spec": {"errors", "__init__"},
    "gcp": BOTTOM,
    "rest": BOTTOM | {"gcp"},
    "secrets": BOTTOM | {"gcp", "rest"},
    "storage": BOTTOM | {"gcp", "rest"},
    "metrics": BOTTOM | {"gcp", "rest", "secrets"},
    "release": BOTTOM,
    "targets": BOTTOM | {"gcp", "storage", "release"},
    "rollout": BELOW_CLI | {"release"},
    "local": BELOW_CLI,
    "contract": BELOW_CLI,
    "cli": BELOW_CLI | {"release", "rollout", "local", "contract"},
    "__init__": set(),
    "__main__": {"cli"},
}
"""Part of vertex_deploy -> parts that it may import, beside itself. One way: cli -> rollout, release, local, contract
-> targets, metrics -> spec, errors. A release is a document as the spec is, so targets, which upload it, may read it.
Local Vertex is known to the command line alone."""

OTHERS: dict[str, set[str]] = {
    "vertex_deploy": set(),
    "serving": set(),
    "infra": {"vertex_deploy.spec", "vertex_deploy.errors", "vertex_deploy.gcp"},
    "pipelines": {"vertex_deploy.spec", "vertex_deploy.errors"},
}
"""Top-level folder -> what of the project it may import, beside itself. The rest (tests, examples) may import all.
infra has a provider that calls Vertex AI itself, through the same clients (ADR 20)."""


def imports(source: str, module: str, *, package: bool) -> Iterator[str]:
    """Absolute names of all that a module imports, ``from a import b`` as ``a.b``."""
    here = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)


def part(name: str) -> str:
    """The part of vertex_deploy that a name is in; names of the package itself are in ``__init__``."""
    names = name.split(".")
    return names[1] if len(names) > 1 and names[1] in LIBRARY else "__init__"


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    """What a module imports and may not."""
    top = module.split(".", maxsplit=1)[0]
    found = []
    for name in imports(source, module, package=package):
        target = name.split(".")[0]
        if target not in TOP:
            continue
        if target != top:
            if top in OTHERS and not within(name, OTHERS[top]):
                found.append(f"{module} imports {name}")
        elif top == "vertex_deploy" and part(name) not in LIBRARY[part(module)] | {part(module)}:
            found.append(f"{module} imports {name}")
    return found


def modules() -> Iterator[tuple[Path, str]]:
    """Every module of the library and of the programs, with its dotted name."""
    for base, folder in ((ROOT / "src", "vertex_deploy"), *((ROOT, name) for name in sorted(PROGRAMS))):
        for path in sorted((base / folder).rglob("*.py")):
            names = path.relative_to(base).with_suffix("").parts
            yield path, ".".join(names[:-1] if names[-1] == "__init__" else names)


MODULES = list(modules())


def test_there_are_modules_to_check():
    assert {"vertex_deploy", "serving"} <= {name.split(".")[0] for _, name in MODULES}


def test_every_part_of_the_library_has_a_rule():
    parts = {
        path.relative_to(ROOT / "src/vertex_deploy").parts[0] for path, name in MODULES if name.startswith("vertex_")
    }
    assert {name.removesuffix(".py") for name in parts} <= set(LIBRARY)


def test_imports_go_one_way():
    found = [
        line
        for path, name in MODULES
        for line in violations(path.read_text(), name, package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vertex_deploy.spec.models", "from vertex_deploy.rollout import driver"),
        ("vertex_deploy.rollout.driver", "import vertex_deploy.local.client"),
        ("vertex_deploy.targets.vertex", "def f():\n    from vertex_deploy.local import client"),
        ("vertex_deploy.metrics.types", "if TYPE_CHECKING:\n    from vertex_deploy.targets import Target"),
        ("vertex_deploy.metrics.types", "from ..targets import Target"),
        ("vertex_deploy.metrics.types", "from .. import local"),
        ("vertex_deploy.errors", "from vertex_deploy.spec import Spec"),
        ("vertex_deploy.local.server", "import serving"),
        ("vertex_deploy.cli.main", "from infra.components import network"),
        ("vertex_deploy.cli.main", "from tests.spec import examples"),
        ("serving.app", "from vertex_deploy.spec import Spec"),
        ("serving.app", "from containers.tools import x"),
        ("infra.__main__", "from vertex_deploy.rollout import driver"),
        ("pipelines.batch", "import vertex_deploy"),
    ],
)
def test_the_checker_catches(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vertex_deploy.cli.local", "from vertex_deploy.local import client"),
        ("vertex_deploy.rollout.driver", "from vertex_deploy.targets.vertex import VertexTarget"),
        ("vertex_deploy.rollout.driver", "from .store import Store"),
        ("vertex_deploy.spec.loader", "from vertex_deploy.errors import SpecError"),
        ("vertex_deploy.cli.main", "from vertex_deploy import __version__"),
        ("vertex_deploy.cli.main", "import typer, yaml"),
        ("infra.__main__", "from vertex_deploy.spec import load"),
        ("serving.app", "from serving.engine import Engine"),
    ],
)
def test_the_checker_lets_pass(module, source):
    assert violations(source, module) == []


def test_every_module_says_what_it_is_for():
    silent = [str(path.relative_to(ROOT)) for path, _ in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_no_module_is_long():
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path, _ in MODULES}
    assert not {name: lines for name, lines in sizes.items() if lines > MAX_LINES}


def test_marks_are_written_in_the_test_files_that_have_them():
    """`make e2e` and `make container-test` collect the files that name these marks, and no others."""
    helpers = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_")]
    assert helpers
    assert not [path for path in helpers if re.search(r"pytest\.mark\.(slow|e2e|container)\b", path.read_text())]

"""What mypy does not read of large packages is nothing that we use: its types would be Any without a word."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CHECKED = ("src", "serving", "containers/tools", "examples", "infra", "bench/infra")
"""The folders that mypy is called with, in both environments."""


@cache
def patterns(follow: str) -> list[str]:
    """Patterns of modules that the overrides of pyproject.toml follow in this way."""
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    return [name for one in overrides if one.get("follow_imports") == follow for name in one["module"]]


def matches(name: str, pattern: str) -> bool:
    """As mypy does: ``a.b.*`` is ``a.b`` and all below it."""
    bare = pattern.removesuffix(".*")
    return name == bare or (pattern != bare and name.startswith(f"{bare}."))


def modules_used(source: str) -> Iterator[str]:
    """Absolute names that a module imports, and ``package.module`` of what it says behind ``import package``."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, *rest = dotted(node)
            if first in aliases:
                yield ".".join([aliases[first], *rest])


def dotted(node: ast.expr) -> list[str]:
    """``a.b.c`` as its words; those before a call or an index are left out."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def unread(source: str) -> list[str]:
    """Modules that a source uses and mypy skips; names with capitals are classes, of the module that they stand in."""
    found = []
    for name in set(modules_used(source)):
        module = re.split(r"\.[A-Z]", name)[0]
        skipped = [pattern for pattern in patterns("skip") if matches(module, pattern)]
        if skipped and not any(matches(module, pattern) for pattern in patterns("normal")):
            found.append(module)
    return found


def test_nothing_that_we_use_is_skipped():
    sources = [path for folder in CHECKED for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(sources) > 200
    found = {f"{path.relative_to(ROOT)}: {name}" for path in sources for name in unread(path.read_text())}
    assert not found, "add these to the modules in pyproject.toml that mypy follows"


@pytest.mark.parametrize(
    "source",
    [
        "from pulumi_gcp import firestore",
        "from pulumi_gcp.firestore import Database",
        "import pulumi_gcp as gcp\ngcp.firestore.Database('a')",
        "import pulumi_kubernetes as k8s\nk8s.apps.v1.Deployment('a')",
        "def f():\n    from torch.distributed import init_process_group",
    ],
)
def test_the_checker_finds_what_is_skipped(source):
    assert unread(source)


@pytest.mark.parametrize(
    "source",
    [
        "from pulumi_gcp import storage\nstorage.Bucket('a')",
        "import pulumi_gcp as gcp\ngcp.Provider('a')",
        "import pulumi_kubernetes as k8s\nk8s.core.v1.Namespace('a')",
        "import torch\ntorch.nn.Module",
    ],
)
def test_the_checker_lets_pass_what_is_read(source):
    assert not unread(source)

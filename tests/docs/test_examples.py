"""Every deploy.yaml that the project shows is valid, in each of its environments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from vertex_deploy.spec import load

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "deploy.yaml", *sorted((ROOT / "examples").glob("*/deploy.yaml"))]
README_SPEC = re.compile(r"^```yaml\n(name: .*?)^```", re.MULTILINE | re.DOTALL)


def environments():
    for path in FILES:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name in (None, *written.get("environments", {})):
            yield pytest.param(path, name, id=f"{path.parent.name} {name or ''}".strip())


@pytest.mark.parametrize(("path", "environment"), list(environments()))
def test_an_example_is_valid_in_every_environment(path, environment):
    assert load(path, environment).rollout.gates


def test_the_spec_in_the_readme_is_valid(tmp_path):
    (written,) = README_SPEC.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    (tmp_path / "deploy.yaml").write_text(written, encoding="utf-8")
    assert load(tmp_path / "deploy.yaml", "local").name == "lite"

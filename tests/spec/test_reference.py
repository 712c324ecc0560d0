from __future__ import annotations

import re
from pathlib import Path

from vertex_deploy import errors
from vertex_deploy.errors import ExitCode
from vertex_deploy.spec import reference
from vertex_deploy.spec.models import Spec

ROOT = Path(__file__).parents[2]


def test_the_committed_pages_are_fresh():
    assert reference.main(["--check"], ROOT) == 0, f"stale: run {reference.COMMAND}"


def test_check_names_a_stale_page_and_writing_repairs_it(tmp_path, capsys):
    assert reference.main([], tmp_path) == 0
    assert reference.main(["--check"], tmp_path) == 0
    (tmp_path / "docs/reference/errors.md").write_text("old")
    assert reference.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == f"docs/reference/errors.md is stale; run {reference.COMMAND}\n"


def test_every_field_of_the_spec_is_on_the_page():
    page = reference.spec_page()
    for field in Spec.model_fields:
        assert f"| `{field}` |" in page
    assert "| `hold` | a duration such as 500ms" in page


def test_every_link_leads_to_a_heading():
    page = reference.spec_page()
    anchors = {re.sub(r"[^a-z0-9_-]", "", line[3:].lower()) for line in page.splitlines() if line.startswith("## ")}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_every_exit_code_and_every_error_is_on_its_page():
    codes, tree = reference.exit_codes_page(), reference.errors_page()
    for code in ExitCode:
        assert f"| {code.value} | {code.name} | " in codes
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.VertexDeployError):
            assert f"| `{name}` |" in tree

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pulumi")

from infra.components import identity
from infra.components.network import NODE_SERVICES
from tests.infra.test_program import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "infra"
APIS = {
    "accesscontextmanager": "accesscontextmanager",
    "artifactregistry": "artifactregistry",
    "bigquery": "bigquery",
    "billing": "billingbudgets",
    "cloudbuild": "cloudbuild",
    "cloudrunv2": "run",
    "cloudscheduler": "cloudscheduler",
    "compute": "compute",
    "container": "container",
    "monitoring": "monitoring",
    "networkconnectivity": "networkconnectivity",
    "projects": "cloudresourcemanager",
    "pubsub": "pubsub",
    "secretmanager": "secretmanager",
    "serviceaccount": "iam",
    "servicenetworking": "servicenetworking",
    "storage": "storage",
    "vertex": "aiplatform",
}
"""Module of pulumi-gcp -> the API that its resources are of."""


@pytest.mark.slow
def test_the_pages_are_fresh():
    command = [sys.executable, str(ROOT / "docs/infra/generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_every_test_that_the_page_of_nouns_names_is_there():
    folders = [ROOT / "tests" / name for name in ("infra", "containers")]
    written = "\n".join(path.read_text() for folder in folders for path in folder.rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "tested.md").read_text()))
    assert len(named) > 80
    assert [name for name in sorted(named) if f"def {name}(" not in written] == []


def test_every_component_has_a_page_and_a_row_and_the_readme_knows_them():
    stems = {path.stem for path in (DOCS / "components").glob("*.md")}
    rows = set(re.findall(r"(?m)^\| (\w+) \|", (DOCS / "tested.md").read_text()))
    readme = (DOCS / "README.md").read_text()
    assert stems <= rows
    assert all(f"(components/{stem}.md)" in readme for stem in stems)


def test_the_ids_to_import_are_in_a_form_that_pulumi_gcp_takes():
    """Of every resource whose class says how it is imported."""
    table = re.findall(r"(?m)^\| `(gcp:(\w+)/\w+:(\w+))` \| `([^`]+)` \|$", (DOCS / "operations.md").read_text())
    assert len(table) >= 7
    checked = 0
    for token, module, name, ident in table:
        text = Path(inspect.getfile(getattr(importlib.import_module(f"pulumi_gcp.{module}"), name))).read_text()
        forms = re.findall(rf"pulumi import {re.escape(token)} default (\S+)", text)
        patterns = [re.sub(r"\\{\\{\w+\\}\\}", "[^/]+", re.escape(form)) for form in forms]
        assert not forms or any(re.fullmatch(pattern, ident) for pattern in patterns), (token, forms)
        checked += bool(forms)
    assert checked >= 5


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_apis_of_all_resources_are_among_those_to_enable(stack):
    text = (DOCS / "operations.md").read_text()
    for made in run(stack):
        if made.custom and made.type.startswith("gcp:"):
            module = made.type.split(":")[1].partition("/")[0]
            assert f"{APIS[module]}.googleapis.com" in text, made.type


def test_the_apis_that_the_accounts_use_are_among_those_to_enable():
    text = (DOCS / "operations.md").read_text()
    used = {name.partition(".")[0] for names in identity.PERMISSIONS.values() for name in names} - {"autoscaling"}
    for service in {*NODE_SERVICES, *(f"{name}.googleapis.com" for name in used)}:
        assert service in text, service

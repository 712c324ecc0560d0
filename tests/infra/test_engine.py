"""The program under the real engine, where there is one: `pulumi` and pulumi-gcp's plugin are not Python packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("pulumi")

from pulumi import automation

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="no `pulumi` on PATH; install the Pulumi engine"),
]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_first_preview_creates_everything_and_changes_nothing(stack, tmp_path):
    variables = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "preview-only",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "no-call-is-made-by-a-first-preview",
    }
    options = automation.LocalWorkspaceOptions(env_vars=variables)
    chosen = automation.create_or_select_stack(stack_name=stack, work_dir=str(ROOT), opts=options)
    summary = {str(getattr(op, "value", op)): count for op, count in chosen.preview().change_summary.items()}
    assert set(summary) == {"create"}
    assert summary["create"] > 20

"""The program under the real engine, where there is one: `pulumi` and pulumi-gcp's plugin are not Python packages."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("pulumi")

from infra import __main__ as program
from tests.infra.provider.pulumi_engine import counted, missing, stack

ROOT = Path(__file__).parents[2]
PLUGINS = ("gcp", "kubernetes")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing(*PLUGINS)), reason=missing(*PLUGINS))]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_a_first_preview_creates_everything_and_changes_nothing(name, tmp_path):
    config = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    made = stack(tmp_path, name, program.main, config, {"GOOGLE_OAUTH_ACCESS_TOKEN": "a first preview makes no call"})
    summary = counted(made.preview().change_summary)
    assert set(summary) == {"create"}
    assert summary["create"] > 20

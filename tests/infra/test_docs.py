from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pulumi")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_pages_are_fresh():
    command = [sys.executable, str(ROOT / "docs/infra/generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr

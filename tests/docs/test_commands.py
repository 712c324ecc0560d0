import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "containers").rglob("*.md"))]
FENCE = re.compile(r"^```(sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page):
    """Commands of each fenced block: all of an ``sh`` block, the lines behind ``$`` of a ``console`` one."""
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        joined = text.replace("\\\n", " ")
        lines = joined.splitlines()
        yield [line.removeprefix("$ ") for line in lines if kind == "sh" or line.startswith("$ ")]


def ours():
    for page in PAGES:
        for block in blocks(page):
            for line in block:
                words = shlex.split(line, comments=True)
                if words and words[0] == "vertex-deploy":
                    yield pytest.param(words[1:], id=f"{page.stem}: {' '.join(words[1:])}"[:80])


def help_of(words):
    """The help of the command that these words call, and the words that are left for it."""
    depth = 2 if words[0] in {"local", "rollout"} else 1
    done = subprocess.run(
        [sys.executable, "-m", "vertex_deploy", *words[:depth], "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, words[depth:]


@pytest.mark.slow
@pytest.mark.parametrize("words", list(ours()))
def test_a_documented_command_exists_with_its_options(words):
    text, rest = help_of(words)
    for word in rest:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(^|[\s,/]){re.escape(option)}\b", text), f"{option} is not in\n{text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{target} is not there"


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the README uploads with gcloud, which is not on PATH")
def test_the_readme_by_hand_goes_from_weights_to_a_serving_endpoint(tmp_path):
    (block,) = [b for b in blocks(ROOT / "README.md") if any("serving.build" in line for line in b)]
    shutil.copy(ROOT / "deploy.yaml", tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = "set -e\ntrap 'vertex-deploy local down >/dev/null 2>&1 || true' EXIT\n" + "\n".join(block)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lite  promoted" in done.stdout
    assert re.search(r"^\d+ +lite", done.stdout, re.MULTILINE), "gcloud lists the endpoint"
    assert not (tmp_path / ".vertex-deploy" / "local" / "state.json").exists()

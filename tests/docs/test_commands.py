import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

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


def run_as_written(commands, folder):
    """Run the commands of a page in ``folder``, as somebody who copies them would; nothing runs on afterwards."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    at_exit = "kill $(jobs -p) 2>/dev/null || true; vertex-deploy local down >/dev/null 2>&1 || true"
    script = f"set -e\ntrap '{at_exit}' EXIT\n" + "\n".join(commands)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "CLOUDSDK_CONFIG": str(folder / "gcloud")},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,  # it compiles a model, and holds last what they last
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / ".vertex-deploy" / "local" / "state.json").exists()
    return done.stdout


needs_gcloud = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud uploads, and is not on PATH")


@pytest.mark.e2e
@needs_gcloud
def test_the_readme_by_hand_goes_from_weights_to_a_serving_endpoint(tmp_path):
    (block,) = [b for b in blocks(ROOT / "README.md") if any("serving.build" in line for line in b)]
    shutil.copy(ROOT / "deploy.yaml", tmp_path)
    said = run_as_written(block, tmp_path)
    assert "lite  promoted" in said
    assert re.search(r"^\d+ +lite", said, re.MULTILINE), "gcloud lists the endpoint"


@pytest.mark.e2e
@needs_gcloud
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl sends the requests, and is not on PATH")
def test_the_guides_rehearsal_takes_a_second_version_through_every_step(tmp_path):
    first, second = list(blocks(ROOT / "docs" / "guides" / "rollout.md"))[:2]
    # A machine that runs tests may be busy: one request a second is enough here, and nothing is said about its speed.
    # It may stand still, too: two seconds of a hold without measurements are too many to conclude anything from.
    spec = (ROOT / "deploy.yaml").read_text(encoding="utf-8")
    busy = {"weight: 10, hold: 20s": "weight: 40, hold: 20s", "min_requests: 20,": "min_requests: 3,"}
    busy |= {"min_requests: 20}": "min_requests: 3}", "max: 500ms": "max: 10s"}
    for written, here in {**busy, "on_inconclusive: pause": "on_inconclusive: proceed"}.items():
        assert written in spec
        spec = spec.replace(written, here)
    (tmp_path / "deploy.yaml").write_text(spec, encoding="utf-8")
    sample = Path("examples", "private-endpoint", "sample.json")
    (tmp_path / sample.parent).mkdir(parents=True)
    shutil.copy(ROOT / sample, tmp_path / sample)
    said = run_as_written([*first, *second], tmp_path)
    assert "lite  promoted  step 3 of 3 (100%)" in said
    assert re.search(r"error_rate +absolute .* [1-9][0-9]* requests: (pass|insufficient)", said)

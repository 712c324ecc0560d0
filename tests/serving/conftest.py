# ruff: noqa: PLC0415 - torch and skimage take seconds to import, and are needed only where slow tests run
from __future__ import annotations

import fcntl
import io
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.serving.process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Lite0 for both engines, built once, by the first worker to need them: engine name -> folder."""
    from serving.build import build  # imports torch

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
    shared.mkdir(exist_ok=True)
    folders: dict[str, Path] = {}
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for engine in ("eager", "aoti"):
            if engine == "aoti" and shutil.which(os.environ.get("CXX", "g++")) is None:
                continue
            folders[engine], built = shared / engine, shared / f"{engine}.built"
            if not built.exists():
                build("efficientnet-lite0", engine=engine, out=folders[engine], max_batch=4)
                built.touch()
    return folders


@pytest.fixture(scope="session")
def photos():
    """Photographs that ship with scikit-image, as JPEG files by name."""
    import skimage.data  # takes a second

    files = {}
    for name in ("chelsea", "coffee", "astronaut"):
        out = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(out, "JPEG", quality=90)
        files[name] = out.getvalue()
    return files


@pytest.fixture
def start(tmp_path):
    """Starts servers, and ends those that a test left."""
    started: list[ServerProcess] = []

    def begin(uri: Path | str, **environ: str) -> ServerProcess:
        server = ServerProcess(uri, tmp_path / f"server-{len(started)}", environ)
        started.append(server)
        return server

    yield begin
    for server in started:
        server.kill()

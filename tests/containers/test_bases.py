"""A build on a base that is named NAME:TAG@DIGEST, as every Dockerfile's is, from a registry of the test's own."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from containers.tools import __main__ as command
from containers.tools import image
from containers.tools.store import Store
from tests.containers import engine, oci

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.container

BASE = oci.image({"etc/base": b"the base\n"})
OTHER = oci.image({"etc/base": b"something else\n"})
TAG = "localhost/small:test"
DOCKERFILE = f"""ARG BASE_IMAGE
FROM ${{BASE_IMAGE}} AS {image.PACKAGES_STAGE}
COPY note /note
FROM ${{BASE_IMAGE}}
COPY --from={image.PACKAGES_STAGE} /note /note
ARG BASE_IMAGE
LABEL org.opencontainers.image.base.name="${{BASE_IMAGE}}"
"""


@pytest.fixture
def store() -> Iterator[Store]:
    """The project's store; what is built here leaves it again."""
    store = Store.default()
    if (reason := engine.why_not(store)) is not None:
        engine.lacking(reason)
    yield store
    podman(store, "rmi", "--force", TAG)
    for line in podman(store, "images", "--all", "--format", "{{.ID}} {{.Digest}}").stdout.splitlines():
        ident, _, digest = line.partition(" ")
        if digest in (BASE.digest, OTHER.digest):
            podman(store, "rmi", "--force", ident)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one image of two stages, as ours have."""
    folder = tmp_path / "containers/small"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "Dockerfile.dockerignore").write_text("**\n!note\n")
    (tmp_path / "note").write_text("built\n")
    monkeypatch.setattr(image, "FOLDER", tmp_path / "containers")
    monkeypatch.setattr(image, "ROOT", tmp_path)
    return tmp_path


def podman(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *words], env=store.environment(), capture_output=True, text=True, check=False)


def build(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, digest: str = BASE.digest) -> int:
    """Build on BASE of the registry; it answers in plaintext, which an engine must be told."""
    told = folder / "registries.conf"
    told.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(told))
    base = f"{host}/lib/base:3.11@{digest}"
    words = ["build", "small", "--tag", TAG, "--build-arg", f"BASE_IMAGE={base}", "--no-machine-pip", *options]
    return command.main(words)


def inspected(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman(store, "image", "inspect", TAG).stdout)[0]
    return found


def test_the_digest_is_built_on_whatever_the_tag_has_become(
    store: Store, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oci.registry({"3.11": OTHER, BASE.digest: BASE}) as host:
        assert build(host, small, monkeypatch, "--pull") == 0
        found = inspected(store)
    base_layer = json.loads(BASE.blobs[BASE.digest])["layers"][0]["digest"]
    assert found["RootFS"]["Layers"][0] == base_layer
    assert found["Labels"]["org.opencontainers.image.base.name"] == f"{host}/lib/base:3.11@{BASE.digest}"
    # Pulled once, it is in the store by its digest: no registry is asked again.
    (small / "note").write_text("changed\n")
    assert build(host, small, monkeypatch) == 0
    assert inspected(store)["RootFS"]["Layers"][0] == base_layer
    assert inspected(store)["Id"] != found["Id"]


def test_a_registry_that_serves_something_else_for_a_digest_builds_nothing(
    store: Store, small: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with oci.registry({"3.11": BASE, BASE.digest: OTHER}) as host:
        assert build(host, small, monkeypatch, "--pull") == 1
    assert "digest" in capfd.readouterr().err
    assert podman(store, "image", "exists", TAG).returncode == 1


def test_a_base_that_is_not_there_is_an_error_and_fetches_nothing_unasked(
    store: Store, small: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with oci.registry({BASE.digest: BASE}) as host:
        assert build(host, small, monkeypatch) == 1
        assert "image not known" in capfd.readouterr().err
        assert build(host, small, monkeypatch, "--pull", digest=OTHER.digest) == 1
    assert podman(store, "image", "exists", TAG).returncode == 1

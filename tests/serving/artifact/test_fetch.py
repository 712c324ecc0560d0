from __future__ import annotations

import hashlib

import pytest

from serving.artifact import fetch as fetching
from serving.artifact.fetch import fetch, labels
from serving.artifact.manifest import File
from serving.errors import ArtifactError
from tests.serving.fakes import manifest

CONTENT = {"labels.txt": b"r\ng\nb\n", "model.safetensors": b"m" * 1000, "check.safetensors": b"c"}


def file(data):
    return File(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text(manifest(files={n: file(d) for n, d in CONTENT.items()}).model_dump_json())
    return folder


class Remote:
    """A bucket: what it holds, in chunks."""

    uri = "gs://b/m"

    def __init__(self, folder, **changes):
        self.objects = {p.name: p.read_bytes() for p in folder.iterdir()} | changes
        self.asked = []

    def chunks(self, name):
        self.asked.append(name)
        data = self.objects[name]
        for i in range(0, len(data), 7):
            yield data[i : i + 7]


def get(uri, tmp_path, max_bytes=10_000):
    destination = tmp_path / "here"
    destination.mkdir()
    return fetch(str(uri), destination, max_bytes=max_bytes)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_is_used_in_place(artifact, tmp_path, prefix):
    got, folder = get(f"{prefix}{artifact}", tmp_path)
    assert folder == artifact
    assert labels(got, folder) == ["r", "g", "b"]


def test_a_bucket_is_downloaded_file_by_file(artifact, tmp_path, monkeypatch):
    remote = Remote(artifact, **{"not-in-manifest": b"x"})
    monkeypatch.setattr(fetching, "Bucket", lambda uri: remote)
    _, folder = get("gs://b/m", tmp_path)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    assert remote.asked[0] == "manifest.json"
    assert "not-in-manifest" not in remote.asked


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"M" + b"m" * 999, "sha256"), (b"m" * 999, "not the 1000 bytes"), (b"m" * 5000, "not the 1000 bytes")],
)
def test_a_damaged_file_is_refused(artifact, tmp_path, monkeypatch, data, says):
    monkeypatch.setattr(fetching, "Bucket", lambda uri: Remote(artifact, **{"model.safetensors": data}))
    with pytest.raises(ArtifactError, match=f"gs://b/m/model.safetensors: .*{says}"):
        get("gs://b/m", tmp_path)


def test_an_artifact_over_the_limit_is_refused_before_it_is_read(artifact, tmp_path, monkeypatch):
    remote = Remote(artifact)
    monkeypatch.setattr(fetching, "Bucket", lambda uri: remote)
    with pytest.raises(ArtifactError, match="1007 bytes in all, SERVING_MAX_ARTIFACT_BYTES is 1006"):
        get("gs://b/m", tmp_path, max_bytes=1006)
    assert remote.asked == ["manifest.json"]


def test_a_link_out_of_the_folder_is_refused(artifact, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(CONTENT["check.safetensors"])
    (artifact / "check.safetensors").unlink()
    (artifact / "check.safetensors").symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads out"):
        get(artifact, tmp_path)


@pytest.mark.parametrize(
    ("uri", "says"), [("s3://b/m", "write gs://"), ("/nowhere/at/all", "no such folder"), ("gs:///m", "no bucket")]
)
def test_a_wrong_uri_is_refused(tmp_path, uri, says):
    with pytest.raises(ArtifactError, match=says):
        get(uri, tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest.json: No such file"):
        get(tmp_path / "empty", tmp_path)


def test_labels_must_name_every_class(artifact):
    (artifact / "labels.txt").write_text("r\ng\n")
    with pytest.raises(ArtifactError, match="2 names for 3 classes"):
        labels(manifest(), artifact)

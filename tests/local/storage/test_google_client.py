"""The unmodified google-cloud-storage client against Cloud Storage of Local Vertex, over a real socket."""

from __future__ import annotations

import io
import os

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials

storage = pytest.importorskip("google.cloud.storage")
pytestmark = pytest.mark.e2e


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    return storage.Client(project="my-project", credentials=AnonymousCredentials())


def test_a_bucket_is_created_listed_changed_and_deleted(client: storage.Client) -> None:
    bucket = client.create_bucket("my-models", location="us-central1")
    assert (bucket.location, bucket.metageneration) == ("US-CENTRAL1", 1)
    assert [b.name for b in client.list_buckets()] == ["my-models"]
    bucket.labels = {"team": "vision"}
    bucket.patch()
    again = client.get_bucket("my-models")
    assert (again.labels, again.metageneration) == ({"team": "vision"}, 2)
    with pytest.raises(exceptions.Conflict):
        client.create_bucket("my-models")
    bucket.blob("a").upload_from_string("x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert client.lookup_bucket("my-models") is None


def test_an_unknown_bucket_is_not_found_rather_than_created(client: storage.Client) -> None:
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        client.bucket("no-such-bucket").blob("a").upload_from_string("x")


@pytest.mark.parametrize("name", ["plain", "a/b c/ü+%2F?#.txt", "../../etc/passwd", "b/o", "o"])
def test_bytes_and_metadata_come_back_whatever_the_name(client: storage.Client, name: str) -> None:
    bucket = client.create_bucket("my-models")
    blob = bucket.blob(name)
    blob.metadata = {"commit": "abc"}
    blob.upload_from_string(b"\x00\r\n--x\xff", content_type="image/jpeg", checksum="crc32c")
    found = bucket.get_blob(name)
    assert found.download_as_bytes(checksum="md5") == b"\x00\r\n--x\xff"
    assert (found.content_type, found.metadata, found.size) == ("image/jpeg", {"commit": "abc"}, 7)
    assert [b.name for b in client.list_blobs("my-models")] == [name]


def test_a_large_upload_goes_in_chunks_and_a_range_comes_back(client: storage.Client) -> None:
    bucket = client.create_bucket("my-models")
    data = os.urandom(1 << 20) + b"tail"
    blob = bucket.blob("big", chunk_size=256 << 10)
    blob.upload_from_file(io.BytesIO(data), checksum="crc32c")
    assert bucket.blob("big").download_as_bytes() == data
    assert bucket.blob("big").download_as_bytes(start=len(data) - 4, end=len(data) - 1) == b"tail"
    with bucket.blob("big").open("rb") as file:
        file.seek(1 << 20)
        assert file.read() == b"tail"
    with bucket.blob("streamed").open("wb", chunk_size=256 << 10) as file:
        file.write(data)
    assert bucket.blob("streamed").download_as_bytes() == data


def test_preconditions_let_one_writer_win(client: storage.Client) -> None:
    bucket = client.create_bucket("my-state")
    lock = bucket.blob("lock")
    lock.upload_from_string("me", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("lock").upload_from_string("you", if_generation_match=0)
    first = lock.generation
    lock.upload_from_string("me again", if_generation_match=first)
    assert lock.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("lock").delete(if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("lock", generation=first).download_as_bytes()
    lock.metadata = {"a": "1"}
    lock.patch(if_metageneration_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        lock.patch(if_metageneration_match=1)
    lock.delete(if_generation_match=lock.generation)
    assert not bucket.blob("lock").exists()


def test_a_listing_folds_at_the_delimiter_and_pages(client: storage.Client) -> None:
    bucket = client.create_bucket("my-models")
    for name in ("a/1", "a/2", "b/1", "c", "d"):
        bucket.blob(name).upload_from_string(name)
    listed = client.list_blobs("my-models", delimiter="/", page_size=2)
    assert [b.name for b in listed] == ["c", "d"]
    assert listed.prefixes == {"a/", "b/"}
    assert [b.name for b in client.list_blobs("my-models", prefix="a/", fields="items(name),nextPageToken")] == [
        "a/1",
        "a/2",
    ]


def test_copy_rewrite_rename_and_compose(client: storage.Client) -> None:
    bucket = client.create_bucket("my-models")
    one, two = bucket.blob("one"), bucket.blob("two")
    one.upload_from_string("1", content_type="text/plain")
    two.upload_from_string("22")
    copied = bucket.copy_blob(one, bucket, "dir/copy")
    assert (copied.download_as_bytes(), copied.content_type) == (b"1", "text/plain")
    target = bucket.blob("rewritten")
    assert target.rewrite(two) == (None, 2, 2)
    both = bucket.blob("both")
    both.compose([one, two])
    assert (both.download_as_bytes(), both.component_count, both.md5_hash) == (b"122", 2, None)
    both.compose([bucket.blob("two"), bucket.blob("one")])  # whose generations the client does not know
    assert both.download_as_bytes() == b"221"
    renamed = bucket.rename_blob(one, "uno")
    assert renamed.download_as_bytes() == b"1"
    assert not one.exists()


def test_a_wrong_checksum_is_refused_and_leaves_nothing(client: storage.Client) -> None:
    bucket = client.create_bucket("my-models")
    blob = bucket.blob("a")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(exceptions.BadRequest, match="MD5"):
        blob.upload_from_string("x")
    assert not bucket.blob("a").exists()

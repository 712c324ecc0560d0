"""The store: one winner under concurrency, nothing half-written, everything back after a restart."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from vertex_deploy.errors import LocalError
from vertex_deploy.local.seams import ApiError, Blobs
from vertex_deploy.local.storage import ObjectStore, StoredBlobs
from vertex_deploy.local.storage.errors import StorageError
from vertex_deploy.local.storage.preconditions import Preconditions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vertex_deploy.local.storage.resources import Object


@dataclass
class StoppedClock:
    time: float = 1_800_000_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path, StoppedClock(), max_object=1 << 20)
    store.create_bucket("my-models", "p", {})
    yield store
    store.close()


def put(store: ObjectStore, name: str, data: bytes, when: Preconditions | None = None) -> Object:
    writer = store.content.writer()
    writer.write(data)
    return store.put("my-models", name, writer.finish(), {}, when=when or Preconditions())


def read(store: ObjectStore, name: str, bucket: str = "my-models") -> bytes:
    with store.open(store.get(bucket, name)) as file:
        return file.read()


def files(tmp_path: Path) -> int:
    return len(list((tmp_path / "content").iterdir()))


def test_generations_rise_even_if_the_clock_stands_still(store: ObjectStore) -> None:
    found = [put(store, "a", b"x").generation for _ in range(3)]
    assert found == sorted(set(found))


def test_one_of_many_writers_creates_the_object(store: ObjectStore) -> None:
    def attempt(i: int) -> int:
        try:
            put(store, "lock", str(i).encode(), Preconditions(generation_match=0))
        except StorageError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(32))) == [200, *[412] * 31]


def test_content_goes_when_its_last_object_goes(store: ObjectStore, tmp_path: Path) -> None:
    put(store, "a", b"one")
    put(store, "a", b"two")
    assert files(tmp_path) == 1
    store.copy(("my-models", "a"), ("my-models", "b"))
    assert files(tmp_path) == 1
    store.delete("my-models", "a")
    assert read(store, "b") == b"two"
    store.delete("my-models", "b")
    assert files(tmp_path) == 0


def test_a_copy_onto_itself_keeps_the_content(store: ObjectStore) -> None:
    put(store, "a", b"one")
    store.copy(("my-models", "a"), ("my-models", "a"), body={"contentType": "text/plain"})
    assert read(store, "a") == b"one"


def test_a_refused_write_leaves_neither_object_nor_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        put(store, "a", b"x", Preconditions(generation_match=7))
    assert files(tmp_path) == 0
    writer = store.content.writer()
    with pytest.raises(StorageError) as caught:
        writer.write(b"x" * (1 << 20) + b"x")
    assert caught.value.status == 413
    writer.abort()
    assert files(tmp_path) == 0


def test_a_file_that_cannot_be_removed_does_not_undo_the_write(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", b"old")

    def fail(_: str) -> None:
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(store.content, "remove", fail)
        put(store, "a", b"new")
    assert read(store, "a") == b"new"


def test_a_reader_finishes_although_the_object_is_replaced(store: ObjectStore) -> None:
    put(store, "a", b"old")
    with store.open(store.get("my-models", "a")) as file:
        put(store, "a", b"new")
        assert file.read() == b"old"


def test_a_patch_that_fails_changes_nothing(store: ObjectStore) -> None:
    before = put(store, "a", b"x")

    def fail(_: object) -> dict[str, object]:
        raise StorageError(400, "invalid", "no")

    with pytest.raises(StorageError):
        store.patch("my-models", "a", fail)
    assert store.get("my-models", "a") == before


def test_everything_is_back_after_a_restart_and_leftovers_are_swept(store: ObjectStore, tmp_path: Path) -> None:
    made = put(store, "dir/a", b"data")
    store.content.writer().write(b"a killed upload")
    assert files(tmp_path) == 2
    again = ObjectStore(tmp_path, StoppedClock())
    assert again.get("my-models", "dir/a") == made
    assert read(again, "dir/a") == b"data"
    assert files(tmp_path) == 1
    writer = again.content.writer()
    assert again.put("my-models", "b", writer.finish(), {}).generation > made.generation
    again.close()


KILLED = """
import os, pathlib, sys, time
from vertex_deploy.local.storage import ObjectStore
class Clock:
    def now(self): return time.time()
store = ObjectStore(pathlib.Path(sys.argv[1]), Clock())
store.create_bucket("my-models", "p", {})
i = 0
while True:
    writer = store.content.writer()
    writer.write(str(i).encode() * 1000)
    store.put("my-models", "a", writer.finish(), {"metadata": {"i": str(i)}})
    print(i, flush=True)
    i += 1
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.kill()
    rest = process.stdout.read().split()
    process.wait()
    acknowledged = int(rest[-1]) if rest else 20
    store = ObjectStore(tmp_path, StoppedClock())
    found = store.get("my-models", "a")
    i = int(found.body["metadata"]["i"])
    assert acknowledged <= i <= acknowledged + 1
    assert read(store, "a") == str(i).encode() * 1000
    assert files(tmp_path) == 1
    store.close()


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "storage.sqlite").write_text("not a database, long enough to be looked at as one" * 40)
    with pytest.raises(LocalError, match="cannot be read"):
        ObjectStore(tmp_path, StoppedClock())


def test_trees_are_copied_and_deleted_by_folder(store: ObjectStore) -> None:
    blobs: Blobs = StoredBlobs(store)
    for name in ("m/1/model.pt2", "m/1/labels/a.txt", "m/10/model.pt2", "m/1"):
        put(store, name, name.encode())
    assert blobs.copy_tree("gs://my-models/m/1", "gs://managed/x/") == 2
    assert [o.name for o in store.list("managed")] == ["x/labels/a.txt", "x/model.pt2"]
    assert read(store, "x/model.pt2", "managed") == b"m/1/model.pt2"
    assert blobs.copy_tree("gs://my-models/m/1/", "gs://managed/y") == 2
    blobs.delete_tree("gs://managed/x")
    assert [o.name for o in store.list("managed")] == ["y/labels/a.txt", "y/model.pt2"]
    assert [o.name for o in store.list("my-models")] == ["m/1", "m/1/labels/a.txt", "m/1/model.pt2", "m/10/model.pt2"]


def test_a_tree_that_is_not_there_copies_nothing(store: ObjectStore) -> None:
    blobs = StoredBlobs(store)
    assert blobs.copy_tree("gs://no-such-bucket/m", "gs://managed/x") == 0
    assert blobs.copy_tree("gs://my-models/none", "gs://managed/x") == 0
    blobs.delete_tree("gs://no-such-bucket/m")
    with pytest.raises(ApiError, match="Not a gs:// URI"):
        blobs.copy_tree("/etc/passwd", "gs://managed/x")


def test_names_never_reach_the_file_system(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("../../escape", "/etc/passwd", "a/../../b", "C:\\x"):
        put(store, name, b"x")
        assert read(store, name) == b"x"
    assert {p.name for p in tmp_path.iterdir()} <= {"content", *(f"storage.sqlite{s}" for s in ("", "-wal", "-shm"))}
    assert not os.path.lexists(tmp_path.parent / "escape")

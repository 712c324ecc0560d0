from __future__ import annotations

import os
import pathlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import World
from vertex_deploy.errors import RolloutBusy, StateError
from vertex_deploy.rollout.blobs import Blobs, DirectoryBlobs, MemoryBlobs, Stale
from vertex_deploy.rollout.engine import begin
from vertex_deploy.rollout.gcs import GcsBlobs
from vertex_deploy.rollout.lease import Lease, is_dead, this_process
from vertex_deploy.rollout.machine import Phase
from vertex_deploy.rollout.requests import Verb
from vertex_deploy.rollout.store import RolloutStore, some_of

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0


@pytest.fixture(params=["memory", "directory", pytest.param("gcs", marks=pytest.mark.e2e)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "gcs":
        return GcsBlobs("gs://rollouts/deep/store", client=request.getfixturevalue("bucket"))
    return MemoryBlobs() if request.param == "memory" else DirectoryBlobs(tmp_path / "deep" / "store")


def lease(token: str, expires: float = NOW + 60, pid: int = 1, host: str = "elsewhere") -> Lease:
    return Lease(host=host, pid=pid, born=0, token=token, expires=expires)


def test_a_write_over_another_generation_changes_nothing(blobs: Blobs) -> None:
    first = blobs.write("a/b.json", b"1", generation="")
    blobs.write("a/b.json", b"2", generation=first)
    with pytest.raises(Stale):
        blobs.write("a/b.json", b"3", generation=first)
    with pytest.raises(Stale):
        blobs.write("a/b.json", b"3", generation="")
    assert blobs.read("a/b.json")[0] == b"2"


def test_names_are_listed_by_prefix_in_order(blobs: Blobs) -> None:
    for name in ("x/2.json", "x/1.json", "y/1.json"):
        blobs.write(name, b"{}")
    assert blobs.names("x/") == ["x/1.json", "x/2.json"]
    assert blobs.names("nothing/") == []
    blobs.delete("x/1.json")
    blobs.delete("x/1.json")
    assert blobs.read("x/1.json") == (b"", "")


def test_folders_are_listed_without_what_is_in_them(blobs: Blobs) -> None:
    assert blobs.folders() == []
    for name in ("b/log/1.json", "b/record.json", "a/record.json", "current.json"):
        blobs.write(name, b"{}")
    assert blobs.folders() == ["a", "b"]


def test_rollouts_are_listed_oldest_first_and_nothing_else_is_one(blobs: Blobs) -> None:
    world, store = World(), RolloutStore(blobs, "s")
    first, _ = begin(store, world.spec, world.release, now=NOW, who="me@here")
    store.commit(replace(first, phase=Phase.DONE))
    second, _ = begin(store, world.spec, world.release, now=NOW + 60, who="me@here")
    store.ask(Verb.ABORT, who="a@b", now=NOW)
    blobs.write("notes/record.json", b"not ours")
    assert store.ids() == [first.id, second.id]


def test_several_are_read_in_the_order_they_were_asked_for(blobs: Blobs) -> None:
    for number in range(20):
        blobs.write(f"log/{number:02d}.json", str(number).encode())
    assert blobs.read_all(list(reversed(blobs.names("log/")))) == [str(n).encode() for n in reversed(range(20))]
    assert blobs.read_all([]) == []


def test_only_the_generation_that_was_meant_is_deleted(blobs: Blobs) -> None:
    first = blobs.write("lease.json", b"1")
    second = blobs.write("lease.json", b"2")
    with pytest.raises(Stale):
        blobs.delete("lease.json", generation=first)
    assert blobs.read("lease.json")[0] == b"2"
    blobs.delete("lease.json", generation=second)
    blobs.delete("lease.json", generation=second)
    assert blobs.read("lease.json") == (b"", "")


def test_one_writer_at_a_time(blobs: Blobs) -> None:
    one, two = RolloutStore(blobs, "s"), RolloutStore(blobs, "s")
    one.acquire(lease("1"), NOW)
    with pytest.raises(RolloutBusy, match="pid 1 on elsewhere"):
        two.acquire(lease("2"), NOW + 1)
    one.release()
    two.acquire(lease("2"), NOW + 1)


def test_an_expired_lease_is_taken_over_and_its_old_holder_cannot_renew(blobs: Blobs) -> None:
    one, two = RolloutStore(blobs, "s"), RolloutStore(blobs, "s")
    one.acquire(lease("1"), NOW)
    two.acquire(lease("2", expires=NOW + 200), NOW + 61)
    with pytest.raises(RolloutBusy, match="took the lease"):
        one.renew(NOW + 62)
    one.release()
    assert two.holder(NOW + 63) is not None


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_over(blobs: Blobs) -> None:
    one = RolloutStore(blobs, "s", dead=lambda found: found.token == "1")
    one.acquire(lease("1"), NOW)
    two = RolloutStore(blobs, "s", dead=lambda found: found.token == "1")
    two.acquire(lease("2"), NOW + 1)
    holder = two.holder(NOW + 1)
    assert holder is not None
    assert holder.token == "2"


def test_a_process_is_known_dead_only_here_and_a_reused_pid_is_not_it() -> None:
    mine = this_process(NOW)
    assert not is_dead(mine)
    assert is_dead(Lease(host=mine.host, pid=os.getpid(), born=mine.born + 1, token="", expires=NOW))
    assert not is_dead(lease("1", pid=2**22 + 1))


def test_a_pid_of_another_container_or_boot_is_not_taken_for_one_of_this_machine():
    mine = this_process(NOW)
    name = mine.host.partition("/")[0]
    assert name == socket.gethostname()
    # Every execution of a Cloud Run job is pid 1 of localhost.
    assert not is_dead(Lease(host=f"{name}/0badc0de", pid=mine.pid, born=mine.born + 1, token="", expires=NOW))


def test_a_record_comes_back_as_it_was(blobs: Blobs) -> None:
    world, store = World(), RolloutStore(blobs, "s")
    record, resumed = begin(store, world.spec, world.release, now=NOW, who="me@here")
    assert not resumed
    assert RolloutStore(blobs, "s").current() == record
    again, resumed = begin(RolloutStore(blobs, "s"), world.spec, world.release, now=NOW + 9, who="me@here")
    assert (again, resumed) == (record, True)


def test_a_record_that_somebody_else_wrote_is_not_overwritten(blobs: Blobs) -> None:
    world, one = World(), RolloutStore(blobs, "s")
    record, _ = begin(one, world.spec, world.release, now=NOW, who="me@here")
    two = RolloutStore(blobs, "s")
    theirs = two.current()
    assert theirs is not None
    two.commit(record.__class__(**{**{f: getattr(record, f) for f in record.__slots__}, "reason": "theirs"}))
    with pytest.raises(RolloutBusy, match="took over"):
        one.commit(record)
    assert two.load(record.id).reason == "theirs"


@pytest.mark.parametrize("raw", [b"{", b"[]", b"{}", b'{"format": 99}', b'{"format": 1}'])
def test_a_record_that_cannot_be_read_is_refused_with_its_place(blobs: Blobs, raw: bytes) -> None:
    blobs.write("r1/record.json", raw)
    with pytest.raises(StateError, match=r"s/r1/record\.json"):
        RolloutStore(blobs, "s").load("r1")


def test_requests_are_taken_in_order_and_once(blobs: Blobs) -> None:
    store = RolloutStore(blobs, "s")
    first = store.ask(Verb.PAUSE, who="a@b", now=NOW)
    second = store.ask(Verb.ABORT, who="a@b", now=NOW + 1)
    assert store.next_request("") == first
    assert store.next_request(first.id) == second
    assert store.next_request(second.id) is None
    assert blobs.names("requests/") == []


def test_requests_for_an_earlier_rollout_are_not_for_the_next(blobs: Blobs) -> None:
    world, store = World(), RolloutStore(blobs, "s")
    store.ask(Verb.ABORT, who="a@b", now=NOW + 5, rollout="earlier")
    store.ask(Verb.ABORT, who="a@b", now=NOW - 5)
    record, _ = begin(store, world.spec, world.release, now=NOW, who="me@here")
    assert store.next_request(record.handled, record.id) is None
    assert blobs.names("requests/") == []


def test_what_a_slow_clock_asks_is_heard_after_what_a_fast_one_asked(blobs: Blobs) -> None:
    store = RolloutStore(blobs, "s")
    fast = store.ask(Verb.PAUSE, who="fast@clock", now=NOW + 300, rollout="r")
    assert store.next_request("", "r") == fast
    slow = store.ask(Verb.ABORT, who="slow@clock", now=NOW - 300, rollout="r")
    assert store.next_request(fast.id, "r") == slow
    assert store.next_request(slow.id, "r") is None


def test_a_controller_that_only_slept_takes_no_request_from_the_rollout_that_came_after_its_own(blobs: Blobs) -> None:
    store = RolloutStore(blobs, "s")
    asked = store.ask(Verb.ABORT, who="a@b", now=NOW, rollout="new")
    assert store.next_request("", "old") is None
    assert store.next_request("", "new") == asked


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"verb": "explode", "who": "a@b", "at": 1}'])
def test_a_request_that_cannot_be_read_is_put_aside_and_hides_no_other(blobs: Blobs, raw: bytes) -> None:
    blobs.write("requests/001700000000000-0badc0.json", raw)
    blobs.write("requests/zzz.json", b"not ours")
    store = RolloutStore(blobs, "s")
    broken = store.next_request("", "r")
    assert broken is not None
    assert broken.verb is None
    asked = store.ask(Verb.ABORT, who="a@b", now=NOW, rollout="r")
    assert store.next_request(broken.id, "r") == asked
    assert blobs.names("requests/") == [f"requests/{asked.id}.json", "requests/zzz.json"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"{}"])
def test_what_names_the_newest_rollout_and_cannot_be_read_is_refused_with_the_fix(blobs: Blobs, raw: bytes) -> None:
    blobs.write("current.json", raw)
    with pytest.raises(StateError, match=r"s/current\.json: does not name a rollout; write .* one of: none"):
        RolloutStore(blobs, "s").current()


def test_a_history_entry_that_cannot_be_read_is_refused_and_what_is_none_is_passed_over(blobs: Blobs) -> None:
    blobs.write("r1/log/notes.json", b"not ours")
    store = RolloutStore(blobs, "s")
    assert store.log("r1") == []
    blobs.write("r1/log/00000001.json", b"{")
    with pytest.raises(StateError, match=r"s/r1/log/00000001\.json: not a history entry"):
        store.log("r1")


def test_an_error_names_the_newest_rollouts_of_hundreds() -> None:
    assert some_of([]) == "none"
    assert some_of(["1", "2", "3", "4", "5"]) == "1, 2, 3, 4, 5"
    assert some_of([str(number) for number in range(300)]) == "295 older, 295, 296, 297, 298, 299"


@pytest.mark.parametrize("name", ["../other", "..", "", "/etc", "r1/log"])
def test_an_id_never_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    world, outside = World(), DirectoryBlobs(tmp_path)
    record, _ = begin(RolloutStore(outside, "s"), world.spec, world.release, now=NOW, who="me@here")
    outside.write("other/record.json", record.dumps())
    store = RolloutStore(DirectoryBlobs(tmp_path / "mine"), "s")
    assert not store.has(name)
    with pytest.raises(StateError, match="there is: none"):
        store.load(name)


def test_a_write_into_a_new_folder_syncs_what_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def recorded(opened: int) -> None:
        synced.append(str(pathlib.Path(f"/proc/self/fd/{opened}").readlink().relative_to(tmp_path)))
        sync(opened)

    monkeypatch.setattr(os, "fsync", recorded)
    DirectoryBlobs(tmp_path / "a" / "b").write("r/record.json", b"1")
    folders = [name for name in synced if "record.json" not in name]
    assert folders == [".", "a", "a/b", "a/b/r"]
    synced.clear()
    DirectoryBlobs(tmp_path / "a" / "b").write("r/record.json", b"2")
    assert [name for name in synced if "record.json" not in name] == ["a/b/r"]


def test_a_folder_that_cannot_be_read_written_or_emptied_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.write("a.json", b"1")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for method, call in (
        ("read_bytes", lambda: blobs.read("a.json")),
        ("replace", lambda: blobs.write("a.json", b"2")),
        ("unlink", lambda: blobs.delete("a.json")),
        ("is_file", lambda: blobs.names("a")),
        ("iterdir", blobs.folders),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), method, refuse)
            with pytest.raises(StateError, match=r": cannot be .* \(Permission denied\); check"):
                call()
    assert blobs.read("a.json")[0] == b"1"

"""The history as blobs: read whole whatever is bound, and in few reads where it is long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import World
from vertex_deploy.errors import StateError
from vertex_deploy.rollout import session
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.rollout.log import PAGE, Log
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.record import LogEntry
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence


class Counted(MemoryBlobs):
    """Memory that counts the blobs that are read together."""

    read_together = 0

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        type(self).read_together += len(names)
        return super().read_all(names)


@pytest.fixture
def blobs() -> Counted:
    Counted.read_together = 0
    return Counted()


def history(blobs: MemoryBlobs, length: int) -> tuple[Log, list[LogEntry]]:
    log = Log(blobs, "s", "r")
    entries = [LogEntry(seq=seq, at=float(seq), kind="measured", text=f"t{seq}") for seq in range(1, length + 1)]
    for entry in entries:
        log.write(entry)
    return log, entries


def test_a_week_of_minutes_is_read_in_a_hundredth_of_the_reads(blobs: Counted) -> None:
    log, entries = history(blobs, 10_080)
    log.bind(10_080)
    Counted.read_together = 0
    assert log.read() == entries
    assert Counted.read_together == 10_080 // PAGE + 10_080 % PAGE


@pytest.mark.parametrize("after", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 7, 9999])
def test_what_is_bound_and_what_is_not_are_one_history(blobs: Counted, after: int) -> None:
    log, entries = history(blobs, 2 * PAGE + 7)
    log.bind(PAGE + 3)
    assert log.read(after) == entries[after:]
    log.bind(2 * PAGE + 7)
    assert log.read(after) == entries[after:]


def test_binding_twice_writes_once_and_takes_nothing_away(blobs: Counted) -> None:
    log, _ = history(blobs, PAGE)
    log.bind(PAGE)
    written, names = blobs.writes, blobs.names("")
    log.bind(PAGE)
    assert blobs.writes == written
    assert len(names) == PAGE + 1
    assert blobs.names("") == names


def test_a_page_that_lacks_an_entry_or_may_change_is_not_bound(blobs: Counted) -> None:
    log, entries = history(blobs, 2 * PAGE)
    blobs.delete("r/log/00000005.json")
    log.bind(2 * PAGE - 1)
    assert not any("-" in name for name in blobs.names(""))
    assert log.read(5) == entries[5:]


@pytest.mark.parametrize("raw", [b"{", b"{}", b"[]", b"7", b"[7]", b'[{"seq": 1, "at": 0, "kind": "k", "text": "t"}]'])
def test_a_page_that_cannot_be_read_is_refused_with_its_place_and_the_way_out(blobs: Counted, raw: bytes) -> None:
    log, entries = history(blobs, PAGE)
    name = "r/log/00000001-00000200.json"
    blobs.write(name, raw)
    with pytest.raises(StateError, match=rf"s/{name}: not a history entry .* delete it where it is a page"):
        log.read()
    blobs.delete(name)
    assert log.read() == entries


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_history_that_lacks_an_entry_is_refused_and_names_it(blobs: Counted, gone: int) -> None:
    log, entries = history(blobs, 5)
    blobs.delete(f"r/log/{gone:08d}.json")
    with pytest.raises(StateError, match=rf"s/r/log/{gone:08d}\.json: the history lacks this entry"):
        log.read(until=5)
    assert log.read(gone) == entries[gone:]


def test_a_rollout_whose_history_was_thinned_out_is_not_judged_by_the_rest_and_can_be_aborted() -> None:
    world = World()
    controller = world.start()
    controller.run(lambda record: record.phase is Phase.HOLDING and record.seq > 12)
    gone = f"{controller.record.id}/log/00000007.json"
    world.blobs.delete(gone)
    with pytest.raises(StateError, match=gone):
        world.run()
    world.ask(Verb.ABORT)
    assert world.run().ending is Ending.ABORTED


@pytest.mark.parametrize("missed", [1, 2, 7])
def test_an_entry_that_a_listing_missed_while_it_was_written_is_read_all_the_same(missed: int) -> None:
    class Listing(MemoryBlobs):
        def names(self, prefix: str) -> list[str]:
            return [name for name in super().names(prefix) if not name.endswith(f"{missed:08d}.json")]

    log, entries = history(Listing(), 7)
    assert log.read(until=7) == entries


def test_who_reads_while_a_controller_writes_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    controller = world.start()
    controller.tick()
    reader, listed = world.store(), MemoryBlobs.names

    def names(blobs: MemoryBlobs, prefix: str) -> list[str]:
        found = listed(blobs, prefix)
        monkeypatch.setattr(MemoryBlobs, "names", listed)
        controller.journal.note("warning", "one")
        controller.journal.note("warning", "two")
        return found

    before = len(reader.log(controller.record.id))
    monkeypatch.setattr(MemoryBlobs, "names", names)
    first = reader.log(controller.record.id, after=before)
    rest = reader.log(controller.record.id, after=before + len(first))
    assert [entry.text for entry in (*first, *rest)] == ["one", "two"]


def test_an_entry_under_another_number_is_refused(blobs: Counted) -> None:
    log, _ = history(blobs, 2)
    blobs.write("r/log/00000001.json", blobs.read("r/log/00000002.json")[0])
    with pytest.raises(StateError, match=r"00000001\.json: not a history entry \(holds other entries"):
        log.read()


def test_a_controller_binds_what_those_before_it_wrote_and_judges_as_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertex_deploy.rollout.log.PAGE", 5)
    world, plain = World(), World()
    for _ in range(200):
        if world.start().tick() is None:
            break
        world.clock.sleep(5.0)
    assert any("-0000" in name for name in world.blobs.names(""))
    assert world.record().ending is plain.run().ending is Ending.PROMOTED
    log = world.store().log(world.record().id)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))


def test_a_controller_that_drove_it_all_binds_it_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertex_deploy.rollout.log.PAGE", 5)
    world = World()
    controller = world.start()
    controller.run()
    entries = controller.record.seq - 1
    session.put_away(controller._store, controller)
    assert len([name for name in world.blobs.names("") if "-0000" in name]) == entries // 5

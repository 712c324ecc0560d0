"""The history as blobs: read whole whatever is bound, and in few reads where it is long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rollout.world import World
from vertex_deploy.errors import StateError
from vertex_deploy.rollout import session
from vertex_deploy.rollout.blobs import MemoryBlobs
from vertex_deploy.rollout.log import PAGE, Log
from vertex_deploy.rollout.machine import Ending
from vertex_deploy.rollout.record import LogEntry

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
    assert log.read() == [entry for entry in entries if entry.seq != 5]


@pytest.mark.parametrize("raw", [b"{", b"{}", b"[]", b"7", b"[7]", b'[{"seq": 1, "at": 0, "kind": "k", "text": "t"}]'])
def test_a_page_that_cannot_be_read_is_refused_with_its_place_and_the_way_out(blobs: Counted, raw: bytes) -> None:
    log, entries = history(blobs, PAGE)
    name = "r/log/00000001-00000200.json"
    blobs.write(name, raw)
    with pytest.raises(StateError, match=rf"s/{name}: not a history entry .* delete it where it is a page"):
        log.read()
    blobs.delete(name)
    assert log.read() == entries


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

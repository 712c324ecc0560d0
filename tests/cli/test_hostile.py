"""What a hostile hour finds: ``rollout`` commands with a spec, an id or a stored file that is not what it should be.

Each ends with one line on standard error and the documented exit code, and without a traceback: ``Said.error``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cli.desk import SPEC, Desk
from vertex_deploy.rollout import blobs

if TYPE_CHECKING:
    from pathlib import Path

READING = ("status", "watch", "history", "report")
STEERING = ("abort", "rollback", "pause", "resume", "promote")
DRIVING = ("start", "retry", "tick")
COMMANDS = (*READING, *STEERING, *DRIVING, "plan")


# --- specs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_spec_that_is_not_there(desk: Desk, verb: str) -> None:
    said = desk.run(verb, file=desk.folder / "none.yaml")
    assert said.code == 2
    assert said.error.endswith("none.yaml: cannot be read: No such file or directory; give the path of a deploy.yaml")


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_spec_that_is_none(desk: Desk, verb: str) -> None:
    for content in (b"a: [", b"\xff\xfe\x00", b"", b"- 1", b"name: [1]\nname: 2", b"\x00"):
        desk.file.write_bytes(content)
        said = desk.run(verb)
        assert said.code == 3
        assert said.error.startswith(f"{desk.file}:")


@pytest.mark.parametrize("verb", COMMANDS)
def test_an_environment_of_a_spec_that_has_none(desk: Desk, verb: str) -> None:
    said = desk.run(verb, "--env", "prod")
    assert said.code == 3
    assert said.error.endswith("environments: no environment 'prod'; the file has none, so leave --env out")


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"image": 1}', b'{"foo": "x"}', b"\xff\xfe"])
@pytest.mark.parametrize("verb", ["start", "plan"])
def test_a_release_file_that_is_none(desk: Desk, verb: str, content: bytes | None) -> None:
    path = desk.folder / "release.json"
    if content is not None:
        path.write_bytes(content)
    said = desk.run(verb, "--release", str(path))
    assert said.code == 2
    assert said.error.startswith(f"{path}: ")


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize(
    ("store", "code", "words"),
    [
        ("s3://b/x", 2, "write a folder, or gs://"),
        ("gs://", 2, "--store gs://: not a place in"),
        ("", 2, "write a folder"),
    ],
)
def test_a_store_that_is_no_place(desk: Desk, verb: str, store: str, code: int, words: str) -> None:
    said = desk.call("rollout", verb, str(desk.file), "--store", store)
    assert said.code == code
    assert words in said.error


@pytest.mark.parametrize("verb", [verb for verb in COMMANDS if verb != "history"])
def test_a_store_that_is_a_file(desk: Desk, verb: str) -> None:
    desk.root.write_text("a file")
    said = desk.run(verb)
    assert said.code == 6
    assert "(Not a directory); check" in said.error


@pytest.fixture
def promoted(desk: Desk) -> Desk:
    assert desk.run("start").code == 0
    return desk


@pytest.fixture
def held(desk: Desk) -> Desk:
    """A rollout that is holding, and nobody drives it."""

    def interrupt() -> None:
        if desk.world.target.split != {"111": 100}:
            desk.clock.meanwhile = lambda: None
            raise KeyboardInterrupt

    desk.clock.meanwhile = interrupt
    assert desk.run("start").code == 130
    return desk


@pytest.mark.parametrize("verb", [*STEERING, "start", "tick"])
def test_a_folder_that_cannot_be_written(held: Desk, verb: str) -> None:
    def read_only(path: Path, _data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    if verb == "resume":
        assert held.run("pause").code == 12
    held.patch.setattr(blobs, "_replace", read_only)
    split = dict(held.world.target.split)
    said = held.run(verb)
    assert said.code == 6
    assert said.error.endswith("cannot be written (Read-only file system); check space and permissions")
    assert held.world.target.split == split


@pytest.mark.parametrize("verb", ["status", "history", "watch"])
def test_a_folder_that_cannot_be_written_can_be_read(held: Desk, verb: str) -> None:
    def read_only(path: Path, _data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    held.patch.setattr(blobs, "_replace", read_only)
    assert held.run(verb).code == 0


@pytest.mark.parametrize("rollout", ["nope", "", "../lite1/x", "..", "a" * 5000, "\u00e9\n"])
@pytest.mark.parametrize("verb", ["history", "report"])
def test_an_id_that_is_none(promoted: Desk, verb: str, rollout: str) -> None:
    said = promoted.run(verb, "--id", rollout)
    assert said.code == 6
    assert said.error.endswith(f"there is: {promoted.keeps().name}")


def test_the_folder_of_another_spec_is_refused_where_something_would_follow(held: Desk) -> None:
    held.write(SPEC | {"name": "lite1"})
    shutil.copytree(held.root / "lite0", held.root / "lite1")
    for verb in ("start", "plan"):
        said = held.run(verb)
        assert said.code == 6
        told = said.error if verb == "start" else said.out
        assert "deploy.yaml changed since: name" in told
    assert held.run("status").out.startswith("lite0  holding")


CORRUPT: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"id": "20',
    "binary": b"\xff\xfe\x00\x01",
    "a list": b"[]",
    "null": b"null",
    "a number": b"5",
    "an empty object": b"{}",
    "of another version": b'{"format": 9, "id": "x"}',
    "nested": b"[" * 100_000,
    "not finite": b"NaN",
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_pointer_to_the_newest_rollout_that_is_none(held: Desk, verb: str) -> None:
    rollout, deploys = held.keeps().name, held.world.target.deploys
    for name, content in CORRUPT.items():
        (held.root / "lite0" / "current.json").write_bytes(content)
        said = held.run(verb)
        assert said.code == 6, name
        assert rollout in said.error
        assert held.world.target.deploys == deploys  # an unreadable pointer is never "no rollout yet"


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_record_that_is_none(held: Desk, verb: str) -> None:
    path = held.keeps() / "record.json"
    for name, content in CORRUPT.items():
        path.write_bytes(content)
        said = held.run(verb)
        assert said.code == 6, name
        assert said.error.startswith(f"{path}: ")
        assert ";" in said.error


def test_the_record_of_another_rollout(held: Desk) -> None:
    path = held.keeps() / "record.json"
    path.write_text(path.read_text().replace(held.keeps().name, "20270101-000000-0000000"))
    said = held.run("status")
    assert (said.code, "give its folder that name again" in said.error) == (6, True)


OTHER: tuple[Any, ...] = ("x", 5, -1.5, [], [{}], {}, {"a": []}, True, None)
FIELDS = (
    *("id", "name", "started", "spec", "release", "canary", "phase", "entered", "step", "endpoint", "stable", "model"),
    *("split", "actual", "replicas", "pending", "measured", "verdict", "ending", "reason", "tail"),
)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status", "history", "report", "watch"])
def test_a_record_with_a_value_of_another_kind_is_shown_or_refused_in_one_line(promoted: Desk, verb: str) -> None:
    path = promoted.keeps() / "record.json"
    good = json.loads(path.read_text())
    for name, value in product(FIELDS, OTHER):
        path.write_text(json.dumps(good | {name: value}))
        said = promoted.run(verb)
        assert said.code in {0, 6, 10, 11, 12}, (name, value)
        assert said.code != 6 or said.err == "" or said.err.count("\n") == 1, (name, value, said.err)


@pytest.mark.parametrize("verb", ["watch", "report", "start", "tick"])
def test_a_history_entry_that_is_none(held: Desk, verb: str) -> None:
    path = held.keeps() / "log" / "00000001.json"
    split = dict(held.world.target.split)
    held.clock.time += 20  # metrics are due
    for name, content in CORRUPT.items():
        path.write_bytes(content)
        said = held.run(verb)
        assert said.code == 6, name
        assert f"error: {path}: not a history entry" in said.err
        assert held.world.target.split == split


def test_files_that_others_left_among_the_history_are_passed_over(promoted: Desk) -> None:
    (promoted.keeps() / "log" / "00000001.json.bak").write_text("x")
    (promoted.keeps() / "log" / "notes.json").write_text("x")
    assert promoted.run("report").code == 0


@pytest.mark.parametrize("verb", ["start", "abort", "status"])
def test_a_lease_that_is_none(held: Desk, verb: str) -> None:
    path = held.root / "lite0" / "lease.json"
    for content in CORRUPT.values():
        path.write_bytes(content)
        said = held.run(verb)
        assert said.code == 6
        assert said.error.startswith(f"{path}: not a lease")
        assert said.error.endswith("delete it if no controller runs")


def test_requests_that_are_none_are_put_aside_and_told_of(held: Desk) -> None:
    requests = held.root / "lite0" / "requests"
    requests.mkdir(exist_ok=True)
    for number, content in enumerate(CORRUPT.values()):
        (requests / f"{number:015d}-abcdef.json").write_bytes(content)
    assert held.run("start").code == 0
    assert not list(requests.iterdir())
    log = held.run("history", "--id", held.keeps().name, "-o", "json").json
    assert sum("cannot be read" in entry["text"] for entry in log) == len(CORRUPT)


# --- rollout judge ----------------------------------------------------------------------------------------------------

SAMPLE = {"requests": 60, "errors": 0}
GOOD = {"end": "2026-11-21T10:01:00Z", "seconds": 60, "stable": SAMPLE, "canary": SAMPLE}


def histogram(bounds: Any, counts: Any) -> dict[str, Any]:
    return {"canary": SAMPLE | {"latency_ms": {"bounds": bounds, "counts": counts}}}


def requests(count: Any) -> dict[str, Any]:
    return {"canary": SAMPLE | {"requests": count}}


RAW = {
    b"": ":1: a history is a JSON list of intervals; it must begin with [",
    b"hello": ":1: a history is a JSON list",
    b"{}": ":1: a history is a JSON list of intervals; it must begin with [, as `vertex-deploy rollout history",
    b"[": ":1: not JSON: expecting value",
    b'[{"end": "20': ":1: not JSON: unterminated string",
    b"[]]": ":1: there is more after the list's end",
    b"[1 2]": ":1: intervals are separated by a comma",
    b"[\n[]]": ":2: interval: an object with end",
    b"[" * 100_000: ":1: nested too deeply; give a JSON list",
    b"\xff\xfe\x00": ":1: not UTF-8 text; give a JSON list",
    b'[\n{"end": "\xe9"}]': ":2: not UTF-8 text",
    b'[{"seconds": NaN}]': ":1: NaN is not a number; leave out what was not measured",
    b'[{"seconds": -Infinity}]': ":1: -Infinity is not a number",
    b'[{"seconds": ' + b"9" * 5000 + b"}]": ":1: a number with too many digits",
    b'[{"end": "2026-11-21T10:01:00Z", "seconds": 1e999}]': ":1: seconds: Infinity is not a number",
}
VALUES: list[tuple[dict[str, Any], str]] = [
    ({"end": "2026-11-21T10:01:00"}, 'end: "2026-11-21T10:01:00" has no time zone; add Z or an offset'),
    ({"end": "2026-11-21"}, 'end: "2026-11-21" has no time zone'),
    ({"end": "0001-01-01T00:00:00Z"}, "is too early; write when it was measured"),
    ({"end": 5}, "end: 5 is not a time; write RFC 3339"),
    ({"seconds": 0}, "seconds: an interval lasts more than 0 and at most 86400 seconds, not 0"),
    ({"seconds": 1e9}, "at most 86400 seconds, not 1e+09"),
    ({"seconds": "60"}, 'seconds: "60" is not a number; write one without quotes'),
    ({"seconds": 10**400}, "is not a number"),
    (requests("many"), 'canary.requests: "many" is not a whole number of requests'),
    (requests(1.5), "canary.requests: 1.5 is not a whole number"),
    (requests(10**10 + 1), "write a count of at most 10000000000"),
    (requests("9" * 5000), "write a count of at most 10000000000"),
    (requests(None), "canary.requests: null is not a whole number"),
    (histogram([100, 200], [1, 2]), "canary.latency_ms: 2 bounds need 3 counts, not 2; write what"),
    (histogram([200, 100], [1, 2, 3]), "canary.latency_ms: histogram bounds must rise; write what"),
    (histogram(["100"], [1, 2]), 'canary.latency_ms.bounds: "100" is not a number'),
    (histogram({}, []), "canary.latency_ms.bounds: bounds is a list of numbers"),
    ({"canary": SAMPLE | {"gauges": {"rating": "good"}}}, 'canary.gauges.rating: "good" is not a number'),
    ({"cannary": SAMPLE}, "cannary: unknown key; did you mean canary?"),
    ({"canary": []}, "canary: an object with requests"),
]


@pytest.mark.parametrize(("content", "words"), RAW.items(), ids=range(len(RAW)))
def test_a_history_file_that_is_none(desk: Desk, content: bytes, words: str) -> None:
    path = desk.folder / "history.json"
    path.write_bytes(content)
    said = desk.run("judge", "--history", str(path))
    assert said.code == 2
    assert said.error.startswith(f"{path}{words}")
    piped = desk.run("judge", "--history", "-", stdin=content)
    assert (piped.code, piped.error) == (2, said.error.replace(str(path), "stdin"))


@pytest.mark.parametrize(("change", "words"), VALUES, ids=range(len(VALUES)))
def test_a_history_with_a_value_that_cannot_be(desk: Desk, change: dict[str, Any], words: str) -> None:
    said = desk.run("judge", "--history", "-", "-o", "json", stdin=json.dumps([GOOD, GOOD | change], indent=1).encode())
    assert said.code == 2
    assert said.error.startswith("stdin:")
    assert words in said.error


def test_a_history_that_is_too_large_or_not_there(desk: Desk) -> None:
    path = desk.folder / "history.json"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    assert (
        desk.run("judge", "--history", str(path)).error
        == f"{path}: more than 64 MiB; give fewer intervals, or longer ones"
    )
    path.unlink()
    assert "cannot be read: No such file" in desk.run("judge", "--history", str(path)).error
    assert "cannot be read: Is a directory" in desk.run("judge", "--history", str(desk.folder)).error


def test_negative_counts_are_a_counter_that_was_reset(desk: Desk) -> None:
    said = desk.run("judge", "--history", "-", "-o", "json", stdin=json.dumps([GOOD | requests(-5)]).encode())
    assert (said.code, said.json["outcome"]) == (12, "insufficient")
    assert "1 sample had counters that went backwards: not measured" in said.json["verdicts"][0]["notes"]


@pytest.mark.parametrize(("errors", "code", "outcome"), [(0, 0, "pass"), (300, 10, "fail")])
def test_gates_of_a_spec_and_of_its_environment_judge_a_history(
    desk: Desk, errors: int, code: int, outcome: str
) -> None:
    canary = {"requests": 600, "errors": errors}
    intervals = [
        GOOD | {"end": f"2026-11-21T10:{m:02}:00Z", "stable": canary | {"errors": 0}, "canary": canary}
        for m in range(9)
    ]
    given = ("judge", "--history", "-", "--gates", str(desk.file), "-o", "json")
    said = desk.run(*given, stdin=json.dumps(intervals).encode())
    assert (said.code, said.json["outcome"]) == (code, outcome)
    assert [reading["metric"] for reading in said.json["verdicts"][-1]["readings"]] == ["error_rate"]
    assert set(said.json) == {"outcome", "verdicts"}
    assert set(said.json["verdicts"][0]) == {
        "at",
        "explanation",
        "if_hold_ended",
        "if_hold_ended_why",
        "notes",
        "outcome",
        "readings",
        "step",
    }
    lenient = SPEC | {"environments": {"dev": {"rollout": {"gates": [{"metric": "error_rate", "max": "90%"}]}}}}
    desk.file.write_text(yaml.safe_dump(lenient))
    said = desk.run(*given, "--env", "dev", stdin=json.dumps(intervals).encode())
    assert said.json["verdicts"][-1]["readings"][0]["threshold"] == pytest.approx(0.9)


def test_gates_that_are_none(desk: Desk) -> None:
    given = ("judge", "--history", "-", "--gates", str(desk.file))
    assert desk.run("judge", "--history", "-", "--env", "dev", stdin=b"[]").error.startswith(
        "--env is of the spec with"
    )
    assert "no environment 'dev'" in desk.run(*given, "--env", "dev", stdin=b"[]").error
    assert desk.run("judge", "--history", "-", "--gates", str(desk.folder / "none"), stdin=b"[]").code == 2
    desk.file.write_text(yaml.safe_dump(SPEC | {"rollout": SPEC["rollout"] | {"gates": []}}))
    said = desk.run(*given, stdin=b"[]")
    assert (said.code, "rollout.gates is empty" in said.error) == (2, True)


# --- a file that somebody broke under a rollout -----------------------------------------------------------------------


def broken_later(desk: Desk) -> None:
    desk.file.write_text(desk.file.read_text() + "containr: {}\n")


@pytest.mark.parametrize("verb", [*READING, *STEERING, "tick", "retry"])
def test_a_rollout_goes_by_its_own_spec_whatever_became_of_the_file(held: Desk, verb: str) -> None:
    if verb == "resume":
        held.run("pause")
    if verb == "retry":
        held.run("abort")
    broken_later(held)
    said = held.run(verb, *(("--plain",) if verb in STEERING else ()))
    first = said.err.splitlines()[0]
    assert first.startswith(f"warning: {held.file}:")
    assert first.endswith("(the rollout goes by the spec that it was begun with)")
    expected = {"abort": 11, "rollback": 10, "pause": 12, "watch": 0}
    assert said.code == expected.get(verb, 0)


@pytest.mark.parametrize("verb", ["start", "plan"])
def test_a_file_with_problems_begins_nothing_and_goes_on_with_nothing(held: Desk, verb: str) -> None:
    broken_later(held)
    said = held.run(verb)
    assert said.code == 3
    assert "containr" in said.error


@pytest.mark.parametrize("verb", [*READING, *STEERING, "tick", "retry"])
def test_before_the_first_rollout_a_file_with_problems_is_what_is_wrong(desk: Desk, verb: str) -> None:
    broken_later(desk)
    said = desk.run(verb)
    assert said.code == 3
    assert "containr" in said.error


CONFLICT = "<<<<<<< HEAD\n=======\n>>>>>>> theirs\n"


@pytest.mark.parametrize("verb", [*READING, *STEERING, "tick", "retry"])
def test_a_rollout_is_found_by_the_line_with_its_name_in_a_file_that_is_not_yaml(held: Desk, verb: str) -> None:
    if verb in {"resume", "retry"}:
        held.run("pause" if verb == "resume" else "abort")
    held.file.write_text(held.file.read_text() + CONFLICT)
    said = held.run(verb, *(("--plain",) if verb in STEERING else ()))
    assert said.err.splitlines()[0].startswith(f"warning: {held.file}:")
    assert said.code == {"abort": 11, "rollback": 10, "pause": 12}.get(verb, 0)


@pytest.fixture
def held_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A rollout of the environment ``there`` that deploys, and nobody drives it."""
    desk = Desk(tmp_path, monkeypatch, SPEC | {"environments": {"there": {}}})
    desk.world.target.stuck.add("deploy")
    sleeps = iter(range(60))

    def interrupt() -> None:
        if next(sleeps, None) is None:
            desk.clock.meanwhile = lambda: None
            raise KeyboardInterrupt

    desk.clock.meanwhile = interrupt
    assert desk.run("start", "--env", "there", "--plain").code == 130
    desk.world.target.stuck.clear()
    return desk


@pytest.mark.parametrize("content", ["name: lite0\n" + CONFLICT, "name: lite0\n", yaml.safe_dump(SPEC)])
def test_a_rollout_of_an_environment_is_found_though_the_file_has_lost_it(held_there: Desk, content: str) -> None:
    held_there.file.write_text(content)
    assert held_there.run("abort").code == 3 + 3 * (content == yaml.safe_dump(SPEC)), "that is another's"
    assert held_there.run("abort", "--env", "elsewhere").code == 3
    assert held_there.run("retry", "--env", "there").code == 3, "whether it goes alone is not known"
    for unset in ("", "../there"):
        assert held_there.run("abort", "--env", unset).code == 3
    assert held_there.run("abort", "--env", "there", "--plain").code == 11


@pytest.mark.parametrize("verb", ["abort", "status", "tick"])
def test_without_a_file_or_a_name_in_it_it_is_said_what_is_enough(held_there: Desk, verb: str) -> None:
    enough = (
        "a rollout goes by its own spec: to look at it or steer it, a file with the line `name: NAME` is enough, "
        "and --env ENV where it is kept as NAME@ENV (lite0@there)"
    )
    for given in ((), ("--env", "there")):
        said = held_there.run(verb, *given, file=held_there.folder / "gone.yaml")
        assert (said.code, said.error.endswith(f"give the path of a deploy.yaml; {enough}")) == (2, True)
        held_there.file.write_text(CONFLICT)
        said = held_there.run(verb, *given)
        assert (said.code, said.err.splitlines()[-1]) == (3, f"error: {enough}")
    start = held_there.run("start", "--env", "there", file=held_there.folder / "gone.yaml")
    assert start.error.endswith("give the path of a deploy.yaml")


@pytest.mark.parametrize("verb", ["abort", "status", "history"])
@pytest.mark.parametrize("name", ["My App!", "../lite0", "lite0@us", "a" * 300])
def test_a_name_that_is_none_is_what_is_wrong_with_the_file(held: Desk, verb: str, name: str) -> None:
    held.file.write_text(yaml.safe_dump(SPEC | {"name": name}))
    said = held.run(verb)
    assert said.code == 3
    assert "name: must be 1 to 63 lower case letters" in said.error


def test_a_group_can_be_taken_back_whatever_became_of_the_file(group: Desk) -> None:
    for member in group.worlds.values():
        member.target.stuck.add("deploy")
    sleeps = iter(range(60))

    def interrupt() -> None:
        if next(sleeps, None) is None:
            group.clock.meanwhile = lambda: None
            raise KeyboardInterrupt

    group.clock.meanwhile = interrupt
    assert group.run("start", "--env", "prod", "--plain").code == 130
    broken_later(group)
    assert group.run("start", "--env", "prod").code == 3
    for member in group.worlds.values():
        member.target.stuck.clear()
    said = group.run("abort", "--env", "prod", "--plain")
    assert said.code == 11
    assert said.err.count("the rollout goes by the spec that it was begun with") == 1

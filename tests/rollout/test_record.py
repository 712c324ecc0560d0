import json
from dataclasses import asdict, fields, is_dataclass

from vertex_deploy.release import Release
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.record import FORMAT, Group, LogEntry, Pending, Record

FULL = Record(
    id="20270115-080000-3f2a9c01",
    name="lite",
    started=1800000000.0,
    spec={"name": "lite", "rollout": {"steps": [{"weight": 10}, {"weight": 100}]}},
    spec_hash="0123456789ab",
    release=Release(image="r/p/i@sha256:0", artifact="gs://b/lite/1", commit="c0ffee", hash="3f2a9c01abcd"),
    canary="222",
    phase=Phase.DONE,
    entered=1800000001.5,
    step=1,
    endpoint="projects/p/locations/r/endpoints/1",
    stable="111",
    stable_model="projects/p/locations/r/models/m@1",
    model="projects/p/locations/r/models/m@2",
    split={"222": 100},
    actual={"111": 90, "222": 10},
    replicas={"222": 1},
    pending=Pending(kind="undeploy", since=1800000002.0, name="operations/1"),
    measured=1800000003.0,
    measured_until=1800000002.0,
    verdict={"outcome": "pass", "explanation": "all", "readings": [{"value": 0.5}]},
    handled="7",
    ending=Ending.PROMOTED,
    reason="“stable” removed",
    ended=1800000004.0,
    seq=8,
    tail=LogEntry(seq=7, at=1800000003.0, kind="measured", text="pass", data={"intervals": [{"start": 0.0}]}),
    held=True,
    group=Group(name="both", member="us", stores={"us": "lite/us", "eu": "lite/eu"}),
    ready=2,
    driver="token",
)
EMPTY = Record(
    id="1", name="m", started=0.0, spec={}, spec_hash="", release=FULL.release, canary="2", phase=Phase.PREFLIGHT
)


def test_the_stored_form_is_a_line_a_field_in_their_order():
    """To the byte: another vertex-deploy reads it, and a person a diff of it."""
    for record in (FULL, EMPTY):
        whole = {"format": FORMAT, **asdict(record)}
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in whole.items()]
        assert record.dumps().decode() == "{\n" + ",\n".join(lines) + "\n}"
        assert Record.loads(record.dumps(), "here") == record


def test_every_part_that_is_an_object_of_ours_is_written_as_json():
    parts = {item.name for item in fields(Record) if is_dataclass(getattr(FULL, item.name))}
    assert parts == {"release", "pending", "group", "tail"}
    for name in parts:
        assert isinstance(FULL.to_json()[name], dict)


def test_keys_that_a_newer_version_added_are_passed_over():
    data = json.loads(FULL.dumps())
    for holder in (data, data["release"], data["pending"], data["group"], data["tail"]):
        holder["since_2028"] = True
    assert Record.loads(json.dumps(data).encode(), "here") == FULL

from __future__ import annotations

import json

import pytest

from tests.rollout.judge.samples import gate, minute
from vertex_deploy.errors import UsageError
from vertex_deploy.rollout.judge import Outcome, run_history
from vertex_deploy.rollout.judge.history import entry_to_json, parse_history, replay_entries

GATES = (gate(metric="error_rate", max="0.5%", min_requests=200),)


def entry(n: int, **extra):
    return {
        "end": f"2026-11-21T10:{n:02}:00Z",
        "seconds": 60,
        "stable": {"requests": 5400, "errors": 5, "latency_ms": {"bounds": [100, 200], "counts": [5000, 300, 100]}},
        "canary": {"requests": 600, "errors": 1, "gauges": {"rating": 4.5}},
        **extra,
    }


def text(*entries) -> str:
    return "[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n"


def test_a_recorded_history_is_judged(tmp_path):
    path = tmp_path / "history.json"
    path.write_text(text(entry(1), entry(2), entry(3, canary={"requests": 600, "errors": 90})))
    outcomes = [verdict.outcome for verdict in run_history(path, GATES)]
    assert outcomes == [Outcome.PASS, Outcome.PASS, Outcome.FAIL]
    assert run_history(path, GATES)[0].explanation == "the one check passes"


def test_entries_are_written_as_they_are_read():
    entries = parse_history(
        text(
            entry(1, step="10%"),
            entry(2, stable=None),
            entry(3, bake=True, began="2026-11-21T10:02:30Z"),
            entry(4, canary={"requests": 9, "errors": 0, "rejected": 9}),
        )
    )
    assert entries[3].interval.canary.rejected == 9
    assert parse_history(json.dumps([entry_to_json(e) for e in entries])) == entries


def test_steps_and_bake_are_followed():
    history = text(entry(1, step="10%"), entry(2, step="50%"), entry(3, bake=True, stable=None))
    verdicts = replay_entries(parse_history(history), GATES)
    assert [verdict.step for verdict in verdicts] == ["10%", "50%", "bake"]
    assert [verdict.readings[0].samples for verdict in verdicts] == [600, 600, 600]


@pytest.mark.parametrize("end", ["2026-11-21T10:01:00Z", "2026-11-21t10:01:00.000000000z", "2026-11-21T15:31:00+05:30"])
def test_every_form_of_a_time_that_rfc_3339_allows_is_read(end):
    (read,) = parse_history(json.dumps([entry(1) | {"end": end}]))
    assert read.interval.end == minute(1)


def test_counts_may_be_text_as_google_writes_them():
    assert parse_history(text(entry(1, canary={"requests": "600", "errors": "0"})))[0].interval.canary.requests == 600


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"seconds": 60}, "end is missing"),
        (entry(2, end="yesterday"), 'end: "yesterday" is not a time'),
        (entry(2, end="2026-11-21T10:01:00"), "has no time zone"),
        (entry(2, seconds=0), "seconds: an interval lasts more than 0 and at most 86400 seconds"),
        (entry(2, seconds=True), "seconds: true is not a number"),
        (entry(2, canary={"requests": 1}), "canary: errors is missing"),
        (entry(2, canary={"requests": 1.5, "errors": 0}), "canary.requests: 1.5 is not a whole number"),
        (entry(2, canary={"requests": 1, "erors": 0}), "canary.erors: unknown key; did you mean errors?"),
        (entry(2, canary=[1]), "canary: an object with requests"),
        (entry(2, stable={"requests": 1, "errors": 0, "latency_ms": {"bounds": [1], "counts": [1]}}), "need 2 counts"),
        (
            entry(2, stable={"requests": 1, "errors": 0, "latency_ms": {"bounds": [2, 1], "counts": [1, 1, 1]}}),
            "must rise",
        ),
        (entry(2, canary={"requests": 1, "errors": 0, "gauges": {"x": "y"}}), 'canary.gauges.x: "y" is not a number'),
        (entry(2, step=3), "step: the name of a step is text"),
        (7, "interval: an object"),
    ],
)
def test_a_problem_names_file_line_and_field(second, message):
    with pytest.raises(UsageError) as caught:
        parse_history(text(entry(1), second), "h.json")
    assert str(caught.value).startswith("h.json:3: ")
    assert message in str(caught.value)


def test_the_line_is_that_of_the_field():
    pretty = json.dumps([entry(1, canary={"requests": 5, "errors": "x"})], indent=1)
    with pytest.raises(UsageError) as caught:
        parse_history(pretty, "h")
    line = pretty.splitlines().index('   "errors": "x"') + 1
    assert str(caught.value).startswith(f"h:{line}: canary.errors")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{}", "h:1: a history is a JSON list"),
        ("", "h:1: a history is a JSON list"),
        ('[\n{"a": }]', "h:2: not JSON"),
        ("[\n1\n2]", "h:3: intervals are separated by a comma"),
        ("[] []", "there is more after"),
        ("[\nNaN]", "NaN is not a number"),
        ("[\n", "h:2: not JSON"),
    ],
)
def test_broken_json_names_the_line(broken, message):
    with pytest.raises(UsageError) as caught:
        parse_history(broken, "h")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"none\.json: cannot be read: No such file"):
        run_history(tmp_path / "none.json", GATES)


def test_many_problems_are_cut_short():
    with pytest.raises(UsageError) as caught:
        parse_history(text(*[7] * 50))
    assert len(str(caught.value).splitlines()) == 21

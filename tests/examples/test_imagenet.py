"""The demo on a machine that stands still or is too busy, and what it reads of a rollout: without running one."""

from __future__ import annotations

import json
import subprocess

import pytest

from examples.imagenet import __main__ as demo
from examples.imagenet.traffic import STOOD_STILL, on_time
from tests.rollout.world import World
from vertex_deploy.rollout.plan import plan_of
from vertex_deploy.rollout.view import view_of

START, STATUS = "rollout start deploy.yaml --env local", "rollout status --env local -o json"
RESUME, RETRY = "rollout resume deploy.yaml --env local", "rollout retry deploy.yaml --env local"


@pytest.fixture
def typed(monkeypatch):
    """Commands that are not run: those that drive exit with the codes given here, in turn, each with its own id."""
    codes: list[int] = []
    said: list[str] = []

    def answer(*words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        said.append(" ".join(words))
        view = {
            "ending": None,
            "shares": [{"role": "stable", "id": "0"}, {"role": "canary", "id": str(len(said) // 2)}],
        }
        code = 0 if capture else codes.pop(0)
        return subprocess.CompletedProcess(["python", "-m", "vertex_deploy", *words], code, json.dumps(view))

    monkeypatch.setattr(demo, "typed", answer)
    return codes, said


def test_a_rollout_that_a_busy_machine_paused_or_took_back_goes_on_until_it_ends_as_told(typed):
    codes, said = typed
    codes += [demo.INCONCLUSIVE, demo.ROLLED_BACK, 0]
    names: dict[str, str] = {}
    assert demo.rollout(names, "version 2")["shares"]
    assert said == [START, STATUS, RESUME, STATUS, RETRY, STATUS]
    assert names == {"1": "version 2", "2": "version 2", "3": "version 2"}


def test_a_broken_version_that_is_taken_back_is_not_tried_again(typed):
    codes, said = typed
    codes += [demo.INCONCLUSIVE, demo.ROLLED_BACK]
    demo.rollout({}, "version 3", expect=demo.ROLLED_BACK)
    assert said == [START, STATUS, RESUME, STATUS]


@pytest.mark.parametrize("code", [demo.INCONCLUSIVE, demo.ROLLED_BACK])
def test_a_machine_that_stays_too_busy_ends_the_demo(typed, code):
    codes, said = typed
    codes += [code] * 100
    with pytest.raises(SystemExit, match=f"vertex-deploy rollout exited with {code}, expected 0"):
        demo.rollout({}, "version 2")
    assert (len(said), said.count(STATUS)) == (2 * demo.TRIES - 1, demo.TRIES - 1)


@pytest.mark.parametrize(("code", "expect"), [(0, demo.ROLLED_BACK), (1, 0), (11, 0)])
def test_another_ending_than_the_one_that_was_told_ends_the_demo_at_once(typed, code, expect):
    codes, said = typed
    codes += [code]
    with pytest.raises(SystemExit, match=f"exited with {code}, expected {expect}"):
        demo.rollout({}, "version 3", expect=expect)
    assert said == [START]


def test_what_was_not_sent_while_the_machine_stood_still_is_not_sent_at_once():
    assert on_time(100.0, 5.0, 104.9) == 100.0
    assert on_time(100.0, 5.0, 105.0 + STOOD_STILL) == 100.0  # a little late: the schedule is caught up with
    assert on_time(100.0, 5.0, 113.0) == 108.0


@pytest.mark.parametrize("world", [World(first=True), World(), World(errors=0.5)], ids=["first", "promoted", "back"])
def test_the_version_that_a_rollout_brought_is_found_however_it_ended(world):
    record = world.run()
    view = view_of(record, plan_of(world.spec), now=world.clock.now())
    assert demo.brought(view.to_json()) == record.canary

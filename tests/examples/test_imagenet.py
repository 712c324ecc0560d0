"""The demo on a machine that stands still or is too busy, and what it reads of a rollout: without running one."""

from __future__ import annotations

import subprocess

import pytest

from examples.imagenet import __main__ as demo
from examples.imagenet.traffic import STOOD_STILL, on_time
from tests.rollout.world import World
from vertex_deploy.rollout.plan import plan_of
from vertex_deploy.rollout.view import view_of

START, RESUME = "rollout start deploy.yaml --env local", "rollout resume --env local"


@pytest.fixture
def typed(monkeypatch):
    """Commands that are not run: those that drive exit with the codes given here, in turn."""
    codes: list[int] = []
    said: list[str] = []

    def answer(*words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        said.append(" ".join(words))
        return subprocess.CompletedProcess(
            ["python", "-m", "vertex_deploy", *words], 0 if capture else codes.pop(0), "{}"
        )

    monkeypatch.setattr(demo, "typed", answer)
    return codes, said


def test_a_rollout_that_paused_for_want_of_measurements_is_resumed_until_it_ends(typed):
    codes, said = typed
    codes += [demo.INCONCLUSIVE, demo.INCONCLUSIVE, demo.ROLLED_BACK]
    assert demo.rollout(expect=demo.ROLLED_BACK) == {}
    assert said == [START, RESUME, RESUME, "rollout status --env local -o json"]


def test_a_machine_on_which_nothing_can_be_concluded_ends_the_demo(typed):
    codes, said = typed
    codes += [demo.INCONCLUSIVE] * 100
    with pytest.raises(SystemExit, match="vertex-deploy rollout exited with 12, expected 0"):
        demo.rollout()
    assert said == [START, *[RESUME] * demo.RESUMES]


def test_another_ending_than_the_one_that_was_told_ends_the_demo_at_once(typed):
    codes, said = typed
    codes += [demo.ROLLED_BACK]
    with pytest.raises(SystemExit, match="exited with 10, expected 0"):
        demo.rollout()
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

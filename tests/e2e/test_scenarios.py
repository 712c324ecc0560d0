"""What goes wrong in production, each against one Local Vertex at the same time: real servers, requests, metrics, CLI.

What is judged depends on counts, not on chance (see ``model_server``), and by margins that a busy machine does not eat:
where most or the slowest of a hundred answers may not take 1.5 s, every eighth takes 3 s or all do, and a version that
has to keep a limit has half a minute for an answer. A rollout that is to be seen at work holds until something ends it;
one that has to pass is resumed where the machine stood still (``Rollouts.through``).

Every gate is an alert policy too, as it is for users: they look back over five minutes, longer than these holds, pauses
and initial delays, and must not end a rollout for what lay before. What each rollout came to is checked in all places
that tell of it (``Rollouts.ended_as_told``).
"""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import monitoring_v3
from google.protobuf import json_format

from vertex_deploy.spec.alerts import conditions
from vertex_deploy.spec.gates import Gate

from .rollouts import HELD, Rollouts, as_json, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ERRORS = {"metric": "error_rate", "max": "10%", "min_requests": 20}
ALLOWED, SLOW = "1500ms", 3.0
ENOUGH = 20
"""The gates' ``min_requests``."""
NEVER_PROVED = 1e-100
"""A gate's weight that leaves it so little of alpha that no number of requests in a test is proof."""
STEPS = [{"weight": 50, "hold": "15s"}, {"weight": 100}]
# For what fails, which ends the hold: it may take as long as it takes.
PATIENT: dict[str, Any] = {"steps": [{"weight": 50, "hold": HELD}, {"weight": 100}], "poll": "2s"}


@dataclass
class Story:
    """What one scenario came to: exit codes and views by the command that gave them, and the report's data.

    ``shown`` is when an incident could be read at the latest, seconds since the epoch.
    """

    said: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    answers: dict[Any, int] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    html: str = ""
    shown: float = float("inf")


def settings(gates: list[dict[str, Any]], **rollout: Any) -> dict[str, Any]:
    """The spec's ``rollout`` section; alert policies are made of the gates, which is the default."""
    return {"steps": STEPS, "gates": gates, "keep_stable": "2s", **rollout}


class Stage:
    """One Local Vertex, and what every scenario starts from: a first version with all traffic."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.environment, self.server = cli.json("env"), cli.json("status")["server"]["rest"]

    def first(self, name: str, *, gates: list[dict[str, Any]], **rollout: Any) -> Rollouts:
        found = Rollouts(self.cli, name, settings(gates, **rollout), environment=self.environment)
        found.write("one")
        code, out = found.run("start")
        assert code == 0, out
        return found

    def traffic(self, rollouts: Rollouts, *, threads: int = 4, pause: float = 0.18) -> Any:
        """About 20 requests a second from four clients, so that one slow answer does not stop the others."""
        return rollouts.traffic(server=self.server, threads=threads, pause=pause)

    def told(self, rollouts: Rollouts, story: Story) -> Story:
        """With the newest rollout's report, as it lies beside its record; what was said last has to be true."""
        story.log = rollouts.ended_as_told(*list(story.said.values())[-1])
        story.record, story.alerts = rollouts.record(), rollouts.alerts()
        folder = max(rollouts.records(), key=lambda path: path.stat().st_ctime).parent
        story.report = json.loads((folder / "report.json").read_text())
        story.html = (folder / "report.html").read_text()
        story.answers = dict(rollouts.answers)
        return story

    def simple(self, name: str, *, gates: list[dict[str, Any]], env: dict[str, object], **rollout: Any) -> Story:
        """A second version whose server has ``env`` is rolled out under steady traffic."""
        rollouts, story = self.first(name, gates=gates, **rollout), Story()
        rollouts.write("two", **env)
        with self.traffic(rollouts):
            story.said["start"] = rollouts.through("start")
        return self.told(rollouts, story)


def under_way(rollouts: Rollouts) -> bool:
    """The second rollout is the current one, and somebody drives it on."""
    record = rollouts.record()
    return len(rollouts.records()) == 2 and bool(record["stable"]) and record["phase"] != "paused"


def looks(rollouts: Rollouts, number: int) -> None:
    """Wait for so many more measurements; before each but the first, incidents were read since this was called."""
    for _ in range(number):
        last = rollouts.record()["measured"]
        until(lambda last=last: rollouts.record()["measured"] > last)


def incidents_of(rollouts: Rollouts, deployed_id: str) -> list[dict[str, Any]]:
    """Those of this spec's policies about one version."""
    own = [alert for alert in rollouts.alerts() if alert["policy"]["displayName"].startswith(rollouts.name)]
    return [alert for alert in own if alert["metric"]["labels"].get("deployed_model_id") == deployed_id]


def good(stage: Stage) -> Story:
    # Latencies of two servers that share a busy machine are compared for what is read, not for what comes of it.
    compared = {"metric": "latency_p95", "worse_than_stable": "50%", "dry_run": True}
    absolute = {"metric": "latency_p95", "max": "30s", "min_requests": ENOUGH}
    rollouts, story = stage.first("good", gates=[ERRORS, absolute, compared]), Story()

    def watched(verb: str) -> tuple[int, dict[str, Any]]:
        driver = rollouts.begin(verb, "-o", "json")
        until(lambda: under_way(rollouts) or driver.poll() is not None)
        code, story.text = rollouts.run("watch")
        found = as_json(rollouts.finished(driver))
        assert code == found[0], found
        return found

    with stage.traffic(rollouts):
        # Before the split there is something to measure of stable alone.
        until(lambda: rollouts.answers["one"] > ENOUGH)
        rollouts.write("two")
        story.said["start"] = rollouts.through("start", by=watched)
    return stage.told(rollouts, story)


def errors(stage: Stage) -> Story:
    return stage.simple("errors", gates=[ERRORS], env={"FAIL_EVERY": 3}, **PATIENT)


def alerted(stage: Stage) -> Story:
    gates = [ERRORS, {"metric": "latency_p99", "max": ALLOWED, "min_requests": ENOUGH, "weight": NEVER_PROVED}]
    rollouts, story = stage.first("alerted", gates=gates, **PATIENT), Story()
    rollouts.write("two", SLOW_EVERY=8, SLOW_SECONDS=SLOW)
    with stage.traffic(rollouts):
        driver = rollouts.begin("start", "-o", "json")
        until(lambda: under_way(rollouts), process=driver)
        canary = rollouts.record()["canary"]
        until(lambda: driver.poll() is not None or bool(incidents_of(rollouts, canary)))
        # After it was read here, and so after the controller could read it.
        story.shown = time.time()
        story.said["start"] = as_json(rollouts.finished(driver))
    return stage.told(rollouts, story)


def slow_tail(stage: Stage) -> Story:
    gates = [
        ERRORS,
        {"metric": "latency_p50", "max": ALLOWED, "min_requests": ENOUGH},
        {"metric": "latency_p99", "max": ALLOWED, "min_requests": ENOUGH},
    ]
    return stage.simple("slow-tail", gates=gates, env={"SLOW_EVERY": 8, "SLOW_SECONDS": SLOW}, **PATIENT)


def slow_start(stage: Stage) -> Story:
    # All answers are slow for eleven seconds after the first request, which may come twenty late; a machine that stands
    # still makes the four slow that are under way, which is far from half of them.
    gates = [{"metric": "latency_p50", "max": ALLOWED, "min_requests": ENOUGH, "initial_delay": "32s"}]
    steps = [{"weight": 50, "hold": "48s"}, {"weight": 100}]
    return stage.simple("slow-start", gates=gates, steps=steps, env={"SLOW_START": 8, "SLOW_SECONDS": SLOW})


def shared_incident(stage: Stage) -> Story:
    rollouts, story = stage.first("shared", gates=[ERRORS]), Story()
    rollouts.write("two")
    # So many requests that each second has some of both: one in which only the canary answered is held against it.
    with stage.traffic(rollouts, threads=24, pause=0.6):
        # Both versions: the fault names the model, not a version of it. Stable has it first, as when a backend fails.
        # Every request: of 40% it would now and then be the canary that has more of them, by chance.
        stage.cli.run("fault", "shared", "--fail", "100%")
        story.said["start"] = rollouts.json("start")
        rollouts.ended_as_told(*story.said["start"])
        stage.cli.run("fault", "shared", "--clear")
        story.said["resume"] = rollouts.through("resume")
    return stage.told(rollouts, story)


def no_traffic(stage: Stage) -> Story:
    """At night nobody asks; in the morning somebody does, and the new version fails them: who ticks goes back."""
    rollouts, story = stage.first("night", gates=[ERRORS]), Story()
    rollouts.write("two", FAIL_EVERY=2)
    story.said["start"] = rollouts.json("start")
    stage.told(rollouts, story)

    def over() -> bool:
        story.said["tick"] = rollouts.json("tick")
        # Until it is over: an ending is decided while the canary still has to be undeployed.
        return bool(rollouts.record()["phase"] == "done")

    with stage.traffic(rollouts):
        until(over)
    return stage.told(rollouts, story)


def aborted(stage: Stage) -> Story:
    rollouts, story = stage.first("aborted", gates=[ERRORS], **PATIENT), Story()
    rollouts.write("two")
    with stage.traffic(rollouts):
        first = rollouts.begin("start", "-o", "json")
        until(lambda: rollouts.answers["two"] > 20, process=first)
        story.said["abort"] = rollouts.json("abort")
        story.said["start"] = as_json(rollouts.finished(first))
    return stage.told(rollouts, story)


def stable_fires(stage: Stage) -> Story:
    """Stable breaks the limit of a policy as `pulumi up` leaves them, while the canary is held and keeps it."""
    gate = {"metric": "error_rate", "max": "30%", "min_requests": 10, "inconclusive": "ignore"}
    rollout = settings([gate], **PATIENT)
    rollouts, story = Rollouts(stage.cli, "stable-fires", rollout, environment=stage.environment), Story()
    rollouts.write("one", FAIL_EVERY=2)
    assert rollouts.run("start")[0] == 0
    standing = Gate.model_validate({"metric": "error_rate", "name": "standing", "max": "30%"})
    policy = monitoring_v3.AlertPolicy()
    body = {
        "displayName": "stable-fires: standing",
        "userLabels": {"vertex-deploy": "stable-fires"},
        "combiner": "OR",
        "conditions": list(conditions(standing, endpoint_id=rollouts.endpoint().rpartition("/")[2], private=False)),
    }
    json_format.ParseDict(body, monitoring_v3.AlertPolicy.pb(policy))
    client = rollouts.alert_policies()
    kept = client.create_alert_policy(name="projects/my-project", alert_policy=policy)
    rollouts.write("two")
    driver = rollouts.begin("start", "-o", "json")
    until(lambda: under_way(rollouts) and rollouts.record()["phase"] == "holding", process=driver)
    # From here on, so that the incident opens in the hold: an older one would not count anyway.
    with stage.traffic(rollouts):
        stable = rollouts.record()["stable"]
        until(lambda: bool(incidents_of(rollouts, stable)), process=driver)
        looks(rollouts, 3)
        assert rollouts.record()["phase"] == "holding", rollouts.record()["reason"]
        promoted = rollouts.run("promote")
        assert promoted[0] == 0, promoted
        story.said["start"] = as_json(rollouts.finished(driver))
    # What is not the rollout's stays, whatever the rollout came to.
    assert client.get_alert_policy(name=kept.name).name == kept.name
    return stage.told(rollouts, story)


def back_after_promotion(stage: Stage) -> Story:
    # Whatever was measured on the way: what is tried comes after it.
    more: dict[str, Any] = {"keep_stable": "1h", "on_inconclusive": "proceed"}
    rollouts, story = stage.first("regret", gates=[ERRORS], **more), Story()
    rollouts.write("two")
    with stage.traffic(rollouts):
        story.said["start"] = rollouts.json("start", "--detach-after-promotion")
        rollouts.ended_as_told(*story.said["start"])
        rollouts.count_anew()
        until(lambda: rollouts.answers["two"] > 20)
        story.said["rollback"] = rollouts.json("rollback")
        rollouts.count_anew()
        until(lambda: rollouts.answers["one"] > 20)
        after = dict(rollouts.answers)
    stage.told(rollouts, story)
    story.answers = after
    return story


SCENARIOS: tuple[Callable[[Stage], Story], ...] = (
    back_after_promotion,
    shared_incident,
    slow_start,
    slow_tail,
    good,
    errors,
    alerted,
    no_traffic,
    aborted,
    stable_fires,
)


@pytest.fixture(scope="module")
def stories(vertex: Cli) -> Any:
    """All scenarios, under way at the same time; a test waits for its own."""
    stage = Stage(vertex)
    with ThreadPoolExecutor(max_workers=4) as pool:
        futures = {scenario: pool.submit(scenario, stage) for scenario in SCENARIOS}

        def story(scenario: Callable[[Stage], Story]) -> Story:
            found: Future[Story] = futures[scenario]
            return found.result(timeout=900)

        yield story


def readings(story: Story, step: str = "50%") -> dict[tuple[str, str], dict[str, Any]]:
    """The last readings of a step, by gate and kind."""
    (verdict,) = [found for found in story.report["verdicts"] if found["step"] == step]
    return {(found["gate"], found["kind"]): found for found in verdict["readings"]}


def over_the_limit(verdict: dict[str, Any]) -> bool:
    """Whether a verdict has enough requests of the canary, and them over p99's limit."""
    found = next(r for r in verdict["readings"] if (r["gate"], r["kind"]) == ("latency_p99", "absolute"))
    return bool(found["samples"] >= ENOUGH and (found["value"] or 0) > found["threshold"])


def split(said: tuple[int, dict[str, Any]]) -> dict[str, int]:
    return {share["role"]: share["actual"] for share in said[1]["shares"] if share["actual"]}


def test_a_good_version_is_promoted_and_watched_to_its_end(stories: Any) -> None:
    story = stories(good)
    code, view = story.said["start"]
    assert (code, view["ending"], split((code, view))) == (0, "promoted", {"stable": 100}), view["reason"]
    assert set(story.answers) == {"one", "two"}
    assert {found["outcome"] for found in readings(story).values() if not found["dry_run"]} == {"pass"}
    assert "holding" in story.text
    assert "good  promoted" in story.text


def test_the_judge_is_shown_stable_alone_before_the_split_and_then_both(stories: Any) -> None:
    measured = [entry["data"] for entry in stories(good).log if entry["kind"] == "measured"]
    first, *later = [found["intervals"] for found in measured]
    alone = [interval for interval in first if interval["canary"] is None]
    assert sum(interval["stable"]["requests"] for interval in alone if interval["stable"]) > 0
    assert all(interval["stable"]["latency_ms"] for interval in alone if (interval["stable"] or {}).get("requests"))
    both = [interval for found in (first[len(alone) :], *later) for interval in found]
    assert sum(interval["canary"]["requests"] for interval in both if interval["canary"]) >= ENOUGH


def test_a_version_that_fails_requests_is_rolled_back(stories: Any) -> None:
    story = stories(errors)
    code, view = story.said["start"]
    assert (code, view["ending"], split((code, view))) == (10, "rolled_back", {"stable": 100}), view["reason"]
    assert "error_rate" in view["reason"]
    assert view["reason"] in story.html.replace("&#x27;", "'")


def test_an_alert_of_a_gate_rolls_back_within_one_poll_and_before_there_is_proof(
    stories: Any, tell: Callable[[str], None]
) -> None:
    story = stories(alerted)
    code, view = story.said["start"]
    assert (code, view["ending"], split((code, view))) == (10, "rolled_back", {"stable": 100}), view["reason"]
    assert "fired for the canary" in view["reason"]
    (incident,) = [alert for alert in story.alerts if f"({alert['name']})" in view["reason"]]
    opened = datetime.fromisoformat(incident["openTime"]).timestamp()
    rolled = next(e["at"] for e in story.log if e["data"].get("event") == "alert_fired")
    # What the step itself must measure first (min_requests, over the limit) may come later than the incident.
    measured = [e for e in story.log if e["kind"] == "measured"]
    believable = next(e["at"] for e in measured if over_the_limit(e["data"]["verdict"]))
    waited = rolled - max(opened, believable)
    tell(
        f"an incident led to a rollback {rolled - opened:.1f} s after it opened, {waited:.1f} s after it and the "
        "step's own measurement were both there; the poll is 2 s"
    )
    # In polls, not in seconds: the one under way when both were there is the last one that measures.
    assert len([e for e in measured if e["at"] > max(story.shown, believable)]) <= 1
    found = readings(story)["latency_p99", "absolute"]
    assert found["outcome"] != "fail"
    assert found["value"] > 1500


def test_a_slow_tail_is_found_although_the_median_is_fine(stories: Any) -> None:
    story = stories(slow_tail)
    code, view = story.said["start"]
    assert (code, view["ending"]) == (10, "rolled_back"), view["reason"]
    assert "latency_p99" in view["reason"]
    found = readings(story)
    assert found["latency_p50", "absolute"]["value"] < 1500 < found["latency_p99", "absolute"]["value"]
    assert found["latency_p50", "absolute"]["outcome"] != "fail"
    assert found["error_rate", "absolute"]["value"] == 0


def test_a_slow_start_that_recovers_is_forgiven_by_initial_delay(stories: Any) -> None:
    story = stories(slow_start)
    code, view = story.said["start"]
    assert (code, view["ending"]) == (0, "promoted"), view["reason"]
    slowest = [i["canary"]["latency_ms"]["p95"] for i in story.report["intervals"] if i["canary"]]
    # It was slow, and measured as slow: the gate looked away, it was not blind.
    assert max(value for value in slowest if value) > 1500
    assert readings(story)["latency_p50", "absolute"]["value"] < 1500


def test_an_incident_of_both_versions_pauses_and_is_not_blamed_on_the_new_one(stories: Any) -> None:
    story = stories(shared_incident)
    code, view = story.said["start"]
    assert (code, view["phase"], split((code, view))) == (12, "paused", {"stable": 50, "canary": 50}), view["reason"]
    assert "inconclusive" in view["reason"]
    code, view = story.said["resume"]
    assert (code, view["ending"]) == (0, "promoted"), view["reason"]


def test_without_requests_nothing_passes_and_whoever_ticks_in_the_pause_goes_back_once_they_fail(stories: Any) -> None:
    story = stories(no_traffic)
    code, view = story.said["start"]
    assert (code, view["phase"], split((code, view))) == (12, "paused", {"stable": 50, "canary": 50}), view["reason"]
    assert "inconclusive" in view["reason"]
    assert [gate["outcome"] for gate in view["gates"]] == ["insufficient"]
    code, view = story.said["tick"]
    assert (code, view["ending"], split((code, view))) == (10, "rolled_back", {"stable": 100}), view["reason"]
    assert "error_rate" in view["reason"]


def test_an_operator_aborts_and_both_commands_say_so(stories: Any) -> None:
    story = stories(aborted)
    for code, view in story.said.values():
        assert (code, view["ending"], split((code, view))) == (11, "aborted", {"stable": 100})
    assert "abort by" in story.record["reason"]


def test_an_alert_of_stable_alone_is_not_blamed_on_the_canary(stories: Any) -> None:
    story = stories(stable_fires)
    code, view = story.said["start"]
    assert (code, view["ending"]) == (0, "promoted"), view["reason"]
    own = [a for a in story.alerts if a["policy"]["displayName"].startswith("stable-fires")]
    fired = {alert["metric"]["labels"]["deployed_model_id"] for alert in own}
    assert fired == {story.record["stable"]}


def test_a_promoted_version_can_be_taken_back_while_stable_is_warm(stories: Any) -> None:
    story = stories(back_after_promotion)
    code, view = story.said["start"]
    assert (code, view["phase"], split((code, view))) == (0, "keeping_stable", {"promoted": 100}), view["reason"]
    code, view = story.said["rollback"]
    assert (code, view["ending"], split((code, view))) == (10, "rolled_back", {"stable": 100})
    assert set(story.answers) == {"one"}

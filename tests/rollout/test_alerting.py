"""Alerts that roll back: what incidents mean, and that a rollout's own policies come and go with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.rollout.world import STABLE, Killed, World, spec_with
from vertex_deploy.errors import CloudError, UsageError
from vertex_deploy.rest import monitoring
from vertex_deploy.rollout.alert_clients import MemoryAlerts, MonitoringAlerts, incident_of
from vertex_deploy.rollout.alerting import ROLLOUT_LABEL, AlertWatch, Incident, alarm_of, policies_for, watching
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from vertex_deploy.rollout.controller import Controller

ENDPOINT = "projects/p/locations/l/endpoints/7"


def spec(**rollout: Any):
    return spec_with(gates=[{"metric": "error_rate", "max": "1%", "min_requests": 100}], **rollout)


def standing(spec_, label: str = "error_rate"):
    """The spec with a gate that is an alert policy for good."""
    alerts = {"alerts": [{"metric": "error_rate", "name": label, "max": "1%"}]}
    return type(spec_).model_validate({**spec_.model_dump(mode="json", exclude_none=True), "monitoring": alerts})


@dataclass
class Watched(World):
    alerts: MemoryAlerts = field(default_factory=MemoryAlerts)

    def start(self, spec=None) -> Controller:
        controller = super().start(spec)
        controller._alerts = AlertWatch(self.spec, self.alerts)
        return controller

    def fire(self, **fields: Any) -> None:
        self.alerts.fired.append(incident(self, **fields))


def incident(world: Watched, *, own: bool = True, who: str | None = None, label: str = "error_rate", **more: Any):
    record = world.record()
    labels = {ROLLOUT_LABEL: record.id} if own else {"vertex-deploy": world.spec.name}
    title = f"lite0 {record.id}: {label}" if own else f"lite0: {label}"
    return Incident(
        **{
            "name": "projects/p/alerts/0.a",
            "title": title,
            "labels": labels,
            "opened": world.clock.now(),
            "open": True,
            "deployed_id": record.canary if who is None else who,
            **more,
        }
    )


def until(world: Watched, phase: Phase, at: float = 0.0) -> Controller:
    controller = world.start()
    begun: list[float] = []

    def stop(record) -> bool:
        if record.phase is phase and not begun:
            begun.append(world.clock.now())
        return bool(begun) and world.clock.now() >= begun[0] + at

    controller.run(stop)
    return controller


def test_each_critical_gate_with_a_limit_is_a_policy_on_the_canary_alone():
    gates = [
        {"metric": "error_rate", "max": "1%"},
        {"metric": "latency_p95", "worse_than_stable": "10%"},
        {"metric": "latency_p99", "max": "500ms", "critical": False},
        {"metric": "latency_p50", "max": "100ms", "dry_run": True},
    ]
    (policy,) = policies_for(spec_with(gates=gates), "r1", ENDPOINT, "42")
    assert policy["displayName"] == "lite0 r1: error_rate"
    assert policy["userLabels"][ROLLOUT_LABEL] == "r1"
    (condition,) = policy["conditions"]
    assert 'metric.label.deployed_model_id="42"' in condition["conditionThreshold"]["filter"]
    assert condition["conditionThreshold"]["thresholdValue"] == 0.01


def test_the_policies_are_what_googles_client_takes():
    from google.cloud import monitoring_v3  # noqa: PLC0415 - heavy, and only here
    from google.protobuf import json_format  # noqa: PLC0415 - see above

    gates = [{"metric": "error_rate", "max": "1%"}, {"metric": "latency_p90", "max": "300ms"}]
    for policy in policies_for(spec_with(gates=gates), "r1", ENDPOINT, "42"):
        message = json_format.ParseDict(policy, monitoring_v3.AlertPolicy.pb(monitoring_v3.AlertPolicy()))
        assert message.alert_strategy.auto_close.seconds == 1800


def test_a_spec_may_go_without_alerts():
    assert not watching(spec(alerts={"from_gates": False}))
    assert watching(spec())
    assert watching(standing(spec(alerts={"from_gates": False})))


def test_policies_are_made_before_traffic_moves_and_gone_after_a_promotion():
    world = Watched()
    until(world, Phase.HOLDING)
    (policy,) = world.alerts.kept.values()
    assert policy["displayName"].endswith(": error_rate")
    assert world.run().ending is Ending.PROMOTED
    assert world.alerts.kept == {}
    assert world.alerts.made == 1


def test_an_incident_of_the_canary_goes_back_within_one_poll():
    world = Watched(errors=0.02)  # over the limit, and not proved to be yet
    until(world, Phase.HOLDING, at=10)
    world.fire()
    fired = world.clock.now()
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert "fired for the canary" in record.reason
    rolled = next(e for e in world.store().log(record.id) if e.data.get("event") == "alert_fired")
    assert rolled.at - fired <= 5.0
    assert world.target.split == {STABLE: 100}
    assert world.alerts.kept == {}


@pytest.mark.parametrize("own", [True, False])
def test_a_controller_whose_clock_is_ahead_sees_the_canarys_incidents_all_the_same(own):
    world = Watched(spec=standing(spec()), errors=0.02)
    until(world, Phase.HOLDING, at=10)
    world.fire(own=own, opened=world.record().started - 600.0)
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert "fired for the canary" in record.reason


def test_an_incident_from_before_the_rollout_that_names_no_version_is_not_the_canarys():
    world = Watched(spec=standing(spec()))
    until(world, Phase.HOLDING, at=10)
    world.fire(own=False, who="", opened=world.record().started - 600.0)
    assert world.run().ending is Ending.PROMOTED


def test_an_incident_of_stable_alone_is_not_blamed_on_the_canary():
    world = Watched(spec=standing(spec()))
    until(world, Phase.HOLDING, at=20)
    world.fire(own=False, who=STABLE)
    assert world.run().ending is Ending.PROMOTED


@pytest.mark.parametrize(("policy", "phase"), [("pause", Phase.PAUSED), ("rollback", Phase.DONE)])
def test_an_incident_of_stable_counts_where_the_spec_says_so(policy, phase):
    world = Watched(spec=standing(spec(alerts={"on_stable": policy})))
    until(world, Phase.HOLDING, at=20)
    world.fire(own=False, who=STABLE)
    record = world.run()
    assert record.phase is phase
    assert f"on_stable is {policy}" in record.reason


def test_an_incident_that_names_no_version_counts():
    world = Watched(spec=standing(spec()))
    until(world, Phase.HOLDING, at=20)
    world.fire(own=False, who="")
    assert world.run().ending is Ending.ROLLED_BACK


def test_on_failure_pause_holds_for_alerts_too():
    world = Watched(spec=spec(on_failure="pause"), errors=0.02)
    until(world, Phase.HOLDING, at=10)
    world.fire()
    record = world.run()
    assert record.phase is Phase.PAUSED
    assert "fired for the canary" in record.reason


def test_alerts_watch_while_stable_is_kept():
    world = Watched(errors_at_full=0.012)
    until(world, Phase.KEEPING_STABLE, at=10)
    world.fire()
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert "fired for the canary" in record.reason


def test_an_incident_is_not_held_against_a_canary_that_the_step_measures_within_the_limit():
    world = Watched()
    until(world, Phase.HOLDING, at=20)
    world.fire()  # it looks back over minutes before the step, a pause, or initial_delay
    assert world.run().ending is Ending.PROMOTED


def paused_for_want_of_traffic(**settings: Any) -> Watched:
    """The hold ended without a request of the canary; since then some come, and 2% of them fail."""
    world = Watched(spec=spec(**settings), errors=0.02, silent=True)
    assert world.run().phase is Phase.PAUSED
    assert "inconclusive" in world.record().reason
    world.silent = False
    world.clock.sleep(10)
    return world


def test_an_incident_in_a_pause_that_nobody_asked_for_goes_back_at_the_next_tick():
    world = paused_for_want_of_traffic()
    assert world.run().phase is Phase.PAUSED  # one look: too few requests to believe anything
    world.clock.sleep(5)
    world.fire()
    record = world.run()
    assert record.ending is Ending.ROLLED_BACK
    assert "fired for the canary" in record.reason
    assert world.target.split == {STABLE: 100}
    assert world.alerts.kept == {}


def test_a_gate_that_fails_in_a_pause_that_nobody_asked_for_goes_back_too():
    world = paused_for_want_of_traffic()
    world.errors = 0.3
    world.clock.sleep(10)
    record = world.run()
    assert (record.ending, "fired" in record.reason) == (Ending.ROLLED_BACK, False)
    assert "error_rate of the canary" in record.reason


@pytest.mark.parametrize("errors", [0.02, 0.3])
def test_a_pause_that_a_person_asked_for_is_not_overruled(errors):
    world = Watched()
    until(world, Phase.HOLDING, at=20)
    world.ask(Verb.PAUSE)
    assert world.run().phase is Phase.PAUSED
    world.errors = errors
    for _ in range(5):
        world.clock.sleep(20)
        world.fire()
        assert world.run().phase is Phase.PAUSED
    world.ask(Verb.RESUME)
    assert world.run().ending is Ending.ROLLED_BACK


def test_a_pause_because_of_on_failure_stays_one():
    world = paused_for_want_of_traffic(on_failure="pause")
    world.fire()
    for _ in range(5):
        world.clock.sleep(20)
        assert world.run().phase is Phase.PAUSED


def test_a_pause_because_of_a_split_of_somebody_else_leaves_that_split_alone():
    world = Watched()
    until(world, Phase.HOLDING, at=20)
    foreign = {STABLE: 40, world.record().canary: 60}
    world.target.change_split(foreign)
    assert world.run().phase is Phase.PAUSED
    world.errors = 0.3
    for _ in range(5):
        world.clock.sleep(20)
        world.fire()
        assert world.run().phase is Phase.PAUSED
    assert world.target.split == foreign


def held(world: Watched, **reading: Any):
    """The record with one reading of the gate."""
    full = {"gate": "error_rate", "kind": "absolute", "samples": 500, "value": 0.02, "stable": 0.0, "threshold": 0.01}
    return replace(world.record(), verdict={"readings": [full | reading]})


@pytest.fixture(scope="module")
def holding():
    world = Watched()
    until(world, Phase.HOLDING, at=20)
    return world


def test_an_alert_on_a_handful_of_requests_waits_for_min_requests(holding):
    fired = [incident(holding)]
    assert alarm_of(fired, holding.spec, held(holding, samples=99)) is None
    assert alarm_of(fired, holding.spec, held(holding, samples=100)) is not None
    assert alarm_of(fired, holding.spec, replace(holding.record(), verdict=None)) is None


def test_a_limit_that_stable_breaks_too_is_not_held_against_the_canary(holding):
    fired = [incident(holding)]
    assert alarm_of(fired, holding.spec, held(holding, stable=0.02)) is None
    strict = spec_with(gates=[{"metric": "error_rate", "max": "1%", "if_stable_too": "fail"}])
    assert alarm_of(fired, strict, held(holding, stable=0.02)) is not None


def test_incidents_of_others_mean_nothing(holding):
    record = held(holding)
    other = incident(holding, labels={ROLLOUT_LABEL: "another"})
    foreign = incident(holding, labels={"vertex-deploy": "another"})
    unlabelled = incident(holding, labels={})
    third = incident(holding, who="999", own=False)
    assert alarm_of([other, foreign, unlabelled, third], standing(holding.spec), record) is None


def test_an_incident_that_closed_between_two_looks_counts_and_an_old_one_does_not(holding):
    watched, record = standing(holding.spec), held(holding)
    flapped = incident(holding, own=False, open=False, opened=record.entered + 1)
    assert alarm_of([flapped], watched, record) is not None
    assert alarm_of([replace(flapped, opened=record.entered - 1)], watched, record) is None
    assert alarm_of([replace(flapped, open=True, opened=record.started - 1, deployed_id="")], watched, record) is None


def test_a_standing_policy_of_a_gate_waits_for_min_requests_as_its_own_does(holding):
    fired = [incident(holding, own=False)]
    assert alarm_of(fired, holding.spec, held(holding, samples=99)) is None
    assert alarm_of(fired, holding.spec, held(holding)) is not None


def test_policies_that_cannot_be_deployed_refuse_the_rollout_before_anything_changes():
    world = Watched()
    world.alerts.failure = CloudError("CreateAlertPolicy: INVALID_ARGUMENT: no", code="INVALID_ARGUMENT")
    record = world.run()
    assert record.ending is Ending.FAILED
    assert "from_gates: false" in record.reason
    assert world.deployed() == [STABLE]


def test_incidents_that_cannot_be_read_are_never_a_pass():
    world = Watched()
    until(world, Phase.HOLDING, at=20)
    world.alerts.failure = CloudError("GET alerts: PERMISSION_DENIED", code="PERMISSION_DENIED")
    record = world.run()
    assert record.phase is Phase.PAUSED
    assert "could not be read" in record.reason
    warnings = [e for e in world.store().log(record.id) if e.kind == "warning" and "incidents" in e.text]
    assert len(warnings) == 1


def test_policies_that_cannot_be_removed_do_not_keep_a_rollout_from_ending():
    world = Watched(spec=spec_with(gates=[{"metric": "error_rate", "max": "1%"}], on_inconclusive="proceed"))
    until(world, Phase.KEEPING_STABLE)
    world.alerts.failure = CloudError("DeleteAlertPolicy: PERMISSION_DENIED", code="PERMISSION_DENIED")
    record = world.run()
    assert record.ending is Ending.PROMOTED
    assert any("could not be removed" in e.text for e in world.store().log(record.id))


@pytest.mark.parametrize("errors", [0.0, 0.5])
def test_killed_at_any_call_the_policies_are_found_again_and_removed(errors):
    tried = 0
    while True:
        world, left = Watched(errors=errors), [tried]

        def hook(left=left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise Killed

        world.alerts.hook = hook
        try:
            record = world.run()
        except Killed:
            record = world.run()
        assert record.ending is (Ending.ROLLED_BACK if errors else Ending.PROMOTED)
        assert world.alerts.kept == {}, f"after a kill at call {tried}"
        if left[0] >= 0:
            break
        tried += 1
    assert tried >= 6


ALERT = {
    "name": "projects/p/alerts/0.abc",
    "state": "OPEN",
    "openTime": "2026-11-21T10:00:00.123456789Z",
    "metric": {"type": "m", "labels": {"deployed_model_id": "42"}},
    "policy": {"displayName": "lite0: error_rate", "userLabels": {"vertex-deploy": "lite0"}},
}


def test_an_alert_of_the_rest_api_is_read():
    found = incident_of(ALERT)
    assert (found.deployed_id, found.open, found.title) == ("42", True, "lite0: error_rate")
    assert found.opened == pytest.approx(1795255200.123, abs=0.01)
    assert not incident_of({**ALERT, "state": "CLOSED"}).open
    assert incident_of({**ALERT, "state": "A_NEW_ONE"}).open


def test_pages_are_read_until_they_are_too_old():
    asked = []

    def get(path, query):
        asked.append((path, query.get("pageToken")))
        day = {None: "21", "a": "20", "b": "19"}[query.get("pageToken")]
        token = {None: "a", "a": "b", "b": ""}[query.get("pageToken")]
        return {"alerts": [{**ALERT, "openTime": f"2026-11-{day}T10:00:00Z"}], "nextPageToken": token}

    since = incident_of({**ALERT, "openTime": "2026-11-20T12:00:00Z"}).opened
    found = MonitoringAlerts("p", get=get).incidents(since)
    assert len(found) == 1
    assert asked == [("v3/projects/p/alerts", None), ("v3/projects/p/alerts", "a")]


def test_a_local_monitoring_without_its_rest_address_is_refused(monkeypatch):
    monkeypatch.setenv("VERTEX_DEPLOY_MONITORING_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("VERTEX_DEPLOY_MONITORING_REST_ENDPOINT", raising=False)
    with pytest.raises(UsageError, match="VERTEX_DEPLOY_MONITORING_REST_ENDPOINT is not set"):
        monitoring()


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("2026-11-21T10:00:00Z", 1795255200.0),
        ("2026-11-21T10:00:00.25Z", 1795255200.25),
        ("2026-11-21T10:00:00.250000999Z", 1795255200.25),
        ("2026-11-21T12:00:00+02:00", 1795255200.0),
        ("2026-11-21T10:00:00", 1795255200.0),
    ],
)
def test_an_incident_opened_when_its_time_says_in_every_form_of_rfc_3339(text, opened):
    assert incident_of({**ALERT, "openTime": text}).opened == opened


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-40T10:00:00Z"])
def test_an_incident_whose_time_cannot_be_read_counts_as_one_of_now(text):
    before = time.time()
    assert incident_of({**ALERT, "openTime": text}).opened >= before


def test_what_somebody_else_named_cannot_steer_the_terminal_that_shows_it():
    hostile = "red\x1b[2J\x9b5m\u202e\nalert"
    shown = "red\ufffd[2J\ufffd5m\ufffd alert"
    assert incident_of({**ALERT, "policy": {"displayName": hostile}}).title == shown
    world = World()
    world.target.errors["deploy"] = hostile
    world.start().run()
    assert shown in world.record().reason
    assert all(text.isprintable() for text in (e.text for e in world.store().log(world.record().id)))

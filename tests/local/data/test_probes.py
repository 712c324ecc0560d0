from __future__ import annotations

import pytest
from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.data.probes import (
    Event,
    Exec,
    HttpGet,
    ProbePlan,
    ProbeSet,
    State,
    Streak,
    TcpSocket,
    probe_set,
    step,
)
from vertex_deploy.local.seams import ApiError

GET = aip.Probe.HttpGetAction


def probes(**changes):
    return probe_set(aip.ModelContainerSpec(image_uri="app", **changes), health_route="/h")


def test_the_defaults_are_the_contracts():
    assert probes() == ProbeSet(
        health=ProbePlan(action=HttpGet("/h"), period=10, timeout=10, failures=4, successes=1),
        liveness=ProbePlan(action=TcpSocket(), period=10, timeout=10, failures=4, successes=1),
        startup=None,
    )


def test_a_models_own_probes_are_honoured_with_the_apis_defaults():
    own = probes(
        startup_probe=aip.Probe(exec_=aip.Probe.ExecAction(command=["cat", "/ready"]), period_seconds=3),
        health_probe=aip.Probe(
            http_get=GET(path="/ok", port=8080, http_headers=[aip.Probe.HttpHeader(name="X", value="1")]),
            timeout_seconds=2,
            failure_threshold=5,
            success_threshold=2,
            initial_delay_seconds=4,
        ),
        liveness_probe=aip.Probe(http_get=GET(path="/alive")),
    )
    assert own.startup == ProbePlan(action=Exec(("cat", "/ready")), period=3, timeout=1, failures=3)
    assert own.startup.budget == 9
    assert own.health == ProbePlan(
        action=HttpGet("/ok", (("X", "1"),), exactly_200=True), timeout=2, failures=5, successes=2, delay=4
    )
    assert own.liveness == ProbePlan(action=HttpGet("/alive", (), exactly_200=False), timeout=1, failures=3)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (aip.Probe(grpc=aip.Probe.GrpcAction(port=8080)), "httpGet, tcpSocket and exec probes only"),
        (aip.Probe(http_get=GET(path="/", port=9000)), "only the container's own first port"),
        (aip.Probe(http_get=GET(path="/", host="example.com")), "only the container's own first port"),
        (aip.Probe(http_get=GET(path="/", scheme="HTTPS")), "only HTTP works locally"),
        (aip.Probe(tcp_socket=aip.Probe.TcpSocketAction(port=9000)), "only the container's own first port"),
    ],
)
def test_probes_that_cannot_be_run_are_refused(probe, message):
    with pytest.raises(ApiError, match=message):
        probes(health_probe=probe)


def test_a_probe_may_name_the_containers_own_port():
    assert probes(ports=[aip.Port(container_port=9000)], liveness_probe=aip.Probe(tcp_socket={"port": 9000}))


def results(text, plan):
    streak, seen = Streak(), []
    for letter in text:
        streak = streak.after(letter == "+", plan)
        seen.append({True: "+", False: "-", None: "?"}[streak.passing])
    return "".join(seen)


def test_four_failures_in_a_row_make_a_probe_fail_and_one_success_makes_it_pass():
    plan = ProbePlan(action=TcpSocket())
    assert results("---+---+----+", plan) == "???+++++++" + "+-+"
    assert results("----", plan) == "???-"


def test_a_success_threshold_is_counted_in_a_row():
    assert results("+-++-", ProbePlan(action=TcpSocket(), successes=2)) == "???++"


def test_only_listed_changes_happen():
    assert step(State.STARTING, Event.HEALTH_PASSED) is State.HEALTHY
    assert step(State.HEALTHY, Event.HEALTH_FAILED) is State.UNHEALTHY
    assert step(State.UNHEALTHY, Event.HEALTH_PASSED) is State.HEALTHY
    assert step(State.STARTING, Event.HEALTH_FAILED) is State.STARTING


@pytest.mark.parametrize("event", [event for event in Event if event is not Event.STOPPED])
def test_nothing_brings_a_draining_replica_back(event):
    assert step(State.DRAINING, event) is State.DRAINING


@pytest.mark.parametrize("event", list(Event))
def test_a_stopped_replica_stays_stopped(event):
    assert step(State.STOPPED, event) is State.STOPPED

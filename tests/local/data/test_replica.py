"""Supervision of one replica, with time moved by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from google.cloud.aiplatform_v1 import types as aip

from tests.local.data.support import ENDPOINT, Bench
from vertex_deploy.local.data.probes import Exec, HttpGet, State, TcpSocket
from vertex_deploy.local.data.timing import Timing
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vertex_deploy.local.data.replica import Replica


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    # No application: nothing is sent, so nothing needs to listen.
    bench = Bench(tmp_path, application=None)
    yield bench
    for process in bench.launcher.launched:
        process.exit(0)
    await bench.plane.close()


def replica(bench: Bench, index: int = 0) -> Replica:
    return bench.plane.endpoints[ENDPOINT].models["7"].replicas[index]


def container(**probes: aip.Probe) -> aip.ModelContainerSpec:
    return aip.ModelContainerSpec(image_uri="app", health_route="/health", predict_route="/predict", **probes)


async def test_four_failed_health_checks_take_it_out_without_a_restart_and_one_success_brings_it_back(bench):
    await bench.deploy()
    bench.prober.answers[HttpGet] = False
    await bench.timer.advance(31)
    assert replica(bench).state is State.HEALTHY
    await bench.timer.advance(10)
    assert replica(bench).state is State.UNHEALTHY
    assert replica(bench).detail == "health check: told to fail"
    await bench.timer.advance(600)
    assert len(bench.launcher.launched) == 1
    bench.prober.answers[HttpGet] = True
    await bench.timer.advance(10)
    assert replica(bench).state is State.HEALTHY


async def test_four_failed_liveness_checks_restart_it(bench):
    await bench.deploy()
    bench.prober.answers[TcpSocket] = False
    await bench.timer.advance(39)
    assert len(bench.launcher.launched) == 1
    await bench.timer.advance(2)
    assert bench.launcher.launched[0].terminated
    await bench.timer.advance(1)
    assert len(bench.launcher.launched) == 2
    assert replica(bench).restarts == 1


async def test_a_server_that_ignores_sigterm_is_killed_after_the_grace_period(bench):
    await bench.deploy()
    process = bench.launcher.launched[0]
    process.ignores_sigterm = True
    bench.prober.answers[TcpSocket] = False
    await bench.timer.advance(41)
    assert process.terminated
    assert process.returncode is None
    await bench.timer.advance(30)
    assert process.returncode == -9


async def test_restarts_wait_longer_and_longer_as_kubernetes_does(bench):
    await bench.deploy()
    pauses = []
    for count in range(1, 9):
        bench.launcher.launched[-1].exit(1)
        before = bench.timer.now()
        await bench.advance_until(lambda count=count: len(bench.launcher.launched) > count)
        pauses.append(bench.timer.now() - before)
        await bench.advance_until(lambda: replica(bench).ready)
    assert pauses[1:] == pytest.approx([10, 20, 40, 80, 160, 300, 300], abs=2)


async def test_a_long_healthy_life_makes_the_next_restart_quick_again(bench):
    await bench.deploy()
    for count in (1, 2, 3):
        bench.launcher.launched[-1].exit(1)
        await bench.advance_until(lambda count=count: len(bench.launcher.launched) > count)
    await bench.timer.advance(601)
    bench.launcher.launched[-1].exit(1)
    await bench.timer.advance(1)
    assert len(bench.launcher.launched) == 5


async def test_the_scale_shortens_periods_and_pauses(tmp_path):
    bench = Bench(tmp_path, application=None, timing=Timing(scale=0.1, gauge_period=1e9))
    await bench.deploy()
    bench.prober.answers[HttpGet] = False
    await bench.timer.advance(4.1)
    assert replica(bench).state is State.UNHEALTHY
    await bench.plane.close()


async def test_a_startup_probe_gates_health_and_liveness(bench):
    bench.prober.answers[Exec] = False
    startup = aip.Probe(exec_=aip.Probe.ExecAction(command=["ready"]), period_seconds=10, failure_threshold=30)
    deploying = asyncio.create_task(bench.deploy(container=container(startup_probe=startup)))
    await bench.timer.advance(200)
    assert {type(action) for action in bench.prober.tries} == {Exec}
    assert len(bench.launcher.launched) == 1
    bench.prober.answers[Exec] = True
    await bench.timer.advance(1)
    await deploying
    assert {type(action) for action in bench.prober.tries} == {Exec, HttpGet}


async def test_a_startup_probe_that_goes_on_failing_restarts_it_and_in_the_end_fails_the_deployment(bench):
    bench.prober.answers[Exec] = False
    startup = aip.Probe(exec_=aip.Probe.ExecAction(command=["ready"]), period_seconds=10, failure_threshold=3)
    deploying = asyncio.create_task(bench.deploy(container=container(startup_probe=startup)))
    await bench.advance_until(deploying.done)
    assert len(bench.launcher.launched) == 3
    with pytest.raises(ApiError, match="startup probe failed for 30 s: told to fail"):
        await deploying


async def test_exits_before_it_was_ever_healthy_are_counted_and_then_fail_the_deployment(bench):
    bench.prober.answers[HttpGet] = False
    deploying = asyncio.create_task(bench.deploy())
    for count in (1, 2, 3):
        await bench.advance_until(lambda count=count: len(bench.launcher.launched) == count, step=0.1)
        bench.launcher.launched[-1].exit(1)
        await bench.timer.settle()
    await bench.timer.advance(1)
    with pytest.raises(ApiError, match=r"exited unexpectedly\. Replica 7-0 exited with code 1 \(3 starts\)"):
        await deploying
    assert bench.plane.endpoints[ENDPOINT].models == {}


async def test_never_healthy_within_the_models_own_deployment_timeout_fails_the_deployment(bench):
    bench.prober.answers[HttpGet] = False
    spec = container()
    spec.deployment_timeout = {"seconds": 90}
    deploying = asyncio.create_task(bench.deploy(container=spec))
    await bench.timer.advance(89)
    assert not deploying.done()
    await bench.timer.advance(2)
    with pytest.raises(ApiError, match=r"never became ready.*not healthy within 90 s.*health check: told to fail"):
        await deploying
    assert bench.launcher.launched[0].terminated


async def test_each_launch_gets_a_port_of_its_own(bench):
    await bench.deploy(replicas=3)
    ports = [process.spec.port for process in bench.launcher.launched]
    assert len(set(ports)) == 3
    assert [process.spec.environment["AIP_HTTP_PORT"] for process in bench.launcher.launched] == [str(p) for p in ports]


async def test_a_bug_in_a_prober_fails_the_deployment_rather_than_hanging_it(bench):
    async def broken(*_args, **_options):
        raise ZeroDivisionError

    bench.prober.check = broken
    with pytest.raises(ZeroDivisionError):
        await bench.deploy()

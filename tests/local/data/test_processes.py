"""Real processes: what the stand-ins of the other tests stand for."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from google.cloud.aiplatform_v1 import types as aip

from tests.local.data.support import ENDPOINT, PREDICT, SERVER, make_plan
from tests.waiting import come
from vertex_deploy.local.data import ImageMap, LocalDataPlane, Timing
from vertex_deploy.local.data.timing import SystemTimer
from vertex_deploy.local.seams import ApiError, NullRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.slow

LIMIT = 7.0
"""Seconds that a deployment may take where the test says when they are over."""
TIMING = Timing(start_poll=0.02, start_retry=0.01, restart_delays=(0.0,), preempted_away=0.1, gauge_period=0.2)


def container(**env: str) -> aip.ModelContainerSpec:
    return aip.ModelContainerSpec(
        image_uri="us-docker.pkg.dev/demo/repo/tiny@sha256:" + "0" * 64,
        health_route="/health",
        predict_route="/predict",
        env=[aip.EnvVar(name=name, value=value) for name, value in env.items()],
    )


class Limited(SystemTimer):
    """A deployment's time is over when the test says so."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await (self.over.wait() if seconds == LIMIT else super().sleep(seconds))


@pytest.fixture
def limited() -> Limited:
    return Limited()


@pytest.fixture
async def plane(tmp_path: Path, limited: Limited) -> AsyncIterator[LocalDataPlane]:
    images = ImageMap.parse([f"us-docker.pkg.dev/demo/repo/tiny={sys.executable} {SERVER}"], cwd=tmp_path)
    plane = LocalDataPlane(images, NullRecorder(), log_dir=tmp_path / "logs", timing=TIMING, timer=limited)
    yield plane
    await plane.close()


@pytest.fixture
async def client(plane: LocalDataPlane) -> AsyncIterator[TestClient[Any, Any]]:
    application = web.Application()
    application.add_routes(plane.http_routes())
    async with TestClient(TestServer(application)) as client:
        yield client


def pids(plane: LocalDataPlane, deployed_model_id: str = "7") -> list[int]:
    return [replica.pid for replica in plane.endpoints[ENDPOINT].models[deployed_model_id].replicas if replica.pid]


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def predict(client: TestClient[Any, Any], **parameters: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post(PREDICT, json={"instances": [1], "parameters": parameters})
    return response.status, await response.json()


async def test_replicas_serve_and_are_gone_after_undeploy(plane, client):
    await plane.deploy(make_plan(container=container(), replicas=2), lambda stage: None)
    plane.set_split(ENDPOINT, {"7": 100})
    running = pids(plane)
    answered = {(await predict(client))[1]["predictions"][0]["pid"] for _ in range(20)}
    assert answered == set(running)
    assert len(running) == 2
    plane.set_split(ENDPOINT, {})
    await plane.undeploy(ENDPOINT, "7")
    assert not any(psutil.pid_exists(pid) for pid in running)


async def test_the_environment_is_what_the_contract_says_and_no_more(plane, client):
    await plane.deploy(make_plan(container=container(GREETING="at $(AIP_ENDPOINT_ID)")), lambda stage: None)
    plane.set_split(ENDPOINT, {"7": 100})
    _, answer = await predict(client, environment=True)
    environment = answer["predictions"][0]["environment"]
    assert {name for name in environment if name.startswith("AIP_")} == {
        "AIP_HTTP_PORT",
        "AIP_HEALTH_ROUTE",
        "AIP_PREDICT_ROUTE",
        "AIP_STORAGE_URI",
        "AIP_MODE",
        "AIP_MODE_VERSION",
        "AIP_FRAMEWORK",
        "AIP_MACHINE_TYPE",
        "AIP_PROJECT_NUMBER",
        "AIP_ENDPOINT_ID",
        "AIP_DEPLOYED_MODEL_ID",
        "AIP_MODEL_NAME",
        "AIP_VERSION_NAME",
    }
    assert environment["GREETING"] == "at 55"
    assert environment["SERVING_HOST"] == "127.0.0.1"
    # LC_CTYPE is set by the interpreter itself.
    others = {name for name in environment if not name.startswith("AIP_")} - {"GREETING", "SERVING_HOST", "LC_CTYPE"}
    assert others <= {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV"}


async def test_a_server_that_exits_fails_the_deployment_with_its_code_and_log(plane):
    with pytest.raises(ApiError, match="Model server exited unexpectedly") as caught:
        await plane.deploy(make_plan(container=container(TINY_EXIT="3"), replicas=2), lambda stage: None)
    assert caught.value.code.name == "FAILED_PRECONDITION"
    assert "exited with code 3 (3 starts)" in caught.value.message
    assert caught.value.message.endswith("loading weights\nRuntimeError: weights are corrupt")
    assert not plane.endpoints[ENDPOINT].models


async def test_a_server_that_never_gets_healthy_fails_the_deployment_with_its_log_and_is_gone(plane, limited):
    spec = container(TINY_HEALTH="503")
    spec.deployment_timeout = {"seconds": int(LIMIT)}
    task = asyncio.create_task(plane.deploy(make_plan(container=spec), lambda stage: None))
    await come(lambda: ENDPOINT in plane.endpoints and pids(plane))
    running = pids(plane)
    (replica,) = plane.endpoints[ENDPOINT].models["7"].replicas
    await come(lambda: replica.detail == "health check: HTTP 503")
    limited.over.set()
    with pytest.raises(ApiError, match="Model server never became ready") as caught:
        await task
    assert "was not healthy within 7 s (health check: HTTP 503)" in caught.value.message
    assert caught.value.message.endswith("serving")
    assert not any(psutil.pid_exists(pid) for pid in running)


async def test_a_killed_replica_comes_back_as_another_process(plane, client):
    await plane.deploy(make_plan(container=container()), lambda stage: None)
    plane.set_split(ENDPOINT, {"7": 100})
    before = pids(plane)
    assert plane.kill_replica("lite0@3") == "7-0"
    await come(lambda: pids(plane) and pids(plane) != before)
    replica = plane.endpoints[ENDPOINT].models["7"].replicas[0]
    await come(lambda: replica.ready)
    assert replica.restarts == 1
    assert (await predict(client))[0] == 200


async def test_a_preempted_replica_is_told_to_end_and_replaced_later(plane):
    await plane.deploy(make_plan(container=container()), lambda stage: None)
    before = pids(plane)
    assert plane.preempt_replica("7") == "7-0"
    assert not plane.endpoints[ENDPOINT].models["7"].replicas
    await come(lambda: any(replica.ready for replica in plane.endpoints[ENDPOINT].models["7"].replicas))
    assert not set(before) & set(pids(plane))
    await come(lambda: gone(before[0]))


async def test_undeploying_lets_accepted_requests_finish(plane, client, tmp_path):
    await plane.deploy(make_plan(container=container()), lambda stage: None)
    plane.set_split(ENDPOINT, {"7": 100})
    slow = [asyncio.create_task(predict(client, until=str(tmp_path / "go"))) for _ in range(5)]
    replica = plane.endpoints[ENDPOINT].models["7"].replicas[0]
    await come(lambda: replica.outstanding == 5)
    plane.set_split(ENDPOINT, {})
    undeploying = asyncio.create_task(plane.undeploy(ENDPOINT, "7"))
    await asyncio.sleep(0.2)
    (tmp_path / "go").touch()
    await undeploying
    assert [status for status, _ in await asyncio.gather(*slow)] == [200] * 5


async def test_gauges_tell_replicas_memory_and_cpu(plane):
    await plane.deploy(make_plan(container=container()), lambda stage: None)
    gauges = plane._recorder.gauges
    await come(lambda: ("cpu/utilization", ENDPOINT, "7") in gauges)
    assert gauges["replicas", ENDPOINT, "7"] == 1
    assert gauges["target_replicas", ENDPOINT, "7"] == 1
    assert gauges["machine_count", ENDPOINT, "7"] == 1
    assert gauges["memory/bytes_used", ENDPOINT, "7"] > 1_000_000
    assert 0 <= gauges["cpu/utilization", ENDPOINT, "7"] <= 1


async def test_a_server_dies_with_what_it_started(plane, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        f"exec(compile(open({str(SERVER)!r}).read(), 'tiny', 'exec'))\n"
    )
    plane._machinery.images.commands["family"] = (sys.executable, "parent.py")
    spec = container()
    spec.image_uri = "family"
    await plane.deploy(make_plan(container=spec), lambda stage: None)
    child = int(plane.endpoints[ENDPOINT].models["7"].replicas[0].log.read_text().split()[0])
    assert psutil.pid_exists(child)
    await plane.undeploy(ENDPOINT, "7")
    await come(lambda: gone(child))


async def test_a_program_that_is_not_there_fails_the_deployment(plane):
    plane._machinery.images.commands["gone"] = ("no-such-program-here",)
    spec = container()
    spec.image_uri = "gone"
    with pytest.raises(ApiError, match="Model server cannot be started: no-such-program-here: no such program in PATH"):
        await plane.deploy(make_plan(container=spec), lambda stage: None)


async def test_closing_leaves_no_process(plane):
    await plane.deploy(make_plan(container=container(), replicas=2), lambda stage: None)
    running = pids(plane)
    await plane.close()
    assert len(running) == 2
    assert not any(psutil.pid_exists(pid) for pid in running)


async def test_no_request_fails_while_processes_come_go_and_scale(plane, client):
    answers: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def load():
        while not stop.is_set():
            status, answer = await predict(client)
            answers.append((status, answer.get("deployedModelId", str(answer))))

    await plane.deploy(make_plan(container=container(), deployed_model_id="1"), lambda stage: None)
    plane.set_split(ENDPOINT, {"1": 100})
    workers = [asyncio.create_task(load()) for _ in range(3)]
    for old, new in (("1", "2"), ("2", "3")):
        await plane.deploy(make_plan(container=container(), deployed_model_id=new, replicas=2), lambda stage: None)
        for weight in (10, 50, 100):
            plane.set_split(ENDPOINT, {old: 100 - weight, new: weight})
            await asyncio.sleep(0.1)
        await come(lambda new=new: any(who == new for _, who in answers))
        await plane.undeploy(ENDPOINT, old)
        await plane.scale(ENDPOINT, new, 1)
    stop.set()
    await asyncio.gather(*workers)
    assert {status for status, _ in answers} == {200}
    assert {who for _, who in answers} == {"1", "2", "3"}


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux's setpriv to tie lives together")
async def test_replicas_die_with_local_vertex_however_it_dies(tmp_path):
    script = tmp_path / "vertex.py"
    script.write_text(
        "import asyncio, pathlib, sys\n"
        "from tests.local.data.support import make_plan, SERVER\n"
        "from vertex_deploy.local.data import ImageMap, LocalDataPlane\n"
        "from vertex_deploy.local.seams import NullRecorder\n"
        "async def main():\n"
        "    images = ImageMap({'app': (sys.executable, str(SERVER))})\n"
        "    plane = LocalDataPlane(images, NullRecorder(), log_dir=pathlib.Path('logs'))\n"
        "    await plane.deploy(make_plan(), lambda stage: None)\n"
        "    [state] = plane.endpoints.values()\n"
        "    print(state.models['7'].replicas[0].pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = str(SERVER.parents[3])
    vertex = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": root},
        stdout=asyncio.subprocess.PIPE,
    )
    assert vertex.stdout is not None
    pid = int(await vertex.stdout.readline())
    assert psutil.pid_exists(pid)
    vertex.kill()
    await vertex.wait()
    await come(lambda: gone(pid))

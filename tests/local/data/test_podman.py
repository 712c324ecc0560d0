from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from google.cloud.aiplatform_v1 import types as aip

from containers.tools import base
from containers.tools.store import Store
from tests.containers import engine
from tests.local.data.support import ENDPOINT, PREDICT, SERVER, Bench, make_plan
from tests.waiting import come
from vertex_deploy.errors import LocalError, UsageError
from vertex_deploy.local.data import ImageMap, LocalDataPlane, Timing
from vertex_deploy.local.data.launcher import LaunchSpec
from vertex_deploy.local.data.podman import LABEL, LocalLauncher, run_command
from vertex_deploy.local.seams import NullRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def spec(**changes):
    values = {"argv": ("--fast",), "cwd": Path("/"), "environment": {"A": "b c"}, "log": Path("/l/7-0.log"), "port": 9}
    return LaunchSpec(**{**values, "image": "app@sha256:00", **changes})


def test_the_command_line_runs_the_image_on_the_hosts_network_with_nothing_but_its_environment():
    assert run_command(spec(entrypoint=("python3", "-c", "pass")), name="n", pid_file=Path("/l/7-0.pid")) == (
        *("podman", "run", "--rm", "--name", "n", "--label", LABEL, "--network", "host"),
        *("--pidfile", "/l/7-0.pid", "--no-healthcheck"),
        *("--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777", "--env", "A=b c"),
        *("--entrypoint", '["python3", "-c", "pass"]', "app@sha256:00", "--fast"),
    )


def test_without_a_command_the_images_own_entrypoint_runs():
    assert "--entrypoint" not in run_command(spec(), name="n", pid_file=Path("/p"))


def test_an_image_may_be_mapped_to_a_container_or_to_itself():
    images = ImageMap.parse(["app=container:localhost/other:1", "us-*=container:"])
    assert images.resolve("app").container == "localhost/other:1"
    assert images.resolve("us-docker.pkg.dev/p/r/i@sha256:00").container == "us-docker.pkg.dev/p/r/i@sha256:00"
    with pytest.raises(UsageError, match=r"takes no arguments; give the model containerSpec\.args"):
        ImageMap.parse(["app=container:x --fast"])


async def test_a_container_gets_command_and_args_and_nothing_of_our_environment(tmp_path):
    bench = Bench(tmp_path)
    bench.plane._machinery.images.commands["app"] = ("container:localhost/app",)
    container = aip.ModelContainerSpec(image_uri="app", command=["serve"], args=["--port=$(AIP_HTTP_PORT)"])
    await bench.deploy(container=container)
    launched = bench.launcher.launched[0].spec
    assert (launched.image, launched.entrypoint) == ("localhost/app", ("serve",))
    assert launched.argv == (f"--port={launched.port}",)
    assert "PATH" not in launched.environment
    await bench.plane.close()


async def test_without_podman_the_message_says_what_to_do(tmp_path):
    with pytest.raises(LocalError, match="podman is not installed; install it or map the image to a command"):
        await LocalLauncher({"PATH": str(tmp_path)}).launch(spec())


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[LocalDataPlane]:
    store = Store.default()
    if (reason := engine.why_not(store)) is not None:
        if os.environ.get(engine.REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    timing = Timing(restart_delays=(0.0,), drain_grace=10)
    launcher = LocalLauncher(store.environment())
    images = ImageMap.parse([f"app=container:{base.NAME}"])
    plane = LocalDataPlane(images, NullRecorder(), log_dir=tmp_path, timing=timing, launcher=launcher)
    yield plane
    await plane.close()
    left = ["podman", "ps", "--all", "--quiet", "--filter", f"label={LABEL}", "--filter", f"name=-{os.getpid()}-"]
    assert subprocess.run(left, env=store.environment(), capture_output=True, check=True).stdout == b""  # noqa: ASYNC221


@pytest.mark.container
@pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman")
async def test_a_real_container_serves_is_killed_comes_back_and_is_gone_after_undeploy(plane):
    application = web.Application()
    application.add_routes(plane.http_routes())
    container = aip.ModelContainerSpec(
        image_uri="app",
        command=["python3", "-c", SERVER.read_text()],
        health_route="/health",
        predict_route="/predict",
        # Ready only where what lies in /tmp may run: AOTInductor loads a model's library from there.
        # A container that starts and a `podman exec` take longer on a busy machine than a probe waits by default.
        startup_probe={
            "exec_": {"command": ["sh", "-c", "cp /bin/true /tmp/run && /tmp/run"]},
            "period_seconds": 1,
            "timeout_seconds": 60,
            "failure_threshold": 300,
        },
    )
    await plane.deploy(make_plan(container=container), lambda stage: None)
    plane.set_split(ENDPOINT, {"7": 100})
    [replica] = plane.endpoints[ENDPOINT].models["7"].replicas
    async with TestClient(TestServer(application)) as client:
        body = {"instances": [1], "parameters": {"environment": True}}
        answer = (await (await client.post(PREDICT, json=body)).json())["predictions"][0]
        assert answer["environment"]["AIP_ENDPOINT_ID"] == "55"
        assert answer["pid"] != replica.pid
        assert plane.kill_replica("7") == "7-0"
        await come(lambda: replica.restarts and replica.ready)
        assert (await client.post(PREDICT, json=body)).status == 200
        pid = replica.pid
        plane.set_split(ENDPOINT, {})
        await plane.undeploy(ENDPOINT, "7")
        assert pid is not None
        assert not psutil.pid_exists(pid)

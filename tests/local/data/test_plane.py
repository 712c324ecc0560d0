"""Deploying, routing, scaling and undeploying under load: no request may fail because of any of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip

from tests.local.data.support import ENDPOINT, PREDICT, Bench
from vertex_deploy.local.data.probes import HttpGet
from vertex_deploy.local.data.timing import Timing
from vertex_deploy.local.seams import ApiError


class Load:
    """Workers that predict without pause, and what they were answered."""

    def __init__(self, client: Any, workers: int = 4) -> None:
        self.answers: list[tuple[int, str]] = []
        self._client = client
        self._stop = False
        self._tasks = [asyncio.create_task(self._work()) for _ in range(workers)]

    async def _work(self) -> None:
        while not self._stop:
            response = await self._client.post(PREDICT, json={"instances": [1]})
            content = await response.json()
            self.answers.append((response.status, content.get("deployedModelId", str(content))))

    async def more(self, requests: int) -> None:
        """Let this many more be answered."""
        enough = len(self.answers) + requests
        while len(self.answers) < enough:  # noqa: ASYNC110 - the workers do not know that they are counted
            await asyncio.sleep(0)

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)


async def test_no_request_fails_while_the_split_moves_a_thousand_times(bench, client):
    await bench.deploy(deployed_model_id="1")
    await bench.deploy(deployed_model_id="2", replicas=2)
    bench.plane.set_split(ENDPOINT, {"1": 100})
    load = Load(client)
    for shift in range(1000):
        bench.plane.set_split(ENDPOINT, {"1": shift % 101, "2": 100 - shift % 101})
        # Some shifts between any two requests, some while requests are under way.
        await (load.more(1) if shift % 3 == 0 else asyncio.sleep(0))
    await load.stop()
    assert len(load.answers) > 330
    assert {status for status, _ in load.answers} == {200}
    assert {who for _, who in load.answers} == {"1", "2"}


async def test_no_request_fails_while_models_come_go_and_scale(bench, client):
    await bench.deploy(deployed_model_id="1")
    bench.plane.set_split(ENDPOINT, {"1": 100})
    load = Load(client)
    for version in range(2, 12):
        old, new = str(version - 1), str(version)
        await bench.deploy(deployed_model_id=new)
        for weight in (10, 50):
            bench.plane.set_split(ENDPOINT, {old: 100 - weight, new: weight})
            await load.more(15)
        await bench.plane.scale(ENDPOINT, new, 3)
        await load.more(5)
        bench.plane.set_split(ENDPOINT, {new: 100})
        await bench.plane.undeploy(ENDPOINT, old)
        await bench.plane.scale(ENDPOINT, new, 1)
        await load.more(5)
    await load.stop()
    assert Counter(status for status, _ in load.answers) == {200: len(load.answers)}
    assert {who for _, who in load.answers} == {str(version) for version in range(1, 12)}
    assert [process.terminated for process in bench.launcher.launched].count(False) == 1


async def test_a_new_split_holds_from_the_next_request_on_and_accepted_ones_finish_where_they_are(bench, client):
    await bench.deploy(deployed_model_id="1")
    await bench.deploy(deployed_model_id="2")
    bench.plane.set_split(ENDPOINT, {"1": 100})
    slow = asyncio.create_task(client.post(PREDICT, json={"instances": [1], "parameters": {"sleep": 0.05}}))
    old = bench.plane.endpoints[ENDPOINT].models["1"].replicas[0]
    while not old.outstanding:  # noqa: ASYNC110 - the request is on its way through a socket
        await asyncio.sleep(0)
    bench.plane.set_split(ENDPOINT, {"2": 100})
    quick = await client.post(PREDICT, json={"instances": [1]})
    assert (await quick.json())["deployedModelId"] == "2"
    assert (await (await slow).json())["deployedModelId"] == "1"


async def test_undeploying_waits_for_accepted_work_before_it_ends_the_server(bench, client, tmp_path):
    await bench.deploy()
    bench.plane.set_split(ENDPOINT, {"7": 100})
    body = {"instances": [1], "parameters": {"until": str(tmp_path / "go")}}
    slow = asyncio.create_task(client.post(PREDICT, json=body))
    replica = bench.plane.endpoints[ENDPOINT].models["7"].replicas[0]
    while not replica.outstanding:  # noqa: ASYNC110 - the request is on its way through a socket
        await asyncio.sleep(0)
    bench.plane.set_split(ENDPOINT, {})
    undeploying = asyncio.create_task(bench.plane.undeploy(ENDPOINT, "7"))
    await asyncio.sleep(0.01)
    assert not bench.launcher.launched[0].terminated
    (tmp_path / "go").touch()
    assert (await slow).status == 200
    await undeploying
    assert bench.launcher.launched[0].terminated
    assert bench.recorder.gauges == {}


async def test_the_stages_are_the_apis_in_their_order(bench):
    await bench.deploy()
    assert bench.stages == ["PREPARING_MODEL", "GETTING_CONTAINER_IMAGE", "STARTING_MODEL_SERVER", "FINISHING_UP"]
    assert set(bench.stages) <= {stage.name for stage in aip.DeploymentStage}


async def test_deploying_touches_no_traffic(bench, client):
    await bench.deploy(deployed_model_id="1")
    bench.plane.set_split(ENDPOINT, {"1": 100})
    await bench.deploy(deployed_model_id="2")
    answers = [await (await client.post(PREDICT, json={"instances": [1]})).json() for _ in range(10)]
    assert {answer["deployedModelId"] for answer in answers} == {"1"}


async def test_an_unmapped_image_is_an_invalid_argument_with_the_fix(bench):
    with pytest.raises(ApiError, match="start Local Vertex with --image 'REF=COMMAND'") as caught:
        await bench.deploy(container=aip.ModelContainerSpec(image_uri="us-docker.pkg.dev/p/r/i"))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert bench.plane.endpoints[ENDPOINT].models == {}


@pytest.mark.parametrize(
    "container",
    [
        aip.ModelContainerSpec(image_uri="app", command=["other"]),
        aip.ModelContainerSpec(image_uri="app", invoke_route_prefix="/*"),
        aip.ModelContainerSpec(image_uri="app", env=[aip.EnvVar(name="AIP_MODE", value="x")]),
    ],
)
async def test_what_cannot_be_run_here_is_refused_before_anything_starts(bench, container):
    with pytest.raises(ApiError) as caught:
        await bench.deploy(container=container)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert bench.launcher.launched == []


async def test_args_are_expanded_and_appended(bench):
    await bench.deploy(container=aip.ModelContainerSpec(image_uri="app", args=["--port=$(AIP_HTTP_PORT)"]))
    spec = bench.launcher.launched[0].spec
    assert spec.argv == ("serve", f"--port={spec.port}")


async def test_the_same_deployed_model_cannot_be_deployed_twice(bench):
    await bench.deploy()
    with pytest.raises(ApiError) as caught:
        await bench.deploy()
    assert caught.value.code is grpc.StatusCode.ALREADY_EXISTS
    assert len(bench.plane.endpoints[ENDPOINT].models["7"].replicas) == 1


async def test_a_scale_up_that_fails_leaves_what_ran(bench):
    await bench.deploy(replicas=2)
    bench.prober.answers[HttpGet] = False
    scaling = asyncio.create_task(bench.plane.scale(ENDPOINT, "7", 4))
    await bench.timer.advance(1)
    bench.launcher.refuse = "no more room"
    for process in bench.launcher.launched[2:]:
        process.exit(1)
    await bench.advance_until(scaling.done)
    with pytest.raises(ApiError):
        await scaling
    model = bench.plane.endpoints[ENDPOINT].models["7"]
    assert (len(model.replicas), model.target) == (2, 2)
    assert [process.returncode for process in bench.launcher.launched[:2]] == [None, None]


async def test_scaling_to_nothing_is_refused(bench):
    await bench.deploy()
    with pytest.raises(ApiError, match="at least 1"):
        await bench.plane.scale(ENDPOINT, "7", 0)


async def test_what_does_not_exist_cannot_be_undeployed_scaled_or_killed(bench):
    for act in (bench.plane.undeploy(ENDPOINT, "9"), bench.plane.scale(ENDPOINT, "9", 2)):
        with pytest.raises(ApiError) as caught:
            await act
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
    with pytest.raises(ApiError, match="No replica of '9' runs"):
        bench.plane.kill_replica("9")
    assert bench.plane.available(ENDPOINT, "9") is None


async def test_a_preempted_replica_gets_sigterm_is_out_of_the_traffic_and_is_replaced_later(bench, client):
    await bench.deploy(replicas=2)
    bench.plane.set_split(ENDPOINT, {"7": 100})
    load = Load(client, workers=2)
    await load.more(10)
    bench.plane.preempt_replica("lite0")
    await load.more(10)
    await bench.timer.settle()
    assert bench.launcher.launched[0].terminated
    model = bench.plane.endpoints[ENDPOINT].models["7"]
    assert len(model.replicas) == 1
    assert bench.plane.available(ENDPOINT, "7") == 1
    await bench.advance_until(lambda: len(model.replicas) == 2 and all(replica.ready for replica in model.replicas))
    await load.stop()
    # What was in flight on the preempted replica may be lost, as on a Spot machine; nothing else may.
    assert Counter(status for status, _ in load.answers)[200] >= len(load.answers) - 2


async def test_a_failed_deployment_leaves_nothing_running(bench):
    bench.prober.answers[HttpGet] = False
    deploying = asyncio.create_task(bench.deploy(replicas=3))
    await bench.timer.advance(1)
    bench.launcher.refuse = "gone"
    bench.launcher.launched[1].exit(1)
    await bench.advance_until(deploying.done)
    with pytest.raises(ApiError):
        await deploying
    assert all(process.returncode is not None for process in bench.launcher.launched)


async def test_gauges_tell_ready_and_wanted_replicas(tmp_path):
    bench = Bench(tmp_path, application=None, timing=Timing(gauge_period=5))
    await bench.deploy(replicas=2)
    assert bench.recorder.gauges["replicas", ENDPOINT, "7"] == 2
    bench.prober.answers[HttpGet] = False
    await bench.timer.advance(41)
    await bench.plane.collect_gauges()
    assert bench.recorder.gauges["replicas", ENDPOINT, "7"] == 0
    assert bench.recorder.gauges["target_replicas", ENDPOINT, "7"] == 2
    assert bench.recorder.gauges["machine_count", ENDPOINT, "7"] == 2
    await bench.plane.close()


async def test_closing_stops_everything_and_may_be_done_twice(bench):
    await bench.deploy(replicas=2)
    await bench.plane.close()
    await bench.plane.close()
    assert all(process.terminated for process in bench.launcher.launched)


async def test_undeploying_what_is_still_starting_ends_the_wait_for_it(bench):
    bench.prober.answers[HttpGet] = False
    deploying = asyncio.create_task(bench.deploy())
    await bench.timer.advance(1)
    await bench.plane.undeploy(ENDPOINT, "7")
    with pytest.raises(ApiError, match="was stopped"):
        await deploying
    assert bench.launcher.launched[0].terminated

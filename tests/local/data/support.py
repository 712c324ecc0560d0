"""Plans, applications and small servers that the data plane's tests share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.data import ImageMap, LocalDataPlane, Timing
from vertex_deploy.local.data.memory import ManualTimer, MemoryLauncher, ScriptedProber
from vertex_deploy.local.seams import DeployPlan, NullRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENDPOINT = "projects/demo/locations/us-central1/endpoints/55"
SERVER = Path(__file__).with_name("tiny_server.py")


def make_plan(**changes: Any) -> DeployPlan:
    values: dict[str, Any] = {
        "project": "demo",
        "project_number": "123456",
        "location": "us-central1",
        "endpoint": ENDPOINT,
        "deployed_model_id": "7",
        "model": "projects/demo/locations/us-central1/models/lite0",
        "model_version_id": "3",
        "model_display_name": "Lite 0",
        "container": aip.ModelContainerSpec(image_uri="app", health_route="/health", predict_route="/predict"),
        "artifact_uri": "gs://bucket/managed/3",
        "machine": aip.MachineSpec(machine_type="n1-standard-2"),
        "replicas": 1,
    }
    return DeployPlan(**{**values, **changes})


async def _go(parameters: Mapping[str, Any]) -> None:
    """Wait for the file ``until``, if one is named; the file ``come`` says that the request is here."""
    if "come" in parameters:
        Path(parameters["come"]).touch()  # noqa: ASYNC240 - the test's
    while "until" in parameters and not Path(parameters["until"]).exists():  # noqa: ASYNC110, ASYNC240 - the test's
        await asyncio.sleep(0.005)


def echo(environment: Mapping[str, str]) -> web.Application:
    """A container that answers who it is and what it got."""

    async def health(_request: web.Request) -> web.Response:
        return web.Response()

    async def predict(request: web.Request) -> web.StreamResponse:
        content = await request.read()
        if request.content_type != "application/json":
            return web.Response(body=content, content_type=request.content_type)
        body = await request.json()
        parameters = body.get("parameters") or {}
        if parameters.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for number in range(parameters["stream"]):
                await response.write(f"piece {number}\n".encode())
                await _go(parameters)
                await asyncio.sleep(0.01)
            return response
        await _go(parameters)
        await asyncio.sleep(parameters.get("sleep", 0))
        if "answer" in parameters:
            return web.Response(status=parameters.get("status", 200), text=parameters["answer"])
        who = environment["AIP_DEPLOYED_MODEL_ID"]
        return web.json_response({"predictions": [{"by": who, "was": instance} for instance in body["instances"]]})

    application = web.Application(client_max_size=50_000_000)
    application.router.add_get("/health", health)
    application.router.add_post("/predict", predict)
    return application


class Bench:
    """A data plane on stand-ins, and its recorder."""

    def __init__(
        self, tmp_path: Path, application: Callable[[Mapping[str, str]], web.Application] | None = echo, **options: Any
    ) -> None:
        self.recorder = NullRecorder()
        self.launcher = MemoryLauncher(application)
        self.prober = ScriptedProber()
        self.timer = ManualTimer()
        self.stages: list[str] = []
        values: dict[str, Any] = {
            "log_dir": tmp_path / "logs",
            "launcher": self.launcher,
            "prober": self.prober,
            "timer": self.timer,
            "random": Random(11),
            "inherited": {"PATH": "/bin"},
            "timing": Timing(gauge_period=1e9),
        }
        self.plane = LocalDataPlane(ImageMap({"app": ("serve",)}, tmp_path), self.recorder, **{**values, **options})

    async def deploy(self, **changes: Any) -> None:
        await self.plane.deploy(make_plan(**changes), self.stages.append)

    async def advance_until(self, done: Callable[[], bool], *, step: float = 1.0, limit: float = 10_000.0) -> None:
        """Let time pass until something is so."""
        passed = 0.0
        while not done():
            assert passed < limit, "it did not come to pass"
            await self.timer.advance(step)
            passed += step


PREDICT = f"/v1/{ENDPOINT}:predict"
RAW = f"/v1/{ENDPOINT}:rawPredict"
STREAM = f"/v1/{ENDPOINT}:streamRawPredict"

"""A Local Vertex for a module, and an engine with our plugin that reaches it."""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from vertex_deploy import gcp

IMAGE = "us-central1-docker.pkg.dev/my-project/repo/server"
PREBUILT = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"
"""An image whose models can share a pool."""
SERVER = Path(__file__).with_name("slow_server.py")
LIMIT = 180
"""Seconds that only a failure takes."""
PARENT = "projects/my-project/locations/us-central1"


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """The command line in the directory of a Local Vertex, which is up."""
    made = Cli(tmp_path_factory.mktemp("vertex"))
    images = [f"{image}={sys.executable} {SERVER}" for image in (IMAGE, PREBUILT)]
    made.json("up", "--image", images[0], "--image", images[1], "--sample-period", "1s")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def local_vertex(cli):
    """The variables that point Google's clients at it."""
    return {**os.environ, **cli.json("env")}


@pytest.fixture
def engine(local_vertex):
    from .engine import Engine  # noqa: PLC0415 - needs pulumi, which the main environment has not

    made = Engine(local_vertex, project="my-project", region="us-central1")
    yield made
    made.close()


@pytest.fixture(scope="module")
def endpoints(local_vertex):
    """The EndpointServiceClient, for what pulumi-gcp does and for what a rollout does."""
    return gcp.endpoint_client("us-central1", gcp.parse_address(local_vertex[gcp.AIPLATFORM_VARIABLE], "test"))


@pytest.fixture
def endpoint(endpoints):
    """A new endpoint, as pulumi-gcp's AiEndpoint makes it."""
    number = str(uuid.uuid4().int)[:9]
    request = {"parent": PARENT, "endpoint": {"display_name": "shop"}, "endpoint_id": f"1{number}"}
    endpoints.create_endpoint(request=request).result(timeout=LIMIT)
    return f"{PARENT}/endpoints/1{number}"


@pytest.fixture
def model_id():
    return f"m-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def shop(engine, cli, local_vertex, endpoints, model_id):
    """A stack of its own; its spec's name is the model's id."""
    # These need pulumi, which the main environment has not.
    from tests.e2e.rollouts import Rollouts  # noqa: PLC0415
    from tests.infra.google import CHANNEL, Google  # noqa: PLC0415
    from tests.infra.world import World  # noqa: PLC0415

    from .shop import ROLLOUT, WEBHOOK, Shop  # noqa: PLC0415

    google = Google(local_vertex["VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"])
    channel, _ = google.create(CHANNEL, WEBHOOK)
    rollouts = Rollouts(cli, model_id, ROLLOUT, environment=local_vertex)
    return Shop(model_id, channel.removeprefix("v3/"), World(engine, google), google, rollouts, endpoints)


class Start:
    """When a container's server starts: not before ``go``.

    Args:
        folder: of this container alone.
    """

    def __init__(self, folder: Path) -> None:
        self.begun, self._go = folder / "begun", folder / "go"
        self.env = {"BEGUN": str(self.begun), "GO": str(self._go)}

    def until_begun(self) -> None:
        """Wait until it is being started."""
        end = time.monotonic() + LIMIT
        while not self.begun.exists():
            assert time.monotonic() < end, "never started"
            time.sleep(0.02)

    def go(self) -> None:
        """Let it start."""
        self._go.touch()


@pytest.fixture
def start(tmp_path):
    """Of one container; it does not wait for ever, whatever becomes of the test."""
    made = Start(tmp_path)
    yield made
    made.go()


def container(who: str = "stable", **env: str) -> dict:
    return {"imageUri": IMAGE, "predictRoute": "/predict", "healthRoute": "/health", "env": {"WHO": who, **env}}


def model(model_id: str, who: str = "stable", **more) -> dict:
    return {"modelId": model_id, "container": container(who), **more}


MACHINE = {"type": "n1-standard-4"}

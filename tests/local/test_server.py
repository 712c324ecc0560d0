"""Local Vertex put together: listeners, lock, state files, and what the command line makes of them."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import grpc
import psutil
import pytest
from aiohttp import web
from google.cloud import aiplatform_v1, monitoring_v3

from tests.waiting import come
from vertex_deploy.errors import LocalError
from vertex_deploy.local import client, daemon, environment, view
from vertex_deploy.local.connections import Connections
from vertex_deploy.local.data import ImageMap
from vertex_deploy.local.server import LocalVertex, Settings, serve

PARENT = "/v1/projects/my-project/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/my-project/repo/app"
SERVER = Path(__file__).parents[1] / "e2e" / "model_server.py"
RUNNING = daemon.Running(
    pid=1,
    version="1",
    started=0.0,
    data="d",
    roots="/r.pem",
    ports=daemon.Ports(rest=1, rest_tls=2, grpc=3, grpc_tls=4),
)


# --- listeners -------------------------------------------------------------------------------------------------------


class Rest:
    """Calls a running Local Vertex over REST."""

    def __init__(self, session, base, **options):
        self.session, self.base, self.options = session, base, options

    async def call(self, method, path, body=None):
        async with self.session.request(method, self.base + path, json=body, **self.options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def finish(self, method, path, body=None):
        status, operation = await self.call(method, path, body)
        assert status == 200, operation
        while not operation.get("done"):
            _, operation = await self.call("POST", f"/v1/{operation['name']}:wait")
        assert "error" not in operation, operation
        return operation["response"]


@pytest.mark.e2e
async def test_all_listeners_are_on_loopback_and_serve_both_apis(tmp_path):
    async with LocalVertex(Settings(data=tmp_path)) as vertex, aiohttp.ClientSession() as session:
        listening = {c.laddr.port: c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN"}
        ports = vertex.ports
        found = {listening[port] for port in (ports.rest, ports.rest_tls, ports.grpc, ports.grpc_tls)}
        assert {address.removeprefix("::ffff:") for address in found} == {"127.0.0.1"}  # gRPC opens IPv6 sockets
        plain = Rest(session, f"http://127.0.0.1:{ports.rest}")
        secure = Rest(
            session, f"https://localhost:{ports.rest_tls}", ssl=ssl.create_default_context(cafile=vertex.roots)
        )
        for rest in (plain, secure):
            assert await rest.call("GET", f"{PARENT}/models") == (200, {})
            assert (await rest.call("GET", "/v3/projects/my-project/metricDescriptors?pageSize=1"))[0] == 200
            assert (await rest.call("GET", "/storage/v1/b?project=my-project"))[0] == 200
        roots = grpc.ssl_channel_credentials(vertex.roots.read_bytes())
        for channel in (
            grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}"),
            grpc.aio.secure_channel(f"localhost:{ports.grpc_tls}", roots),
        ):
            async with channel:
                transport = aiplatform_v1.ModelServiceAsyncClient.get_transport_class("grpc_asyncio")(channel=channel)
                models = await aiplatform_v1.ModelServiceAsyncClient(transport=transport).list_models(parent=PARENT[4:])
                assert not models.models
                transport = monitoring_v3.AlertPolicyServiceAsyncClient.get_transport_class("grpc_asyncio")(
                    channel=channel
                )
                policies = await monitoring_v3.AlertPolicyServiceAsyncClient(transport=transport).list_alert_policies(
                    name="projects/p"
                )
                assert not policies.alert_policies


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dedicated", "peered"])
async def test_endpoints_with_an_address_of_their_own_answer_there(tmp_path, kind):
    fields = {"dedicatedEndpointEnabled": True} if kind == "dedicated" else {"network": "projects/1/global/networks/n"}
    images = ImageMap.parse([f"{IMAGE}={sys.executable} {SERVER}"])
    async with LocalVertex(Settings(data=tmp_path, images=images)) as vertex, aiohttp.ClientSession() as session:
        rest = Rest(session, f"http://127.0.0.1:{vertex.ports.rest}")
        spec = {"imageUri": IMAGE, "predictRoute": "/p", "healthRoute": "/h", "env": [{"name": "WHO", "value": "w"}]}
        model = {"displayName": "m", "containerSpec": spec}
        uploaded = await rest.finish("POST", f"{PARENT}/models:upload", {"model": model})
        endpoint = await rest.finish("POST", f"{PARENT}/endpoints", {"displayName": "e", **fields})
        resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
        body = {"deployedModel": {"model": uploaded["model"], "dedicatedResources": resources}}
        if kind == "dedicated":
            body["trafficSplit"] = {"0": 100}
        await rest.finish("POST", f"/v1/{endpoint['name']}:deployModel", body)
        _, found = await rest.call("GET", f"/v1/{endpoint['name']}")
        if kind == "dedicated":
            uri = f"https://{found['dedicatedEndpointDns']}/v1/{found['name']}:predict"
        else:
            uri = found["deployedModels"][0]["privateEndpoints"]["predictHttpUri"]
        own = Rest(
            session, "", **({"ssl": ssl.create_default_context(cafile=vertex.roots)} if kind == "dedicated" else {})
        )
        status, answer = await own.call("POST", uri, {"instances": [1]})
        assert (status, answer["predictions"][0]["who"]) == (200, "w")


@pytest.mark.e2e
async def test_a_data_folder_serves_one_process_at_a_time(tmp_path):
    async with LocalVertex(Settings(data=tmp_path)):
        with pytest.raises(LocalError, match="in use by another Local Vertex"):
            await LocalVertex(Settings(data=tmp_path)).start()
    async with LocalVertex(Settings(data=tmp_path)):
        pass


@pytest.mark.e2e
async def test_a_port_that_is_taken_is_named_with_its_option(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("rest", "grpc"):
            with pytest.raises(LocalError, match=rf"127\.0\.0\.1:{port}.*--{option}-port"):
                await LocalVertex(Settings(data=tmp_path, **{f"{option}_port": port})).start()
    # Nothing was left half open.
    async with LocalVertex(Settings(data=tmp_path)):
        await asyncio.sleep(0)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:80"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "rebound.example.com"}, 403),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_web_pages_are_refused(tmp_path, headers, status):
    async with LocalVertex(Settings(data=tmp_path)) as vertex, aiohttp.ClientSession() as session:
        rest = Rest(session, f"http://127.0.0.1:{vertex.ports.rest}", headers=headers)
        assert (await rest.call("GET", f"{PARENT}/models"))[0] == status


class Timers(list):
    """Calls that are due when a test says so: seconds, call, and whether it was cancelled."""

    def later(self, seconds, call):
        self.append((seconds, call, asyncio.Event()))
        return SimpleNamespace(cancel=self[-1][2].set)


@pytest.mark.e2e
async def test_a_connection_that_sends_no_request_is_closed_and_others_stay():
    timers = Timers()
    connections = Connections(seconds=7.0, later=timers.later)

    async def answer(_):
        return web.Response(text="here")

    app = web.Application(middlewares=[connections.middleware])
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    server = await connections.listen(runner, listener)
    port = listener.getsockname()[1]
    talks_in, talks_out = await asyncio.open_connection("127.0.0.1", port)
    talks_out.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in await talks_in.readuntil(b"here")
    silent_in, silent_out = await asyncio.open_connection("127.0.0.1", port)
    silent_out.write(b"GET / HTTP/1.1\r\nHost: ")
    await come(lambda: len(timers) == 2)
    # What would keep a connection in memory for its time is let go with its first request.
    assert [(seconds, cancelled.is_set()) for seconds, _, cancelled in timers] == [(7.0, True), (7.0, False)]
    for _, fire, _ in timers[:2]:
        fire()
    # Of the one that has said nothing there is a second look, after whatever the loop has still to read.
    (again,) = timers[2:]
    again[1]()
    with contextlib.suppress(ConnectionResetError):
        assert await silent_in.read() == b""
    talks_out.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in await talks_in.readuntil(b"here")
    for writer in (talks_out, silent_out):
        writer.close()
    server.close()
    await runner.cleanup()


@pytest.mark.e2e
async def test_what_it_keeps_is_its_users_alone(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "control.db").touch(mode=0o644)  # of an earlier version
    before = os.umask(0o022)
    try:
        state = daemon.State(tmp_path / "home")
        running = asyncio.create_task(serve(Settings(data=data), state, project="p", region="r"))
        await come(lambda: state.read() is not None or running.done())
        readable = {path.name for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077}
        made = {path.name for path in data.iterdir()}
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        os.umask(before)
    assert {"control.db", "storage", "monitoring", "tls"} <= made
    assert not readable


def test_the_log_of_the_background_process_is_its_users_alone(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError("not now")

    monkeypatch.setattr(subprocess, "Popen", refused)
    state = daemon.State(tmp_path)
    state.log.write_text("of an earlier version")
    state.log.chmod(0o644)
    with pytest.raises(OSError, match="not now"):
        daemon.start(state, [])
    assert (state.log.stat().st_mode & 0o077, state.log.read_text()) == (0, "")


# --- state files -----------------------------------------------------------------------------------------------------


def test_a_state_file_of_a_dead_process_is_removed_with_its_scratch_data(tmp_path):
    state = daemon.State(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    scratch = daemon.scratch_folder(tmp_path)
    state.write(daemon.Running(pid=ended.pid, version="1", started=0.0, data=str(scratch), roots=""))
    assert state.read() is None
    assert not scratch.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_running_one_is_found_from_its_directory_and_from_its_data(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        running = daemon.Running(pid=process.pid, version="1", started=0.0, data=str(tmp_path / "kept"), roots="")
        daemon.State(tmp_path / "home", tmp_path / "kept").write(running)
        assert daemon.State(tmp_path / "home").read() == running
        assert daemon.State(tmp_path / "elsewhere", tmp_path / "kept").require() == running
        assert not running.scratch
        process.communicate(b"\n")
    with pytest.raises(LocalError, match="local up"):
        daemon.State(tmp_path / "home").require()


@pytest.mark.parametrize("content", ["{", "[]", '{"pid": 1}'])
def test_a_state_file_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(LocalError, match=r"state\.json"):
        daemon.State(tmp_path).read()


def test_options_become_the_same_options_of_the_background_process():
    options = daemon.Options(
        data=Path("d"), image=("a=b c",), sample_period=1.5, probe_scale=0.1, rest_port=8, project="p"
    )
    assert options.arguments() == [
        "--sample-period=1500ms", "--probe-scale=0.1", "--rest-port=8", "--grpc-port=0", "--project=p",
        "--region=us-central1", "--image=a=b c", "--data=d",
    ]  # fmt: skip


# --- what is printed -------------------------------------------------------------------------------------------------


def test_env_points_every_client_at_the_listeners():
    found = environment.variables(RUNNING)
    assert found["CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"] == "http://127.0.0.1:1/"
    assert found["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    assert found["VERTEX_DEPLOY_AIPLATFORM_ENDPOINT"] == "http://127.0.0.1:3"
    assert found["VERTEX_DEPLOY_MONITORING_ENDPOINT"] == "http://127.0.0.1:3"
    assert found["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] == "/r.pem"
    lines = environment.sdk_lines(RUNNING)
    assert all(line.startswith("#") for line in lines)
    assert any("api_endpoint='http://127.0.0.1:1', api_transport='rest'" in line for line in lines)


REPLICA = {
    "replicaId": "7-0", "state": "ready", "healthy": True, "detail": "", "pid": 9, "port": 8, "restarts": 0,
    "outstanding": 2, "log": "/logs/7-0.log",
}  # fmt: skip
DATA = {
    "endpoints": [
        {
            "name": "e",
            "split": {"7": 90},
            "deployedModels": [
                {"id": "7", "model": "m@1", "displayName": "m", "targetReplicas": 1, "replicas": [REPLICA]},
                {"id": "8", "model": "m@2", "displayName": "m", "targetReplicas": 1, "replicas": []},
            ],
        }
    ]
}
CONTROL = {
    "endpoints": [
        {
            "name": "e",
            "displayName": "front",
            "trafficSplit": {"7": 90, "9": 10},
            "deployedModels": [
                {"id": "7", "model": "models/m", "modelVersionId": "1", "displayName": "m"},
                {"id": "9", "model": "models/m", "modelVersionId": "3", "status": {"message": "image is not mapped"}},
            ],
        }
    ]
}


def test_status_joins_what_exists_with_what_runs():
    found = view.status(RUNNING, CONTROL, DATA)
    models = {model["id"]: model for model in found["endpoints"][0]["deployedModels"]}
    assert {ident: model["state"] for ident, model in models.items()} == {
        "7": "deployed",
        "9": "not running",
        "8": "deploying",
    }
    assert {ident: model["traffic"] for ident, model in models.items()} == {"7": 90, "9": 10, "8": 0}
    text = view.status_text(found)
    assert "front  e" in text
    assert " 90%  7  m  m@1  deployed, 1/1 healthy" in text
    assert "image is not mapped" in text
    assert "7-0  ready  pid 9  port 8  0 restarts  2 outstanding" in text
    assert json.dumps(found)


def test_nothing_that_somebody_named_can_command_the_terminal():
    spoiled = json.loads(json.dumps(CONTROL))
    name = "\x1b[31mred\r\nx\x07"
    (endpoint,) = spoiled["endpoints"]
    endpoint["displayName"] = endpoint["deployedModels"][0]["displayName"] = name
    endpoint["deployedModels"][1]["status"]["message"] = name
    data = json.loads(json.dumps(DATA))
    data["endpoints"][0]["deployedModels"][0]["replicas"][0]["detail"] = name
    text = view.status_text(view.status(RUNNING, spoiled, data))
    assert text.count("\N{REPLACEMENT CHARACTER}[31mred x\N{REPLACEMENT CHARACTER}") == 4
    fault = {"target": name, "fail_share": 0.2, "delay_share": 0.0, "code": 500}
    assert all(line.isprintable() for line in (text + "\n" + view.faults_text({"faults": [fault]})).split("\n"))


def test_log_files_are_those_of_the_replicas():
    assert view.log_files(DATA, "7") == [Path("/logs/7-0.log")]
    with pytest.raises(LocalError, match="running: 7, 8"):
        view.log_files(DATA, "9")


def test_the_end_of_a_log_is_printed_with_its_name_if_there_are_several(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / f"{name}.log").write_text("1\n2\n3\n")
    client.print_logs([tmp_path / "a.log"], lines=2, follow=False)
    assert capsys.readouterr().out == "2\n3\n"
    client.print_logs([tmp_path / "a.log", tmp_path / "b.log"], lines=1, follow=False)
    assert capsys.readouterr().out == "a: 3\nb: 3\n"
    with pytest.raises(LocalError, match="no log yet"):
        client.print_logs([tmp_path / "c.log"], lines=1, follow=False)

"""One service object behind both listeners, called by Google's own clients."""

import contextlib
import ssl
from dataclasses import dataclass, field

import aiohttp
import grpc
import pytest
from aiohttp import web
from google.api_core import exceptions
from google.cloud import aiplatform_v1, aiplatform_v1beta1
from google.cloud.aiplatform_v1.services.endpoint_service.transports import EndpointServiceGrpcAsyncIOTransport
from google.rpc import error_details_pb2

from vertex_deploy.local.seams import ApiError
from vertex_deploy.local.wire import Wire, tls
from vertex_deploy.local.wire.rest import MAX_BODY, rest_handler
from vertex_deploy.local.wire.rpc import check_known, grpc_server

pytestmark = pytest.mark.e2e
NAME = "projects/p/locations/l/endpoints/1"


@dataclass
class Endpoints:
    calls: list = field(default_factory=list)

    async def get_endpoint(self, request, context):
        self.calls.append((context.transport, context.version))
        if request.name.endswith("/404"):
            detail = error_details_pb2.ErrorInfo(reason="GONE")
            raise ApiError(grpc.StatusCode.NOT_FOUND, "no such endpoint", [detail])
        if request.name.endswith("/long"):
            raise ApiError(grpc.StatusCode.INVALID_ARGUMENT, "no such name: " + "\N{EURO SIGN}" * 100_000)
        if request.name.endswith("/500"):
            raise RuntimeError("a bug")
        return aiplatform_v1.Endpoint(name=request.name, traffic_split={"1": 100})

    async def update_endpoint(self, request, context):
        return request.endpoint


@contextlib.asynccontextmanager
async def served(target):
    wire = Wire()
    wire.add("google.cloud.aiplatform", "EndpointService", target, versions=("v1", "v1beta1"))
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", rest_handler(wire))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = grpc_server(wire)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
        await runner.cleanup()


async def test_grpc_clients_of_both_versions_are_answered():
    target = Endpoints()
    async with served(target) as (_, address):
        for library in (aiplatform_v1, aiplatform_v1beta1):
            client = library.EndpointServiceAsyncClient
            async with grpc.aio.insecure_channel(address) as channel:
                transport = client.get_transport_class("grpc_asyncio")(channel=channel)
                found = await client(transport=transport).get_endpoint(name=NAME)
            assert found == library.Endpoint(name=NAME, traffic_split={"1": 100})
    assert target.calls == [("grpc", "v1"), ("grpc", "v1beta1")]


async def test_a_field_that_only_a_newer_client_has_is_refused_over_grpc():
    sent = aiplatform_v1.UpdateEndpointRequest(
        endpoint={"name": NAME, "deployed_models": [{"id": "1", "dedicated_resources": {"min_replica_count": 1}}]}
    )
    resources = aiplatform_v1.UpdateEndpointRequest.pb(sent).endpoint.deployed_models[0].dedicated_resources
    assert check_known(aiplatform_v1.UpdateEndpointRequest.pb(sent)) is None
    resources.MergeFromString(b"\xf8\x3f\x01")  # field 1023, a number
    async with served(Endpoints()) as (_, address), grpc.aio.insecure_channel(address) as channel:
        client = aiplatform_v1.EndpointServiceAsyncClient(
            transport=EndpointServiceGrpcAsyncIOTransport(channel=channel)
        )
        where = r"UpdateEndpointRequest\.endpoint\.deployed_models\.dedicated_resources: field number 1023 is not known"
        with pytest.raises(exceptions.InvalidArgument, match=where):
            await client.update_endpoint(sent)


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 315_576_000_001])
def test_a_time_out_of_range_is_refused_over_grpc_as_over_rest(seconds):
    sent = aiplatform_v1.CreateEndpointRequest(parent="projects/p/locations/l", endpoint={"display_name": "e"})
    raw = aiplatform_v1.CreateEndpointRequest.pb(sent)
    assert check_known(raw) is None
    raw.endpoint.client_connection_config.inference_timeout.seconds = seconds
    with pytest.raises(
        ApiError, match=r"'CreateEndpointRequest\.endpoint\.client_connection_config\.inference_timeout'"
    ):
        check_known(raw)


async def test_a_message_that_quotes_a_long_value_arrives_with_its_own_code():
    async with served(Endpoints()) as (_, address), grpc.aio.insecure_channel(address) as channel:
        client = aiplatform_v1.EndpointServiceAsyncClient(
            transport=EndpointServiceGrpcAsyncIOTransport(channel=channel)
        )
        with pytest.raises(exceptions.InvalidArgument, match=r"no such name: \u20ac{200,}\.\.\.$"):
            await client.get_endpoint(name=NAME.replace("/1", "/long"))


async def test_grpc_errors_carry_their_details():
    async with served(Endpoints()) as (_, address), grpc.aio.insecure_channel(address) as channel:
        client = aiplatform_v1.EndpointServiceAsyncClient(
            transport=EndpointServiceGrpcAsyncIOTransport(channel=channel)
        )
        with pytest.raises(exceptions.NotFound) as found:
            await client.get_endpoint(name=NAME.replace("/1", "/404"))
        assert found.value.message == "no such endpoint"
        assert found.value.reason == "GONE"
        with pytest.raises(exceptions.InternalServerError, match="log has the traceback"):
            await client.get_endpoint(name=NAME.replace("/1", "/500"))
        with pytest.raises(exceptions.MethodNotImplemented, match="DeleteEndpoint is not implemented by Local Vertex"):
            await client.delete_endpoint(name=NAME)


async def test_a_service_that_is_not_there_is_named_over_grpc():
    async with served(Endpoints()) as (_, address), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/google.cloud.aiplatform.v1.JobService/ListCustomJobs")
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await call(b"")
    assert found.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert found.value.details() == "Local Vertex serves no google.cloud.aiplatform.v1.JobService/ListCustomJobs."


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", f"/v1/{NAME}", None, 200, '"trafficSplit"'),
        ("GET", f"/v1beta1/{NAME}?%24alt=json%3Benum-encoding%3Dint", None, 200, '"name"'),
        ("PATCH", f"/v1/{NAME}?updateMask=traffic_split", '{"trafficSplit": {"1": 100}}', 200, NAME),
        ("GET", f"/v1/{NAME[:-1]}404", None, 404, "GONE"),
        ("GET", f"/v1/{NAME[:-1]}500", None, 500, "INTERNAL"),
        ("DELETE", f"/v1/{NAME}", None, 501, "UNIMPLEMENTED"),
        ("GET", f"/v1/{NAME}?nope=1", None, 400, "Cannot bind query parameter"),
        ("GET", f"/v1/{NAME}", "{}x", 400, "takes no body"),
        ("PATCH", f"/v1/{NAME}", '{"nope": 1}', 400, "Unknown name"),
        ("PATCH", f"/v1/{NAME}", "x" * (MAX_BODY + 1), 400, "payload size exceeds the limit"),
        ("GET", "/v1/nothing", None, 404, "serves no GET /v1/nothing"),
    ],
)
async def test_rest_answers_and_refuses_as_googles_front_end(method, path, body, status, says):
    async with (
        served(Endpoints()) as (base, _),
        aiohttp.ClientSession() as session,
        session.request(method, base + path.replace("%24", "$"), data=body) as answer,
    ):
        text = await answer.text()
        assert (answer.status, says in text) == (status, True), text


def test_a_service_that_implements_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="implements no RPC"):
        Wire().add("google.cloud.aiplatform", "EndpointService", object())


def test_the_authority_is_made_once_its_key_is_private_and_clients_accept_it(tmp_path):
    files = tls.ensure(tmp_path / "tls")
    before = files.chain.read_bytes()
    assert tls.ensure(tmp_path / "tls").chain.read_bytes() == before
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in files.chain.read_bytes() + files.roots.read_bytes()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.chain, files.key)
    client = ssl.create_default_context(cafile=str(files.roots))
    for host in ("localhost", "127.0.0.1"):
        assert handshake(client, server, host) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "example.com")


def handshake(client, server, host):
    """A TLS handshake in memory; the version that was agreed on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[0].version()

"""Credentials that expire, with Google's own auth library and clients, over TLS to a Local Vertex.

The credentials are ``google.oauth2.credentials.Credentials``, as `gcloud auth application-default login` leaves them;
they are renewed at a token server of the test, which answers at first and then says that they were revoked.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import google.auth
import pytest
from google.cloud import storage
from google.oauth2.credentials import Credentials

from tests.e2e.conftest import Cli
from tests.rollout.world import spec_with
from vertex_deploy import gcp
from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.sources import source_for
from vertex_deploy.release import build_release
from vertex_deploy.rollout.alert_clients import MonitoringAlerts
from vertex_deploy.rollout.faults import may_pass
from vertex_deploy.rollout.gcs import GcsBlobs
from vertex_deploy.targets.vertex import VertexTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vertex_deploy.spec.models import Spec

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ENDPOINT = "projects/my-project/locations/us-central1/endpoints/1"


def project_spec() -> Spec:
    spec = spec_with()
    return spec.model_copy(update={"gcp": spec.gcp.model_copy(update={"project": "my-project"})})


@dataclass
class Tokens:
    """A token server.

    Args:
        revoked: it renews nothing any more.
        asked: how often it was asked.
    """

    revoked: bool = False
    asked: int = 0
    uri: str = ""
    given: list[Credentials] = field(default_factory=list)

    def credentials(self) -> Credentials:
        """Without a token yet: the first call fetches one."""
        found = Credentials(
            None, refresh_token="r", token_uri=self.uri, client_id="c", client_secret="s", quota_project_id=None
        )
        self.given.append(found)
        return found

    def expire(self) -> None:
        """The tokens that were given are old, and no others are to be had."""
        self.revoked = True
        for found in self.given:
            found.expiry = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)


@pytest.fixture
def tokens() -> Iterator[Tokens]:
    found = Tokens()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.asked += 1
            answer: dict[str, Any] = {"access_token": "word", "expires_in": 3600, "token_type": "Bearer"}
            if found.revoked:
                answer = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            body = json.dumps(answer).encode()
            self.send_response(400 if found.revoked else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    found.uri = f"http://127.0.0.1:{server.server_port}/token"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    cli.up()
    yield cli.json("status")["server"]
    cli.run("down")


@pytest.fixture
def calls(
    running: Mapping[str, Any], tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Callable[[], object]]:
    """Each way in which a rollout calls Google, made as in production: TLS, the default credentials, no stand-in."""
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (tokens.credentials(), "my-project"))
    rest, grpc = (running["ports"][key] for key in ("rest_tls", "grpc_tls"))
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", running["roots"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", running["roots"])
    monkeypatch.setenv(gcp.AIPLATFORM_VARIABLE, f"localhost:{grpc}")
    monkeypatch.setenv(gcp.MONITORING_VARIABLE, f"localhost:{grpc}")
    monkeypatch.setenv(gcp.MONITORING_REST_VARIABLE, f"localhost:{rest}")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    spec = project_spec()
    target = VertexTarget(spec, build_release(spec))
    alerts = MonitoringAlerts("my-project")
    source = source_for(spec)(ENDPOINT)
    until = datetime.now(UTC)
    client = storage.Client(
        project="my-project",
        credentials=tokens.credentials(),
        client_options={"api_endpoint": f"https://localhost:{rest}"},
    )
    if client.lookup_bucket("rollouts") is None:
        client.create_bucket("rollouts")
    blobs = GcsBlobs("gs://rollouts/team", client=client)
    return {
        "find_endpoint": target.find_endpoint,
        "find_model": target.find_model,
        "observe": lambda: target.observe(ENDPOINT),
        "poll": lambda: target.poll(f"{ENDPOINT}/operations/1"),
        "list alert policies": lambda: alerts.policies("r1"),
        "read incidents": lambda: alerts.incidents(0.0),
        "read metrics": lambda: source.read(stable="1", canary="2", since=until - timedelta(minutes=5), until=until),
        "read the store": lambda: blobs.read("a.json"),
        "write the store": lambda: blobs.write("a.json", b"1"),
        "list the store": lambda: blobs.names(""),
    }


EFFECTS: Mapping[str, Callable[[VertexTarget], object]] = {
    "create_endpoint": lambda target: target.create_endpoint(),
    "start_upload": lambda target: target.start_upload(),
    "start_deploy": lambda target: target.start_deploy(
        ENDPOINT, model="projects/my-project/locations/us-central1/models/m@1", deployed_id="7", first=True
    ),
    "start_undeploy": lambda target: target.start_undeploy(ENDPOINT, "7"),
    "set_split": lambda target: target.set_split(ENDPOINT, {"7": 100}, etag="e"),
}


def refused(call: Callable[[], object]) -> CloudError:
    with pytest.raises(CloudError) as found:
        call()
    return found.value


def test_every_call_of_a_rollout_says_that_its_credentials_expired_and_is_not_made_again(
    calls: Mapping[str, Callable[[], object]], tokens: Tokens
) -> None:
    for call in calls.values():
        call()
    assert tokens.asked
    tokens.expire()
    for name, call in calls.items():
        error = refused(call)
        assert (error.code, may_pass(error)) == ("UNAUTHENTICATED", False), f"{name}: {error}"
        assert "gcloud auth application-default login" in str(error), name
        assert "attempts" not in str(error), name
        assert "\n" not in str(error), name


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_with_expired_credentials_takes_none(
    name: str, calls: Mapping[str, Callable[[], object]], tokens: Tokens
) -> None:
    calls["find_endpoint"]()
    spec = project_spec()
    target = VertexTarget(spec, build_release(spec))
    tokens.expire()
    error = refused(lambda: EFFECTS[name](target))
    assert (error.code, may_pass(error)) == ("UNAUTHENTICATED", False), str(error)
    tokens.revoked = False
    assert calls["observe"]() is None
    assert calls["find_model"]() is None


@pytest.mark.parametrize("name", ["observe", "read incidents"])
def test_a_token_server_that_is_down_is_waited_for(
    name: str, calls: Mapping[str, Callable[[], object]], tokens: Tokens
) -> None:
    calls[name]()
    tokens.expire()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # refuses connections, and nobody else can begin to listen there
        for given in tokens.given:
            given._token_uri = f"http://127.0.0.1:{held.getsockname()[1]}/token"
        error = refused(calls[name])
    assert (error.code, may_pass(error)) == ("UNAVAILABLE", True), str(error)

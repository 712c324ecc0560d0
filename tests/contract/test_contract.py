"""A server that keeps the contract passes, and each way of breaking it is found by the check of that name."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from vertex_deploy import contract
from vertex_deploy.contract import Level, Outcome, Reply, Routes, Sample
from vertex_deploy.errors import ContractError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUTES = Routes("/health", "/v1/endpoints/1/deployedModels/2:predict")
SAMPLE = Sample(instances=([1.0], [2.0]), parameters={"top_k": 1}, raw=b"\xff\xd8", raw_content_type="image/jpeg")
LIMIT = 10_000_000


def respond(method: str, path: str, body: bytes, content_type: str) -> Reply:  # noqa: PLR0911 - one line a rule
    """A small server that keeps every rule."""
    if path == ROUTES.health:
        return Reply(200)
    if path != ROUTES.predict:
        return Reply(404, body=b"no such path")
    if method != "POST":
        return Reply(405, body=b"POST")
    if len(body) > LIMIT:
        return Reply(413, body=b"too large")
    if content_type == "image/jpeg":
        return Reply(200, body=b'{"predictions": [0]}')
    try:
        instances = json.loads(body)["instances"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Reply(400, body=repr(error).encode()[:200])
    if not isinstance(instances, list) or not instances or not all(isinstance(i, list) for i in instances):
        return Reply(400, body=b"instances")
    if len(str(instances)) > 10_000:
        return Reply(400, body=b"nested")
    return Reply(200, body=json.dumps({"predictions": [sum(i) for i in instances]}).encode())


class Memory:
    """A server in memory; `change` replaces some of its answers."""

    def __init__(self, change: Callable[[str, str, bytes], Reply | None] = lambda *_: None) -> None:
        self.change = change
        self.asked: list[tuple[str, str]] = []

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Reply:
        self.asked.append((method, path))
        return self.change(method, path, body) or respond(method, path, body, content_type)


def on(path: str, answer: Reply, *, body: bytes | None = None, method: str = "") -> Memory:
    """A server that gives this answer on a path, for one body or for all."""

    def change(asked: str, at: str, sent: bytes) -> Reply | None:
        return answer if at == path and body in {None, sent} and method in {"", asked} else None

    return Memory(change)


def failed(server: Memory) -> set[str]:
    return {finding.check for finding in contract.run(server, ROUTES, SAMPLE).of(Outcome.FAILED)}


def test_server_that_keeps_the_contract_passes_every_check() -> None:
    seen: list[str] = []
    report = contract.run(Memory(), ROUTES, SAMPLE, progress=lambda finding: seen.append(finding.check))
    assert report.of(Outcome.PASSED) == list(report.findings)
    assert seen == [check.name for check in contract.CHECKS]
    assert report.conforms
    report.require(strict=True)


def test_names_are_unique_and_health_comes_first_and_last() -> None:
    names = [check.name for check in contract.CHECKS]
    assert len(set(names)) == len(names)
    assert (names[0], names[-1]) == ("health", "healthy-after")


@pytest.mark.parametrize(
    "answer",
    [Reply(204), Reply(301, {"location": "/"}), Reply(503), Reply(None, problem="refused"), Reply(200, seconds=10.1)],
    ids=["204", "redirect", "503", "nothing", "late"],
)
def test_healthy_is_exactly_200_in_10_seconds_and_nothing_else_is_asked_otherwise(answer: Reply) -> None:
    server = on(ROUTES.health, answer)
    report = contract.run(server, ROUTES, SAMPLE)
    assert [finding.check for finding in report.of(Outcome.FAILED)] == ["health"]
    assert len(server.asked) == 1
    assert not report.conforms


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (Reply(500, body=b"boom"), "500 boom"),
        (Reply(200, body=b"<html>"), "not JSON"),
        (Reply(200, body=b"[1, 2]"), "no list `predictions`"),
        (Reply(200, body=b'{"predictions": {"0": 1}}'), "no list `predictions`"),
        (Reply(200, body=b'{"predictions": [1]}'), "1 predictions for 2 instances"),
        (Reply(200, body=b'{"predictions": [1, "' + b"x" * 1_500_000 + b'"]}'), "shared endpoints pass 1500000"),
    ],
    ids=["500", "html", "list", "object", "too-few", "too-long"],
)
def test_wrong_answer_to_a_prediction_breaks_the_contract(answer: Reply, detail: str) -> None:
    report = contract.run(on(ROUTES.predict, answer, body=SAMPLE.body()), ROUTES, SAMPLE)
    assert [(f.check, detail in f.detail) for f in report.of(Outcome.FAILED, Level.MUST)] == [("predict", True)]
    with pytest.raises(ContractError, match="predict: "):
        report.require()


def test_server_that_answers_one_instance_only_is_found_by_the_larger_batch() -> None:
    server = on(ROUTES.predict, Reply(200, body=b'{"predictions": [1, 2]}'), body=SAMPLE.body(3))
    assert failed(server) == {"predict-batch"}


@pytest.mark.parametrize(
    ("body", "check"),
    [
        (b'{"instances": [', "bad-json"),
        (b"", "empty-body"),
        (b"[1]", "not-an-object"),
        (b"{}", "no-instances"),
        (b'{"instances": 1}', "instances-not-a-list"),
        (b'{"\xff', "wrong-encoding"),
    ],
)
@pytest.mark.parametrize("answer", [Reply(500, body=b"x"), Reply(200, body=b"x"), Reply(400), Reply(None)])
def test_bad_input_must_be_refused_with_a_reason(body: bytes, check: str, answer: Reply) -> None:
    assert failed(on(ROUTES.predict, answer, body=body, method="POST")) == {check}


def test_refusing_a_large_body_may_close_the_connection_but_not_break_the_server() -> None:
    def closes(_: str, __: str, body: bytes) -> Reply | None:
        return Reply(None, problem="reset") if len(body) > LIMIT else None

    assert failed(Memory(closes)) == set()

    dead: list[bool] = []

    def dies(_: str, __: str, body: bytes) -> Reply | None:
        if len(body) > LIMIT:
            dead.append(True)
        return Reply(None, problem="refused") if dead else None

    assert "healthy-after" in failed(Memory(dies))


def test_server_error_for_a_large_body_an_unknown_path_or_a_wrong_method_is_found() -> None:
    assert failed(Memory(lambda *a: Reply(502) if len(a[2]) > LIMIT else None)) == {"too-large"}
    assert failed(Memory(lambda *a: Reply(200) if a[1] not in {ROUTES.health, ROUTES.predict} else None)) == {
        "unknown-path"
    }
    assert failed(on(ROUTES.predict, Reply(500), method="GET")) == {"wrong-method"}


def test_should_rules_do_not_break_the_contract_unless_asked_to() -> None:
    report = contract.run(on(ROUTES.predict, Reply(500), body=b"{}", method="POST"), ROUTES, SAMPLE)
    report.require()
    assert report.conforms
    with pytest.raises(ContractError, match="no-instances"):
        report.require(strict=True)


def test_what_could_not_be_asked_is_skipped_and_skipped_is_not_passed() -> None:
    report = contract.run(Memory(), ROUTES, Sample())
    assert {f.check for f in report.of(Outcome.SKIPPED)} == {"predict", "predict-batch", "parameters", "raw-predict"}
    assert not report.conforms
    with pytest.raises(ContractError, match="not checked: predict: no sample request"):
        report.require()


def test_report_is_json() -> None:
    values: dict[str, Any] = json.loads(json.dumps(contract.run(Memory(), ROUTES, SAMPLE).to_json()))
    assert values["conforms"] is True
    assert values["findings"][0]["check"] == "health"
    assert values["findings"][0]["outcome"] == "passed"


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:80", "http://h:x", "http://h/path", "http://"])
def test_address_of_a_container_has_no_path_and_no_tls(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        contract.HttpServer(url)


def test_routes_come_from_the_environment_of_the_container() -> None:
    environment = {"AIP_HEALTH_ROUTE": "/health", "AIP_PREDICT_ROUTE": ROUTES.predict}
    assert Routes.from_environment(environment) == ROUTES
    with pytest.raises(UsageError, match="AIP_PREDICT_ROUTE"):
        Routes.from_environment({"AIP_HEALTH_ROUTE": "/health"})


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"instances": []}', b'{"instances": {}}'])
def test_sample_is_a_whole_predict_request(text: bytes) -> None:
    with pytest.raises(UsageError, match="sample request"):
        Sample.from_request(text)


def test_sample_is_sent_as_it_was_given() -> None:
    text = b'{"instances": [1, 2], "parameters": {"a": 1}}'
    assert json.loads(Sample.from_request(text).body(2)) == {"instances": [1, 2, 1, 2], "parameters": {"a": 1}}


class Handler(BaseHTTPRequestHandler):
    """The same small server over a socket; it refuses large bodies before it has read them."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LIMIT:
            self.close_connection = True
            reply = Reply(413, body=b"too large")
        else:
            reply = respond(self.command, self.path, self.rfile.read(length), self.headers.get("Content-Type", ""))
        self.send_response(reply.status or 500)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.e2e
def test_checks_over_a_socket_agree_with_those_in_memory(address: str) -> None:
    report = contract.run(contract.HttpServer(address), ROUTES, SAMPLE)
    assert report.of(Outcome.PASSED) == list(report.findings)


@pytest.mark.e2e
def test_nothing_listening_is_a_finding_not_an_exception() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        reply = contract.HttpServer(f"http://127.0.0.1:{held.getsockname()[1]}").ask("GET", "/")
    assert (reply.status, "refused" in reply.problem) == (None, True)

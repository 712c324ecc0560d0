"""The Prometheus source against a real HTTP server on loopback; a real Prometheus is started by the e2e tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf, isnan
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from vertex_deploy import gcp
from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.metrics import prometheus
from vertex_deploy.metrics.prometheus import PrometheusGauge, PrometheusServer, grids, values_of
from vertex_deploy.metrics.types import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_800_000_000.0


def interval(end: float, seconds: float = 60.0) -> Interval:
    return Interval(datetime.fromtimestamp(NOW + end, UTC), seconds, None, None)


def answer(*series: list[list[Any]], **more: Any) -> bytes:
    result = [{"metric": {"job": str(n)}, "values": values} for n, values in enumerate(series)]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


class Stub(ThreadingHTTPServer):
    """Answers every query with what it holds, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status, self.body, self.headers, self.delay = 200, answer(), {}, 0.0
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/prom"


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: value for key, (value,) in parse_qs(body, strict_parsing=True).items()}
        self.server.asked.append((self.path, form, dict(self.headers)))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that gave up
            self.wfile.write(self.server.body)

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def query(server: PrometheusServer, text: str = "up", count: int = 1) -> list[tuple[float, float]]:
    return server.query_range(text, start=NOW, step=60.0, count=count)


def test_a_range_query_is_posted_below_the_url_with_the_grid_in_seconds(stub: Stub) -> None:
    stub.body = answer([[NOW, "1.5"], [NOW + 60, "2"]])
    assert query(PrometheusServer(stub.url), "a + b", count=2) == [(NOW, 1.5), (NOW + 60, 2.0)]
    ((path, form, headers),) = stub.asked
    assert path == "/prom/api/v1/query_range"
    assert form == {
        "query": "a + b",
        "start": f"{NOW:.3f}",
        "end": f"{NOW + 66:.3f}",  # a tenth of a step more, so that rounding loses no evaluation
        "step": "60.000",
        "timeout": "10s",
    }
    assert "Authorization" not in headers


def test_a_token_is_read_from_its_reference_and_sent_as_a_bearer(stub: Stub) -> None:
    found = []

    def secret(reference: str, *, where: str) -> str:
        found.append((reference, where))
        return "word"

    server = PrometheusServer(stub.url, token="env:PROM", secret=secret)
    query(server)
    query(server)
    assert [headers["Authorization"] for _, _, headers in stub.asked] == ["Bearer word"] * 2
    assert found == [("env:PROM", "monitoring.prometheus.token")], "read once a controller"


def test_a_token_that_cannot_be_read_is_an_error_of_its_field() -> None:
    def secret(reference: str, *, where: str) -> str:
        raise RolloutError(f"{where}: the environment variable PROM is not set")

    with pytest.raises(CloudError, match=r"monitoring\.prometheus\.token: .* PROM is not set") as caught:
        query(PrometheusServer("http://127.0.0.1:9", token="env:PROM", secret=secret))
    assert (caught.value.code, caught.value.transient) == ("UNAUTHENTICATED", False)


@pytest.mark.parametrize(
    ("status", "body", "code", "transient", "says"),
    [
        (
            400,
            b'{"status":"error","errorType":"bad_data","error":"parse\\nerror"}',
            "INVALID_ARGUMENT",
            False,
            "HTTP 400: parse error; correct the gate's query",
        ),
        (401, b"", "UNAUTHENTICATED", False, "HTTP 401: no message; check monitoring.prometheus.token"),
        (403, b"<html>no</html>", "PERMISSION_DENIED", False, "<html>no</html>; check monitoring.prometheus.token"),
        (404, b"page not found", "NOT_FOUND", False, "check monitoring.prometheus.url"),
        (422, b'{"error":"many-to-many matching"}', "INVALID_ARGUMENT", False, "many-to-many matching; correct"),
        (429, b"", "RESOURCE_EXHAUSTED", True, "the next poll asks again"),
        (500, b"", "INTERNAL", False, "HTTP 500"),
        (502, b"bad gateway", "UNAVAILABLE", True, "bad gateway; check that it runs"),
        (503, b'{"error":"query timed out"}', "UNAVAILABLE", True, "query timed out"),
        (504, b"", "DEADLINE_EXCEEDED", True, "make the query cheaper"),
        (302, b"", "UNKNOWN", False, "HTTP 302"),
    ],
)
def test_every_refusal_is_one_line_with_its_code(
    stub: Stub,
    status: int,
    body: bytes,
    *,
    code: str,
    transient: bool,
    says: str,
) -> None:
    stub.status, stub.body, stub.headers = status, body, {"Location": f"{stub.url}/elsewhere"}
    with pytest.raises(CloudError) as caught:
        query(PrometheusServer(stub.url))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.code, caught.value.transient) == (code, transient)
    assert len(stub.asked) == 1, "nothing is tried again, no redirect is followed"


def test_an_answer_that_is_too_large_is_not_read_to_its_end(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "LARGEST", 1000)
    stub.body = b" " * 2000
    with pytest.raises(CloudError, match="larger than 1000 bytes"):
        query(PrometheusServer(stub.url))


def test_a_server_that_does_not_answer_is_given_up(stub: Stub) -> None:
    stub.delay = 60.0
    with pytest.raises(CloudError) as caught:
        query(PrometheusServer(stub.url, timeout=0.05))
    assert (caught.value.code, caught.value.transient) == ("DEADLINE_EXCEEDED", True)


def test_a_server_that_answers_in_drops_is_given_up_too(stub: Stub) -> None:
    clock = itertools.count(step=8.0)
    with pytest.raises(CloudError, match="no whole answer in 10 s"):
        query(PrometheusServer(stub.url, now=lambda: next(clock) * 2.0))


def test_nobody_there_may_pass() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # refuses connections, and nobody else can begin to listen there
        with pytest.raises(CloudError, match="check that it runs") as caught:
            query(PrometheusServer(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert (caught.value.code, caught.value.transient) == ("UNAVAILABLE", True)


def test_a_rehearsal_never_asks_google(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gcp.MONITORING_VARIABLE, "http://127.0.0.1:1")
    managed = "https://monitoring.googleapis.com/v1/projects/p/location/global/prometheus"
    with pytest.raises(CloudError, match=r"has no PromQL; give this environment a monitoring\.prometheus\.url"):
        query(PrometheusServer(managed))


def test_managed_prometheus_takes_googles_credentials_and_no_other_host_gets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Google:
        def post(self, url: str, **_: Any) -> Any:
            asked.append(url)
            raise OSError("offline")

    monkeypatch.setattr(prometheus.rest, "session", lambda _address: Google())
    base = "monitoring.googleapis.com/v1/projects/p/location/global/prometheus"
    with pytest.raises(CloudError, match="offline"):
        query(PrometheusServer(f"https://{base}"))
    assert asked == [f"https://{base}/api/v1/query_range"]
    other = PrometheusServer("https://prometheus.example.com")._connected()
    assert not isinstance(other, Google)


def test_no_series_is_no_measurement_and_odd_numbers_are_kept_for_the_join_to_drop() -> None:
    assert values_of(answer()) == []
    (_, nothing), (_, much) = values_of(answer([[NOW, "NaN"], [NOW, "+Inf"]]))
    assert isnan(nothing)
    assert much == inf


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (answer([[NOW, "1"]], [[NOW, "2"]]), r"2 series where one is needed \(\{job=\"0\"\}, \{job=\"1\"\}\); put sum"),
        (
            answer([[NOW, "1"]], warnings=["PromQL: remote\nread failed"]),
            r"may be partial \(PromQL: remote read failed\)",
        ),
        (b'{"status":"error","errorType":"execution","error":"too\\nmany"}', "execution: too many"),
        (b'{"status":"success","data":{"resultType":"vector","result":[]}}', "a vector, not a matrix"),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}]]}]}}',
            "histogram_avg",
        ),
        (answer([[NOW, "many"]]), "not that of Prometheus' HTTP API"),
        (answer([[NOW]]), "not that of Prometheus' HTTP API"),
        (b'{"status":"success"}', "not that of Prometheus' HTTP API"),
        (b"[]", "not that of Prometheus' HTTP API"),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[{"values":null}]}}',
            "not that of Prometheus' HTTP API",
        ),
        (b"[" * 100_000, "not"),
        (b"<html>", "not JSON; check monitoring.prometheus.url"),
        (b"\xff\xfe\x00", "not JSON"),
    ],
)
def test_an_answer_that_is_not_one_series_of_numbers_is_an_error_that_says_why(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        values_of(body)
    assert "\n" not in str(caught.value)


def test_information_about_a_query_is_no_warning() -> None:
    assert values_of(answer([[NOW, "1"]], infos=["PromQL info: metric might not be a counter"])) == [(NOW, 1.0)]


def test_regular_intervals_are_one_query_gaps_included() -> None:
    (grid,) = grids([interval(60), interval(120.4), interval(240)])
    assert (grid.start, grid.step) == (NOW + 60, 60.0)
    assert sorted(grid.intervals) == [0, 1, 3]


@pytest.mark.parametrize(
    "odd",
    [
        [interval(60), interval(124)],  # off the grid by more than a twentieth
        [interval(60), interval(120, seconds=30)],  # another length
        [interval(60), interval(61)],  # the same place
        [interval(0), interval(60.0 * prometheus.MOST_POINTS)],  # more points than a query may have
    ],
)
def test_what_is_off_the_grid_begins_another(odd: list[Interval]) -> None:
    assert [len(grid.intervals) for grid in grids(odd)] == [1, 1]


def gauge(stub: Stub, text: str) -> PrometheusGauge:
    return PrometheusGauge(name="cost", query=text, server=PrometheusServer(stub.url))


def test_each_version_is_asked_for_by_id_and_values_land_at_the_ends_of_intervals(stub: Stub) -> None:
    stub.body = answer([[NOW + 60, "1"], [NOW + 120, "NaN"], [NOW + 180, "3"], [NOW + 240, "4"]])
    text = 'rate(cost{id="{deployed_model_id}"}[{interval}])'
    found = gauge(stub, text).points(["7", "8"], [interval(60), interval(120), interval(240)])
    assert [form["query"] for _, form, _ in stub.asked] == ['rate(cost{id="7"}[60s])', 'rate(cost{id="8"}[60s])']
    assert [(p.deployed_id, p.end - NOW, p.value) for p in found] == [
        ("7", 60.0, 1.0),
        ("7", 240.0, 4.0),
        ("8", 60.0, 1.0),
        ("8", 240.0, 4.0),
    ]


def test_a_value_belongs_to_the_interval_though_its_end_jitters(stub: Stub) -> None:
    stub.body = answer([[NOW + 60, "1"], [NOW + 120, "2"]])
    found = gauge(stub, "x").points(["7"], [interval(60), interval(121.0)])
    assert [p.end - NOW for p in found] == [60.0, 121.0]


def test_a_window_longer_than_the_interval_is_refused_before_anything_is_asked(stub: Stub) -> None:
    with pytest.raises(CloudError, match=r"looks back 60 s and an interval is 1 s.*write \[\{interval\}\]"):
        gauge(stub, "rate(x[1m])").points(["7"], [interval(60, seconds=1.0)])
    assert stub.asked == []


def test_several_series_name_the_query_and_the_fix(stub: Stub) -> None:
    stub.body = answer([[NOW, "1"]], [[NOW, "2"]])
    with pytest.raises(CloudError, match=r"^POST http://127.*2 series where one is needed.*avg\(\.\.\.\) around it$"):
        gauge(stub, "x").points(["7"], [interval(60)])

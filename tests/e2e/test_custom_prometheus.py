"""Gates on custom metrics from a real Prometheus, which scrapes counters of two versions from a server of this test.

Prometheus is Debian's package of that name; without its binary on PATH these tests skip. Prometheus asks four times a
second where a minute's window would hold a handful of scrapes: the interval judged in this rehearsal is two seconds
long, and two of its eight scrapes are enough for a rate. Where a machine stood still for longer, it is asked again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.waiting import PATIENCE
from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.prometheus import PrometheusGauge, PrometheusServer
from vertex_deploy.metrics.types import Interval

from .conftest import Cli
from .rollouts import HELD, Rollouts, as_json, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vertex_deploy.metrics.gauges import GaugePoint

BINARY = shutil.which("prometheus")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="no prometheus on PATH (apt-get install prometheus)"),
]

SCRAPE = 0.25
COST = (
    'sum(rate(cost_total{deployed_model_id="{deployed_model_id}"}[{interval}]))'
    ' / sum(rate(requests_total{deployed_model_id="{deployed_model_id}"}[{interval}]))'
)


class Exporter(ThreadingHTTPServer):
    """Counters at /metrics: ten requests a second of each version, in two replicas, at its cost.

    Args:
        costs: of a request, by deployed model id; may be added to.
    """

    daemon_threads = True

    def __init__(self, **costs: float) -> None:
        self.costs, self.began = costs, time.monotonic()
        super().__init__(("127.0.0.1", 0), Handler)

    def text(self) -> str:
        served = 10 * (time.monotonic() - self.began)
        lines = []
        for version, cost in list(self.costs.items()):
            for replica, share in (("0", 0.75), ("1", 0.25)):
                labels = f'{{deployed_model_id="{version}",replica="{replica}"}}'
                lines += [f"requests_total{labels} {served * share}", f"cost_total{labels} {served * share * cost}"]
        return "\n".join([*lines, ""])


class Handler(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = self.server.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing for each scrape."""


@contextmanager
def serving(exporter: Exporter) -> Iterator[None]:
    thread = threading.Thread(target=exporter.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        exporter.shutdown()
        thread.join()
        exporter.server_close()


@contextmanager
def scraping(exporter: Exporter, folder: Path) -> Iterator[str]:
    """The address of a Prometheus on a port of its own choice that scrapes ``exporter``."""
    target = f"127.0.0.1:{exporter.server_address[1]}"
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    job = {
        "job_name": "versions",
        "scrape_interval": f"{SCRAPE * 1000:.0f}ms",
        "scrape_timeout": f"{SCRAPE * 1000:.0f}ms",
        "static_configs": [{"targets": [target]}],
    }
    config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = [
        str(BINARY),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        # Two threads of it write these, in either order.
        listening = re.compile(r'"?Listening on"? address=(127\.0\.0\.1:\d+)')

        def ready() -> bool:
            return "ready to receive web requests" in log.read_text() and bool(listening.search(log.read_text()))

        until(lambda: ready() or process.poll() is not None)
        found = listening.search(log.read_text())
        assert found, log.read_text()
        yield f"http://{found[1]}"
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    exporter = Exporter(dear=0.004, cheap=0.002)
    with serving(exporter):
        yield exporter


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scraping(exporter, tmp_path_factory.mktemp("prometheus")) as url:
        yield url


def last_seconds(count: int, seconds: float = 2.0) -> list[Interval]:
    """Intervals that ended lately, oldest first."""
    end = datetime.now(UTC)
    return [Interval(end - timedelta(seconds=n * seconds), seconds, None, None) for n in reversed(range(count))]


def gauge(url: str, query: str) -> PrometheusGauge:
    # A Prometheus that a busy machine lets wait has all the time.
    return PrometheusGauge(name="cost_per_request", query=query, server=PrometheusServer(url, timeout=PATIENCE))


def measured(asked: PrometheusGauge, ids: list[str], count: int) -> tuple[list[Interval], list[GaugePoint]]:
    """The last intervals in which every version was measured, and their points."""
    found: list[tuple[list[Interval], list[GaugePoint]]] = []

    def complete() -> bool:
        intervals = last_seconds(count)
        found[:] = [(intervals, asked.points(ids, intervals))]
        return len(found[0][1]) == count * len(ids)

    until(complete)
    return found[0]


def test_the_means_of_both_versions_are_read_at_the_ends_of_the_intervals(prometheus: str) -> None:
    intervals, found = measured(gauge(prometheus, COST), ["dear", "cheap"], 3)
    ends = [interval.end.timestamp() for interval in intervals]
    assert [(point.deployed_id, point.end) for point in found] == [(v, end) for v in ("dear", "cheap") for end in ends]
    assert [point.value for point in found] == pytest.approx([0.004] * 3 + [0.002] * 3)


def test_a_version_that_is_not_scraped_was_not_measured(prometheus: str) -> None:
    assert gauge(prometheus, COST).points(["nobody"], last_seconds(3)) == []


def test_an_expression_of_several_series_is_refused_with_their_names(prometheus: str) -> None:
    asked = gauge(prometheus, 'requests_total{deployed_model_id="{deployed_model_id}"}')
    refused: list[CloudError] = []

    def answered() -> bool:
        # Nothing, at a moment at which the last scrape had failed.
        try:
            found = asked.points(["dear"], last_seconds(1))
        except CloudError as error:
            refused.append(error)
        else:
            assert found == []
        return bool(refused)

    until(answered)
    assert re.search(r'2 series where one is needed .*replica="0".*put sum', str(refused[0]))
    assert not refused[0].transient


def test_what_prometheus_says_of_a_wrong_expression_is_passed_on(prometheus: str) -> None:
    with pytest.raises(CloudError, match="parse error") as caught:
        gauge(prometheus, "sum(rate(").points(["dear"], last_seconds(1))
    assert caught.value.code == "INVALID_ARGUMENT"
    assert not caught.value.transient


def test_a_prometheus_that_is_gone_is_an_error_that_may_pass(exporter: Exporter, tmp_path: Path) -> None:
    with scraping(exporter, tmp_path) as url:
        asked = gauge(url, COST)
        measured(asked, ["dear"], 1)
    with pytest.raises(CloudError) as caught:
        asked.points(["dear"], last_seconds(1))
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.transient


class Watched(Rollouts):
    """With the address of a Prometheus in the spec."""

    url = ""

    def write(self, who: str, **env: object) -> None:
        super().write(who, **env)
        path = self.cli.folder / f"{self.name}.yaml"
        spec = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(spec | {"monitoring": {"prometheus": {"url": self.url}}}))


@dataclass
class Story:
    """What a rollout came to: exit code, record, and what was printed."""

    code: int
    record: dict[str, Any]
    said: str


def story(cli: Cli, exporter: Exporter, url: str, *, name: str, canary: float, hold: str) -> Story:
    """A second version, whose requests cost ``canary``, is rolled out under traffic; stable's cost 0.002."""
    gate: dict[str, Any] = {
        "metric": "cost_per_request",
        "worse_than_stable": "100%",
        "range": [0, 0.01],
        "min_requests": 20,
        "query": {"prometheus": COST},
    }
    steps = [{"weight": 50, "hold": hold}, {"weight": 100}]
    rollouts = Watched(cli, name, {"steps": steps, "gates": [gate], "keep_stable": "2s", "poll": "2s"})
    rollouts.url = url
    rollouts.write("one")
    said, out = rollouts.run("start")
    assert said == 0, out
    exporter.costs[rollouts.record()["canary"]] = 0.002
    rollouts.write("two")
    with rollouts.traffic(threads=4, pause=0.1):
        second = rollouts.begin("start", "-o", "json")
        until(lambda: len(rollouts.records()) == 2 and bool(rollouts.record()["stable"]), process=second)
        exporter.costs[rollouts.record()["canary"]] = canary
        code, view = rollouts.resumed(*as_json(rollouts.finished(second)))
    return Story(code, rollouts.record(), str(view))


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One whose intervals hold eight scrapes."""
    cli = Cli(tmp_path_factory.mktemp("vertex"))
    cli.up("--sample-period", "2s")
    yield cli
    cli.down()


@pytest.fixture(scope="module")
def stories(vertex: Cli, exporter: Exporter, prometheus: str) -> Iterator[dict[str, Future[Story]]]:
    """Both rollouts, under way at the same time, each on an endpoint of its own."""
    # What passes has to be held for 27 intervals; what fails ends its hold.
    costs = {"same": (0.002, "80s"), "dearer": (0.009, HELD)}
    with ThreadPoolExecutor(max_workers=len(costs)) as pool:
        yield {
            name: pool.submit(story, vertex, exporter, prometheus, name=f"cost-{name}", canary=cost, hold=hold)
            for name, (cost, hold) in costs.items()
        }


def test_a_version_whose_requests_cost_the_same_by_prometheus_is_promoted(stories: dict[str, Future[Story]]) -> None:
    found = stories["same"].result(timeout=900)
    assert (found.code, found.record["ending"]) == (0, "promoted"), f"{found.record['reason']}\n{found.said}"


def test_a_version_whose_requests_cost_more_by_prometheus_is_rolled_back(stories: dict[str, Future[Story]]) -> None:
    found = stories["dearer"].result(timeout=900)
    reason = found.record["reason"]
    assert (found.code, found.record["ending"]) == (10, "rolled_back"), f"{reason}\n{found.said}"
    assert "cost_per_request of the canary is 0.009 over" in reason
    assert "stable's 0.002" in reason

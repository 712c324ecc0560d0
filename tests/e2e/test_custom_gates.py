"""Gates on custom metrics end to end: a client writes time series to Local Vertex while a rollout runs, and it decides.

What is written is what a team's own services would write: ten series a version (one a replica), a point of each every
five seconds, which is as often as the API takes them; ratings as numbers, costs as distributions. The values are fixed,
not drawn, and those of one sample period are written together: however late, an interval has both of its points or
none. All rollouts run at the same time, each on an endpoint of its own.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest
from google.api import metric_pb2
from google.cloud import monitoring_v3

from tests.waiting import PATIENCE

from .rollouts import HELD, Rollouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .conftest import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REPLICAS, TOGETHER, PERIOD = 10, 2, 5.0
PROJECT = "projects/my-project"


def rating(name: str, **more: Any) -> dict[str, Any]:
    # With a limit of its own it is an alert policy too, whose filter must name the resource.
    text = f'metric.type="custom.googleapis.com/{name}/rating" AND resource.type="global"'
    query = {"cloud_monitoring": text}
    return {"metric": "rating", "better": "higher", "range": [1, 5], "min_requests": 20, "query": query, **more}


def cost(name: str, **more: Any) -> dict[str, Any]:
    text = (
        f'metric.type="custom.googleapis.com/{name}/cost" AND metric.labels.deployed_model_id="{{deployed_model_id}}"'
    )
    query = {"cloud_monitoring": text, "values": "distribution"}
    return {"metric": "cost_per_request", "range": [0, 0.02], "min_requests": 20, "query": query, **more}


def number(value: float) -> monitoring_v3.TypedValue:
    return monitoring_v3.TypedValue(double_value=value)


def distribution(*values: float) -> monitoring_v3.TypedValue:
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values)
    shape = {"count": len(values), "mean": mean, "sum_of_squared_deviation": spread}
    bounds = {"explicit_buckets": {"bounds": [0.005, 0.01, 0.015]}}
    edges = (0.0, 0.005, 0.01, 0.015, float("inf"))
    counts = [sum(low <= value < high for value in values) for low, high in itertools.pairwise(edges)]
    return monitoring_v3.TypedValue(
        distribution_value={**shape, "bucket_options": bounds, "bucket_counts": counts},
    )


class Writer:
    """Writes one metric of both versions until it is left, with Google's client.

    Args:
        rollouts: whose newest record says which versions there are.
        metric: type below custom.googleapis.com.
        value: the point of a version ("stable" or "canary") and replica; None: that version writes nothing.
    """

    def __init__(
        self, rollouts: Rollouts, metric: str, value: Callable[[str, int], monitoring_v3.TypedValue | None]
    ) -> None:
        self._rollouts, self._metric, self._value = rollouts, f"custom.googleapis.com/{metric}", value
        address = rollouts.env["VERTEX_DEPLOY_MONITORING_ENDPOINT"].removeprefix("http://")
        kind = monitoring_v3.MetricServiceClient
        channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self.client = kind(transport=kind.get_transport_class("grpc")(channel=channel))
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._write)
        self.failed: list[Exception] = []
        self.written = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _versions(self) -> dict[str, str]:
        """Roles by deployed model id; until the second rollout has begun, the first one's canary is stable."""
        record = self._rollouts.record()
        if len(self._rollouts.records()) == 1:
            return {record["canary"]: "stable"}
        return {record["stable"]: "stable", record["canary"]: "canary"} if record["stable"] else {}

    def _write(self) -> None:
        pause = PERIOD / REPLICAS * TOGETHER
        tick = int(time.time() / pause) + 1
        # The points of a grid, not of the moments at which a busy machine gets round to writing them: none is missing.
        # They lie in the middle of the sample periods.
        while not self._stop.wait(max(0.0, (tick + 0.5) * pause - time.time())):
            try:
                replicas = [(tick * TOGETHER + number) % REPLICAS for number in range(TOGETHER)]
                self._points(replicas, round((tick + 0.5) * pause * 1000))
            except Exception as error:  # noqa: BLE001 - a thread's error is the test's to raise
                self.failed.append(error)
                return
            tick += 1

    def _points(self, replicas: Sequence[int], milliseconds: int) -> None:
        end = {"seconds": milliseconds // 1000, "nanos": milliseconds % 1000 * 1_000_000}
        found = []
        for (deployed_id, role), replica in itertools.product(self._versions().items(), replicas):
            value = self._value(role, replica)
            if value is None:
                continue
            labels = {"deployed_model_id": deployed_id, "replica": str(replica)}
            found.append(
                monitoring_v3.TimeSeries(
                    metric=metric_pb2.Metric(type=self._metric, labels=labels),
                    resource={"type": "global", "labels": {"project_id": "my-project"}},
                    metric_kind="GAUGE",
                    points=[monitoring_v3.Point(interval={"end_time": end}, value=value)],
                )
            )
        if found:
            self.client.create_time_series(name=PROJECT, time_series=found, timeout=PATIENCE)
            self.written += len(found)

    def series(self) -> list[monitoring_v3.TimeSeries]:
        """What is there, read back."""
        now = int(time.time())
        request = {
            "name": PROJECT,
            "filter": f'metric.type="{self._metric}"',
            "interval": {"start_time": {"seconds": now - 600}, "end_time": {"seconds": now + 10}},
        }
        return list(self.client.list_time_series(request=request))


@dataclass
class Story:
    """What a rollout came to: exit code and view of `start`, the log, and the series that were written."""

    code: int
    view: dict[str, Any]
    record: dict[str, Any]
    log: list[dict[str, Any]]
    series: list[monitoring_v3.TimeSeries]

    def readings(self) -> dict[str, dict[str, Any]]:
        """The last readings of the last measurement of the 50% step, by kind."""
        verdicts = [entry["data"]["verdict"] for entry in self.log if entry["kind"] == "measured"]
        last = next(verdict for verdict in reversed(verdicts) if verdict["step"] == "50%")
        return {found["kind"]: found for found in last["readings"]}


def story(
    cli: Cli,
    name: str,
    gate: dict[str, Any],
    metric: str,
    value: Callable[[str, int], Any],
    *,
    hold: str,
    passes: bool = False,
) -> Story:
    """A second version is rolled out under traffic, while ``value`` is written for each version.

    Args:
        cli: of the Local Vertex.
        name: of the spec.
        gate: the one that there is.
        metric: what is written.
        value: see ``Writer``.
        hold: of the only step.
        passes: it has to pass, on a machine that stands still in the hold, too.
    """
    steps = [{"weight": 50, "hold": hold}, {"weight": 100}]
    rollouts = Rollouts(cli, name, {"steps": steps, "gates": [gate], "keep_stable": "2s", "poll": "2s"})
    rollouts.write("one")
    code, out = rollouts.run("start")
    assert code == 0, out
    rollouts.write("two")
    with Writer(rollouts, f"{name}/{metric}", value) as writer, rollouts.traffic(threads=4, pause=0.1):
        code, view = rollouts.through("start") if passes else rollouts.json("start")
    assert not writer.failed, writer.failed
    record = rollouts.record()
    log: Any = rollouts.json("history", "--id", record["id"])[1]
    return Story(code, view, record, log, writer.series())


def liked(cli: Cli) -> Story:
    # The replicas differ, the versions do not: their mean is 4.5.
    gate = rating("liked", min=3, worse_than_stable="30%")
    return story(cli, "liked", gate, "rating", lambda _, replica: number(4.0 + replica % 2), hold="40s", passes=True)


def dear(cli: Cli) -> Story:
    def value(role: str, replica: int) -> monitoring_v3.TypedValue:
        # Distributions count by their values: three of a dear kind, one of a cheap one.
        top = 0.019 if role == "canary" else 0.009
        return distribution(top, top, top, 0.007) if replica else distribution(top)

    return story(cli, "dear", cost("dear", worse_than_stable="20%"), "cost", value, hold=HELD)


def unrated(cli: Cli) -> Story:
    return story(
        cli,
        "unrated",
        rating("unrated", min=3),
        "rating",
        lambda role, _: number(4.5) if role == "stable" else None,
        hold="10s",
    )


STORIES = (dear, liked, unrated)


@pytest.fixture(scope="module")
def stories(vertex: Cli) -> Any:
    with ThreadPoolExecutor(max_workers=len(STORIES)) as pool:
        futures: dict[Any, Future[Story]] = {one: pool.submit(one, vertex) for one in STORIES}
        yield lambda one: futures[one].result(timeout=900)


def test_a_version_that_users_rate_as_well_as_stable_is_promoted(stories: Any) -> None:
    found = stories(liked)
    assert (found.code, found.view["ending"]) == (0, "promoted"), found.view["reason"]
    readings = found.readings()
    assert {kind: reading["outcome"] for kind, reading in readings.items()} == {"absolute": "pass", "relative": "pass"}
    # Nothing but the mean over the ten series gives 4.5.
    assert readings["absolute"]["value"] == pytest.approx(4.5, abs=0.1)
    assert readings["relative"]["stable"] == pytest.approx(4.5, abs=0.1)
    ids = {series.metric.labels["deployed_model_id"] for series in found.series}
    assert ids == {found.record["stable"], found.record["canary"]}
    assert len(found.series) == 2 * REPLICAS


def test_a_version_whose_requests_cost_more_is_rolled_back(stories: Any) -> None:
    found = stories(dear)
    assert (found.code, found.view["ending"]) == (10, "rolled_back"), found.view["reason"]
    assert "cost_per_request of the canary" in found.view["reason"]
    reading = found.readings()["relative"]
    assert reading["outcome"] == "fail"
    assert reading["value"] == pytest.approx(0.016, abs=0.0005)
    assert reading["stable"] == pytest.approx(0.0085, abs=0.0005)
    # One value a point of the first replica, four of the others: the means are of all values.
    counts = {point.value.distribution_value.count for series in found.series for point in series.points}
    assert counts == {1, 4}


def test_a_version_without_series_is_not_passed_although_it_answers_every_request(stories: Any) -> None:
    found = stories(unrated)
    assert (found.code, found.view["phase"]) == (12, "paused"), found.view["reason"]
    assert "inconclusive" in found.view["reason"]
    assert "rating of the canary was not measured" in found.view["reason"]
    assert {series.metric.labels["deployed_model_id"] for series in found.series} == {found.record["stable"]}

"""Policies written over REST and over gRPC, evaluated on series whose values are computed by hand.

The services are the real ones, behind the real wire on sockets; only the clock is the test's: minutes pass at once.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest
from aiohttp import web
from google.api_core import exceptions
from google.cloud import monitoring_v3 as m
from google.protobuf import json_format

from vertex_deploy.local.alerting import alert_routes
from vertex_deploy.local.monitoring.catalogue import PREFIX
from vertex_deploy.local.monitoring.values import Buckets, Dist
from vertex_deploy.local.wire import Wire
from vertex_deploy.local.wire.rest import rest_handler
from vertex_deploy.local.wire.rpc import grpc_server

from .support import REPLICAS, World, absence, aggregation, key, policy, threshold, where

pytestmark = pytest.mark.e2e
NAME = "projects/proj-a"
LATENCIES = PREFIX + "prediction_latencies"
B = Buckets.explicit([0, 100, 200, 400])
COUNTS = {1: key("1", response_code="2xx"), 2: key("2", response_code="2xx")}
BAD = {1: key("1", response_code="5xx"), 2: key("2", response_code="5xx")}
GAUGES = {1: key("1", metric=REPLICAS), 2: key("2", metric=REPLICAS)}
DISTS = {1: key("1", metric=LATENCIES, latency_type="total"), 2: key("2", metric=LATENCIES, latency_type="total")}
EACH = ("metric.label.deployed_model_id",)


class Served:
    """A world whose services answer on sockets.

    Args:
        world: on a clock of its own.
        rest: address of the REST listener.
        channel: to the gRPC listener.
    """

    def __init__(self, world, rest, channel):
        self.world, self.rest = world, rest
        client = m.AlertPolicyServiceAsyncClient
        self.policies = client(transport=client.get_transport_class("grpc_asyncio")(channel=channel))

    async def create(self, transport, wanted):
        """Create a policy over the transport; the error's text, or ""."""
        if transport == "grpc":
            try:
                await self.policies.create_alert_policy(name=NAME, alert_policy=wanted)
            except exceptions.GoogleAPICallError as error:
                return f"{error.grpc_status_code.name}: {error.message}"
            return ""
        body = json_format.MessageToDict(m.AlertPolicy.pb(wanted))
        async with (
            aiohttp.ClientSession(self.rest) as session,
            session.post(f"/v3/{NAME}/alertPolicies", json=body) as answer,
        ):
            found = await answer.json()
            return "" if answer.status == 200 else f"{found['error']['status']}: {found['error']['message']}"

    async def open(self):
        """Deployed model of each open incident, as the REST API lists them; "" where the series names none."""
        query = {"filter": 'state="OPEN"', "pageSize": "1000"}
        async with (
            aiohttp.ClientSession(self.rest) as session,
            session.get(f"/v3/{NAME}/alerts", params=query) as answer,
        ):
            found = (await answer.json()).get("alerts", [])
        return sorted(alert["metric"].get("labels", {}).get("deployed_model_id", "") for alert in found)


@asynccontextmanager
async def serving():
    world = World()
    wire = Wire()
    wire.add("google.cloud.monitoring", "AlertPolicyService", world.policies, versions=("v3",))
    app = web.Application()
    app.add_routes(alert_routes(world.book))
    app.router.add_route("*", "/{path:.*}", rest_handler(wire))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = grpc_server(wire)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(world, f"http://127.0.0.1:{runner.addresses[0][1]}", channel)
    await server.stop(None)
    await runner.cleanup()


@pytest.fixture(params=["rest", "grpc"])
def transport(request):
    return request.param


def dist(*values):
    return Dist.of([float(v) for v in values], B)


# Two minutes of each kind of series; every window is of both. Per version:
#   counts      1: 4, 8        2: 1, 1
#   gauges      1: 4, 8        2: 2, 2
#   latencies   1: 10 values in (0, 100], then 10 in (100, 200]     2: 20 in (200, 400]
MINUTES = (
    {
        "counts": {COUNTS[1]: 4, COUNTS[2]: 1, DISTS[1]: dist(*[50] * 10), DISTS[2]: dist(*[300] * 10)},
        "gauges": {GAUGES[1]: 4, GAUGES[2]: 2},
    },
    {
        "counts": {COUNTS[1]: 8, COUNTS[2]: 1, DISTS[1]: dist(*[150] * 10), DISTS[2]: dist(*[300] * 10)},
        "gauges": {GAUGES[1]: 8, GAUGES[2]: 2},
    },
)
ALIGNED = [
    # Counts are a rate: (4 + 8) / 120 s, and 2 / 120 s.
    (None, "ALIGN_RATE", "REDUCE_SUM", EACH, {"1": 0.1, "2": 1 / 60}),
    (None, "ALIGN_DELTA", "REDUCE_SUM", EACH, {"1": 12, "2": 2}),
    (None, "ALIGN_SUM", "REDUCE_SUM", EACH, {"1": 12, "2": 2}),
    (None, "ALIGN_COUNT", "REDUCE_SUM", EACH, {"1": 2, "2": 2}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_SUM", EACH, {"1": 6, "2": 2}),
    (REPLICAS, "ALIGN_SUM", "REDUCE_SUM", EACH, {"1": 12, "2": 4}),
    (REPLICAS, "ALIGN_COUNT", "REDUCE_SUM", EACH, {"1": 2, "2": 2}),
    (REPLICAS, "ALIGN_MIN", "REDUCE_SUM", EACH, {"1": 4, "2": 2}),
    (REPLICAS, "ALIGN_MAX", "REDUCE_SUM", EACH, {"1": 8, "2": 2}),
    (REPLICAS, "ALIGN_STDDEV", "REDUCE_SUM", EACH, {"1": 2, "2": 0}),
    (REPLICAS, "ALIGN_INTERPOLATE", "REDUCE_SUM", EACH, {"1": 8, "2": 2}),
    (REPLICAS, "ALIGN_NEXT_OLDER", "REDUCE_SUM", EACH, {"1": 8, "2": 2}),
    # Half of 20 values lie below 100; the 19th is the ninth tenth of the way through (100, 200].
    (LATENCIES, "ALIGN_PERCENTILE_50", "REDUCE_MAX", EACH, {"1": 100, "2": 300}),
    (LATENCIES, "ALIGN_PERCENTILE_95", "REDUCE_MAX", EACH, {"1": 190, "2": 390}),
    (LATENCIES, "ALIGN_PERCENTILE_99", "REDUCE_MAX", EACH, {"1": 198, "2": 398}),
    (LATENCIES, "ALIGN_PERCENTILE_05", "REDUCE_MAX", EACH, {"1": 10, "2": 210}),
    # Distributions of both minutes together, then their percentile, or their mean: (10 * 50 + 10 * 150) / 20.
    (LATENCIES, "ALIGN_DELTA", "REDUCE_PERCENTILE_50", EACH, {"1": 100, "2": 300}),
    (LATENCIES, "ALIGN_DELTA", "REDUCE_PERCENTILE_95", EACH, {"1": 190, "2": 390}),
    (LATENCIES, "ALIGN_DELTA", "REDUCE_PERCENTILE_99", EACH, {"1": 198, "2": 398}),
    (LATENCIES, "ALIGN_SUM", "REDUCE_MEAN", EACH, {"1": 100, "2": 300}),
    # Over both versions: means of 6 and 2.
    (REPLICAS, "ALIGN_MEAN", "REDUCE_SUM", (), {"": 8}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_MEAN", (), {"": 4}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_MIN", (), {"": 2}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_MAX", (), {"": 6}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_COUNT", (), {"": 2}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_STDDEV", (), {"": 2}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_PERCENTILE_50", (), {"": 4}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_PERCENTILE_95", (), {"": 5.8}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_PERCENTILE_99", (), {"": 5.96}),
    (REPLICAS, "ALIGN_MEAN", "REDUCE_PERCENTILE_05", (), {"": 2.2}),
    # Over both versions' latencies: 10 in (0, 100], 10 in (100, 200], 20 in (200, 400].
    (LATENCIES, "ALIGN_DELTA", "REDUCE_PERCENTILE_50", (), {"": 200}),
    (LATENCIES, "ALIGN_DELTA", "REDUCE_PERCENTILE_95", (), {"": 380}),
]


async def test_each_aligner_and_reducer_compares_what_a_person_computes(transport):
    async with serving() as served:
        names = {}
        for metric, aligner, reducer, by, expected in ALIGNED:
            text = where(metric) if metric else where()
            wanted = policy(
                threshold(text=text, limit=-1.0, aggregations=[aggregation(120, aligner, reducer, by)]),
                display_name=f"{metric} {aligner} {reducer} {by}",
            )
            names[wanted.display_name] = expected
            assert await served.create(transport, wanted) == "", wanted.display_name
        # The first evaluation sees a minute only; what counts is the value of the incident that opens on two.
        first, second = MINUTES
        served.world.engine.tick = lambda: 0
        served.world.minute(**first)
        del served.world.engine.tick
        served.world.minute(**second)
        found = {}
        for incident in served.world.open():
            version = incident.metric_labels.get("deployed_model_id", "")
            found.setdefault(incident.policy_name, {})[version] = incident.value
        assert found == {name: pytest.approx(expected) for name, expected in names.items()}
        assert len(await served.open()) == sum(len(expected) for expected in names.values())


BOTH = [aggregation(60)]
CONDITIONS = {
    # name: condition; minutes of (counts, gauges); who has an incident after each.
    "duration: two minutes without a break": (
        threshold(limit=5, minutes=2),
        [({COUNTS[1]: 9}, {}), ({COUNTS[1]: 3}, {}), ({COUNTS[1]: 9}, {}), ({COUNTS[1]: 9}, {}), ({COUNTS[1]: 1}, {})],
        [[], [], [], ["1"], []],
    ),
    "trigger: two series": (
        threshold(limit=5, trigger={"count": 2}),
        [({COUNTS[1]: 9, COUNTS[2]: 1}, {}), ({COUNTS[1]: 9, COUNTS[2]: 9}, {}), ({COUNTS[1]: 9, COUNTS[2]: 1}, {})],
        [[], ["1", "2"], []],
    ),
    "trigger: all of the series": (
        threshold(limit=5, trigger={"percent": 100}),
        [({COUNTS[1]: 9, COUNTS[2]: 1}, {}), ({COUNTS[1]: 9, COUNTS[2]: 9}, {})],
        [[], ["1", "2"]],
    ),
    # 1: 2 of 20 and 3 of 20 are bad; 2: 30 of 40. Above 10% is only what is above it.
    "denominator: errors of requests": (
        threshold(
            text=where(extra='metric.label.response_code="5xx"'),
            limit=0.1,
            aggregations=BOTH,
            denominator_filter=where(),
            denominator_aggregations=BOTH,
        ),
        [
            ({COUNTS[1]: 18, BAD[1]: 2, COUNTS[2]: 10, BAD[2]: 30}, {}),
            ({COUNTS[1]: 17, BAD[1]: 3, COUNTS[2]: 40, BAD[2]: 0}, {}),
        ],
        [["2"], ["1"]],
    ),
    "absence: two minutes of silence": (
        absence(minutes=2),
        [({}, {GAUGES[1]: 1, GAUGES[2]: 1}), ({}, {GAUGES[2]: 1}), ({}, {GAUGES[2]: 1}), ({}, {GAUGES[1]: 1})],
        [[], [], ["1"], []],
    ),
    "below": (
        threshold(text=where(REPLICAS), limit=2, aggregations=[], comparison="COMPARISON_LT"),
        [({}, {GAUGES[1]: 2, GAUGES[2]: 1}), ({}, {GAUGES[1]: 1, GAUGES[2]: 2})],
        [["2"], ["1"]],
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
async def test_durations_triggers_ratios_and_absence_open_and_close_when_a_person_says_so(name, transport):
    condition, minutes, expected = CONDITIONS[name]
    async with serving() as served:
        assert await served.create(transport, policy(condition)) == ""
        seen = []
        for counts, gauges in minutes:
            served.world.minute(counts, gauges)
            seen.append(await served.open())
    assert seen == expected


REFUSED = {
    "condition_prometheus_query_language": {"condition_prometheus_query_language": {"query": "up"}},
    "condition_monitoring_query_language": {"condition_monitoring_query_language": {"query": "fetch"}},
    "condition_sql": {"condition_sql": {"query": "SELECT 1"}},
    "condition_matched_log": {"condition_matched_log": {"filter": "x"}},
    "forecast_options": threshold(forecast_options={"forecast_horizon": {"seconds": 3600}}),
    "ALIGN_PERCENT_CHANGE": threshold(aggregations=[aggregation(aligner="ALIGN_PERCENT_CHANGE")]),
    "group.id": threshold(text=where(extra='group.id="1"')),
    "numbers, not DISTRIBUTION": threshold(text=where(LATENCIES)),
    "COMPARISON_LT and COMPARISON_GT": threshold(comparison="COMPARISON_GE"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_evaluated_is_refused_by_name(what, transport):
    async with serving() as served:
        said = await served.create(transport, policy(REFUSED[what]))
        assert said.startswith("INVALID_ARGUMENT: ")
        assert what in said
        assert served.world.book.policies.under() == []

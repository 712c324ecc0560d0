"""The application over ASGI with a fake engine: no sockets, no model."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager

import numpy as np

from serving import config as configuration
from serving.app import Application
from serving.batching.batcher import Batcher
from serving.batching.policy import BatchQueue
from serving.errors import BatchFailed
from serving.export.exporter import Exporter
from serving.metrics import Metrics
from serving.predict import Model, Predict
from serving.state import Life, State
from tests.serving.fakes import SIZE, FakeEngine, image, manifest

RED = image()


def body(*values):
    return json.dumps({"instances": [np.full((3, SIZE, SIZE), v).tolist() for v in values]}).encode()


class Client:
    def __init__(self, environ, engine, exporter=None):
        self.config = configuration.load({"AIP_STORAGE_URI": "x", "SERVING_DECODE_THREADS": "1", **environ})
        self.life, self.metrics, self.engine = Life(), Metrics(exporter), engine
        self.predict = Predict(self.config, self.life, self.metrics)
        self.app = Application(self.config, self.life, self.metrics, self.predict)
        queue = BatchQueue(max_batch=4, max_delay=0.0, bound=self.config.queue)
        self.batcher = Batcher(
            engine, queue, timeout=self.config.request_timeout_s, observer=self.metrics, on_fatal=lambda _: None
        )

    async def request(self, method, path, messages=(), headers=()):
        """Status, headers and body; ``messages`` are ASGI messages, delivered one by one, then silence."""
        inbox = asyncio.Queue()
        for message in messages:
            inbox.put_nowait(message)
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in headers], "http_version": "1.1", "root_path": "",
            "scheme": "http", "client": None, "server": None,
        }  # fmt: skip
        await self.app(scope, inbox.get, send)
        if not sent:
            return None
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])

    async def post(self, data, kind="application/json", **headers):
        message = {"type": "http.request", "body": data, "more_body": False}
        return await self.request(
            "POST", self.config.predict_route, [message], [("content-type", kind), *headers.items()]
        )


async def depth(client, instances):
    while client.batcher._queue.depth < instances:  # noqa: ASYNC110 - decoding runs in a thread; there is no event
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(environ=None, engine=None, *, ready=True, exporter=None):
    client = Client(environ or {}, engine or FakeEngine(), exporter)
    client.batcher.start()
    if ready:
        client.predict.model = Model(manifest(), ["r", "g", "b"], client.batcher)
        client.life.to(State.READY)
    try:
        yield client
    finally:
        client.engine.go.set()
        await client.batcher.close()
        client.predict.close()


async def test_an_image_body_and_json_get_the_same_answer():
    async with serving() as client:
        status, headers, answer = await client.post(RED, "image/png")
        assert status == 200
        assert headers[b"content-type"] == b"application/json"
        got = json.loads(answer)["predictions"]
        assert got[0]["classes"] == ["r", "g", "b"]
        assert sum(got[0]["scores"]) > 0.999


async def test_routes_are_those_of_the_environment():
    routes = {"AIP_HEALTH_ROUTE": "/v1/e/1:health", "AIP_PREDICT_ROUTE": "/v1/e/1:predict"}
    async with serving(routes) as client:
        assert (await client.request("GET", "/v1/e/1:health"))[0] == 200
        assert (await client.post(body(1)))[0] == 200
        status, _, answer = await client.request("GET", "/predict")
        assert status == 404
        assert "/v1/e/1:predict" in json.loads(answer)["error"]
        assert (await client.request("GET", "/v1/e/1:predict"))[0] == 405


async def test_one_path_can_be_both_routes():
    async with serving({"AIP_HEALTH_ROUTE": "/m", "AIP_PREDICT_ROUTE": "/m"}) as client:
        assert (await client.request("GET", "/m"))[0] == 200
        assert (await client.post(body(1)))[0] == 200


async def test_health_is_503_while_loading_and_while_draining():
    async with serving(ready=False) as client:
        assert (await client.request("GET", "/health"))[0] == 503
        status, headers, _ = await client.post(body(1))
        assert (status, headers[b"retry-after"]) == (503, b"1")
        client.predict.model = Model(manifest(), ["r", "g", "b"], client.batcher)
        client.life.to(State.READY)
        assert (await client.request("GET", "/health"))[0] == 200
        client.life.to(State.GRACE)
        assert (await client.request("GET", "/health"))[0] == 503
        status, headers, _ = await client.post(body(1))
        assert (status, headers[b"connection"]) == (200, b"close")
        client.life.to(State.DRAINING)
        assert (await client.post(body(1)))[0] == 503


async def test_a_bad_request_does_not_harm_others_in_its_batch():
    async with serving() as client:
        client.engine.go.clear()
        first = asyncio.create_task(client.post(body(0)))
        await asyncio.to_thread(client.engine.running.wait)
        rest = [asyncio.create_task(client.post(b)) for b in (body(1), body(1, float("1e39")), body(2, 3))]
        await depth(client, 3)
        client.engine.go.set()
        results = await asyncio.gather(first, *rest)
    assert [r[0] for r in results] == [200, 200, 400, 200]
    assert "instances[1]" in json.loads(results[2][2])["error"]
    assert client.engine.batches == [1, 3]


async def test_a_body_is_cut_off_at_the_limit_while_it_streams():
    async with serving({"SERVING_MAX_BODY_BYTES": "100"}) as client:
        parts = [{"type": "http.request", "body": b"x" * 60, "more_body": True}] * 2
        parts.append({"type": "http.request", "body": b"x", "more_body": False})
        status, headers, answer = await client.request("POST", "/predict", parts)
        assert (status, headers[b"connection"]) == (413, b"close")
        assert "100 bytes" in json.loads(answer)["error"]
        status, _, _ = await client.request(
            "POST", "/predict", [], [("content-length", "101"), ("expect", "100-continue")]
        )
        assert status == 413
        assert client.predict._held == 0


async def test_a_body_that_never_ends_is_timed_out():
    async with serving({"SERVING_BODY_TIMEOUT_S": "0.02"}) as client:
        status, _, _ = await client.request(
            "POST", "/predict", [{"type": "http.request", "body": b"{", "more_body": True}]
        )
    assert status == 408


async def test_a_client_that_leaves_takes_its_work_along():
    async with serving() as client:
        client.engine.go.clear()
        first = asyncio.create_task(client.post(body(0)))
        await asyncio.to_thread(client.engine.running.wait)
        message = {"type": "http.request", "body": body(1), "more_body": False}
        inbox = [message, {"type": "http.disconnect"}]
        assert await client.request("POST", "/predict", inbox) is None
        client.engine.go.set()
        assert (await first)[0] == 200
        assert client.predict.in_flight == 0
    assert client.engine.batches == [1]


async def test_a_full_queue_answers_429_with_retry_after():
    async with serving({"SERVING_QUEUE": "2", "SERVING_MAX_INSTANCES": "2"}) as client:
        client.engine.go.clear()
        first = asyncio.create_task(client.post(body(0)))
        await asyncio.to_thread(client.engine.running.wait)
        waits = asyncio.create_task(client.post(body(1, 2)))
        await depth(client, 2)
        status, headers, _ = await client.post(body(3))
        assert (status, headers[b"retry-after"]) == (429, b"1")
        client.engine.go.set()
        assert [r[0] for r in await asyncio.gather(first, waits)] == [200, 200]


async def test_a_fault_of_the_engine_is_500_and_the_next_request_is_served():
    async with serving(
        engine=FakeEngine(fail=lambda rows: BatchFailed("no") if (rows == 13).any() else None)
    ) as client:
        assert (await client.post(body(13)))[0] == 500
        assert (await client.post(body(1)))[0] == 200


async def test_metrics_count_what_was_answered():
    async with serving() as client:
        await client.post(body(1, 2))
        await client.post(b"{")
        text = (await client.request("GET", "/metrics"))[2].decode()
    assert 'serving_requests_total{code="200"} 1.0' in text
    assert 'serving_requests_total{code="400"} 1.0' in text
    assert "serving_predictions_total 2.0" in text
    assert "serving_batch_instances_sum 2.0" in text
    assert "serving_queue_instances 0.0" in text


async def test_the_root_describes_the_model():
    async with serving({"AIP_DEPLOYED_MODEL_ID": "42"}) as client:
        got = json.loads((await client.request("GET", "/"))[2])
    assert got["model"]["version"] == "7"
    assert got["deployment"] == {"deployed_model_id": "42"}


class HungMonitoring:
    """A Cloud Monitoring that never answers a write."""

    def __init__(self):
        self.asked, self.release = threading.Event(), threading.Event()

    def connect(self): ...

    def write(self, samples, *, timeout):
        self.asked.set()
        self.release.wait(120)


async def test_requests_are_answered_and_measured_while_cloud_monitoring_hangs():
    sink, engine = HungMonitoring(), FakeEngine()
    engine.stage_seconds = {"vision_encoding": 0.25}
    exporter = Exporter(sink, period=0.001)
    try:
        async with serving(engine=engine, exporter=exporter) as client:
            assert (await client.post(body(1)))[0] == 200
            exporter.start()
            assert await asyncio.to_thread(sink.asked.wait, 60)
            for _ in range(20):
                assert (await client.post(body(1, 2)))[0] == 200
            assert (await client.post(b"{"))[0] == 400
        assert not sink.release.is_set()  # not one of them waited for the write
        recorded = {s.metric: s.values for s in exporter._take()}
        assert {metric: values.count for metric, values in recorded.items()} == {
            "vision_encoding_ms": 20,
            "total_inference_ms": 20,
        }
        assert recorded["vision_encoding_ms"].mean == 250.0
    finally:
        sink.release.set()
        await asyncio.to_thread(exporter.close)

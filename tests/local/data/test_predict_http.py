from __future__ import annotations

import asyncio

import pytest

from tests.local.data.support import ENDPOINT, PREDICT, RAW, STREAM, Bench
from tests.waiting import come
from vertex_deploy.local.data.faults import Fault
from vertex_deploy.local.data.probes import HttpGet


async def error_of(response):
    content = await response.json()
    assert set(content) == {"error"}
    assert content["error"]["code"] == response.status
    return response.status, content["error"]["status"], content["error"]["message"]


async def ready(bench, **changes):
    await bench.deploy(**changes)
    bench.plane.set_split(ENDPOINT, {"7": 100})


@pytest.mark.parametrize("prefix", ["v1", "v1beta1", "ui"])
async def test_a_prediction_says_who_made_it(bench, client, prefix):
    await ready(bench)
    response = await client.post(PREDICT.replace("v1", prefix, 1), json={"instances": ["x", {"y": 1}]})
    assert response.status == 200
    assert await response.json() == {
        "predictions": [{"by": "7", "was": "x"}, {"by": "7", "was": {"y": 1}}],
        "deployedModelId": "7",
        "model": "projects/demo/locations/us-central1/models/lite0",
        "modelDisplayName": "Lite 0",
        "modelVersionId": "3",
    }
    [served] = bench.recorder.requests
    assert (served.endpoint, served.deployed_model_id, served.code, served.predictions) == (ENDPOINT, "7", 200, 2)
    assert 0 < served.model_ms < served.total_ms


async def test_the_project_may_be_its_number(bench, client):
    await ready(bench)
    response = await client.post(PREDICT.replace("demo", "123456"), json={"instances": [1]})
    assert response.status == 200


async def test_an_unknown_endpoint_is_not_found_and_not_counted(bench, client):
    response = await client.post(PREDICT, json={"instances": [1]})
    assert await error_of(response) == (404, "NOT_FOUND", f"The Endpoint {ENDPOINT} does not exist.")
    assert bench.recorder.requests == []


async def test_an_endpoint_without_a_split_is_a_failed_precondition(bench, client):
    await bench.deploy()
    response = await client.post(PREDICT, json={"instances": [1]})
    assert await error_of(response) == (
        400,
        "FAILED_PRECONDITION",
        f"Endpoint {ENDPOINT} doesn't have traffic_split.",
    )


async def test_the_control_planes_endpoints_are_the_ones_that_exist(tmp_path):
    bench = Bench(tmp_path, resolve_endpoint=lambda name: ENDPOINT if name.endswith("/55") else None)
    assert bench.plane.find("projects/9/locations/us-central1/endpoints/55").name == ENDPOINT
    with pytest.raises(Exception, match="does not exist"):
        bench.plane.find("projects/9/locations/us-central1/endpoints/56")
    await bench.plane.close()


async def test_a_request_that_is_not_one_never_reaches_a_model(bench, client):
    await ready(bench)
    response = await client.post(PREDICT, data=b'{"instances": []}')
    status, name, message = await error_of(response)
    assert (status, name) == (400, "INVALID_ARGUMENT")
    assert "'instances' is missing or empty" in message
    assert bench.recorder.requests == []


async def test_a_containers_error_reaches_the_client_and_the_metrics(bench, client):
    await ready(bench)
    answer = {"answer": "image 0 is not an image", "status": 422}
    response = await client.post(PREDICT, json={"instances": [1], "parameters": answer})
    assert await error_of(response) == (400, "INVALID_ARGUMENT", "image 0 is not an image")
    response = await client.post(PREDICT, json={"instances": [1], "parameters": {"answer": "{}"}})
    assert (await error_of(response))[:2] == (500, "INTERNAL")
    assert [(served.code, served.predictions) for served in bench.recorder.requests] == [(400, 0), (500, 0)]


@pytest.mark.parametrize("known_length", [True, False])
async def test_a_request_over_the_limit_is_refused(bench, client, known_length):
    await ready(bench, max_bytes=1000)

    async def pieces():
        for _ in range(20):
            yield b"x" * 100

    response = await client.post(RAW, data=b"x" * 2000 if known_length else pieces())
    status, name, message = await error_of(response)
    assert (status, name) == (400, "FAILED_PRECONDITION")
    assert "exceeds 0.001MB limit" in message


async def test_an_answer_over_the_limit_is_refused(bench, client):
    await ready(bench, max_bytes=1000)
    body = {"instances": ["x" * 20] * 30}
    response = await client.post(PREDICT, json=body)
    status, name, message = await error_of(response)
    assert (status, name) == (400, "FAILED_PRECONDITION")
    assert message.startswith("The response size (")


async def test_a_model_that_takes_too_long_is_a_deadline_exceeded(bench, client):
    await ready(bench, request_timeout=0.05)
    response = await client.post(PREDICT, json={"instances": [1], "parameters": {"sleep": 0.3}})
    status, name, message = await error_of(response)
    assert (status, name) == (504, "DEADLINE_EXCEEDED")
    assert "endpoint_id: 55, deployed_model_id: 7" in message
    assert bench.recorder.requests[0].code == 504
    assert bench.recorder.requests[0].model_ms >= 50


async def test_more_requests_than_a_replica_may_hold_are_turned_away(tmp_path, aiohttp_client_for):
    bench, client = await aiohttp_client_for(max_outstanding=2)
    await ready(bench)
    body = {"instances": [1], "parameters": {"until": str(tmp_path / "go")}}
    asked = [asyncio.create_task(client.post(PREDICT, json=body)) for _ in range(5)]
    await come(lambda: sum(request.done() for request in asked) == 3)
    (tmp_path / "go").touch()
    responses = await asyncio.gather(*asked)
    assert sorted(response.status for response in responses) == [200, 200, 429, 429, 429]
    assert sorted(served.code for served in bench.recorder.requests) == [200, 200, 429, 429, 429]


async def test_without_a_healthy_replica_the_answer_is_unavailable(bench, client):
    await ready(bench)
    bench.prober.answers[HttpGet] = False
    await bench.timer.advance(41)
    response = await client.post(PREDICT, json={"instances": [1]})
    assert await error_of(response) == (503, "UNAVAILABLE", f"Deployed model 7 of {ENDPOINT} has no healthy replica.")
    assert bench.recorder.requests[0].code == 503


async def test_a_request_in_flight_on_a_replica_that_dies_is_lost_and_not_sent_twice(bench, client, tmp_path):
    await ready(bench, replicas=2)
    body = {"instances": [1], "parameters": {"until": str(tmp_path / "go"), "come": str(tmp_path / "come")}}
    lost = asyncio.create_task(client.post(PREDICT, json=body))
    replicas = bench.plane.endpoints[ENDPOINT].models["7"].replicas
    # Before it has been sent, a replica that dies is passed over: the other would get it, and keep it.
    await come((tmp_path / "come").exists)
    busy = next(index for index, replica in enumerate(replicas) if replica.outstanding)
    bench.launcher.launched[busy].kill()
    response = await lost
    status, name, message = await error_of(response)
    assert (status, name) == (503, "UNAVAILABLE")
    assert "the connection to its replica was lost" in message
    assert replicas[1 - busy].outstanding == 0
    (tmp_path / "go").touch()  # lets the handler go, too


async def test_a_replica_that_refuses_the_connection_is_passed_over(bench, client):
    await ready(bench, replicas=2)
    first, second = bench.plane.endpoints[ENDPOINT].models["7"].replicas
    # As if it had died this instant: nothing listens, and nobody has noticed.
    first.port = 1
    answers = [(await client.post(PREDICT, json={"instances": [1]})).status for _ in range(20)]
    assert answers == [200] * 20
    assert (first.outstanding, second.outstanding) == (0, 0)


async def test_a_raw_prediction_passes_body_and_content_type_both_ways(bench, client):
    await ready(bench)
    body = bytes(range(256))
    response = await client.post(RAW, data=body, headers={"Content-Type": "image/jpeg"})
    assert response.status == 200
    assert await response.read() == body
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Vertex-AI-Endpoint-Id"] == "55"
    assert response.headers["X-Vertex-AI-Deployed-Model-Id"] == "7"
    assert response.headers["X-Vertex-AI-Model"] == "projects/demo/locations/us-central1/models/lite0"
    assert bench.recorder.requests[0].predictions == 0


async def test_a_raw_prediction_passes_the_containers_error_as_it_is(bench, client):
    await ready(bench)
    body = {"instances": [1], "parameters": {"answer": "no such top_k", "status": 422}}
    response = await client.post(RAW, json=body)
    assert (response.status, await response.text()) == (422, "no such top_k")
    assert bench.recorder.requests[0].code == 422


async def test_a_stream_arrives_piece_by_piece(bench, client, tmp_path):
    await ready(bench)
    parameters = {"stream": 4, "until": str(tmp_path / "go")}
    response = await client.post(STREAM, json={"instances": [1], "parameters": parameters})
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Vertex-AI-Deployed-Model-Id"] == "7"
    first = await response.content.readany()
    assert first == b"piece 0\n"
    assert bench.recorder.requests == []
    (tmp_path / "go").touch()
    assert await response.read() == b"piece 1\npiece 2\npiece 3\n"
    await come(lambda: bench.recorder.requests)
    assert [served.code for served in bench.recorder.requests] == [200]


async def test_a_stream_that_breaks_off_does_not_look_complete(bench, client):
    await ready(bench)
    response = await client.post(STREAM, json={"instances": [1], "parameters": {"stream": 1000}})
    await response.content.readany()
    bench.launcher.launched[0].kill()
    with pytest.raises(Exception, match=r"payload|disconnected|reset"):
        await response.read()
    await come(lambda: bench.recorder.requests)
    assert [served.code for served in bench.recorder.requests] == [503]


async def test_a_fault_is_answered_and_counted_as_the_client_saw_it(bench, client):
    bench.plane.faults.put(Fault(target="lite0@3", fail_share=1, code=503, delay_share=1, delay_ms=20))
    await ready(bench)
    response = await client.post(PREDICT, json={"instances": [1]})
    assert (await error_of(response))[:2] == (503, "UNAVAILABLE")
    response = await client.post(RAW, data=b"x")
    assert (await error_of(response))[:2] == (503, "UNAVAILABLE")
    response = await client.post(STREAM, data=b"x")
    assert (await error_of(response))[:2] == (503, "UNAVAILABLE")
    assert [served.code for served in bench.recorder.requests] == [503] * 3
    assert min(served.model_ms for served in bench.recorder.requests) >= 20
    bench.plane.faults.clear()
    assert (await client.post(PREDICT, json={"instances": [1]})).status == 200


async def test_a_client_that_leaves_in_the_middle_of_a_stream_frees_the_replica(bench, client):
    await ready(bench)
    response = await client.post(STREAM, json={"instances": [1], "parameters": {"stream": 1_000_000}})
    await response.content.readany()
    [replica] = bench.plane.endpoints[ENDPOINT].models["7"].replicas
    assert replica.outstanding == 1
    response.close()
    await come(lambda: not replica.outstanding)  # noticed when the next piece is written
    assert [served.code for served in bench.recorder.requests] == [499]

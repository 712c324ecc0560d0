from __future__ import annotations

import pytest

from tests.local.data.support import ENDPOINT

FAULT = {
    "target": "lite0@3",
    "fail_share": 0.2,
    "code": 503,
    "delay_share": 0.0,
    "delay_ms": 0.0,
    "delay_up_to_ms": 0.0,
    "deployed": 0,
}


async def test_status_tells_endpoints_models_and_replicas(bench, client):
    await bench.deploy(replicas=2)
    bench.plane.set_split(ENDPOINT, {"7": 100})
    [endpoint] = (await (await client.get("/local/v1/status")).json())["endpoints"]
    assert (endpoint["name"], endpoint["split"]) == (ENDPOINT, {"7": 100})
    [model] = endpoint["deployedModels"]
    assert (model["id"], model["displayName"], model["targetReplicas"]) == ("7", "Lite 0", 2)
    assert model["model"] == "projects/demo/locations/us-central1/models/lite0@3"
    first = model["replicas"][0]
    assert first["replicaId"] == "7-0"
    assert first["healthy"]
    assert first["state"] == "healthy"
    assert first["pid"] == bench.launcher.launched[0].pid
    assert (first["restarts"], first["outstanding"]) == (0, 0)
    assert first["log"].endswith("55/7-0.log")


async def test_faults_are_set_listed_and_removed(bench, client):
    response = await client.post("/local/v1/faults", json={"target": "lite0@3", "fail_share": 0.2, "code": 503})
    assert (response.status, await response.json()) == (200, FAULT)
    await bench.deploy(replicas=1)
    assert await (await client.get("/local/v1/faults")).json() == {"faults": [{**FAULT, "deployed": 1}]}
    assert await (await client.delete("/local/v1/faults?target=other")).json() == {"removed": 0}
    assert await (await client.delete("/local/v1/faults")).json() == {"removed": 1}
    assert await (await client.get("/local/v1/faults")).json() == {"faults": []}


async def test_a_replica_is_killed_or_preempted(bench, client):
    await bench.deploy(replicas=2)
    response = await client.post("/local/v1/faults", json={"target": "7", "act": "kill"})
    assert await response.json() == {"replica": "7-0"}
    assert bench.launcher.launched[0].returncode == -9
    await bench.timer.settle()
    response = await client.post("/local/v1/faults", json={"target": "lite0", "act": "preempt", "endpoint": ENDPOINT})
    assert response.status == 200
    await bench.timer.settle()
    assert len(bench.plane.endpoints[ENDPOINT].models["7"].replicas) == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "expected an object"),
        (b'{"fail_share": 1}', 400, "target must be a string"),
        (b'{"target": "7", "fail_shar": 1}', 400, "unknown field 'fail_shar'; allowed: act, target, fail_share"),
        (b'{"target": "7", "fail_share": "all"}', 400, "fail_share must be a number"),
        (b'{"target": "7", "fail_share": true}', 400, "fail_share must be a number"),
        (b'{"target": "7", "fail_share": 1, "code": 5.5}', 400, "code must be a whole number"),
        (b'{"target": "7", "fail_share": 2}', 400, "between 0 and 1"),
        (b'{"target": "7", "act": "explode"}', 400, "act is 'explode'; allowed: kill, preempt"),
        (b'{"target": "7", "act": "kill", "code": 3}', 400, "an act has the fields"),
        (b'{"target": "7", "act": "kill"}', 404, "No replica of '7' runs"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(client, body, status, message):
    response = await client.post("/local/v1/faults", data=body)
    content = (await response.json())["error"]
    assert (response.status, content["code"]) == (status, status)
    assert message in content["message"]

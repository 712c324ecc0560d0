from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions as api
from google.cloud import storage

from tests.local.storage.conftest import url as storage_url  # noqa: F401 - a fixture
from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.gcp import AIPLATFORM_VARIABLE
from vertex_deploy.storage import EMULATOR
from vertex_deploy.targets.folders import GcsFolders, MemoryFolders, check_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "us-central1"
FOLDER = "gs://files/m/1"


class Refusing:
    """Stands for Google's client: every listing raises."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, 0

    def bucket(self, _name: str) -> Refusing:
        return self

    def list_blobs(self, **_: Any) -> Any:
        self.asked += 1
        raise self.error


class Listing:
    """Stands for Google's client: every listing has these names."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.options = names, dict[str, Any]()

    def bucket(self, _name: str) -> Listing:
        return self

    def list_blobs(self, **options: Any) -> list[SimpleNamespace]:
        self.options = options
        return [SimpleNamespace(name=name) for name in self.names[: options["max_results"]]]


@pytest.fixture
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of Google's for Local Vertex's storage, in which the bucket is."""
    monkeypatch.setenv(EMULATOR, request.getfixturevalue("storage_url"))
    monkeypatch.setenv(AIPLATFORM_VARIABLE, "http://127.0.0.1:1")
    found = storage.Client(project="p")
    found.create_bucket("files")
    yield found
    found.close()


def test_files_below_the_folder_pass_and_those_beside_it_do_not_count() -> None:
    check_folder(FOLDER, MemoryFolders(("gs://files/m/1/model.pt",)))
    with pytest.raises(RolloutError, match="there are no files below gs://files/m/1, so there is no model to upload"):
        check_folder(FOLDER, MemoryFolders(("gs://files/m/10/model.pt",)))
    with pytest.raises(
        RolloutError, match="there is no bucket for gs://files/m/1, so there is no model to upload; make the"
    ):
        check_folder(FOLDER, MemoryFolders(("gs://other/m/1/model.pt",)))


def test_what_cannot_be_told_is_no_refusal() -> None:
    with pytest.raises(CloudError, match="PERMISSION_DENIED"):
        check_folder(FOLDER, MemoryFolders(failure=CloudError("PERMISSION_DENIED", code="PERMISSION_DENIED")))


@pytest.mark.e2e
def test_local_vertex_says_whether_a_folder_has_files(client: Any) -> None:
    folders, bucket = GcsFolders(REGION), client.bucket("files")
    assert not folders.has_files(FOLDER)
    bucket.blob("m/10/model.pt").upload_from_string("x")
    bucket.blob("m/1/").upload_from_string("")  # as the console makes a folder
    assert not folders.has_files(FOLDER)
    bucket.blob("m/1/weights/model.pt").upload_from_string("x")
    assert folders.has_files(FOLDER)
    assert folders.has_files("gs://files")
    with pytest.raises(RolloutError, match="no bucket for gs://nobody/m"):
        check_folder("gs://nobody/m", folders)


@pytest.mark.parametrize(
    ("error", "asked", "said"),
    [
        (api.Forbidden("no"), 1, r"^gs://files/m/1: listing files: PERMISSION_DENIED: no; to have it checked, grant"),
        (api.ServiceUnavailable("busy"), 3, r"UNAVAILABLE after 3 attempts: busy"),
        (ConnectionResetError(), 3, r"UNAVAILABLE after 3 attempts: ConnectionResetError"),
    ],
)
def test_a_refused_look_says_what_to_grant_and_a_busy_server_is_asked_a_few_times(
    error: Exception, asked: int, said: str
) -> None:
    client = Refusing(error)
    with pytest.raises(CloudError, match=said):
        GcsFolders(REGION, client=client, sleep=lambda _s: None).has_files(FOLDER)
    assert client.asked == asked


def test_a_rehearsal_never_asks_the_cloud_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AIPLATFORM_VARIABLE, "http://127.0.0.1:1")
    monkeypatch.delenv(EMULATOR, raising=False)
    monkeypatch.setattr(storage, "Client", None)
    with pytest.raises(CloudError, match=f"Vertex AI is a local one and {EMULATOR} is not set"):
        GcsFolders(REGION).has_files(FOLDER)


def test_googles_vertex_ai_reads_no_files_of_an_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AIPLATFORM_VARIABLE, raising=False)
    monkeypatch.setenv(EMULATOR, "http://127.0.0.1:1")
    monkeypatch.setattr(storage, "Client", None)
    with pytest.raises(CloudError, match=f"Vertex AI is Google's and {EMULATOR} is set"):
        GcsFolders(REGION).has_files(FOLDER)


@pytest.mark.parametrize(("count", "known_to_be_empty"), [(99, True), (100, False)])
def test_a_folder_of_more_empty_objects_than_are_read_is_not_known_to_hold_no_files(
    count: int, *, known_to_be_empty: bool
) -> None:
    client = Listing([f"m/1/{number:03}/" for number in range(count)])
    assert GcsFolders(REGION, client=client).has_files(FOLDER) is not known_to_be_empty
    assert client.options["prefix"] == "m/1/"


def test_the_command_that_fills_a_folder_has_one_slash_however_the_folder_is_written() -> None:
    with pytest.raises(RolloutError, match=r"DIR/\* gs://files/`"):
        check_folder("gs://files/", GcsFolders(REGION, client=Listing([])))

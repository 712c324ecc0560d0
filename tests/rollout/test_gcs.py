"""The store in a bucket, through Google's client and a real socket: lost answers, busy servers, expired credentials."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import Blob
from google.cloud.storage.exceptions import DataCorruption

from tests.rollout.world import World
from vertex_deploy.errors import CloudError, StateError, UsageError
from vertex_deploy.gcp import RetryPolicy
from vertex_deploy.rollout.blobs import Stale
from vertex_deploy.rollout.engine import open_store
from vertex_deploy.rollout.gcs import GcsBlobs, parse_url
from vertex_deploy.rollout.machine import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "gs://rollouts/team/x"


class Faults:
    """Makes the next uploads fail, after or before they took effect.

    Args:
        monkeypatch: undoes it.
        errors: raised by the next uploads, in order; the rest succeed.
        after: whether the object is written all the same.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, errors: list[Exception], *, after: bool) -> None:
        self.calls = 0
        real: Callable[..., Any] = Blob.upload_from_string

        def upload(blob: Blob, *arguments: Any, **named: Any) -> None:
            self.calls += 1
            if not errors:
                real(blob, *arguments, **named)
                return
            error = errors.pop(0)
            if after:
                real(blob, *arguments, **named)
            raise error

        monkeypatch.setattr(Blob, "upload_from_string", upload)


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def blobs(bucket: Any, slept: list[float]) -> GcsBlobs:
    return GcsBlobs(URL, client=bucket, sleep=slept.append)


@pytest.mark.e2e
def test_a_write_whose_answer_was_lost_is_not_taken_for_a_lost_race(
    blobs: GcsBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = blobs.write("record.json", b"1", generation="")
    faults = Faults(monkeypatch, [api.ServiceUnavailable("lost")], after=True)
    second = blobs.write("record.json", b"2", generation=first)
    assert faults.calls == 2
    assert blobs.read("record.json") == (b"2", second)
    assert second != first


@pytest.mark.e2e
def test_a_race_that_was_lost_stays_lost_when_the_server_is_busy_as_well(
    blobs: GcsBlobs, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = blobs.write("record.json", b"1", generation="")
    GcsBlobs(URL, client=bucket).write("record.json", b"theirs", generation=first)
    Faults(monkeypatch, [api.TooManyRequests("slow down")], after=False)
    with pytest.raises(Stale):
        blobs.write("record.json", b"2", generation=first)
    assert blobs.read("record.json")[0] == b"theirs"


@pytest.mark.e2e
def test_after_a_write_that_never_got_an_answer_the_next_one_goes_on_over_it(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = GcsBlobs(URL, client=bucket, policy=RetryPolicy(attempts=1))
    first = blobs.write("record.json", b"1", generation="")
    Faults(monkeypatch, [api.ServiceUnavailable("lost")], after=True)
    with pytest.raises(CloudError, match="UNAVAILABLE"):
        blobs.write("record.json", b"2", generation=first)
    third = blobs.write("record.json", b"3", generation=first)
    assert blobs.read("record.json") == (b"3", third)
    with pytest.raises(Stale):
        blobs.write("record.json", b"4", generation=first)


@pytest.mark.e2e
def test_a_busy_bucket_is_waited_for_and_then_given_up_with_the_fix(
    blobs: GcsBlobs, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch, [api.TooManyRequests("slow down")] * 99, after=False)
    with pytest.raises(CloudError, match=r"gs://rollouts/team/x: writing a: RESOURCE_EXHAUSTED after 8 attempts") as e:
        blobs.write("a", b"1")
    assert (faults.calls, len(slept), e.value.transient) == (8, 7, True)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("error", "code", "fix"),
    [
        (auth.RefreshError("expired"), "UNAUTHENTICATED", "application-default login"),
        (api.Unauthorized("expired"), "UNAUTHENTICATED", "application-default login"),
        (api.Forbidden("no"), "PERMISSION_DENIED", "roles/storage.objectUser"),
    ],
)
def test_credentials_that_do_not_do_are_said_at_once(
    blobs: GcsBlobs, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, fix: str
) -> None:
    faults = Faults(monkeypatch, [error] * 9, after=False)
    with pytest.raises(CloudError, match=fix) as found:
        blobs.write("a", b"1")
    assert (faults.calls, found.value.code, found.value.transient) == (1, code, False)


@pytest.mark.e2e
def test_a_bucket_that_is_not_there_is_named(bucket: Any) -> None:
    with pytest.raises(CloudError, match=r"gs://nowhere: writing a: NOT_FOUND.*create the bucket"):
        GcsBlobs("gs://nowhere", client=bucket).write("a", b"1")


@pytest.mark.e2e
@pytest.mark.slow
def test_a_whole_rollout_in_a_bucket(bucket: Any) -> None:
    world = World()
    world.blobs = GcsBlobs(URL, client=bucket)
    record = world.run()
    assert record.ending is Ending.PROMOTED
    log = world.store().log(record.id)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))


class Cut:
    """A client whose downloads break off, so many times.

    Args:
        error: what the transport raises.
        times: how often.
    """

    generation = 7

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times = error, times

    def bucket(self, _name: str) -> Cut:
        return self

    def get_blob(self, _name: str, **_: Any) -> Cut:
        return self

    def download_as_bytes(self, **_: Any) -> bytes:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return b"whole"


BROKEN_OFF = [
    requests.ConnectionError("reset"),
    requests.ReadTimeout("late"),
    requests.exceptions.ChunkedEncodingError("cut"),
    urllib3.exceptions.ProtocolError("cut"),
    http.client.IncompleteRead(b"who"),
    ConnectionResetError("reset"),
    DataCorruption(None, "checksum"),
]


@pytest.mark.parametrize("error", BROKEN_OFF, ids=lambda error: type(error).__name__)
def test_an_answer_that_breaks_off_is_read_again_and_is_at_last_an_error_of_the_bucket(error: Exception) -> None:
    slept: list[float] = []
    blobs = GcsBlobs(URL, client=Cut(error, 2), sleep=slept.append)
    assert blobs.read("record.json") == (b"whole", "7")
    assert len(slept) == 2
    with pytest.raises(CloudError, match=r"reading record\.json: UNAVAILABLE after 8 attempts") as raised:
        GcsBlobs(URL, client=Cut(error, 99), sleep=slept.append).read("record.json")
    assert raised.value.transient


@pytest.mark.parametrize("url", ["gs://", "gs:///x", "s3://b/x", "https://b/x"])
def test_what_is_not_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="gs://BUCKET/PREFIX"):
        open_store("lite0", url)


def test_a_url_is_a_bucket_and_a_prefix() -> None:
    assert parse_url("gs://b/a/c/") == ("b", "a/c")
    assert parse_url("gs://b") == ("b", "")
    assert open_store("lite0", "gs://b/a/").where == "gs://b/a/lite0"


@pytest.mark.parametrize("root", ["gs://b/rollouts", ".vertex-deploy/rollouts"])
@pytest.mark.parametrize("name", ["../other", "..", "", "a/b", "/etc", "lite0@../x"])
def test_a_name_never_leads_out_of_the_root(root: str, name: str) -> None:
    with pytest.raises(StateError, match="no name of a store"):
        open_store(name, root)
    with pytest.raises(StateError, match="no name of a store"):
        open_store("lite0@prod-us", root).beside(name)


@pytest.mark.parametrize("elsewhere", ["http://storage.example:4443", "storage.example:4443", "http://10.0.0.1:1"])
def test_a_store_is_never_read_in_clear_from_another_machine(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", elsewhere)
    with pytest.raises(UsageError, match=r"STORAGE_EMULATOR_HOST=.* plaintext is allowed to this machine only"):
        GcsBlobs(URL).read("record.json")

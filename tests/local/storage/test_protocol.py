"""The JSON API on the wire: what clients meet that Google's Python client hides."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.e2e


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        async with session.post("/storage/v1/b?project=p", json={"name": "my-models"}) as answer:
            assert answer.status == 200
        yield session


async def upload(http: aiohttp.ClientSession, name: str, data: bytes, **more: str) -> dict[str, Any]:
    query = {"uploadType": "media", "name": name, **more}
    async with http.post("/upload/storage/v1/b/my-models/o", params=query, data=data) as answer:
        body: dict[str, Any] = await answer.json()
    return body


async def test_links_point_at_the_host_that_was_asked(http: aiohttp.ClientSession, url: str) -> None:
    made = await upload(http, "a/b", b"x")
    assert made["selfLink"] == f"{url}/storage/v1/b/my-models/o/a%2Fb"
    assert made["mediaLink"].startswith(f"{url}/download/storage/v1/b/my-models/o/a%2Fb?generation=")
    async with http.get(made["mediaLink"].removeprefix(url)) as answer:
        assert await answer.read() == b"x"
        assert answer.headers["X-Goog-Hash"] == f"crc32c={made['crc32c']},md5={made['md5Hash']}"


async def test_an_error_has_the_shape_of_the_api(http: aiohttp.ClientSession) -> None:
    await upload(http, "a", b"x")
    refused = await upload(http, "a", b"y", ifGenerationMatch="0")
    assert refused == {
        "error": {
            "code": 412,
            "message": "At least one of the pre-conditions you specified did not hold.",
            "errors": [
                {
                    "message": "At least one of the pre-conditions you specified did not hold.",
                    "domain": "global",
                    "reason": "conditionNotMet",
                    "locationType": "header",
                    "location": "If-Match",
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/storage/v1/b/my-models/o/none", 404),
        ("GET", "/storage/v1/b/my-models/o/none?alt=media", 404),
        ("GET", "/storage/v1/b/none-such/o", 404),
        ("GET", "/storage/v1/b", 400),
        ("GET", "/storage/v1/b/my-models/o?maxResults=x", 400),
        ("GET", "/storage/v1/b/my-models/o?pageToken=%21", 400),
        ("GET", "/storage/v1/b/my-models/o?matchGlob=*", 501),
        ("GET", "/storage/v1/b/my-models/o?softDeleted=true", 501),
        ("GET", "/storage/v1/b/my-models/o?fields=a(", 400),
        ("GET", "/storage/v1/b/my-models/o/%FF", 400),
        ("POST", "/upload/storage/v1/b/my-models/o?uploadType=media", 400),
        ("POST", "/upload/storage/v1/b/my-models/o?uploadType=other&name=a", 400),
        ("POST", "/upload/storage/v1/b/none-such/o?uploadType=media&name=a", 404),
        ("POST", "/upload/storage/v1/b/my-models/o?uploadType=multipart&name=a", 400),
        ("PUT", "/upload/storage/v1/b/my-models/o?upload_id=none", 404),
        ("POST", "/storage/v1/b?project=p", 400),
        ("POST", "/storage/v1/b/my-models/o/a/compose", 400),
        ("DELETE", "/storage/v1/b/my-models/o/none", 404),
    ],
)
async def test_a_bad_request_is_refused(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    from yarl import URL  # noqa: PLC0415 - only to send a path as it is written

    async with http.request(method, URL(path, encoded=True)) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/storage/v1/b?project=p", b'{"a": ' * 20_000 + b"1" + b"}" * 20_000),
        ("PATCH", "/storage/v1/b/my-models/o/a", b'{"contentType": "a\\r\\nSet-Cookie: b"}'),
        ("POST", "/storage/v1/b/my-models/o/a/compose", b'{"sourceObjects": [{"name": "a"}], "destination": [1]}'),
        (
            "POST",
            "/storage/v1/b/my-models/o/a/compose",
            b'{"sourceObjects": [{"name": "a", "objectPreconditions": [1]}]}',
        ),
        ("POST", "/upload/storage/v1/b/my-models/o?uploadType=media&name=b&contentEncoding=a%0d%0aSet-Cookie:b", b"x"),
    ],
    ids=["nested", "header-in-metadata", "destination", "preconditions", "header-in-upload"],
)
async def test_a_hostile_body_gets_400_and_the_object_can_still_be_read(
    http: aiohttp.ClientSession, method: str, path: str, body: bytes
) -> None:
    from yarl import URL  # noqa: PLC0415 - only to send a path as it is written

    await upload(http, "a", b"x")
    async with http.request(method, URL(path, encoded=True), data=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, 400)
    async with http.get("/storage/v1/b/my-models/o/a?alt=media", headers={"Range": f"bytes={'9' * 5000}-"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"x")


async def test_what_nobody_thought_of_is_an_error_in_the_shape_of_the_api(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("secret of the process")

    monkeypatch.setattr("vertex_deploy.local.storage.store.ObjectStore.get", broken)
    async with http.get("/storage/v1/b/my-models/o/a") as answer:
        assert answer.status == 500
        assert (await answer.json())["error"]["message"] == "Internal error; Local Vertex's log has more."
    assert "secret of the process" in caplog.text


async def test_a_bucket_with_versioning_refuses_to_list_versions_that_it_has_not_kept(
    http: aiohttp.ClientSession,
) -> None:
    path = "/storage/v1/b/my-models"
    async with http.get(f"{path}/o?versions=true") as answer:
        assert answer.status == 200
    async with http.patch(path, json={"versioning": {"enabled": True}}) as answer:
        assert (await answer.json())["versioning"] == {"enabled": True}
    async with http.get(f"{path}/o?versions=true") as answer:
        assert answer.status == 501
    async with http.get(f"{path}/o") as answer:
        assert answer.status == 200


async def test_a_download_that_has_not_changed_is_304_and_a_range_outside_416(http: aiohttp.ClientSession) -> None:
    made = await upload(http, "a", b"0123456789")
    path = "/storage/v1/b/my-models/o/a?alt=media"
    async with http.get(f"{path}&ifGenerationNotMatch={made['generation']}") as answer:
        assert answer.status == 304
    async with http.get(path, headers={"Range": "bytes=20-"}) as answer:
        assert answer.status == 416
    async with http.get(path, headers={"Range": "bytes=-3"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (206, "bytes 7-9/10")
        assert await answer.read() == b"789"


async def test_a_resumable_upload_goes_on_where_it_was(http: aiohttp.ClientSession, url: str) -> None:
    begin = "/upload/storage/v1/b/my-models/o?uploadType=resumable&name=big&ifGenerationMatch=0"
    async with http.post(begin, json={"metadata": {"a": "1"}}, headers={"X-Upload-Content-Type": "a/b"}) as answer:
        assert answer.headers["Location"].startswith(f"{url}/upload/storage/v1/b/my-models/o?")
        session = answer.headers["Location"].removeprefix(url)
    async with http.put(session, headers={"Content-Range": "bytes */10"}) as answer:
        assert (answer.status, "Range" in answer.headers) == (308, False)
    async with http.put(session, data=b"01234", headers={"Content-Range": "bytes 0-4/10"}) as answer:
        assert (answer.status, answer.headers["Range"]) == (308, "bytes=0-4")
    async with http.put(session, data=b"9", headers={"Content-Range": "bytes 9-9/10"}) as answer:
        assert answer.status == 503
    # bytes 3 and 4 are sent again
    async with http.put(session, data=b"3456789", headers={"Content-Range": "bytes 3-9/10"}) as answer:
        made = await answer.json()
        assert (answer.status, made["size"], made["contentType"], made["metadata"]) == (200, "10", "a/b", {"a": "1"})
    async with http.put(session, headers={"Content-Range": "bytes */10"}) as answer:
        assert (await answer.json())["generation"] == made["generation"]
    async with http.get("/download/storage/v1/b/my-models/o/big?alt=media") as answer:
        assert await answer.read() == b"0123456789"


async def test_a_cancelled_upload_is_gone(http: aiohttp.ClientSession, url: str) -> None:
    async with http.post("/upload/storage/v1/b/my-models/o?uploadType=resumable&name=big") as answer:
        session = answer.headers["Location"].removeprefix(url)
    async with http.delete(session) as answer:
        assert answer.status == 499
    async with http.put(session, data=b"x") as answer:
        assert answer.status == 404


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on PATH")
def test_gcloud_storage_copies_lists_reads_and_removes(url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "CLOUDSDK_CONFIG": str(tmp_path / "config"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/",
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_STORAGE_MAX_RETRIES": "1",
    }

    def gcloud(*words: str) -> str:
        done = subprocess.run(
            ["gcloud", "storage", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    small, large, back = tmp_path / "small.txt", tmp_path / "large.bin", tmp_path / "back.bin"
    small.write_text("hello\n")
    large.write_bytes(os.urandom(9 << 20))
    gcloud("buckets", "create", "gs://my-gcloud", "--location=us-central1")
    gcloud("cp", str(small), str(large), "gs://my-gcloud/dir/")
    assert gcloud("ls", "gs://my-gcloud/dir/").split() == [
        "gs://my-gcloud/dir/large.bin",
        "gs://my-gcloud/dir/small.txt",
    ]
    assert gcloud("cat", "gs://my-gcloud/dir/small.txt") == "hello\n"
    gcloud("cp", "gs://my-gcloud/dir/large.bin", str(back))
    assert back.read_bytes() == large.read_bytes()
    gcloud("rm", "-r", "gs://my-gcloud/dir")
    assert gcloud("ls", "gs://my-gcloud") == ""

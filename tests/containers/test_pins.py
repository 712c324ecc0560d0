"""Digests come from the registry itself: over real sockets, and only if they fit what was sent."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from containers.tools import __main__ as command
from containers.tools import image, pins, registry
from containers.tools.process import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
NOW = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OLD = "sha256:" + "0" * 64


class Registry(BaseHTTPRequestHandler):
    """A registry with one public tag: the answers of the distribution API, and Docker's token dance."""

    login = False
    digest: str | None = NOW

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/token":
            assert "scope=repository%3Alib%2Fpy%3Apull" in query
            return self.answer(200, b'{"token": "anonymous"}')
        if self.login and self.headers.get("Authorization") != "Bearer anonymous":
            realm = f"http://{self.headers['Host']}/token"
            challenge = f'Bearer realm="{realm}",service="r",scope="repository:lib/py:pull"'
            return self.answer(401, b"{}", {"WWW-Authenticate": challenge})
        if path == "/v2/lib/py/manifests/moved":
            return self.answer(307, b"", {"Location": "/v2/lib/py/manifests/3.11"})
        if path != "/v2/lib/py/manifests/3.11" or "image.index" not in self.headers["Accept"]:
            return self.answer(404, b"{}")
        return self.answer(200, MANIFEST, {"Docker-Content-Digest": self.digest} if self.digest else {})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def kind() -> type[Registry]:
    """A registry of the test's own, whose behaviour it may change."""
    return type("Own", (Registry,), {})


@pytest.fixture
def host(kind: type[Registry]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def reference(host: str, tag: str = "3.11") -> pins.Reference:
    return pins.Reference(host, "lib/py", tag)


@pytest.mark.parametrize("login", [False, True])
def test_a_tag_gives_its_digest_with_and_without_an_anonymous_token(
    host: str, kind: type[Registry], *, login: bool
) -> None:
    kind.login = login
    assert registry.resolve(reference(host)) == NOW


def test_the_digest_is_computed_where_the_registry_says_none(host: str, kind: type[Registry]) -> None:
    kind.digest = None
    assert registry.resolve(reference(host)) == NOW


def test_a_digest_that_does_not_fit_what_was_sent_is_refused(host: str, kind: type[Registry]) -> None:
    kind.digest = OLD
    with pytest.raises(ToolError, match="do not use it"):
        registry.resolve(reference(host))


@pytest.mark.parametrize(("tag", "says"), [("none", "answered 404; check the tag"), ("moved", "answered 307")])
def test_anything_but_a_manifest_is_an_error(host: str, tag: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        registry.resolve(reference(host, tag))


def test_a_registry_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ToolError, match="refused"):
        registry.resolve(pins.Reference("127.0.0.1:1", "lib/py", "3.11"))


@pytest.fixture
def folder(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A containers/ whose base is in the test's registry, at an older digest."""
    old = f"{host}/lib/py:3.11@{OLD}"
    (tmp_path / "bases.json").write_text(json.dumps({"images": {"BASE_IMAGE": old}, "builders": {}}))
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").write_text(f"ARG BASE_IMAGE={old}\n")
    monkeypatch.setattr(image, "FOLDER", tmp_path)
    return tmp_path


def test_pin_writes_the_new_digest_wherever_the_old_one_was(folder: Path, host: str) -> None:
    assert command.main(["pin", "--check"]) == 1
    assert OLD in (folder / "app/Dockerfile").read_text()
    assert command.main(["pin"]) == 0
    new = f"{host}/lib/py:3.11@{NOW}"
    assert (folder / "app/Dockerfile").read_text() == f"ARG BASE_IMAGE={new}\n"
    assert str(pins.load(folder / "bases.json")["images"]["BASE_IMAGE"]) == new
    assert command.main(["pin", "--check"]) == 0


def test_every_image_of_the_project_is_pinned_by_tag_and_digest() -> None:
    tables = pins.load(image.FOLDER / "bases.json")
    assert all(one.tag and one.digest for table in tables.values() for one in table.values())
    assert set(tables["builders"]) == {"_DOCKER", "_GCLOUD", "_PYTHON", "_SYFT"}


@pytest.mark.parametrize(
    "text", ["python:3.11", "docker.io/library/python", "docker.io/python:3@sha256:12", "localhost:5000/python", ""]
)
def test_what_is_not_one_image_is_refused(text: str) -> None:
    with pytest.raises(ToolError):
        pins.Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not JSON"),
        ("{}", "images and builders"),
        ('{"images": {"A": "docker.io/a/b:1"}, "builders": {}}', "no digest"),
    ],
)
def test_a_file_that_pins_less_is_refused(text: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        pins.parse(text, "bases.json")

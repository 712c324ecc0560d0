"""How a server is asked: one request a connection, nothing followed, nothing retried.

The standard library's client, because a check must see what came over the wire: a redirect is an answer, and so is a
connection that was closed. Left out: TLS (a container is asked directly, on the machine that runs it) and streaming.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from vertex_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Reply:
    """What came back.

    Args:
        status: the HTTP status; None if no answer came.
        headers: names in lower case.
        body: the whole body.
        seconds: from connecting to the last byte.
        problem: why no answer came; empty if one did.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        """One line for a finding: the status and the start of the body, or why there is none."""
        if self.status is None:
            return f"no answer ({self.problem})"
        text = " ".join(self.body[:400].decode("utf-8", "replace").split())
        return f"{self.status} {text[:160]}".rstrip()


class Server(Protocol):
    """Something that answers HTTP requests."""

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Reply:
        """Send one request and wait for the answer. Never raises for what the server does."""


class HttpServer:
    """A server at an address.

    Args:
        url: `http://HOST:PORT`, without a path.
        timeout_s: how long connecting, and each read after it, may take.

    Raises:
        UsageError: not such a URL.
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query or not port:
            raise UsageError(f"{url!r} is not the address of a container: write http://HOST:PORT, without a path")
        self._host, self._port, self._timeout_s = parts.hostname, port, timeout_s

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Reply:
        """Send one request on a connection of its own.

        A server may answer before it has read the whole body (413 and close): the answer is read even if sending fails.
        """
        started = time.monotonic()
        headers = {"Content-Type": content_type} if content_type else {}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        with contextlib.closing(connection):
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body or None, headers)
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
                return Reply(None, seconds=time.monotonic() - started, problem=problem)
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, data, time.monotonic() - started)

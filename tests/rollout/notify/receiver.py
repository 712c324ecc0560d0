"""Somebody who is told: a server on loopback that keeps what it gets."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Kept = list[tuple[str, dict[str, str], bytes]]
"""Path, headers and body of each request, in order."""


@contextmanager
def receiver(status: int = 200, *, location: str = "", refuse: int = 0) -> Iterator[tuple[str, Kept]]:
    """Its address (HOST:PORT), and what it keeps.

    Args:
        status: of its answers.
        location: header of its answers, if any.
        refuse: so many first requests are answered 503 and not kept.
    """
    got: Kept = []
    left = [refuse]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            refused, left[0] = left[0] > 0, left[0] - 1
            if not refused:
                got.append((self.path, dict(self.headers), body))
            self.send_response(503 if refused else status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

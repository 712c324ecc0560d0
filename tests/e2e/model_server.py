"""A serving container in 60 lines, for tests: answers with the text in WHO.

AIP_HTTP_PORT, AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE are obeyed. EXIT makes it end at once, with that code. It can be
bad in ways that depend on counts and clocks, never on chance: FAIL_EVERY=3 fails each third prediction, SLOW_EVERY=8
takes SLOW_SECONDS for each eighth, SLOW_START=4 takes them for each in the four seconds after the first.
"""

import itertools
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAIL_EVERY, SLOW_EVERY = int(os.environ.get("FAIL_EVERY", "0")), int(os.environ.get("SLOW_EVERY", "0"))
SLOW_START, SLOW_SECONDS = float(os.environ.get("SLOW_START", "0")), float(os.environ.get("SLOW_SECONDS", "0"))
NUMBERS = itertools.count(1)
BEGAN: list[float] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # One write: two would wait for a delayed acknowledgement.
        self._headers_buffer.append(b"\r\n" + body)
        self.flush_headers()

    def do_GET(self) -> None:
        self.reply(200 if self.path == os.environ["AIP_HEALTH_ROUTE"] else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != os.environ["AIP_PREDICT_ROUTE"]:
            return self.reply(404, {})
        number, now = next(NUMBERS), time.monotonic()
        BEGAN.append(now)
        if (SLOW_EVERY and number % SLOW_EVERY == 0) or now - BEGAN[0] < SLOW_START:
            time.sleep(SLOW_SECONDS)
        if FAIL_EVERY and number % FAIL_EVERY == 0:
            return self.reply(500, {"error": "out of memory"})
        answer = {"who": os.environ["WHO"], "artifacts": os.environ["AIP_STORAGE_URI"]}
        return self.reply(200, {"predictions": [answer] * len(json.loads(body)["instances"])})

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


if "EXIT" in os.environ:
    sys.stderr.write("cannot load the model\n")
    sys.exit(int(os.environ["EXIT"]))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()

"""A model server of the standard library alone, for tests with real processes.

TINY_START_DELAY delays listening, TINY_EXIT exits with that code at once after a line on stderr, TINY_HEALTH is what
health checks get. ``{"instances": [...], "parameters": {"sleep": S}}`` sleeps, ``{"until": PATH}`` waits for a file;
SIGTERM lets it finish what it has.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if "TINY_EXIT" in os.environ:
    sys.stdout.write("loading weights\n")
    sys.stdout.flush()
    sys.stderr.write("RuntimeError: weights are corrupt\n")
    sys.exit(int(os.environ["TINY_EXIT"]))

time.sleep(float(os.environ.get("TINY_START_DELAY", "0")))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(int(os.environ.get("TINY_HEALTH", "200")), {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parameters = body.get("parameters") or {}
        time.sleep(parameters.get("sleep", 0))
        while "until" in parameters and not os.path.exists(parameters["until"]):  # noqa: PTH110 - as small as can be
            time.sleep(0.02)
        me = {"pid": os.getpid(), "id": os.environ["AIP_DEPLOYED_MODEL_ID"], "path": self.path}
        if parameters.get("environment"):
            me["environment"] = dict(os.environ)
        self.answer(200, {"predictions": [me] * len(body["instances"])})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((os.environ["SERVING_HOST"], int(os.environ["AIP_HTTP_PORT"])), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
sys.stderr.write("serving\n")
server.serve_forever()
server.server_close()

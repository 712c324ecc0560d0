"""Log lines as Cloud Logging reads them: one JSON object a line, on stdout.

Vertex AI records everything on stderr with severity ERROR, so stderr carries nothing but the reason of an exit.
Left out: an access log (the endpoint's own access logging has it) and trace ids.
"""

from __future__ import annotations

import logging
import sys
import time

import orjson


class JsonFormatter(logging.Formatter):
    """``{"severity", "time", "message", "logger"}``; a traceback goes into the message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        moment = time.gmtime(record.created)
        line = {
            "severity": record.levelname,
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.msecs):03d}Z",
            "message": message,
            "logger": record.name,
        }
        return orjson.dumps(line).decode()


def setup() -> None:
    """Send every logger to stdout; uvicorn's own chatter from WARNING up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "google", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)

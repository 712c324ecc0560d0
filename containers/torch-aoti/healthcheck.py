# ruff: noqa: INP001 - a program of the image, not a module of the project
"""Exit 0 if the server in this container is healthy: what HEALTHCHECK of the Dockerfile runs.

It asks the same question as Vertex AI (`GET AIP_HEALTH_ROUTE` must give exactly 200) on the same port. It leaves out
retries and periods: the container engine has its own.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 8.0  # below HEALTHCHECK's 10 s, so that the reason is printed rather than the check killed


def main() -> int:
    """Print the status that the health route gave, and return 0 if it is 200, else 1."""
    port = int(os.environ.get("AIP_HTTP_PORT") or 8080)
    route = os.environ.get("AIP_HEALTH_ROUTE") or "/health"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", route)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"GET 127.0.0.1:{port}{route}: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"GET {route}: {status}\n")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    raise SystemExit(main())

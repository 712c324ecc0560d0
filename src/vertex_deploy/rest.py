"""Google's REST APIs where there is no client: an authorized session, retries, and errors turned into one line.

Loopback in clear text goes without credentials and past every proxy; anything else is https with the application
default credentials (``gcp.parse_address`` refuses what is neither). Left out: streaming and paging.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, UsageError, one_line
from vertex_deploy.gcp import (
    FIXES,
    MONITORING_REST_VARIABLE,
    MONITORING_VARIABLE,
    RetryPolicy,
    cloud_error,
    code_of,
    monitoring_address,
    parse_address,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vertex_deploy.gcp import Address

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 30.0
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status -> the code that gRPC would give, by the mapping of google.rpc.Code; 408 and 502 are a proxy's words."""
_OK = 200


def session(address: Address) -> Any:
    """A ``requests.Session`` that sends Google credentials, or none to plaintext loopback.

    Raises:
        CloudError: there are no credentials.
    """
    import google.auth  # noqa: PLC0415 - heavy: only when a call is made
    from google.auth import credentials, exceptions  # noqa: PLC0415 - see above
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415 - see above

    if address.plaintext:
        found: Any = AuthorizedSession(credentials.AnonymousCredentials())  # type: ignore[no-untyped-call]
        # Loopback is never behind a proxy.
        found.trust_env = False
        return found
    try:
        default, _ = google.auth.default(scopes=[SCOPE])
    except exceptions.GoogleAuthError as error:
        raise CloudError(
            f"{address.target}: no credentials ({error}); {FIXES['UNAUTHENTICATED']}", code="UNAUTHENTICATED"
        ) from error
    return AuthorizedSession(default)  # type: ignore[no-untyped-call]


def call(found: Any, method: str, url: str, *, timeout: float = TIMEOUT, **options: Any) -> Any:
    """One request; the answer's JSON.

    Args:
        found: from ``session``.
        method: GET or POST.
        url: whole address.
        timeout: seconds.
        options: ``params`` or ``json``, as requests takes them.

    Raises:
        CloudError: refused, failed or not answered.
    """
    what = f"{method} {url}"
    try:
        answer = found.request(method, url, timeout=timeout, allow_redirects=False, **options)
    except OSError as error:  # what requests raises is an OSError
        raise cloud_error(what, "UNAVAILABLE", one_line(error)) from error
    except Exception as error:
        from google.auth import exceptions  # noqa: PLC0415 - heavy: only when a call is made

        if not isinstance(error, exceptions.GoogleAuthError):
            raise
        raise cloud_error(what, code_of(error), one_line(error)) from error
    if answer.status_code != _OK:
        raise cloud_error(what, CODES.get(answer.status_code, "UNKNOWN"), _message(answer))
    try:
        return answer.json()
    except ValueError as error:
        raise cloud_error(what, "INTERNAL", "the answer is not JSON") from error


def monitoring() -> Callable[[str, Mapping[str, str]], Any]:
    """GET below Cloud Monitoring's root; see ``getter``.

    Raises:
        UsageError: Monitoring is on this machine, and where its REST API is was not said.
    """
    value = os.environ.get(MONITORING_REST_VARIABLE)
    address = parse_address(value, MONITORING_REST_VARIABLE) if value else monitoring_address()
    if not value and address.plaintext:
        raise UsageError(
            f"{MONITORING_VARIABLE} points at this machine but {MONITORING_REST_VARIABLE} is not set; set both, as "
            "`vertex-deploy local env` prints them"
        )
    return getter(address)


def getter(address: Address, *, sleep: Callable[[float], None] = time.sleep) -> Callable[[str, Mapping[str, str]], Any]:
    """GET below an API's root: path and query in, JSON out; transient failures are tried again.

    Args:
        address: of the API.
        sleep: waits between attempts; tests pass their own.
    """
    held: list[Any] = []
    root = f"{'http' if address.plaintext else 'https'}://{address.target}"
    policy = RetryPolicy()

    def get(path: str, query: Mapping[str, str]) -> Any:
        if not held:
            held.append(session(address))
        attempt = 0
        while True:
            attempt += 1
            try:
                return call(held[0], "GET", f"{root}/{path}", params=dict(query))
            except CloudError as error:
                delay = policy.delay(attempt, error.code, random.random())  # noqa: S311 - jitter, not a secret
                if delay is None:
                    raise
            sleep(delay)

    return get


def _message(answer: Any) -> str:
    try:
        return one_line(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {one_line(answer.text[:200])}"

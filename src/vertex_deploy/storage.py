"""Cloud Storage through Google's own client, made and called in one place: addresses, retries, errors as one line.

``STORAGE_EMULATOR_HOST`` sends it to Local Vertex, as the client does by itself, and only to this machine in clear.

Left out: what is read and written, and what a failed precondition means (``rollout.gcs``, ``targets.folders``).
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from vertex_deploy.errors import CloudError, one_line
from vertex_deploy.gcp import FIXES, TRANSIENT, RetryPolicy, code_of, parse_address
from vertex_deploy.rest import CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

SCHEME = "gs://"
EMULATOR = "STORAGE_EMULATOR_HOST"

# One object takes about one write a second (https://cloud.google.com/storage/quotas): 429 is ordinary, and waited out.
POLICY = RetryPolicy(attempts=8, first=1.0, ceiling=8.0)

_SERVER_ERROR = 500
_FIXES = {code: FIXES[code] for code in ("UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED")}


def storage_client() -> Any:
    """A ``google.cloud.storage.Client`` for reading and writing objects, which are no project's.

    Raises:
        UsageError: ``STORAGE_EMULATOR_HOST`` is another machine.
        google.auth.exceptions.GoogleAuthError: there are no credentials.
    """
    emulator = os.environ.get(EMULATOR)
    if emulator:
        # What comes from there decides where traffic goes; Google's client would ask any host in clear.
        parse_address(emulator if "://" in emulator else f"http://{emulator}", EMULATOR)
    from google.cloud import storage  # type: ignore[attr-defined,import-untyped,unused-ignore]  # noqa: PLC0415 - heavy

    # Without a word about the project it asks the environment for one, and credentials need not have any.
    return storage.Client(project=None)


@dataclass(frozen=True, slots=True)
class StorageCaller:
    """Calls Google's storage client: retries what may succeed later, turns the rest into ``CloudError``.

    Args:
        fixes: code -> what to do about it, beside what is the same for everything in Cloud Storage.
        policy: when to try again.
        sleep: waits between attempts; tests pass their own.
    """

    fixes: Mapping[str, str] = field(default_factory=dict)
    policy: RetryPolicy = POLICY
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, work: Callable[[], T], *, where: str, what: str) -> T:
        """Do some work with the client.

        Args:
            work: makes the calls; may be repeated.
            where: bucket and prefix, for the message.
            what: what is done there, for the message.

        Raises:
            CloudError: refused, or no answer in all attempts.
            google.api_core.exceptions.PreconditionFailed: the caller's to understand.
        """
        from google.api_core import exceptions as api  # noqa: PLC0415 - heavy: only when a call is made
        from google.auth import exceptions as auth  # noqa: PLC0415 - heavy: only when a call is made

        attempt = 0
        while True:
            attempt += 1
            try:
                return work()
            except api.PreconditionFailed:
                raise
            except auth.GoogleAuthError as error:
                code, message = code_of(error), str(error)
            except api.GoogleAPICallError as error:
                code, message = _code(error), _said(error)
            except _broken_off() as error:
                code, message = "UNAVAILABLE", type(error).__name__
            # Full jitter: several controllers must not come back together.
            delay = self.policy.delay(attempt, code, random.random())  # noqa: S311 - not a secret
            if delay is None:
                raise self._failure(where, what, code, message, attempt)
            self.sleep(delay)

    def _failure(self, where: str, what: str, code: str, message: str, attempts: int) -> CloudError:
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        found = {**_FIXES, **self.fixes}.get(code)
        said = one_line(message) or "no message"
        fix = f"; {found}" if found else ""
        return CloudError(f"{where}: {what}: {code}{tried}: {said}{fix}", code=code, transient=code in TRANSIENT)


def _code(error: Any) -> str:
    status = int(error.code or 0)
    return "UNAVAILABLE" if status >= _SERVER_ERROR else CODES.get(status, "UNKNOWN")


def _said(error: Any) -> str:
    """What the API said: of a refused upload, the client's message is the whole exchange."""
    try:
        return str(error.response.json()["error"]["message"])
    except (AttributeError, KeyError, TypeError, ValueError, OSError, RuntimeError):
        # None, of another kind, or of a stream that broke off or was read by somebody else.
        return str(error.message)


def _broken_off() -> tuple[type[Exception], ...]:
    """What Google's client lets through when a connection breaks, also in the middle of a body, or a body is damaged.

    The transport's own of what its retries would take up (google.cloud.storage.retry), which are off here.
    """
    from http.client import HTTPException  # noqa: PLC0415 - beside the others

    from google.cloud.storage.exceptions import DataCorruption  # noqa: PLC0415 - heavy: only when a call is made
    from requests import exceptions as transport  # noqa: PLC0415 - see above
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - see above

    of_requests = (transport.ConnectionError, transport.Timeout, transport.ChunkedEncodingError)
    return (*of_requests, transport.ContentDecodingError, ConnectionError, HTTPException, HTTPError, DataCorruption)

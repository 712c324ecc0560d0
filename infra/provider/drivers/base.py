"""What the drivers share: clients, waiting for operations that can be cancelled, and what a driver answers.

Google's clients come from ``vertex_deploy.gcp``, so that addresses, credentials, retries and one-line errors are those
of the rollout tool, and Local Vertex is reached the same way.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vertex_deploy import gcp
from vertex_deploy.errors import CloudError, OperationFailed, OperationTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.provider.resources.base import Inputs

NOT_FOUND = "NOT_FOUND"
_FIRST_POLL = 0.1
_SLOWEST_POLL = 10.0


class Cancelled(CloudError):  # noqa: N818 - named for what happened, as the project's other errors are
    """The engine asked to stop while something was waited for."""


class Incomplete(CloudError):  # noqa: N818 - see Cancelled
    """The resource exists, but what was asked for did not finish: the engine keeps this state and goes on from it.

    Args:
        message: what did not finish, and the fix.
        ident: the resource's id.
        properties: its inputs and outputs as far as they are true.
    """

    def __init__(self, message: str, ident: str, properties: Mapping[str, Any]) -> None:
        super().__init__(message, code="ABORTED")
        self.ident = ident
        self.properties = dict(properties)


@dataclass(frozen=True, slots=True)
class Found:
    """What reading a resource gave.

    Args:
        ident: its id.
        properties: inputs and outputs.
        inputs: inputs as a check would give them.
    """

    ident: str
    properties: Inputs
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine says beside a resource's properties.

    Args:
        urn: of the resource.
        timeout: seconds to wait for an operation; 0: the driver's own limit.
    """

    urn: str
    timeout: float = 0.0


class Driver(Protocol):
    """Creates, reads, updates and deletes resources of one type."""

    def create(self, news: Inputs, request: Request) -> tuple[str, Inputs]:
        """Create it; its id, and its inputs and outputs.

        Raises:
            Incomplete: it exists, but is not all that was asked for.
            CloudError: it does not exist.
        """
        ...

    def read(self, ident: str, state: Inputs, inputs: Inputs) -> Found | None:
        """What is there, or None. State and inputs are empty at an import."""
        ...

    def update(self, ident: str, state: Inputs, olds: Inputs, news: Inputs, request: Request) -> Inputs:
        """Bring it to new inputs; its inputs and outputs.

        Raises:
            Incomplete: part of it was done.
            CloudError: nothing was done.
        """
        ...

    def delete(self, ident: str, state: Inputs, request: Request) -> None:
        """Delete it; one that is gone is deleted already."""
        ...


@dataclass(slots=True)
class Cloud:
    """Calls to Vertex AI that end when the engine cancels.

    Args:
        address: where Vertex AI is; None: the variable or the region's own host.
        clock: seconds, for timeouts.
        cancelled: set once the engine has cancelled; every wait ends then.
    """

    address: gcp.Address | None = None
    clock: Callable[[], float] = time.monotonic
    cancelled: threading.Event = field(default_factory=threading.Event)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def models(self, region: str) -> Any:
        """The ModelServiceClient of a region."""
        return self._client("models", region, gcp.model_client)

    def endpoints(self, region: str) -> Any:
        """The EndpointServiceClient of a region."""
        return self._client("endpoints", region, gcp.endpoint_client)

    def _client(self, kind: str, region: str, make: Callable[[str, gcp.Address | None], Any]) -> Any:
        with self._lock:
            if (kind, region) not in self._clients:
                self._clients[kind, region] = make(region, self.address)
            return self._clients[kind, region]

    def call(self, method: Callable[..., Any], request: Any, *, what: str, repeatable: bool = True) -> Any:
        """Make one call, with retries.

        Raises:
            CloudError: the API refused, or did not answer.
            Cancelled: the engine cancelled between two attempts.
        """
        return gcp.Caller(sleep=self.pause)(method, request, what=what, repeatable=repeatable)

    def find(self, method: Callable[..., Any], request: Any, *, what: str) -> Any:
        """Make one call that reads; None where nothing is there.

        Raises:
            CloudError: as ``call``, but for NOT_FOUND.
        """
        try:
            return self.call(method, request, what=what)
        except CloudError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def pause(self, seconds: float) -> None:
        """Wait, or stop waiting.

        Raises:
            Cancelled: the engine cancelled.
        """
        if self.cancelled.wait(seconds):
            raise Cancelled("cancelled; run the command again: it goes on where it was", code="CANCELLED")

    def wait(self, client: Any, operation: str, *, timeout: float, what: str) -> Any:
        """Wait for an operation; the finished ``google.longrunning.Operation``.

        Args:
            client: any client of the operation's region.
            operation: its name.
            timeout: seconds.
            what: call and resource, for messages.

        Raises:
            OperationFailed: it is done and holds an error.
            OperationTimeout: it is not done in time; it goes on at Google's side.
            Cancelled: the engine cancelled; it goes on at Google's side.
        """
        deadline, delay = self.clock() + timeout, _FIRST_POLL
        while True:
            found = self.call(client.get_operation, {"name": operation}, what=f"GetOperation {operation}")
            if found.done:
                break
            if self.clock() >= deadline:
                raise OperationTimeout(
                    f"{what}: not done after {timeout:g} s; it goes on: run the command again, or raise "
                    f"customTimeouts ({operation})",
                    code="DEADLINE_EXCEEDED",
                )
            self.pause(delay)
            delay = min(delay * 1.5, _SLOWEST_POLL)
        if found.HasField("error"):
            failure = gcp.cloud_error(what, _code_name(found.error.code), " ".join(found.error.message.split()))
            raise OperationFailed(str(failure), code=failure.code)
        return found


def _code_name(code: int) -> str:
    from google.rpc import code_pb2  # noqa: PLC0415 - heavy: only when a call is made

    return str(code_pb2.Code.Name(code)) if code in code_pb2.Code.values() else str(code)

"""Long-running operations: started by the other services, kept in the store, served as google.longrunning.Operations.

An operation answers at once and works in the background. Its record is written at every change, so that after a
restart a client still finds it; one that was under way then holds an error. Done may hold an error: that is the API.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.aiplatform_v1 import types as aip
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import status_pb2

from vertex_deploy.local.control import listing
from vertex_deploy.local.control.names import new_id
from vertex_deploy.local.control.refusals import missing, precondition
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vertex_deploy.local.control.names import Projects
    from vertex_deploy.local.seams import Clock
    from vertex_deploy.local.state import Store
    from vertex_deploy.local.wire import Context

_log = logging.getLogger(__name__)
_KIND = "operations"
_CANCELLED, _ABORTED, _INTERNAL = (
    code.value[0] for code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL)
)


class Progress:
    """What an operation's work may tell about itself.

    Args:
        metadata: proto-plus metadata with ``generic_metadata``, changed in place.
        save: writes the record.
        commit: from here on the operation cannot be cancelled; what is left is carried through.
    """

    def __init__(self, metadata: Any, save: Callable[[], None], commit: Callable[[], None]) -> None:
        self.metadata = metadata
        self._save = save
        self.commit = commit

    def stage(self, name: str) -> None:
        """Enter a deployment stage, by its name in DeploymentStage."""
        self.metadata.deployment_stage = getattr(aip.DeploymentStage, name)
        self._save()


class Operations:
    """All operations.

    Args:
        store: where they are kept.
        projects: numbers of projects in names.
        clock: times of the metadata.
        render: gives an operation in the version that it was created in, for paths without version.
    """

    def __init__(
        self, store: Store, projects: Projects, clock: Clock, render: Callable[[Any, str], Any] = lambda op, _: op
    ) -> None:
        self._store = store
        self._projects = projects
        self._clock = clock
        self._render = render
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancellable: set[str] = set()
        self._closing = False

    # --- for the other services ---------------------------------------------------------------------------------

    def start(
        self,
        resource: str,
        metadata: Any,
        work: Callable[[Progress], Awaitable[Any]],
        context: Context,
        *,
        cancellable: bool = False,
    ) -> operations_pb2.Operation:
        """Begin an operation.

        Args:
            resource: name of the resource it works on; its own name follows from it.
            metadata: proto-plus message with a ``generic_metadata``.
            work: does it; what it returns (proto-plus or Empty) is the response, an ``ApiError`` the error.
            context: of the call that started it.
            cancellable: whether CancelOperation stops it; what would be left half done is carried through.

        Returns:
            The operation, not yet done.
        """
        operation = operations_pb2.Operation(name=f"{resource}/operations/{new_id()}")
        version = context.version or "v1"
        now = self._clock.now()
        generic = type(metadata).pb(metadata).generic_metadata
        generic.create_time.FromNanoseconds(int(now * 1e9))

        def save() -> None:
            generic.update_time.FromNanoseconds(int(self._clock.now() * 1e9))
            operation.metadata.Pack(type(metadata).pb(metadata))
            self._store.put(_KIND, operation.name, operation.SerializeToString(), version)

        save()
        started = operations_pb2.Operation()
        started.CopyFrom(operation)
        progress = Progress(metadata, save, lambda: self._cancellable.discard(operation.name))
        task = asyncio.create_task(self._run(operation, work, progress, save), name=operation.name)
        self._tasks[operation.name] = task
        if cancellable:
            self._cancellable.add(operation.name)
        task.add_done_callback(lambda _: self._forget(operation.name))
        return started

    def _forget(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._cancellable.discard(name)

    async def _run(
        self, operation: Any, work: Callable[[Progress], Awaitable[Any]], progress: Progress, save: Callable[[], None]
    ) -> None:
        try:
            result = await work(progress)
        except ApiError as error:
            operation.error.CopyFrom(status_pb2.Status(code=error.code.value[0], message=error.message))
        except asyncio.CancelledError:
            if self._closing:
                return  # the next start ends it, with the reason
            operation.error.CopyFrom(status_pb2.Status(code=_CANCELLED, message="The operation was cancelled."))
        except Exception:  # noqa: BLE001 - an operation must end, whatever happened; the log has the traceback
            _log.exception("%s failed", operation.name)
            operation.error.CopyFrom(status_pb2.Status(code=_INTERNAL, message="Internal error encountered."))
        else:
            operation.response.Pack(result if isinstance(result, empty_pb2.Empty) else type(result).pb(result))
        operation.done = True
        save()

    def end_interrupted(self) -> list[str]:
        """After a restart: end what was under way with ABORTED; the names of those operations."""
        ended = []
        for name, data, version in self._store.scan(_KIND):
            operation = operations_pb2.Operation.FromString(data)
            if not operation.done:
                operation.done = True
                message = "Local Vertex was restarted while the operation was under way; start it again."
                operation.error.CopyFrom(status_pb2.Status(code=_ABORTED, message=message))
                self._store.put(_KIND, name, operation.SerializeToString(), version)
                ended.append(name)
        return ended

    async def close(self) -> None:
        """Cancel what is under way and wait for it."""
        self._closing = True
        await asyncio.sleep(0)  # see cancel_operation
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- google.longrunning.Operations ---------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        """The stored name: the project by its number."""
        head, _, rest = name.removeprefix("projects/").partition("/")
        return f"projects/{self._projects.number(head)}/{rest}"

    def _read(self, name: str, context: Context) -> Any:
        found = self._store.get(_KIND, self._name(name))
        if found is None:
            raise missing("Operation", name)
        operation = operations_pb2.Operation.FromString(found[0])
        return operation if context.version else self._render(operation, found[1])

    async def get_operation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """One operation."""
        return self._read(request.name, context)

    async def wait_operation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """Wait until it is done or the request's timeout (30 s where it has none) is over."""
        task = self._tasks.get(self._name(request.name))
        if task is not None:
            limit = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else 30.0
            await asyncio.wait({task}, timeout=limit)
        return self._read(request.name, context)

    async def list_operations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        """Operations of a resource, or of all in a location; a filter on ``done`` is evaluated."""
        prefix = self._name(request.name.removesuffix("/operations"))
        match = listing.matcher(request.filter, {"done": lambda op: str(op.done).lower()})
        names = [name for name, _, _ in self._store.scan(_KIND, prefix + "/")]
        found = [op for op in (self._read(name, context) for name in names) if match(op)]
        cut = listing.page(found, request.page_size, request.page_token)
        return operations_pb2.ListOperationsResponse(operations=cut.items, next_page_token=cut.next_token)

    async def cancel_operation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        """Ask it to stop; the API promises no more. One that is done or cannot stop half way is left as it is."""
        self._read(request.name, context)
        name = self._name(request.name)
        if name in self._cancellable:
            # Not at once: a task that is cancelled before its first step never runs, not even its cleaning up.
            asyncio.get_running_loop().call_soon(self._cancel, name)
        return empty_pb2.Empty()

    def _cancel(self, name: str) -> None:
        if name in self._cancellable:
            self._tasks[name].cancel()

    async def delete_operation(
        self, request: operations_pb2.DeleteOperationRequest, context: Context
    ) -> empty_pb2.Empty:
        """Forget one that is done."""
        if not self._read(request.name, context).done:
            raise precondition(f"The Operation {request.name} is not done; cancel it first.")
        self._store.delete(_KIND, self._name(request.name))
        return empty_pb2.Empty()

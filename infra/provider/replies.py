"""From what the tables and drivers say to the protocol's messages. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.rpc import code_pb2, status_pb2
from pulumi.runtime.proto import provider_pb2 as proto

from infra.provider.values import encode, redact
from vertex_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infra.provider.drivers.base import Incomplete
    from infra.provider.properties import Change, Diff, Failure
    from infra.provider.values import Path
    from vertex_deploy.errors import VertexDeployError

_KINDS = {
    ("add", False): proto.PropertyDiff.ADD,
    ("add", True): proto.PropertyDiff.ADD_REPLACE,
    ("delete", False): proto.PropertyDiff.DELETE,
    ("delete", True): proto.PropertyDiff.DELETE_REPLACE,
    ("update", False): proto.PropertyDiff.UPDATE,
    ("update", True): proto.PropertyDiff.UPDATE_REPLACE,
}


def check_response(inputs: Mapping[str, Any], failures: Iterable[Failure], secrets: Iterable[Path]) -> Any:
    """A ``CheckResponse``: checked inputs, or failures that name their property and quote no secret."""
    told = [
        proto.CheckFailure(property=failure.property, reason=redact(failure.reason, inputs, secrets))
        for failure in failures
    ]
    return proto.CheckResponse(failures=told) if told else proto.CheckResponse(inputs=encode(inputs, secrets))


def diff_response(diff: Diff, stables: Iterable[str] = ()) -> Any:
    """A ``DiffResponse`` with a detailed diff."""
    return proto.DiffResponse(
        changes=proto.DiffResponse.DIFF_SOME if diff.changes else proto.DiffResponse.DIFF_NONE,
        diffs=diff.properties,
        replaces=diff.replaces,
        stables=list(stables),
        deleteBeforeReplace=diff.delete_first,
        hasDetailedDiff=True,
        detailedDiff={path: _property_diff(change) for path, change in diff.changes.items()},
    )


def _property_diff(change: Change) -> Any:
    return proto.PropertyDiff(kind=_KINDS[change.kind, change.replace], inputDiff=True)


def error_status(error: VertexDeployError, message: str) -> status_pb2.Status:
    """A failed call's status, under the API's own code where there is one.

    What was refused before any call has INVALID_ARGUMENT: after UNKNOWN the engine takes it that something may have
    been made, and keeps a pending operation that people must look into.

    Args:
        error: what was raised.
        message: its text, redacted.
    """
    code = "INVALID_ARGUMENT" if isinstance(error, UsageError) else getattr(error, "code", "")
    known = code in set(code_pb2.Code.keys()) and code != "OK"
    return status_pb2.Status(code=code_pb2.Code.Value(code) if known else code_pb2.UNKNOWN, message=message)


def init_failed(error: Incomplete, message: str, secrets: Iterable[Path]) -> status_pb2.Status:
    """A failed call's status that carries the resource as far as it exists (``ErrorResourceInitFailed``).

    Args:
        error: holds the id and the properties.
        message: its text, redacted.
        secrets: paths of the properties that leave as secrets.
    """
    status = error_status(error, message)
    detail = proto.ErrorResourceInitFailed(
        id=error.ident, properties=encode(error.properties, secrets), reasons=[message]
    )
    status.details.add().Pack(detail)
    return status

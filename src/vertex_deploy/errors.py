"""Every error that vertex-deploy raises on purpose, and the exit code of each.

The tree::

    VertexDeployError            1   something went wrong that has no narrower class
    ├── UsageError               2   the command line is wrong
    ├── SpecError                3   deploy.yaml is wrong; holds every problem found, each with file and line
    ├── CloudError               4   a Google API refused, failed or did not answer
    │   ├── OperationFailed      4   a long-running operation is done and holds an error
    │   ├── OperationTimeout     4   a long-running operation was not done in the time the spec allows
    │   └── SplitConflict        4   the endpoint was changed by somebody else (etag mismatch)
    ├── LocalError               5   Local Vertex could not start, is not running, or refused
    │   └── ImageNotMapped       5   an image reference has no local command
    ├── RolloutError             6   a rollout cannot start or go on
    │   ├── RolloutBusy          6   another controller holds the rollout's lease
    │   └── StateError           6   the stored state of a rollout cannot be read
    └── ContractError            7   a serving container breaks Vertex AI's contract

A message is one line: what is wrong, where, and the fix. The command line prints it without a traceback (``--debug``
shows one). Outcomes of a rollout are not errors and have exit codes of their own (``ExitCode``).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitCode(IntEnum):
    """What ``vertex-deploy`` exits with; documented in ``docs/reference/exit-codes.md``."""

    OK = 0
    ERROR = 1
    USAGE = 2
    SPEC = 3
    CLOUD = 4
    LOCAL = 5
    ROLLOUT = 6
    CONTRACT = 7
    ROLLED_BACK = 10
    ABORTED = 11
    INCONCLUSIVE = 12


class VertexDeployError(Exception):
    """The root of the tree; ``exit_code`` is what the command line exits with."""

    exit_code: ExitCode = ExitCode.ERROR


class UsageError(VertexDeployError):
    """The command line is wrong: an unknown option, a file that is not there."""

    exit_code = ExitCode.USAGE


class SpecError(VertexDeployError):
    """deploy.yaml is wrong.

    Args:
        problems: one line each, ``file:line: field: what is wrong; the fix``. All problems are reported at once.
    """

    exit_code = ExitCode.SPEC

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CloudError(VertexDeployError):
    """A Google API refused, failed or did not answer.

    Args:
        message: which call, which resource, what was answered, and the fix.
        code: the gRPC code's name (``PERMISSION_DENIED``), or "" if there was no answer to take it from.
        transient: the same call may succeed later; retries inside the call are already used up.
    """

    exit_code = ExitCode.CLOUD

    def __init__(self, message: str, *, code: str = "", transient: bool = False) -> None:
        self.code = code
        self.transient = transient
        super().__init__(message)


class OperationFailed(CloudError):  # noqa: N818 - named for what happened, as google.api_core does
    """A long-running operation is done and holds an error. Done is not success."""


class OperationTimeout(CloudError):  # noqa: N818 - see OperationFailed
    """A long-running operation was not done in the time the spec allows."""


class SplitConflict(CloudError):  # noqa: N818 - see OperationFailed
    """The endpoint changed between our read and our write (the API answered ABORTED or FAILED_PRECONDITION)."""


class LocalError(VertexDeployError):
    """Local Vertex could not start, is not running, or refused a request."""

    exit_code = ExitCode.LOCAL


class ImageNotMapped(LocalError):  # noqa: N818 - see OperationFailed
    """An image reference has no local command; the message names the option that gives it one."""


class RolloutError(VertexDeployError):
    """A rollout cannot start or cannot go on."""

    exit_code = ExitCode.ROLLOUT


class NoRollout(RolloutError):  # noqa: N818 - see OperationFailed
    """No rollout is under way, or there is none at all. To a scheduler's tick that is no error: nothing is due."""


class RolloutBusy(RolloutError):  # noqa: N818 - see OperationFailed
    """Another controller holds the rollout's lease."""


class StateError(RolloutError):
    """The stored state of a rollout cannot be read."""


class ContractError(VertexDeployError):
    """A serving container breaks Vertex AI's container contract."""

    exit_code = ExitCode.CONTRACT


def one_line(value: object) -> str:
    """What another program said, as a part of a message: one line, and nothing that a terminal would obey.

    Args:
        value: a message of an API, a name that somebody else gave, an exception; its ``str`` counts.
    """
    return printable(" ".join(str(value).split()))


def printable(line: str) -> str:
    """A line without what a terminal would obey, its spaces as they are."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)

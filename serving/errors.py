"""Every error that the server raises on purpose.

The tree::

    ServingError              the root
    ├── ConfigError           exit 2   an environment variable is wrong
    ├── ArtifactError         exit 1   the model's files are missing, damaged, or not for this machine
    ├── EngineError           exit 1   the engine did not load, or died
    ├── BatchFailed           (500)    one batch raised; the engine goes on
    └── RequestError          an HTTP answer with ``{"error": ...}``
        ├── BadRequest        400      the request says something that cannot be answered
        ├── Timeout408        408      the body did not arrive in time
        ├── TooLarge          413      the body is larger than the limit
        ├── UnsupportedMedia  415      a content type or encoding that is not served
        ├── Busy              429      the queue is full; carries Retry-After
        ├── Unavailable       503      loading, or draining; carries Retry-After
        └── DeadlineExceeded  504      the request was not run within its time

A message is one line: what is wrong, where, and the fix.
"""

from __future__ import annotations


class ServingError(Exception):
    """The root of the tree; ``exit_code`` is what the process exits with if nothing else handles it."""

    exit_code = 1


class ConfigError(ServingError):
    """An environment variable is wrong."""

    exit_code = 2


class ArtifactError(ServingError):
    """The model's files are missing, damaged, unsafe, or were built for another machine."""


class EngineError(ServingError):
    """The engine did not load, answered something else than it was built to, or died."""


class BatchFailed(ServingError):  # noqa: N818 - named for what happened
    """One batch raised in the engine, which can run others."""


class RequestError(ServingError):
    """An answer that is not a prediction.

    Args:
        message: goes to the client as ``{"error": message}``.
    """

    status = 500
    retry_after: int | None = None


class BadRequest(RequestError):  # noqa: N818 - named as HTTP names it
    """The request cannot be answered as it is; the message names the instance and the problem."""

    status = 400


class Timeout408(RequestError):  # noqa: N818 - named as HTTP names it
    """The body did not arrive in time."""

    status = 408


class TooLarge(RequestError):  # noqa: N818 - named as HTTP names it
    """The body is larger than the limit."""

    status = 413


class UnsupportedMedia(RequestError):  # noqa: N818 - named as HTTP names it
    """The content type or the content encoding is not served."""

    status = 415


class Busy(RequestError):  # noqa: N818 - named for what it says
    """The queue is full."""

    status = 429
    retry_after = 1


class Unavailable(RequestError):  # noqa: N818 - named as HTTP names it
    """The model is not loaded yet, the server is draining, or the engine is gone."""

    status = 503
    retry_after = 1


class DeadlineExceeded(RequestError):  # noqa: N818 - named as gRPC names it
    """The request was not run within its time."""

    status = 504

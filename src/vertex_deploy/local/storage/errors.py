"""The errors of Cloud Storage's JSON API: status, reason and words of the real one."""

from __future__ import annotations

from typing import Any


class StorageError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        reason: machine-readable, ``notFound``.
        message: what the real API says.
        location: the header or parameter at fault, if it names one.
        location_type: ``header`` or ``parameter``.
    """

    def __init__(
        self, status: int, reason: str, message: str, *, location: str = "", location_type: str = "parameter"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location
        self.location_type = location_type

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        one = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            one |= {"locationType": self.location_type, "location": self.location}
        return {"error": {"code": self.status, "message": self.message, "errors": [one]}}


def invalid(message: str, location: str = "") -> StorageError:
    """400 invalid."""
    return StorageError(400, "invalid", message, location=location)


def required(what: str) -> StorageError:
    """400 required."""
    return StorageError(400, "required", f"Required parameter: {what}", location=what)


def no_bucket() -> StorageError:
    """404 for a bucket."""
    return StorageError(404, "notFound", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> StorageError:
    """404 for an object."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}")


def conflict(message: str) -> StorageError:
    """409 conflict."""
    return StorageError(409, "conflict", message)


def condition() -> StorageError:
    """412: a precondition does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", message, location="If-Match", location_type="header")


def too_large(limit: int) -> StorageError:
    """413: more bytes than this server takes."""
    return StorageError(413, "uploadTooLarge", f"The upload is larger than the limit of {limit} bytes.")


def unsupported(what: str) -> StorageError:
    """501: a part that Local Vertex leaves out."""
    return StorageError(501, "notImplemented", f"{what} is not implemented by Local Vertex.", location=what)

"""What a container is asked about: its routes, and an input that it is known to accept.

Left out: making up an input. Only the model's owner knows one; without it the checks that need it are skipped, and
skipped is not passed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Routes:
    """Where a container listens for what.

    Args:
        health: path of `AIP_HEALTH_ROUTE`.
        predict: path of `AIP_PREDICT_ROUTE`.
    """

    health: str
    predict: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Routes:
        """Read the routes from a container's environment.

        Args:
            environment: the AIP_* variables that the container was started with.

        Raises:
            UsageError: a route is not there or is not a path.
        """
        found: list[str] = []
        for name in ("AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"):
            route = environment.get(name, "")
            if not route.startswith("/"):
                raise UsageError(f"{name} is {route!r}: give the container's path, such as /health")
            found.append(route)
        return cls(*found)


@dataclass(frozen=True)
class Sample:
    """An input that the container accepts; each part may be missing.

    Args:
        instances: the instances of a predict request.
        parameters: its parameters; None sends none.
        raw: the body of a rawPredict request.
        raw_content_type: of that body.
    """

    instances: tuple[Any, ...] = ()
    parameters: Any = None
    raw: bytes = b""
    raw_content_type: str = "application/octet-stream"

    @classmethod
    def from_request(cls, text: bytes, *, raw: bytes = b"", raw_content_type: str = "") -> Sample:
        """Read a predict request, as it would be sent to an endpoint.

        Args:
            text: `{"instances": [...], "parameters": ...}` in JSON.
            raw: the body of a rawPredict request.
            raw_content_type: of that body.

        Raises:
            UsageError: not JSON, or not such a request.
        """
        try:
            request = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the sample request is not JSON: {error}") from None
        instances = request.get("instances") if isinstance(request, dict) else None
        if not isinstance(instances, list) or not instances:
            raise UsageError('the sample request must be {"instances": [...]} with at least one instance')
        content_type = raw_content_type or cls.raw_content_type
        return cls(tuple(instances), request.get("parameters"), raw, content_type)

    def body(self, copies: int = 1) -> bytes:
        """Return a predict request with the instances `copies` times over."""
        request: dict[str, Any] = {"instances": list(self.instances) * copies}
        if self.parameters is not None:
            request["parameters"] = self.parameters
        return json.dumps(request).encode()

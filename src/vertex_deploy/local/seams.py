"""Where the parts of Local Vertex meet: small Protocols and the values that cross them. No I/O.

The control plane owns what exists; the data plane owns what runs; monitoring owns what was measured. None of them
imports another: ``server`` wires them together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import grpc
    from google.cloud.aiplatform_v1 import types as aip


class ApiError(Exception):
    """An answer that is an error, as a Google API gives it; the wire turns it into HTTP or gRPC.

    Args:
        code: the gRPC code; HTTP's follows from it (google.rpc.Code's mapping).
        message: what the real API would say.
        details: google.rpc detail messages (BadRequest, ErrorInfo, ...), packed by the wire.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """All that the data plane needs to run one deployed model.

    Args:
        project: project id; ``project_number`` is what the environment carries.
        endpoint: full resource name, projects/P/locations/L/endpoints/E.
        deployed_model_id: id within the endpoint.
        model: full resource name of the model, without version.
        container: the model's container spec, as uploaded.
        artifact_uri: gs:// of the managed copy of the artifacts, or "".
        machine: machine spec of the deployment.
        replicas: replicas to run (the minimum of the deployment).
        request_timeout: seconds that a prediction may take.
        max_bytes: largest request and response body, bytes.
    """

    project: str
    project_number: str
    location: str
    endpoint: str
    deployed_model_id: str
    model: str
    model_version_id: str
    model_display_name: str
    container: aip.ModelContainerSpec
    artifact_uri: str
    machine: aip.MachineSpec
    replicas: int
    spot: bool = False
    request_timeout: float = 60.0
    max_bytes: int = 1_572_864


class DataPlane(Protocol):
    """Runs deployed models and routes requests to them."""

    async def deploy(self, plan: DeployPlan, on_stage: Callable[[str], None]) -> None:
        """Start the replicas and return when all are healthy; traffic is not touched.

        Args:
            plan: what to run.
            on_stage: called with each stage's name (DeployModelOperationMetadata.DeploymentStage).

        Raises:
            ApiError: an image is not mapped (INVALID_ARGUMENT), or a container never got healthy (FAILED_PRECONDITION
                "Model server exited unexpectedly" or "never became healthy", with the tail of its log). Nothing of
                the attempt is left running.
        """
        ...

    async def undeploy(self, endpoint: str, deployed_model_id: str) -> None:
        """Take no new requests, finish those accepted, stop the replicas."""
        ...

    def available(self, endpoint: str, deployed_model_id: str) -> int | None:
        """Replicas that take requests now; None if no such deployed model runs here."""
        ...

    async def scale(self, endpoint: str, deployed_model_id: str, replicas: int) -> None:
        """Run this many replicas; new ones are healthy on return, surplus ones have drained."""
        ...

    def set_split(self, endpoint: str, split: Mapping[str, int]) -> None:
        """Route by these weights (deployed model id -> percent) from the next request on; empty: no traffic."""
        ...

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop an endpoint that was deleted; nothing is deployed to it."""
        ...

    async def close(self) -> None:
        """Stop everything that was started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that an endpoint answered, for the metrics.

    Args:
        endpoint: full resource name.
        deployed_model_id: who answered.
        code: HTTP status given to the client.
        total_ms: time in the endpoint, milliseconds.
        model_ms: time in the container, milliseconds.
        predictions: predictions in the answer (0 for raw predictions and errors).
    """

    endpoint: str
    deployed_model_id: str
    code: int
    total_ms: float
    model_ms: float
    predictions: int = 0
    spot: bool = False


class Recorder(Protocol):
    """Takes measurements; cheap, never raises, never blocks."""

    def served(self, request: Served) -> None:
        """Count one request."""
        ...

    def gauge(
        self, metric: str, value: float, *, endpoint: str, deployed_model_id: str, labels: Mapping[str, str] = ...
    ) -> None:
        """Set a gauge, named without prefix (``replicas``, ``cpu/utilization``) until it is set again or removed."""
        ...

    def forget(self, *, endpoint: str, deployed_model_id: str) -> None:
        """Write no more gauges for a deployed model that is gone."""
        ...


class Blobs(Protocol):
    """What the control plane needs of Cloud Storage."""

    def copy_tree(self, source: str, destination: str) -> int:
        """Copy every object below gs:// ``source`` to ``destination``; how many were copied (0: nothing there)."""
        ...

    def delete_tree(self, uri: str) -> None:
        """Delete every object below ``uri``."""
        ...


class Clock(Protocol):
    """Time, so that tests pass their own."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


@dataclass(slots=True)
class NullRecorder:
    """Keeps what it was told, for tests; writes nothing."""

    requests: list[Served] = field(default_factory=list)
    gauges: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def served(self, request: Served) -> None:
        """Keep it."""
        self.requests.append(request)

    def gauge(
        self,
        metric: str,
        value: float,
        *,
        endpoint: str,
        deployed_model_id: str,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the last value."""
        del labels
        self.gauges[metric, endpoint, deployed_model_id] = value

    def forget(self, *, endpoint: str, deployed_model_id: str) -> None:
        """Drop the gauges of this deployed model."""
        for key in [k for k in self.gauges if k[1:] == (endpoint, deployed_model_id)]:
            del self.gauges[key]

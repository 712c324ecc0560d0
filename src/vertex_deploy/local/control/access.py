"""Who reaches an endpoint, and what follows from it: limits, addresses, what may be combined. No I/O.

Limits: "Choose an endpoint type" in the Vertex AI documentation; ClientConnectionConfig of aiplatform v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from vertex_deploy.local.control.refusals import invalid, unsupported

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import types as aip

_MAX_INFERENCE_S = 3600


class Access(StrEnum):
    """Kinds of endpoints."""

    SHARED = "shared"
    DEDICATED = "dedicated"
    PSC = "psc"
    PSA = "psa"


class Limits(NamedTuple):
    """Seconds that a prediction may take (default and whether it can be set), and bytes each way."""

    timeout: float
    configurable: bool
    max_bytes: int


LIMITS = {
    Access.SHARED: Limits(60.0, configurable=False, max_bytes=1_572_864),
    Access.DEDICATED: Limits(600.0, configurable=True, max_bytes=10 * 1024 * 1024),
    Access.PSC: Limits(600.0, configurable=True, max_bytes=10 * 1024 * 1024),
    Access.PSA: Limits(60.0, configurable=False, max_bytes=10 * 1024 * 1024),
}


@dataclass(slots=True)
class Addresses:
    """Where this Local Vertex listens; filled in once its ports are known.

    Args:
        dedicated: host:port of the HTTPS listener, given as a dedicated endpoint's DNS name.
        http: http://host:port of the REST listener, for PSA's prediction URIs.
    """

    dedicated: str = ""
    http: str = ""


def access_of(endpoint: aip.Endpoint) -> Access:
    """The kind of an endpoint."""
    if endpoint.network:
        return Access.PSA
    if (
        endpoint.enable_private_service_connect
        or endpoint.private_service_connect_config.enable_private_service_connect
    ):
        return Access.PSC
    return Access.DEDICATED if endpoint.dedicated_endpoint_enabled else Access.SHARED


def check(endpoint: aip.Endpoint) -> None:
    """Refuse combinations that Vertex AI does not have.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    psc = (
        endpoint.enable_private_service_connect
        or endpoint.private_service_connect_config.enable_private_service_connect
    )
    if endpoint.network and psc:
        raise invalid("endpoint.network and endpoint.private_service_connect_config exclude each other.")
    if endpoint.dedicated_endpoint_enabled and (endpoint.network or psc):
        raise invalid("endpoint.dedicated_endpoint_enabled cannot be set on a private Endpoint.")
    if endpoint.predict_request_response_logging_config.enabled:
        raise unsupported("endpoint.predict_request_response_logging_config.enabled")
    timeout = configured_timeout(endpoint)
    if timeout is None:
        return
    kind = access_of(endpoint)
    if not LIMITS[kind].configurable:
        raise invalid(f"client_connection_config.inference_timeout cannot be set on a {kind} Endpoint.")
    if not 0 < timeout <= _MAX_INFERENCE_S:
        raise invalid(f"client_connection_config.inference_timeout must be between 1s and 3600s, got {timeout:g}s.")


def configured_timeout(endpoint: aip.Endpoint) -> float | None:
    """The inference timeout that was asked for, seconds."""
    pb = type(endpoint).pb(endpoint)
    if not pb.client_connection_config.HasField("inference_timeout"):
        return None
    return float(pb.client_connection_config.inference_timeout.ToTimedelta().total_seconds())


def show(endpoint: aip.Endpoint, addresses: Addresses) -> aip.Endpoint:
    """Fill in the addresses, which change with every start of Local Vertex and so are not kept."""
    kind = access_of(endpoint)
    if kind is Access.DEDICATED:
        endpoint.dedicated_endpoint_dns = addresses.dedicated
    if kind is Access.PSA:
        for deployed in endpoint.deployed_models:
            base = f"{addresses.http}/v1/{endpoint.name}"
            deployed.private_endpoints.predict_http_uri = f"{base}:predict"
    return endpoint

"""Google's clients, made in one place: addresses, credentials, retries, and errors turned into one line.

Everything speaks gRPC, but for what Google serves over REST alone (``rest``). Where a client goes is decided by these
variables, so that a rehearsal and production run the same code:

- ``VERTEX_DEPLOY_AIPLATFORM_ENDPOINT`` (default ``REGION-aiplatform.googleapis.com``)
- ``VERTEX_DEPLOY_MONITORING_ENDPOINT`` (default ``monitoring.googleapis.com``)
- ``VERTEX_DEPLOY_MONITORING_REST_ENDPOINT`` (default: the same host), where incidents are read

``host[:port]`` means TLS with the application default credentials. ``http://host:port`` means plaintext without any
credentials and is refused unless the host is loopback: a token never leaves in clear. ``STORAGE_EMULATOR_HOST`` is
honoured by google-cloud-storage itself.

Left out: choosing credentials (that is google.auth's), waiting for operations (``rollout.driver``).
"""

from __future__ import annotations

import ipaddress
import os
import random
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, UsageError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

AIPLATFORM_VARIABLE = "VERTEX_DEPLOY_AIPLATFORM_ENDPOINT"
MONITORING_VARIABLE = "VERTEX_DEPLOY_MONITORING_ENDPOINT"
MONITORING_REST_VARIABLE = "VERTEX_DEPLOY_MONITORING_REST_ENDPOINT"

# Codes after which the same call may succeed (https://google.aip.dev/194, and 429 as quotas refill).
TRANSIENT = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})

# How gRPC begins what its plugin for tokens raised, and what OAuth (RFC 6749, 5.2) and google.auth say there of
# credentials that no waiting renews.
_PLUGIN = "Getting metadata from plugin failed"
_REVOKED = re.compile(
    "invalid_grant|invalid_client|unauthorized_client|invalid_rapt|access_denied|Reauthentication is needed"
    "|do not contain the necessary fields"
)

# Nothing else: what looks like a host may be the user of another one (127.0.0.1:1@example.com).
_HOST_PORT = re.compile(r"(\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[0-9A-Za-z.-]+))(:[0-9]{1,5})?")

FIXES = {
    "PERMISSION_DENIED": "grant the caller roles/aiplatform.user, roles/monitoring.viewer and, for alert policies, "
    "roles/monitoring.alertPolicyEditor on the project",
    "UNAUTHENTICATED": "run `gcloud auth application-default login`, or give the job a service account",
    "NOT_FOUND": "check gcp.project and gcp.region in deploy.yaml, and that nobody deleted it",
    "INVALID_ARGUMENT": "correct what the message names in deploy.yaml",
    "RESOURCE_EXHAUSTED": "ask for more quota in this region, or use a smaller machine",
    "UNAVAILABLE": "check the network and https://status.cloud.google.com, then run the command again: it goes on",
    "DEADLINE_EXCEEDED": "run the command again: it goes on where it was",
    "UNIMPLEMENTED": f"check where {AIPLATFORM_VARIABLE} and {MONITORING_VARIABLE} point",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client connects.

    Args:
        target: ``host:port`` or ``host`` as gRPC takes it.
        plaintext: no TLS and no credentials; only ever true for loopback.
    """

    target: str
    plaintext: bool


def parse_address(value: str, variable: str) -> Address:
    """Read ``host[:port]`` (TLS) or ``http://host:port`` (plaintext, loopback only).

    Args:
        value: what the variable holds.
        variable: its name, for messages.

    Raises:
        UsageError: a plaintext address that is not loopback, or nothing in the value.
    """
    text = value.strip()
    if text.startswith("http://"):
        target = text.removeprefix("http://").rstrip("/")
        if not _is_loopback(target):
            raise UsageError(
                f"{variable}={value}: plaintext is allowed to this machine only (127.0.0.1, ::1, localhost), because "
                f"credentials must not leave in clear; for TLS write {target or 'host:port'} without http://"
            )
        return Address(target, plaintext=True)
    target = text.removeprefix("https://").rstrip("/")
    if not target or "/" in target:
        raise UsageError(f"{variable}={value!r} is not an address; write host:port, or http://127.0.0.1:PORT")
    return Address(target, plaintext=False)


def _is_loopback(target: str) -> bool:
    match = _HOST_PORT.fullmatch(target)
    if match is None:
        return False
    host = match["ip6"] or match["host"]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def aiplatform_address(region: str) -> Address:
    """Where Vertex AI's model and endpoint services are."""
    value = os.environ.get(AIPLATFORM_VARIABLE)
    return (
        parse_address(value, AIPLATFORM_VARIABLE)
        if value
        else Address(f"{region}-aiplatform.googleapis.com", plaintext=False)
    )


def monitoring_address() -> Address:
    """Where Cloud Monitoring is."""
    value = os.environ.get(MONITORING_VARIABLE)
    return parse_address(value, MONITORING_VARIABLE) if value else Address("monitoring.googleapis.com", plaintext=False)


def model_client(region: str, address: Address | None = None) -> Any:
    """An ``aiplatform_v1.ModelServiceClient`` for this region; ``address`` goes before the variable."""
    from google.cloud.aiplatform_v1.services.model_service import (  # noqa: PLC0415 - heavy: only when a call is made
        ModelServiceClient,
    )

    return _client(ModelServiceClient, address or aiplatform_address(region))


def endpoint_client(region: str, address: Address | None = None) -> Any:
    """An ``aiplatform_v1.EndpointServiceClient`` for this region; ``address`` goes before the variable."""
    from google.cloud.aiplatform_v1.services.endpoint_service import (  # noqa: PLC0415 - heavy: only when a call is made
        EndpointServiceClient,
    )

    return _client(EndpointServiceClient, address or aiplatform_address(region))


def pool_client(region: str) -> Any:
    """An ``aiplatform_v1.DeploymentResourcePoolServiceClient`` for this region."""
    from google.cloud.aiplatform_v1.services.deployment_resource_pool_service import (  # noqa: PLC0415 - heavy: see above
        DeploymentResourcePoolServiceClient,
    )

    return _client(DeploymentResourcePoolServiceClient, aiplatform_address(region))


def metric_client() -> Any:
    """A ``monitoring_v3.MetricServiceClient``."""
    from google.cloud.monitoring_v3 import MetricServiceClient  # noqa: PLC0415 - heavy: only when a call is made

    return _client(MetricServiceClient, monitoring_address())


def alert_policy_client() -> Any:
    """A ``monitoring_v3.AlertPolicyServiceClient``."""
    from google.cloud.monitoring_v3 import AlertPolicyServiceClient  # noqa: PLC0415 - heavy: only when a call is made

    return _client(AlertPolicyServiceClient, monitoring_address())


def _client(kind: Any, address: Address) -> Any:
    from google.auth import exceptions as auth  # noqa: PLC0415 - heavy: only when a call is made

    if address.plaintext:
        import grpc  # noqa: PLC0415 - heavy: only when a call is made

        # Loopback is never behind a proxy, and a proxy variable must not carry the traffic away.
        channel = grpc.insecure_channel(address.target, options=[("grpc.enable_http_proxy", 0)])
        return kind(transport=kind.get_transport_class("grpc")(channel=channel))
    try:
        return kind(client_options={"api_endpoint": address.target})
    except auth.GoogleAuthError as error:
        raise CloudError(
            f"{kind.__name__}: no credentials ({one_line(error)}); {FIXES['UNAUTHENTICATED']}", code="UNAUTHENTICATED"
        ) from error


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again, and after how long: exponential backoff with full jitter. Pure.

    Args:
        attempts: calls in all.
        first: seconds before the second attempt, at most.
        factor: growth of each next delay.
        ceiling: seconds that no delay exceeds.
    """

    attempts: int = 5
    first: float = 0.5
    factor: float = 2.0
    ceiling: float = 15.0

    def delay(self, attempt: int, code: str, jitter: float) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed with ``code``; None: give up.

        Args:
            attempt: how many calls have been made.
            code: the gRPC code's name.
            jitter: a number in [0, 1); the caller draws it, so that this stays pure.
        """
        if code not in TRANSIENT or attempt >= self.attempts:
            return None
        return jitter * min(self.ceiling, self.first * self.factor ** (attempt - 1))


@dataclass(slots=True)
class Caller:
    """Makes calls: retries the transient failures, turns the others into ``CloudError``.

    Args:
        policy: when to try again.
        sleep: waits; tests pass their own.
        draw: gives the jitter.
        timeout: seconds that one attempt may take.
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    timeout: float = 30.0

    def __call__(self, method: Callable[..., Any], request: Any, *, what: str, repeatable: bool = True) -> Any:
        """Call a method of a Google client.

        Args:
            method: the bound method (``client.get_endpoint``).
            request: its request message or dict.
            what: call and resource, for the message: ``GetEndpoint projects/p/...``.
            repeatable: False for a call that would do its work twice; it is tried once.

        Raises:
            CloudError: the API refused, or did not answer in all attempts.
        """
        from google.api_core import exceptions as api  # noqa: PLC0415 - heavy: only when a call is made
        from google.auth import exceptions as auth  # noqa: PLC0415 - heavy: only when a call is made

        attempt = 0
        while True:
            attempt += 1
            try:
                return method(request=request, retry=None, timeout=self.timeout)
            except (auth.GoogleAuthError, api.GoogleAPICallError) as error:
                said = error.message if isinstance(error, api.GoogleAPICallError) else error
                failure = cloud_error(what, code_of(error), one_line(said), attempts=attempt)
                delay = self.policy.delay(attempt, failure.code, self.draw()) if repeatable else None
                if delay is None:
                    raise failure from error
            self.sleep(delay)


def code_of(error: Any) -> str:
    """The gRPC code's name of an exception of ``google.api_core`` or ``google.auth``; ``UNKNOWN`` where there is none.

    Credentials that only a person can renew are UNAUTHENTICATED, however they show: gRPC says UNAVAILABLE of whatever
    its plugin for tokens raises. A token server that cannot be reached is UNAVAILABLE.
    """
    from google.auth import exceptions as auth  # noqa: PLC0415 - heavy: only when a call is made

    if isinstance(error, auth.GoogleAuthError):
        passes = error.retryable or isinstance(error, auth.TransportError)
        return "UNAVAILABLE" if passes else "UNAUTHENTICATED"
    status = getattr(error, "grpc_status_code", None)
    code = str(status.name) if status is not None else "UNKNOWN"
    message = str(getattr(error, "message", ""))
    return "UNAUTHENTICATED" if _PLUGIN in message and _REVOKED.search(message) else code


def cloud_error(what: str, code: str, message: str, *, attempts: int = 1) -> CloudError:
    """One line for an API's refusal: which call, which resource, which code, what it said, and the fix."""
    tried = f" after {attempts} attempts" if attempts > 1 else ""
    fix = f"; {FIXES[code]}" if code in FIXES else ""
    return CloudError(f"{what}: {code}{tried}: {message or 'no message'}{fix}", code=code, transient=code in TRANSIENT)

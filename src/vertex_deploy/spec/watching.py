"""What a rollout is watched through and whom it tells: Prometheus, alert policies and notifications.

Secrets are never written here, only where they are: ``env:NAME`` (an environment variable of the controller) or a
version in Secret Manager. Left out: what a notification says (``vertex_deploy.rollout.notify``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from vertex_deploy.spec.base import Says, SpecModel

_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|projects/[^/\s]+/secrets/[^/\s]+/versions/[^/\s]+")
_TOPIC = re.compile(r"projects/[^/\s]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
MANAGED_PROMETHEUS = "monitoring.googleapis.com"
"""Host of Google Cloud Managed Service for Prometheus."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _secret(value: Any) -> Any:
    if isinstance(value, str) and not _SECRET.fullmatch(value):
        # Not repeated: it may be the secret itself.
        raise ValueError(
            "not a reference to a secret; write env:NAME or projects/P/secrets/S/versions/V, never the secret itself"
        )
    return value


def _address(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError(f"{value!r} is not an address; write https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address in a spec must hold no credentials; refer to a secret instead")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError(f"{value!r} would be sent in clear; write https:// (http:// is for this machine only)")
    return value


Secret = Annotated[
    str, BeforeValidator(_secret), Says("env:NAME or projects/P/secrets/S/versions/V, never the secret itself")
]
"""Where a secret is: ``env:NAME``, or ``projects/P/secrets/S/versions/V`` in Secret Manager."""

Address = Annotated[
    str, BeforeValidator(_address), Says("an address, https://HOST/PATH (http:// for this machine only)")
]
"""https, or http to loopback; without credentials."""


class RolloutAlerts(SpecModel):
    """Alert policies that can end a rollout."""

    from_gates: bool = True
    """Make a Cloud Monitoring alert policy of every critical gate with an absolute limit, on the new version alone, for
    the time of the rollout."""
    on_stable: Literal["ignore", "pause", "rollback"] = "ignore"
    """When an alert fires for the stable version only: it is not the canary's doing (ignore), stop where it is, or go
    back all the same."""


class Notify(SpecModel):
    """Somebody to tell of the rollout: exactly one of webhook, slack and pubsub."""

    webhook: Address | None = None
    """Address that each event is posted to as JSON."""
    secret: Secret | None = None
    """Key that a webhook's requests are signed with (HMAC-SHA256): env:NAME or a version in Secret Manager."""
    slack: Secret | None = None
    """Where the address of a Slack incoming webhook (or one compatible with it) is kept: the address is a secret."""
    pubsub: Annotated[str, Field(pattern=_TOPIC.pattern), Says("a topic, projects/P/topics/T")] | None = None
    """Topic that each event is published to, projects/P/topics/T."""
    events: Literal["all", "failures"] = "all"
    """Every transition, or only what went wrong: a failing gate, an alert, a pause, a rollback, a failed operation."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.webhook, self.slack, self.pubsub)) != 1:
            raise ValueError("each entry tells one: write webhook, slack or pubsub")
        if self.secret is not None and self.webhook is None:
            raise ValueError("secret signs the requests of a webhook; leave it out here")
        return self


class Prometheus(SpecModel):
    """Where gates with a ``prometheus`` query are read: anything with Prometheus' HTTP API."""

    url: Address
    """Address below which /api/v1 lies, such as https://prometheus.example.com. Managed Service for Prometheus:
    https://monitoring.googleapis.com/v1/projects/PROJECT/location/global/prometheus."""
    token: Secret | None = None
    """Bearer token: env:NAME or a version in Secret Manager. Without one, Managed Service for Prometheus is asked with
    the application default credentials, and any other host with none."""

    @property
    def managed(self) -> bool:
        """It is Managed Service for Prometheus, which alert policies can ask too."""
        return urlsplit(self.url).hostname == MANAGED_PROMETHEUS

    @model_validator(mode="after")
    def _base(self) -> Self:
        parts = urlsplit(self.url)
        if parts.query or parts.fragment or parts.path.rstrip("/").endswith(("/api/v1", "/query", "/query_range")):
            raise ValueError(f"{self.url!r} is more than the base; write what stands before /api/v1")
        return self

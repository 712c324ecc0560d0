"""How each channel is called: a webhook, Slack, Pub/Sub. One attempt each; ``notifier`` tries again.

An address must be https or loopback, redirects are not followed (a signed body must not be carried elsewhere), and
nothing of an answer but its status is read. Source of Pub/Sub: projects.topics.publish of its REST reference (v1);
``PUBSUB_EMULATOR_HOST`` is honoured if it is loopback.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from vertex_deploy import rest
from vertex_deploy.errors import RolloutError, UsageError
from vertex_deploy.gcp import Address, parse_address
from vertex_deploy.rollout.notify.message import SIGNATURE, TIMESTAMP, body_of, signature, slack_of

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = 5.0
"""Seconds that one attempt may take."""
_EMULATOR = "PUBSUB_EMULATOR_HOST"
_GOOD = range(200, 300)


class Channel(Protocol):
    """Somewhere to send messages to."""

    @property
    def label(self) -> str:
        """For the history; holds no secret."""
        ...

    def send(self, message: dict[str, Any], now: float) -> None:
        """Send one message.

        Args:
            message: as ``message.message_of`` made it.
            now: seconds since the epoch.

        Raises:
            RolloutError, CloudError, OSError: it did not arrive.
        """
        ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts the message as JSON, signed where there is a key.

    Args:
        url: https, or loopback.
        key: of the signature; None: unsigned.
    """

    url: str
    key: bytes | None = None

    @property
    def label(self) -> str:
        """Host alone: paths of webhooks are often secret."""
        return f"webhook {_host(self.url)}"

    def send(self, message: dict[str, Any], now: float) -> None:
        """See ``Channel``."""
        body, timestamp = body_of(message), str(int(now))
        headers = {TIMESTAMP: timestamp}
        if self.key is not None:
            headers[SIGNATURE] = signature(self.key, timestamp, body)
        post(self.url, body, headers, self.label)


@dataclass(frozen=True, slots=True)
class Slack:
    """Posts a line to an incoming webhook.

    Args:
        url: the webhook's address, which is the secret.
    """

    url: str

    @property
    def label(self) -> str:
        """Host alone."""
        return f"slack {_host(self.url)}"

    def send(self, message: dict[str, Any], now: float) -> None:  # noqa: ARG002 - Slack has no signatures
        """See ``Channel``."""
        post(self.url, json.dumps(slack_of(message)).encode(), {}, self.label)


@dataclass(slots=True)
class PubSub:
    """Publishes the message; attributes carry what subscriptions filter by.

    Args:
        topic: projects/P/topics/T.
        session: authorized; made on first use.
    """

    topic: str
    session: Any = None

    @property
    def label(self) -> str:
        """The topic."""
        return f"pubsub {self.topic}"

    def send(self, message: dict[str, Any], now: float) -> None:  # noqa: ARG002 - Pub/Sub writes the time itself
        """See ``Channel``."""
        address = pubsub_address()
        if self.session is None:
            self.session = rest.session(address)
        attributes = {key: str(message[key]) for key in ("id", "event", "rollout", "name", "phase")}
        attributes["failure"] = str(message["failure"]).lower()
        data = base64.b64encode(body_of(message)).decode()
        scheme = "http" if address.plaintext else "https"
        rest.call(
            self.session,
            "POST",
            f"{scheme}://{address.target}/v1/{self.topic}:publish",
            timeout=TIMEOUT,
            json={"messages": [{"data": data, "attributes": attributes}]},
        )


def pubsub_address() -> Address:
    """Where Pub/Sub is.

    Raises:
        UsageError: the emulator is not on this machine.
    """
    value = os.environ.get(_EMULATOR)
    if not value:
        return Address("pubsub.googleapis.com", plaintext=False)
    return parse_address(value if "://" in value else f"http://{value}", _EMULATOR)


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the redirect itself is the answer."""


def demand_safe(url: str, label: str) -> bool:
    """Whether it is https; if not, it is plaintext to this machine.

    Args:
        url: may be a secret: no message holds more than its host.
        label: of the channel, for messages.

    Raises:
        RolloutError: neither.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RolloutError(f"{label}: what is kept there is not an address; it must begin with https://") from None
    if parts.scheme == "https" and parts.hostname:
        return True
    try:
        parse_address(f"{parts.scheme}://{parts.netloc}", label)
    except UsageError:
        raise RolloutError(f"{label}: the address is neither https nor on this machine; use https") from None
    if parts.scheme != "http":
        raise RolloutError(f"{label}: the address must begin with https://")
    return False


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "without a host"
    except ValueError:
        return "without a host"


def post(url: str, body: bytes, headers: Mapping[str, str], label: str) -> None:
    """POST JSON.

    Raises:
        RolloutError: the address is not allowed, or the answer is not 2xx.
        OSError: there was no answer.
    """
    handlers: list[urllib.request.BaseHandler] = [_Stays()]
    if not demand_safe(url, label):
        # Loopback is never behind a proxy.
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        url, body, {"Content-Type": "application/json", "User-Agent": "vertex-deploy", **headers}
    )
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    if status not in _GOOD:
        raise RolloutError(f"{label}: answered {status}")

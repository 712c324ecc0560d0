"""NotificationChannelService: where notifications go. Only webhooks, with a token in the URL or with basic auth.

A channel's URL must lead to loopback, or to a host that Local Vertex was told to allow: a rehearsal must not page
anybody. Passwords are kept and never answered; an update that leaves one out keeps it.

Left out: every other type of channel (e-mail, SMS, Slack, PagerDuty, Pub/Sub, ...) and verification, which webhooks do
not need; the RPCs of verification are refused.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
from google.api import label_pb2, launch_stage_pb2
from google.cloud import monitoring_v3 as m
from google.protobuf import empty_pb2, json_format
from yarl import URL

from vertex_deploy.local.alerting import listing
from vertex_deploy.local.alerting.book import check_labels, check_text, missing, new_id
from vertex_deploy.local.control import masks
from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from vertex_deploy.local.alerting.book import Book

FIELDS = frozenset(
    {
        "name", "type", "display_name", "description", "labels.*", "user_labels.*", "enabled", "verification_status",
    }
)  # fmt: skip
"""What lists can be filtered and sorted by."""
TYPES: dict[str, tuple[str, str, dict[str, str]]] = {
    "webhook_tokenauth": (
        "Webhook with Token Authentication",
        "A webhook whose URL carries what authenticates it.",
        {"url": "The public URL to which to publish the webhook."},
    ),
    "webhook_basicauth": (
        "Webhook with Basic Authentication",
        "A webhook that supports HTTP basic authentication.",
        {
            "url": "The public URL to which to publish the webhook.",
            "username": "The username to use for basic authentication.",
            "password": "The password to use for basic authentication.",
        },
    ),
}
"""Type of channel -> display name, description, and its labels with their descriptions."""
SECRET = "password"  # noqa: S105 - the name of a label
_UPDATABLE = frozenset({"display_name", "description", "labels", "user_labels", "enabled"})
_MAX_NAME, _MAX_DESCRIPTION, _MAX_URL = 512, 1024, 2048
_MAX_RECORDS = 10


def allowed_url(url: str, hosts: Collection[str]) -> str:
    """Why a notification may not go to a URL, or "" if it may.

    Args:
        url: of a channel.
        hosts: names and addresses that are allowed besides loopback.
    """
    try:
        host = _host(url)
    except ValueError as error:
        return f"The URL {error}."
    if host == "localhost" or host in hosts or _is_loopback(host):
        return ""
    return (
        f'Local Vertex sends notifications only to loopback addresses, not to "{host}"; allow it with --webhook-host.'
    )


def _host(url: str) -> str:
    """The host that a URL leads to, in lower case.

    Raises:
        ValueError: what is wrong with it.
    """
    if not (url.isascii() and url.isprintable()) or {" ", "\\"} & set(url):
        # Parsers disagree on them: what is looked at here might not be what is called.
        raise ValueError("must not hold spaces, backslashes, control characters or letters beyond ASCII; encode them")
    try:
        parts = urlsplit(url)
        host, port, called = parts.hostname or "", parts.port, URL(url).host or ""
    except ValueError as error:
        raise ValueError(f"is not valid: {error}") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0 or len(url) > _MAX_URL:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; use webhook_basicauth")
    if _canonical(called) != _canonical(host):
        raise ValueError("names no host that everybody reads alike")
    return host


def _canonical(host: str) -> str:
    """A host as all parsers might write it: IPv6 addresses have many spellings."""
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return host.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class NotificationChannelService:
    """google.monitoring.v3.NotificationChannelService.

    Args:
        book: keeps the channels.
        hosts: where webhooks may lead besides loopback.
    """

    def __init__(self, book: Book, *, hosts: Collection[str] = ()) -> None:
        self._book = book
        self._hosts = hosts

    async def list_notification_channel_descriptors(
        self, request: m.ListNotificationChannelDescriptorsRequest, _context: object = None
    ) -> m.ListNotificationChannelDescriptorsResponse:
        """The types of channel that notifications are sent to."""
        parent = self._book.parent(request.name)
        page, token = listing.page(sorted(TYPES), request.page_size, request.page_token)
        return m.ListNotificationChannelDescriptorsResponse(
            channel_descriptors=[_descriptor(parent, name) for name in page], next_page_token=token
        )

    async def get_notification_channel_descriptor(
        self, request: m.GetNotificationChannelDescriptorRequest, _context: object = None
    ) -> m.NotificationChannelDescriptor:
        """One type of channel."""
        full = self._book.resource(request.name, "notificationChannelDescriptors")
        parent, _, name = full.rpartition("/notificationChannelDescriptors/")
        if name not in TYPES:
            raise missing("notification channel descriptor", full)
        return _descriptor(parent, name)

    async def list_notification_channels(
        self, request: m.ListNotificationChannelsRequest, _context: object = None
    ) -> m.ListNotificationChannelsResponse:
        """The channels of a project, in the order of their creation unless asked otherwise."""
        parent = self._book.parent(request.name)
        matches = listing.matcher(request.filter, FIELDS)
        found = [_shown(c) for c in self._book.channels.under(f"{parent}/notificationChannels/")]
        found = [c for c in found if matches(_json(c))]
        found.sort(key=lambda c: c.creation_record.mutate_time)
        found = listing.order(found, request.order_by, FIELDS, _json)
        page, token = listing.page(found, request.page_size, request.page_token)
        return m.ListNotificationChannelsResponse(
            notification_channels=page, next_page_token=token, total_size=len(found)
        )

    async def get_notification_channel(
        self, request: m.GetNotificationChannelRequest, _context: object = None
    ) -> m.NotificationChannel:
        """One channel, without its password."""
        return _shown(self._get(request.name))

    def _get(self, name: str, path: str = "name") -> m.NotificationChannel:
        full = self._book.resource(name, "notificationChannels", path)
        found = self._book.channels.get(full)
        if found is None:
            raise missing("notification channel", full)
        return found

    async def create_notification_channel(
        self, request: m.CreateNotificationChannelRequest, _context: object = None
    ) -> m.NotificationChannel:
        """Create a channel; webhooks need no verification."""
        parent = self._book.parent(request.name)
        channel = request.notification_channel
        if channel.name:
            why = "The name is assigned by the service; leave it out."
            raise errors.field("notificationChannel.name", channel.name, why)
        _check_status(channel)
        channel.name = f"{parent}/notificationChannels/{new_id()}"
        channel.creation_record = m.MutationRecord(mutate_time=self._book.now())
        channel.mutation_records = []
        return self._save(channel)

    async def update_notification_channel(
        self, request: m.UpdateNotificationChannelRequest, _context: object = None
    ) -> m.NotificationChannel:
        """Change the fields of the mask, all of them where it is empty; the type stays."""
        sent = request.notification_channel
        channel = self._get(sent.name, "notificationChannel.name")
        if sent.type_ not in {"", channel.type_}:
            raise errors.field("notificationChannel.type", sent.type_, "The type of a channel cannot be changed.")
        _check_status(sent)
        password = channel.labels.get(SECRET)
        paths = list(request.update_mask.paths) if request.update_mask else []
        masks.update(channel, sent, paths or ["*"], _UPDATABLE)
        if password is not None and SECRET not in channel.labels:
            channel.labels[SECRET] = password
        return self._save(channel)

    async def delete_notification_channel(
        self, request: m.DeleteNotificationChannelRequest, _context: object = None
    ) -> empty_pb2.Empty:
        """Delete a channel; one that policies use only with ``force``, which takes it out of them."""
        channel = self._get(request.name)
        project = channel.name.partition("/notificationChannels/")[0]
        users = [
            p for p in self._book.policies.under(f"{project}/alertPolicies/") if channel.name in p.notification_channels
        ]
        if users and not request.force:
            message = (
                f"Cannot delete notification channel {channel.name} because it is used in alert policies: "
                f"{', '.join(p.name for p in users)}; remove it from them or use force."
            )
            raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
        with self._book.store.begin():
            for policy in users:
                policy.notification_channels = [n for n in policy.notification_channels if n != channel.name]
                self._book.policies.put(policy.name, policy)
            self._book.channels.delete(channel.name)
        return empty_pb2.Empty()

    def _save(self, channel: m.NotificationChannel) -> m.NotificationChannel:
        check(channel, self._hosts)
        if "enabled" not in channel:
            channel.enabled = True
        channel.mutation_records = [
            *channel.mutation_records[1 - _MAX_RECORDS :],
            m.MutationRecord(mutate_time=self._book.now()),
        ]
        self._book.channels.put(channel.name, channel)
        return _shown(channel)


def check(channel: m.NotificationChannel, hosts: Collection[str]) -> None:
    """Everything of a channel.

    Raises:
        ApiError: INVALID_ARGUMENT naming what is wrong, or what Local Vertex leaves out.
    """
    if channel.type_ not in TYPES:
        why = f"The type is not implemented by Local Vertex, which has {', '.join(sorted(TYPES))}."
        raise errors.field("notificationChannel.type", channel.type_, why)
    check_text(channel.display_name, _MAX_NAME, "notificationChannel.displayName")
    check_text(channel.description, _MAX_DESCRIPTION, "notificationChannel.description")
    check_labels(channel.user_labels, "notificationChannel.userLabels")
    known = TYPES[channel.type_][2]
    for key in channel.labels:
        if key not in known:
            why = f'Channels of type "{channel.type_}" have the labels {", ".join(known)}.'
            raise errors.field("notificationChannel.labels", key, why)
    for key in known:
        if not channel.labels.get(key):
            raise errors.field("notificationChannel.labels", "", f'The label "{key}" must be specified.')
    if ":" in channel.labels.get("username", ""):
        why = "The user of basic authentication cannot hold a colon, at which the password begins."
        raise errors.field("notificationChannel.labels['username']", channel.labels["username"][:200], why)
    why = allowed_url(channel.labels["url"], hosts)
    if why:
        raise errors.field("notificationChannel.labels['url']", channel.labels["url"][:200], why)


def _check_status(sent: m.NotificationChannel) -> None:
    if sent.verification_status:
        why = "It is illegal to specify this field when a channel is created or updated."
        raise errors.field("notificationChannel.verificationStatus", sent.verification_status.name, why)


def _descriptor(parent: str, name: str) -> m.NotificationChannelDescriptor:
    display_name, description, labels = TYPES[name]
    return m.NotificationChannelDescriptor(
        name=f"{parent}/notificationChannelDescriptors/{name}",
        type_=name,
        display_name=display_name,
        description=description,
        labels=[label_pb2.LabelDescriptor(key=key, description=text) for key, text in labels.items()],
        launch_stage=launch_stage_pb2.LaunchStage.GA,
    )


def _shown(channel: m.NotificationChannel) -> m.NotificationChannel:
    """A copy without the secret."""
    copy: m.NotificationChannel = m.NotificationChannel.deserialize(m.NotificationChannel.serialize(channel))
    m.NotificationChannel.pb(copy).labels.pop(SECRET, None)
    return copy


def _json(channel: m.NotificationChannel) -> dict[str, object]:
    out: dict[str, object] = json_format.MessageToDict(m.NotificationChannel.pb(channel))
    return out

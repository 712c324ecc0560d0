"""AlertPolicyService: create, get, list, update and delete alert policies.

Left out: whatever ``compile`` refuses, reminders (notificationChannelStrategy) and rate limits of notifications.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from google.cloud import monitoring_v3 as m
from google.protobuf import empty_pb2, json_format
from google.rpc import status_pb2

from vertex_deploy.local.alerting import listing
from vertex_deploy.local.alerting.book import check_labels, check_text, missing, new_id
from vertex_deploy.local.alerting.compile import compile_policy
from vertex_deploy.local.alerting.conditions import MINUTE
from vertex_deploy.local.control import masks
from vertex_deploy.local.monitoring import errors
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.local.alerting.book import Book
    from vertex_deploy.local.monitoring.catalogue import Metric

MAX_CHANNELS = 16
FIELDS = frozenset(
    {
        "name", "display_name", "documentation.content", "user_labels.*", "combiner", "enabled", "severity",
        "notification_channels",
    }
)  # fmt: skip
"""What lists can be filtered and sorted by."""
_UPDATABLE = frozenset(
    {
        "display_name", "documentation", "user_labels", "conditions", "combiner", "enabled", "notification_channels",
        "alert_strategy", "severity",
    }
)  # fmt: skip
_MAX_NAME = 512
_MAX_CONTENT = 8192
_MAX_BYTES = 10_240
_MAX_LINKS = 3
_MAX_LINK_NAME, _MAX_URL = 63, 2083
_LABEL_PATH = re.compile(r"^user_label\.")


class Watcher(Protocol):
    """Who must know that a policy changed."""

    def changed(self, policy: m.AlertPolicy) -> None:
        """The policy was created or updated."""
        ...

    def removed(self, policy: m.AlertPolicy) -> None:
        """The policy was deleted."""
        ...


class AlertPolicyService:
    """google.monitoring.v3.AlertPolicyService.

    Args:
        book: keeps the policies.
        metric: project id and metric type -> metric, None if there is no such one.
        watcher: is told of every change.
        minute: what counts as a minute, nanoseconds.
    """

    def __init__(
        self, book: Book, metric: Callable[[str, str], Metric | None], watcher: Watcher, *, minute: int = MINUTE
    ) -> None:
        self._book = book
        self._metric = metric
        self._watcher = watcher
        self._minute = minute

    async def list_alert_policies(
        self, request: m.ListAlertPoliciesRequest, _context: object = None
    ) -> m.ListAlertPoliciesResponse:
        """The policies of a project, in the order of their creation unless asked otherwise."""
        parent = self._book.parent(request.name)
        matches = listing.matcher(request.filter, FIELDS)
        found = [p for p in self._book.policies.under(f"{parent}/alertPolicies/") if matches(_json(p))]
        found.sort(key=lambda p: p.creation_record.mutate_time)
        found = listing.order(found, request.order_by, FIELDS, _json)
        page, token = listing.page(found, request.page_size, request.page_token)
        shown = [self._shown(p) for p in page]
        return m.ListAlertPoliciesResponse(alert_policies=shown, next_page_token=token, total_size=len(found))

    async def get_alert_policy(self, request: m.GetAlertPolicyRequest, _context: object = None) -> m.AlertPolicy:
        """One policy."""
        return self._shown(self._get(request.name))

    def _shown(self, policy: m.AlertPolicy) -> m.AlertPolicy:
        """With its validity: a metric may have gone, or the sample period changed, since it was written."""
        try:
            compile_policy(policy, self._metric, minute=self._minute)
        except ApiError as error:
            policy.validity = status_pb2.Status(code=error.code.value[0], message=error.message)
        return policy

    def _get(self, name: str, path: str = "name") -> m.AlertPolicy:
        full = self._book.resource(name, "alertPolicies", path)
        found = self._book.policies.get(full)
        if found is None:
            raise missing("alert policy", full)
        return found

    async def create_alert_policy(self, request: m.CreateAlertPolicyRequest, _context: object = None) -> m.AlertPolicy:
        """Create a policy; it is evaluated from the next sample period on."""
        parent = self._book.parent(request.name)
        policy = request.alert_policy
        if policy.name:
            raise errors.field("alert_policy.name", policy.name, "The name is assigned by the service; leave it out.")
        policy.name = f"{parent}/alertPolicies/{new_id()}"
        policy.creation_record = self._record()
        return self._save(policy, None)

    async def update_alert_policy(self, request: m.UpdateAlertPolicyRequest, _context: object = None) -> m.AlertPolicy:
        """Replace a policy, or the fields of the mask; incidents of conditions that change close."""
        before = self._get(request.alert_policy.name, "alert_policy.name")
        after = self._get(before.name)
        if request.update_mask and request.update_mask.paths:
            # The reference spells a label's path user_label.KEY.
            paths = [_LABEL_PATH.sub("user_labels.", path) for path in request.update_mask.paths]
            masks.update(after, request.alert_policy, paths, _UPDATABLE)
        else:
            after = request.alert_policy
            after.name, after.creation_record = before.name, before.creation_record
        return self._save(after, before)

    async def delete_alert_policy(
        self, request: m.DeleteAlertPolicyRequest, _context: object = None
    ) -> empty_pb2.Empty:
        """Delete a policy; its open incidents close."""
        policy = self._get(request.name)
        self._book.policies.delete(policy.name)
        self._watcher.removed(policy)
        return empty_pb2.Empty()

    def _record(self) -> m.MutationRecord:
        return m.MutationRecord(mutate_time=self._book.now())

    def _save(self, policy: m.AlertPolicy, before: m.AlertPolicy | None) -> m.AlertPolicy:
        check(policy)
        self._check_channels(policy)
        known = {condition.name for condition in before.conditions} if before else set()
        for index, condition in enumerate(policy.conditions):
            if condition.name and condition.name not in known:
                why = "The name of a condition is assigned by the service; leave it out of a new one."
                raise errors.field(f"alert_policy.conditions[{index}].name", condition.name, why)
            condition.name = condition.name or f"{policy.name}/conditions/{new_id()}"
        names = [condition.name for condition in policy.conditions]
        if len(set(names)) < len(names):
            raise errors.field("alert_policy.conditions", "...", "Two conditions have the same name.")
        compile_policy(policy, self._metric, minute=self._minute)
        if "enabled" not in policy:
            policy.enabled = True
        m.AlertPolicy.pb(policy).ClearField("validity")
        policy.mutation_record = self._record()
        self._book.policies.put(policy.name, policy)
        self._watcher.changed(self._get(policy.name))  # a copy: the answer is the caller's
        return policy

    def _check_channels(self, policy: m.AlertPolicy) -> None:
        path = "alert_policy.notification_channels"
        if len(policy.notification_channels) > MAX_CHANNELS:
            raise errors.field(path, len(policy.notification_channels), f"At most {MAX_CHANNELS} channels are allowed.")
        names = []
        for name in policy.notification_channels:
            full = self._book.sibling(name, "notificationChannels", path, policy.name)
            if self._book.channels.get(full) is None:
                raise missing("notification channel", full)
            names.append(full)
        policy.notification_channels = names


def _json(policy: m.AlertPolicy) -> dict[str, object]:
    out: dict[str, object] = json_format.MessageToDict(m.AlertPolicy.pb(policy))
    return out


def check(policy: m.AlertPolicy) -> None:
    """Everything of a policy but its conditions and channels.

    Raises:
        ApiError: INVALID_ARGUMENT naming what is wrong, or what Local Vertex leaves out.
    """
    check_text(policy.display_name, _MAX_NAME, "alert_policy.display_name")
    check_labels(policy.user_labels, "alert_policy.user_labels")
    if policy.severity not in tuple(m.AlertPolicy.Severity):
        raise errors.field("alert_policy.severity", policy.severity, "The severity is not known.")
    documentation = policy.documentation
    check_text(documentation.content, _MAX_CONTENT, "alert_policy.documentation.content")
    for name, text in (("content", documentation.content), ("subject", documentation.subject)):
        if len(text.encode()) > _MAX_BYTES:
            why = f"The text must not be longer than {_MAX_BYTES} bytes."
            raise errors.field(f"alert_policy.documentation.{name}", text[:50], why)
    if documentation.mime_type not in {"", "text/markdown"}:
        why = 'Only "text/markdown" is supported.'
        raise errors.field("alert_policy.documentation.mime_type", documentation.mime_type, why)
    _check_links(documentation)
    _check_strategy(policy)


def _check_links(documentation: m.AlertPolicy.Documentation) -> None:
    path = "alert_policy.documentation.links"
    if len(documentation.links) > _MAX_LINKS:
        raise errors.field(path, len(documentation.links), f"At most {_MAX_LINKS} links are allowed.")
    for index, link in enumerate(documentation.links):
        if not 0 < len(link.display_name) <= _MAX_LINK_NAME:
            why = f"The display name must have from 1 to {_MAX_LINK_NAME} characters."
            raise errors.field(f"{path}[{index}].display_name", link.display_name[:100], why)
        if not link.url:
            raise errors.field(f"{path}[{index}].url", "", "The URL must be specified.")
        check_text(link.url, _MAX_URL, f"{path}[{index}].url")


def _check_strategy(policy: m.AlertPolicy) -> None:
    raw = m.AlertPolicy.pb(policy).alert_strategy
    if raw.HasField("notification_rate_limit"):
        seconds = raw.notification_rate_limit.period.seconds
        why = "only log-based alert policies may specify a notification rate limit"
        raise errors.field("alertStrategy.notificationRateLimit", f"period {{ seconds: {seconds} }}", why)
    if raw.notification_channel_strategy:
        why = "Reminders are not implemented by Local Vertex."
        raise errors.field("alertStrategy.notificationChannelStrategy", "...", why)
    prompts = list(raw.notification_prompts)
    if prompts not in ([], [1], [1, 3], [3, 1]):
        why = "The prompts must be OPENED, or OPENED and CLOSED."
        raise errors.field("alertStrategy.notificationPrompts", prompts, why)

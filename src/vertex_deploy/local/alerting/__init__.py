"""Alerting of Local Vertex: alert policies evaluated on the stored time series, incidents, notifications, snoozes.

Pure: ``conditions`` (values), ``compile`` (what a policy may say), ``measure`` (series to readings), ``machine``
(readings to incidents), ``incidents`` and ``payload`` (what is shown and sent), ``listing`` (filters, order, pages).
Drivers: ``book`` (what is kept on disk), ``policies``, ``channels``, ``snoozes`` (Google's services), ``alerts``
(projects.alerts, which only the REST API has), ``engine`` (evaluates every sample period), ``notifier`` (webhooks).

Deliberately left out: conditions in MQL, PromQL and SQL, on logs and forecasts; every type of channel but webhooks;
verification of channels; reminders and rate limits of notifications; severities made of labels. Asked for, they are
refused with INVALID_ARGUMENT or UNIMPLEMENTED, never ignored.
"""

from vertex_deploy.local.alerting.alerts import alert_routes
from vertex_deploy.local.alerting.book import Book
from vertex_deploy.local.alerting.channels import NotificationChannelService
from vertex_deploy.local.alerting.engine import AlertEngine
from vertex_deploy.local.alerting.notifier import Notifier, Outbox
from vertex_deploy.local.alerting.policies import AlertPolicyService
from vertex_deploy.local.alerting.snoozes import SnoozeService

__all__ = [
    "AlertEngine",
    "AlertPolicyService",
    "Book",
    "NotificationChannelService",
    "Notifier",
    "Outbox",
    "SnoozeService",
    "alert_routes",
]

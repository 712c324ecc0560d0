"""What tests of alerting share: series, policies, a store that is filled by hand."""

from __future__ import annotations

from dataclasses import dataclass

from google.cloud import monitoring_v3 as m

from vertex_deploy.local.alerting import AlertEngine, AlertPolicyService, Book, NotificationChannelService, Notifier
from vertex_deploy.local.monitoring import MetricService, SeriesStore
from vertex_deploy.local.monitoring.catalogue import ENDPOINT, PREFIX
from vertex_deploy.local.monitoring.values import NS, Point, SeriesKey
from vertex_deploy.local.state import Store

T0 = 1_800_000_000
"""A whole minute."""
MINUTE = 60 * NS
COUNT = PREFIX + "response_count"
REPLICAS = PREFIX + "replicas"


@dataclass
class FakeClock:
    time: float = float(T0)

    def now(self) -> float:
        return self.time


def key(deployed="1", *, metric=COUNT, endpoint="77", **labels):
    return SeriesKey.of(
        project="proj-a",
        metric=metric,
        metric_labels={"deployed_model_id": deployed, **labels},
        resource=ENDPOINT,
        resource_labels={"resource_container": "proj-a", "location": "us-central1", "endpoint_id": endpoint},
    )


def where(metric=COUNT, extra=""):
    return f'metric.type="{metric}" AND resource.type="{ENDPOINT}"' + (f" AND {extra}" if extra else "")


def aggregation(seconds=60, aligner="ALIGN_DELTA", reducer="REDUCE_SUM", by=("metric.label.deployed_model_id",)):
    return {
        "alignment_period": {"seconds": seconds},
        "per_series_aligner": aligner,
        "cross_series_reducer": reducer,
        "group_by_fields": list(by),
    }


def threshold(*, text=None, limit=10.0, minutes=0, aggregations=None, **more):
    return {
        "display_name": "too many",
        "condition_threshold": {
            "filter": text or where(),
            "aggregations": [aggregation()] if aggregations is None else aggregations,
            "comparison": "COMPARISON_GT",
            "threshold_value": limit,
            "duration": {"seconds": minutes * 60},
            **more,
        },
    }


def absence(*, minutes=2, text=None, aggregations=()):
    return {
        "display_name": "silent",
        "condition_absent": {
            "filter": text or where(REPLICAS),
            "duration": {"seconds": minutes * 60},
            "aggregations": list(aggregations),
        },
    }


def policy(*conditions, **more):
    return m.AlertPolicy(
        {"display_name": "p", "combiner": "OR", "conditions": list(conditions or [threshold()]), **more}
    )


class Inbox(Notifier):
    """Keeps what would be sent."""

    def __init__(self):
        super().__init__()
        self.got = []

    def notify(self, channel, body):
        self.got.append((channel, body))
        return True


class World:
    """All of alerting on a clock that tests move, a minute at a time."""

    def __init__(self, store=None, series=None):
        self.clock = FakeClock()
        self.store = store or Store()
        self.series = series or SeriesStore()
        self.metrics = MetricService(self.series, self.clock)
        self.inbox = Inbox()
        self.book = Book(self.store, self.clock, project_number=lambda _: "123")
        self.engine = AlertEngine(self.book, self.series, self.inbox, metric=self.metrics.metric)
        self.policies = AlertPolicyService(self.book, self.metrics.metric, self.engine)
        self.channels = NotificationChannelService(self.book)

    async def create(self, *conditions, **more):
        request = m.CreateAlertPolicyRequest(name="projects/proj-a", alert_policy=policy(*conditions, **more))
        return await self.policies.create_alert_policy(request)

    async def channel(self):
        channel = m.NotificationChannel(type_="webhook_tokenauth", labels={"url": "http://127.0.0.1:9/hook?token=x"})
        request = m.CreateNotificationChannelRequest(name="projects/proj-a", notification_channel=channel)
        return await self.channels.create_notification_channel(request)

    def minute(self, counts=None, gauges=None):
        """One minute passes in which these were written, and the policies are evaluated."""
        start = int(self.clock.time) * NS
        self.clock.time += 60
        end = int(self.clock.time) * NS
        points = [(k, Point(start, end, v)) for k, v in (counts or {}).items()]
        points += [(k, Point(end, end, v)) for k, v in (gauges or {}).items()]
        self.series.append(points, now=self.clock.time)
        self.engine.tick()
        return [i.id for i in self.open()]

    def open(self):
        return [i for i in self.book.incidents("proj-a") if i.open]

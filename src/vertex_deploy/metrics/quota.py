"""Quotas as Cloud Monitoring has them: the limit and the usage of Vertex AI's quotas in one region.

Reads ``serviceruntime.googleapis.com/quota/limit`` and ``.../quota/allocation/usage`` of the monitored resource
``consumer_quota`` (labels project_id, service, location; metric label quota_metric), as gcloud's check of quotas before
a Model Garden deployment does (``model_garden_utils``): a day and an hour back, because points of quotas are rare, and
without a point of usage nothing is used.

Left out: which quotas matter (``spec.quotas``) and what follows (``rollout.quota``); the Cloud Quotas API, which has
the same limits and is one API more to enable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vertex_deploy import gcp
from vertex_deploy.errors import CloudError
from vertex_deploy.metrics.cloud_monitoring import number
from vertex_deploy.spec.quotas import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vertex_deploy.spec.quotas import Quota

LIMIT = "serviceruntime.googleapis.com/quota/limit"
USAGE = "serviceruntime.googleapis.com/quota/allocation/usage"
RESOURCE = "consumer_quota"
WINDOW = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class QuotaLevel:
    """One quota as it was read.

    Args:
        limit: how much may be used; None where no limit is published.
        used: how much is used.
    """

    limit: int | None = None
    used: int = 0


class QuotaSource:
    """Reads quotas of Vertex AI.

    Args:
        project: project id.
        region: such as us-central1.
        caller: makes the calls, with retries; tests pass their own.
        client: a ``MetricServiceClient``; made on first use where absent.
    """

    def __init__(self, project: str, region: str, *, caller: gcp.Caller | None = None, client: Any = None) -> None:
        self._project, self._region = project, region
        self._call = caller or gcp.Caller()
        self._client = client

    def levels(self, quotas: Sequence[Quota], now: float) -> Mapping[str, QuotaLevel]:
        """The quotas' levels, by metric.

        Args:
            quotas: which.
            now: seconds since the epoch.

        Raises:
            CloudError: the API refused, or did not answer.
        """
        if not quotas:
            return {}
        limits, used = self._newest(LIMIT, quotas, now), self._newest(USAGE, quotas, now)
        found = {}
        for quota in quotas:
            # Of several limits on one quota the lowest binds. A negative one is no number to reckon with.
            known = min(limits.get(quota.full_metric, ()), default=-1)
            usage = sum(used.get(quota.full_metric, ()))
            found[quota.metric] = QuotaLevel(limit=round(known) if known >= 0 else None, used=round(usage))
        return found

    def _newest(self, metric: str, quotas: Sequence[Quota], now: float) -> dict[str, list[float]]:
        """Quota metric -> the newest value of each of its series."""
        from google.cloud import monitoring_v3  # noqa: PLC0415 - heavy: only when a call is made

        if self._client is None:
            self._client = gcp.metric_client()
        end = datetime.fromtimestamp(now, UTC)
        request = {
            "name": f"projects/{self._project}",
            "filter": quota_filter(metric, self._project, self._region, (quota.full_metric for quota in quotas)),
            "interval": {"start_time": end - WINDOW, "end_time": end},
            "view": monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        }
        what = f"ListTimeSeries {metric} of {self._region}"
        try:
            pager = self._call(self._client.list_time_series, request, what=what)
            listed = self._call(lambda **_: list(pager), None, what=what)
        except CloudError as error:
            # A metric that a project has no data of is not found.
            if error.code != "NOT_FOUND":
                raise
            listed = []
        found: dict[str, list[float]] = {}
        for series in listed:
            newest = max(series.points, key=lambda point: point.interval.end_time, default=None)
            value = number(newest.value) if newest is not None else None
            if value is not None:
                found.setdefault(series.metric.labels.get("quota_metric", ""), []).append(value)
        return found


def quota_filter(metric: str, project: str, region: str, quota_metrics: Iterable[str]) -> str:
    """The filter of ListTimeSeries for quotas of Vertex AI in one region."""
    names = ",".join(f'"{name}"' for name in quota_metrics)
    return (
        f'metric.type="{metric}" AND resource.type="{RESOURCE}" AND resource.labels.project_id="{project}" '
        f'AND resource.labels.service="{SERVICE}" AND resource.labels.location="{region}" '
        f"AND metric.labels.quota_metric=one_of({names})"
    )

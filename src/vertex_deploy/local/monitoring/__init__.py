"""Cloud Monitoring of Local Vertex: the metrics of real requests, kept and served as Cloud Monitoring serves them.

Pure: ``values`` (points, distributions), ``catalogue`` (Vertex AI's metrics), ``filters`` and ``re2`` (their language),
``alignment`` and ``reduction`` (aggregation), ``query`` (the three put together), ``writes`` (what may be written).
Drivers: ``recorder`` (requests to points), ``store`` (memory and sqlite), ``service`` (MetricService).

Alert policies and incidents are ``vertex_deploy.local.alerting``, which builds on the pure parts.

Deliberately left out: groups, uptime checks, MQL and PromQL, organization and folder scopes,
ALIGN_PERCENT_CHANGE. Asked for, they are refused with INVALID_ARGUMENT or UNIMPLEMENTED.
"""

from vertex_deploy.local.monitoring.quota_points import QuotaPoints
from vertex_deploy.local.monitoring.recorder import MetricRecorder
from vertex_deploy.local.monitoring.service import MetricService
from vertex_deploy.local.monitoring.store import SeriesStore

__all__ = ["MetricRecorder", "MetricService", "QuotaPoints", "SeriesStore"]

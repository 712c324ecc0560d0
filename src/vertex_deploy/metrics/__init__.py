"""Where evidence comes from: one small Protocol, one file a backend.

``MetricSource`` is the seam: the rollout's driver reads intervals from it and hands them to the judge.
"""

from vertex_deploy.metrics.types import Histogram, Interval, MetricSource, VersionSample

__all__ = ["Histogram", "Interval", "MetricSource", "VersionSample"]

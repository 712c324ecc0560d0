"""What the server counts, in Prometheus's text format.

Names follow Prometheus's conventions: base units, ``_total`` for counters. Durations that Cloud Monitoring gets are
handed on to ``export``. Left out: the endpoint's own metrics (``prediction/online/...``) come from the endpoint, not
from the container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.engines.base import Stage
    from serving.export.exporter import Exporter

_OK = 200

_SECONDS = (
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
)
_INSTANCES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One server's metrics, in a registry of their own.

    Args:
        exporter: told of durations, where Cloud Monitoring gets them.
    """

    def __init__(self, exporter: Exporter | None = None) -> None:
        self._exporter = exporter
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "serving_requests",
            "Prediction requests answered, by HTTP code (499: the client left).",
            ["code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "serving_request_seconds",
            "From a request's head to its answer, seconds.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._predictions = Counter("serving_predictions", "Instances answered.", registry=self.registry)
        self._depth = Gauge("serving_queue_instances", "Instances that wait for a batch.", registry=self.registry)
        self._batch = Histogram(
            "serving_batch_instances", "Instances in a batch.", buckets=_INSTANCES, registry=self.registry
        )
        self._engine = Histogram(
            "serving_engine_seconds",
            "A batch in the engine, with the way there and back, seconds.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ready = Gauge("serving_ready", "1 while the health check answers 200.", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def request(self, code: int, seconds: float, predictions: int) -> None:
        """A request was answered."""
        self._requests.labels(code).inc()
        self._seconds.observe(seconds)
        if predictions:
            self._predictions.inc(predictions)
        if self._exporter is not None and code == _OK:
            self._exporter.request(seconds)

    def stages(self, seconds: Mapping[Stage, float]) -> None:
        """A request spent so long in the stages that its engine measured."""
        if self._exporter is not None:
            self._exporter.stages(seconds)

    def batch(self, instances: int, seconds: float) -> None:
        """A batch ran."""
        self._batch.observe(instances)
        self._engine.observe(seconds)

    def depth(self, instances: int) -> None:
        """The queue holds so many."""
        self._depth.set(instances)

    def ready(self, value: bool) -> None:
        """Whether the server is healthy."""
        self._ready.set(value)

    def text(self) -> bytes:
        """All of it, as ``/metrics`` answers."""
        return generate_latest(self.registry)

"""Cloud Monitoring as a sink of the exporter, with google-cloud-monitoring; imported only when the export is on.

What is written: ``custom.googleapis.com/NAME``, GAUGE, DISTRIBUTION, in ms, with the metric labels ``endpoint_id`` and
``deployed_model_id``. GAUGE: a point stands by itself, so a replica that ends takes nothing with it.

The monitored resource is ``generic_task``. User-defined metrics may be written for certain types only (TimeSeries,
field ``resource``), and ``aiplatform.googleapis.com/Endpoint`` is Google's own; ``global`` has nothing that tells
writers apart, and two writers of one series refuse each other's points. ``task_id`` is a server process. Its location
is "global": Vertex AI does not tell a container its region, and OpenTelemetry's mapping for Google Cloud falls back to
the same. ``project_id`` is left to the API, which fills it in.

Addresses: ``http://127.0.0.1:PORT`` is plaintext gRPC to this machine and no other; everything else is TLS with the
application default credentials, whose account needs roles/monitoring.metricWriter.

Left out: OpenTelemetry's SDK (two more layers for three series), and reading back what was written.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import uuid
from typing import TYPE_CHECKING, Any, get_args

from serving.engines.base import Stage
from serving.errors import ConfigError
from serving.export.address import VARIABLE, parse_address
from serving.export.distribution import FINITE_BUCKETS, GROWTH, SCALE_MS
from serving.export.exporter import TOTAL, Exporter, ExportFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.config import Config
    from serving.export.exporter import Sample

PREFIX = "custom.googleapis.com/"
_DESCRIBED = {
    **{f"{stage}_ms": f"A request's time in the stage {stage} of its engine." for stage in get_args(Stage)},
    TOTAL: "From a request's head to its answer, for requests answered with predictions.",
}
_LABELS = {"endpoint_id": "ID of the endpoint.", "deployed_model_id": "ID of the DeployedModel that answered."}
# After these the same call may succeed (https://google.aip.dev/194), or may have taken effect already.
_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "CANCELLED"})
_FIXES = {
    "PERMISSION_DENIED": "grant the model's service account roles/monitoring.metricWriter on the project",
    "UNAUTHENTICATED": "deploy the model with a service account",
    "UNIMPLEMENTED": f"check where {VARIABLE} points",
}


def exporter(config: Config) -> Exporter:
    """The exporter that the settings ask for; not started.

    Raises:
        ConfigError: google-cloud-monitoring is not installed, or the address is wrong.
    """
    try:
        found = importlib.util.find_spec("google.cloud.monitoring_v3")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigError(
            "SERVING_METRICS_EXPORT=cloud: google-cloud-monitoring is not installed; install the extra serving"
        )
    sink = CloudSink(
        config.monitoring_endpoint,
        project=config.project_number,
        endpoint_id=config.endpoint_id,
        deployed_model_id=config.deployed_model_id,
        task=f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}",  # a restarted server writes a series of its own
    )
    return Exporter(sink, period=config.metrics_period_s)


class CloudSink:
    """Writes to Cloud Monitoring.

    Args:
        address: what ``SERVING_MONITORING_ENDPOINT`` holds.
        project: id or number.
        endpoint_id: of the endpoint.
        deployed_model_id: of the deployed model.
        task: tells this process from every other one that serves the deployed model.
        client: a ``monitoring_v3.MetricServiceClient``; made by ``connect`` where absent.

    Raises:
        ConfigError: see ``parse_address``.
    """

    def __init__(
        self, address: str, *, project: str, endpoint_id: str, deployed_model_id: str, task: str, client: Any = None
    ) -> None:
        self._target, self._plaintext = parse_address(address)
        self._name = f"projects/{project}"
        self._labels = {"endpoint_id": endpoint_id, "deployed_model_id": deployed_model_id}
        self._resource = {"location": "global", "namespace": endpoint_id, "job": deployed_model_id, "task_id": task}
        self._client = client
        self._described: set[str] = set()

    def connect(self) -> None:
        """Import the client and make one; nothing once that is done."""
        if self._client is not None:
            return
        # gRPC writes to stderr, which Vertex AI records as errors; what matters comes back as exceptions.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc  # noqa: PLC0415 - only when the export is on
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from google.cloud.monitoring_v3 import MetricServiceClient  # noqa: PLC0415 - takes a second

        if self._plaintext:
            # Loopback is never behind a proxy.
            channel = grpc.insecure_channel(self._target, options=[("grpc.enable_http_proxy", 0)])
            transport = MetricServiceClient.get_transport_class("grpc")(channel=channel)
            self._client = MetricServiceClient(transport=transport)
            return
        try:
            self._client = MetricServiceClient(client_options={"api_endpoint": self._target})
        except GoogleAuthError as error:
            raise ExportFailed(f"no credentials ({error}); {_FIXES['UNAUTHENTICATED']}", again=True) from None

    def write(self, samples: Sequence[Sample], *, timeout: float) -> None:
        """See ``Sink``; creates the descriptors of metrics that this process has not written yet."""
        for sample in samples:
            if sample.metric not in self._described:
                self._describe(sample.metric, timeout)
        series = [self._series(sample) for sample in samples]
        self._call("CreateTimeSeries", "create_time_series", {"name": self._name, "time_series": series}, timeout)

    def _describe(self, metric: str, timeout: float) -> None:
        """Create or update a descriptor; the call is idempotent by the API's definition."""
        from google.api import label_pb2, metric_pb2  # noqa: PLC0415 - only when the export is on

        descriptor = metric_pb2.MetricDescriptor(
            type=PREFIX + metric,
            metric_kind=metric_pb2.MetricDescriptor.GAUGE,
            value_type=metric_pb2.MetricDescriptor.DISTRIBUTION,
            unit="ms",
            display_name=metric.removesuffix("_ms").replace("_", " ").capitalize(),
            description=_DESCRIBED[metric],
            labels=[label_pb2.LabelDescriptor(key=key, description=text) for key, text in _LABELS.items()],
        )
        request = {"name": self._name, "metric_descriptor": descriptor}
        self._call("CreateMetricDescriptor", "create_metric_descriptor", request, timeout)
        self._described.add(metric)

    def _series(self, sample: Sample) -> Any:
        from google.cloud import monitoring_v3 as m  # noqa: PLC0415 - only when the export is on

        series = m.TimeSeries.pb(m.TimeSeries())
        series.metric.type = PREFIX + sample.metric
        series.metric.labels.update(self._labels)
        series.resource.type = "generic_task"
        series.resource.labels.update(self._resource)
        point = series.points.add()
        point.interval.end_time.FromMilliseconds(round(sample.end * 1000))
        values, out = sample.values, point.value.distribution_value
        out.count, out.mean, out.sum_of_squared_deviation = values.count, values.mean, values.squares
        out.bucket_counts.extend(values.buckets)
        layout = out.bucket_options.exponential_buckets
        layout.num_finite_buckets, layout.growth_factor, layout.scale = FINITE_BUCKETS, GROWTH, SCALE_MS
        return m.TimeSeries.wrap(series)

    def _call(self, what: str, method: str, request: dict[str, Any], timeout: float) -> None:
        from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 - only when the export is on
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        try:
            getattr(self._client, method)(request=request, retry=None, timeout=timeout)
        except GoogleAPICallError as error:
            code = error.grpc_status_code.name if error.grpc_status_code is not None else "UNKNOWN"
            fix = f"; {_FIXES[code]}" if code in _FIXES else ""
            raise ExportFailed(f"{what}: {code}: {error.message}{fix}", again=code in _TRANSIENT) from error
        except GoogleAuthError as error:
            raise ExportFailed(f"{what}: {error}; {_FIXES['UNAUTHENTICATED']}", again=True) from error

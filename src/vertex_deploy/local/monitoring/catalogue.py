"""Vertex AI's online prediction metrics, quotas and the monitored resources, as data.

Source: Google's list of metrics (aiplatform.googleapis.com), checked November 2026.

Left out: every other metric of Google Cloud; a filter that names one gets NOT_FOUND, as for a metric that has no data
in a project.
"""

from __future__ import annotations

from dataclasses import dataclass

from vertex_deploy.local.monitoring.values import Kind, Type

PREFIX = "aiplatform.googleapis.com/prediction/online/"
ENDPOINT = "aiplatform.googleapis.com/Endpoint"
QUOTA_LIMIT = "serviceruntime.googleapis.com/quota/limit"
QUOTA_USAGE = "serviceruntime.googleapis.com/quota/allocation/usage"
CONSUMER_QUOTA = "consumer_quota"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a metric or a monitored resource.

    Args:
        key: its name.
        description: one line.
        type: STRING, BOOL or INT64; values are strings on the wire whatever it is.
    """

    key: str
    description: str
    type: Type = Type.STRING


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric descriptor.

    Args:
        type: full metric type.
        kind: what a point covers.
        value: type of its values.
        unit: UCUM unit.
        display_name: a few words.
        description: one sentence.
        labels: metric labels.
        resources: monitored resource types that it is written for; empty: any that custom metrics may use.
        sample_period: seconds between points in the cloud.
        ingest_delay: seconds until a point can be read in the cloud, at most.
    """

    type: str
    kind: Kind
    value: Type
    unit: str = ""
    display_name: str = ""
    description: str = ""
    labels: tuple[Label, ...] = ()
    resources: tuple[str, ...] = ()
    sample_period: int = 0
    ingest_delay: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A monitored resource descriptor; ``custom`` tells whether custom metrics may be written for it."""

    type: str
    display_name: str
    description: str
    labels: tuple[Label, ...]
    custom: bool = True


_DEPLOYED = Label("deployed_model_id", "ID of the DeployedModel which serves the prediction request.")
_SPOT = Label("spot", "Whether this deployment is on Spot VMs.", Type.BOOL)
_REPLICA = Label("replica_id", "Unique ID corresponding to the model server replica.")
_CODE = Label("response_code", "Response code (1xx, 2xx, 3xx, 4xx or 5xx).")
_CODE_INT = Label("response_code", "HTTP response code.", Type.INT64)
_LATENCY = Label("latency_type", "Type of latency: overhead, model or total.")

_QUOTA = Label("quota_metric", "The name of quota metric or quota group.")


def _online(  # noqa: PLR0917 - one line a row of the table below
    name: str, kind: Kind, value: Type, unit: str, description: str, labels: tuple[Label, ...], delay: int
) -> Metric:
    return Metric(
        type=PREFIX + name,
        kind=kind,
        value=value,
        unit=unit,
        display_name=name.replace("/", " ").replace("_", " ").capitalize(),
        description=description,
        labels=labels,
        resources=(ENDPOINT,),
        sample_period=60,
        ingest_delay=delay,
    )


_D, _G = Kind.DELTA, Kind.GAUGE
_I, _F, _H = Type.INT64, Type.DOUBLE, Type.DISTRIBUTION
_OWN = (_DEPLOYED, _SPOT)
_PER_REPLICA = (_DEPLOYED, _REPLICA, _SPOT)

METRICS: tuple[Metric, ...] = (
    _online("response_count", _D, _I, "1", "Number of different online prediction response codes.", (_CODE, *_OWN), 0),
    _online("error_count", _D, _I, "1", "Number of online prediction errors.", _OWN, 0),
    _online("prediction_count", _D, _I, "1", "Number of online predictions.", _OWN, 0),
    _online("prediction_latencies", _D, _H, "ms", "Online prediction latency.", (_LATENCY, *_OWN), 0),
    _online("replicas", _G, _I, "1", "Number of active replicas used by the deployed model.", _OWN, 120),
    _online(
        "target_replicas", _G, _I, "1", "Target number of active replicas needed for the deployed model.", _OWN, 120
    ),
    _online("machine_count", _G, _I, "1", "Number of machines used by the deployed model.", _OWN, 120),
    _online(
        "cpu/utilization", _G, _F, "10^2.%", "Fraction of CPU allocated and in use by the replica.", _PER_REPLICA, 360
    ),
    _online(
        "accelerator/duty_cycle", _G, _F, "10^2.%", "Fraction of time the accelerators were busy.", _PER_REPLICA, 360
    ),
    _online("memory/bytes_used", _G, _I, "By", "Memory allocated and in use by the replica.", _PER_REPLICA, 360),
    _online(
        "accelerator/memory/bytes_used", _G, _I, "By", "Accelerator memory used by the replica.", _PER_REPLICA, 360
    ),
    _online("private/response_count", _D, _I, "1", "Responses of private endpoints.", (_CODE_INT, _DEPLOYED), 360),
    _online("private/prediction_latencies", _D, _H, "ms", "Latency of private endpoints.", (_DEPLOYED,), 360),
    Metric(
        type=QUOTA_LIMIT,
        kind=_G,
        value=_I,
        unit="1",
        display_name="Quota limit",
        description="The limit for the quota.",
        labels=(_QUOTA, Label("limit_name", "The limit name.")),
        resources=(CONSUMER_QUOTA,),
        sample_period=86400,
    ),
    Metric(
        type=QUOTA_USAGE,
        kind=_G,
        value=_I,
        unit="1",
        display_name="Allocation quota usage",
        description="The total consumed allocation quota.",
        labels=(_QUOTA,),
        resources=(CONSUMER_QUOTA,),
        sample_period=60,
    ),
)
"""Vertex AI's metrics of ``aiplatform.googleapis.com/Endpoint``, and those of quotas."""

BY_TYPE: dict[str, Metric] = {m.type: m for m in METRICS}

RESOURCES: tuple[Resource, ...] = (
    Resource(
        ENDPOINT,
        "Vertex AI Endpoint",
        "A Vertex AI API Endpoint where Models are deployed into it.",
        (
            Label("resource_container", "The identifier of the Google Cloud project that owns the endpoint."),
            Label("location", "The region in which the service is running."),
            Label("endpoint_id", "The ID of the endpoint."),
        ),
        custom=False,
    ),
    Resource(
        CONSUMER_QUOTA,
        "Consumer Quota",
        "A resource that represents the consumer's quota of a service.",
        (
            Label("project_id", "The identifier of the consumer's project."),
            Label("service", "The service name."),
            Label("location", "The region of the quota, or global."),
        ),
        custom=False,
    ),
    Resource("global", "Global", "No particular resource.", (Label("project_id", "The project."),)),
    Resource(
        "generic_task",
        "Generic Task",
        "A task scheduled by a custom orchestration system.",
        tuple(
            Label(k, d)
            for k, d in (
                ("project_id", "The project."),
                ("location", "Where the task runs."),
                ("namespace", "A namespace identifier, such as a cluster name."),
                ("job", "A grouping of related tasks."),
                ("task_id", "A unique identifier of the task within the namespace and job."),
            )
        ),
    ),
    Resource(
        "generic_node",
        "Generic Node",
        "A machine or other computational resource with no more specific type.",
        tuple(
            Label(k, d)
            for k, d in (
                ("project_id", "The project."),
                ("location", "Where the node runs."),
                ("namespace", "A namespace identifier, such as a cluster name."),
                ("node_id", "A unique identifier of the node within the namespace."),
            )
        ),
    ),
    Resource(
        "gce_instance",
        "VM Instance",
        "A virtual machine instance hosted in Compute Engine.",
        tuple(
            Label(k, d)
            for k, d in (
                ("project_id", "The project."),
                ("instance_id", "The numeric VM instance identifier."),
                ("zone", "The zone in which the VM runs."),
            )
        ),
    ),
)

RESOURCE_BY_TYPE: dict[str, Resource] = {r.type: r for r in RESOURCES}

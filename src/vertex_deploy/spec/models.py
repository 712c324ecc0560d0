"""The models of deploy.yaml: the only schema that the command line, the infrastructure and the pipelines share.

Every field has a description; the JSON Schema and the reference page are generated from them. Only the type of each
value is said here: what several fields must agree on is in ``checks``, and the top-level keys ``environments`` (sparse
overrides of all this) and ``lockstep`` (groups of them) are applied by ``loader`` before these models see anything.
Secrets are left out: a container reads them from Secret Manager as its service account, never from this file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertex_deploy.spec.base import Says, SpecModel
from vertex_deploy.spec.gates import Gate
from vertex_deploy.spec.infra import Infra
from vertex_deploy.spec.machines import Accelerator
from vertex_deploy.spec.units import Duration, Share
from vertex_deploy.spec.watching import Notify, Prometheus, RolloutAlerts


class Gcp(SpecModel):
    """Where in Google Cloud."""

    project: str
    """Project id."""
    region: str
    """Region of the endpoint, the model and the image, such as us-central1."""


class Model(SpecModel):
    """What is served."""

    artifact: str | None = None
    """Folder of the model's files, gs://bucket/path; the container sees Vertex AI's copy as AIP_STORAGE_URI."""
    display_name: str | None = None
    """Name shown in the console; the spec's name where absent."""
    aliases: tuple[str, ...] = ()
    """Version aliases given to each version that is uploaded."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the model."""


class Container(SpecModel):
    """The serving container."""

    image: str
    """A folder under containers/ (torch-aoti), or a full reference in the spec's region,
    REGION-docker.pkg.dev/PROJECT/REPO/IMAGE@sha256:..."""
    command: tuple[str, ...] = ()
    """Overrides the image's entrypoint."""
    args: tuple[str, ...] = ()
    """Overrides the image's arguments."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment; AIP_* names belong to Vertex AI and are refused."""
    port: int = Field(default=8080, ge=1, le=65535)
    """Port the server listens on (AIP_HTTP_PORT)."""
    predict_route: str | None = None
    """HTTP path of predictions; Vertex AI's own where absent."""
    health_route: str | None = None
    """HTTP path of health checks; Vertex AI's own where absent."""
    startup_timeout: Duration | None = None
    """How long the container may take to become healthy (deploymentTimeout), at most 2h."""


class PscAutomation(SpecModel):
    """A VPC network in which Vertex AI itself makes the Private Service Connect endpoint."""

    project: str
    """Project of the network."""
    network: str
    """VPC network, projects/PROJECT/global/networks/NAME."""


class EndpointSpec(SpecModel):
    """The endpoint that answers."""

    name: str | None = None
    """Display name; the spec's name where absent."""
    access: Literal["public", "dedicated", "psc", "psa"] = "public"
    """Who reaches it: the shared public host, a public host of its own, Private Service Connect, VPC peering."""
    allow_projects: tuple[str, ...] = ()
    """Projects allowed to connect (psc)."""
    network: str | None = None
    """VPC network, projects/NUMBER/global/networks/NAME (psa)."""
    automation: tuple[PscAutomation, ...] = ()
    """Networks that Vertex AI connects by itself (psc)."""
    request_timeout: Duration | None = None
    """How long a prediction may take: whole seconds, at most 1h (dedicated and psc; public and psa have 60s)."""


class Machine(SpecModel):
    """What each replica runs on."""

    type: str
    """Compute Engine machine type, such as g2-standard-8."""
    accelerator: Accelerator | None = None
    """GPU and count, such as L4:1; left out for machines without GPU and for TPU machines."""
    spot: bool = False
    """Spot VMs: cheaper, preemptible."""


ScaleMetric = Literal["cpu_utilization", "gpu_duty_cycle", "request_count_per_minute"]
"""Metrics of the endpoint itself that Vertex AI scales on: prediction/online/{cpu/utilization, accelerator/duty_cycle,
request_count} in AutoscalingMetricSpec."""


class Replicas(SpecModel):
    """How many replicas of each version."""

    min: int = Field(default=1, ge=1)
    """Replicas always running."""
    max: int = Field(default=1, ge=1)
    """Replicas at most."""
    scale_on: dict[ScaleMetric, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Autoscaling targets: cpu_utilization and gpu_duty_cycle in percent, request_count_per_minute of one replica."""


class Variant(SpecModel):
    """One side of a static traffic split: a model of its own, deployed beside the others."""

    name: Annotated[
        str,
        Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$"),
        Says("1 to 32 lower case letters, digits and hyphens that start with a letter and do not end with a hyphen"),
    ]
    """Which one, such as a; its model is named NAME-VARIANT."""
    weight: int = Field(ge=0, le=100)
    """Percent of the requests that it gets; 0 keeps it deployed without any."""
    artifact: str | None = None
    """Folder of its files, gs://bucket/path; ``model.artifact`` where absent."""
    image: str | None = None
    """Its serving image; ``container.image`` where absent."""


class VertexTarget(SpecModel):
    """Serve from a Vertex AI endpoint."""

    type: Literal["vertex"]
    """vertex."""
    endpoint: EndpointSpec = EndpointSpec()
    """The endpoint."""
    pool: str | None = None
    """Id of a DeploymentResourcePool of the project and region: all versions are deployed onto its machines. Those are
    the pool's own, unless infra.pool makes it of machine and replicas. Only Google's prebuilt TensorFlow and PyTorch
    images can share a pool."""
    machine: Machine | None = None
    """What each replica runs on; required, except with a pool that has machines already."""
    replicas: Replicas = Replicas()
    """How many replicas of each version; of the pool, with infra.pool."""
    service_account: str | None = None
    """Identity of the container."""
    traffic: Literal["rollout", "pulumi"] = "rollout"
    """Who owns the traffic split: the rollout (default) or, for a static split, the Pulumi program."""
    split: tuple[Variant, ...] = ()
    """The static split, with `traffic: pulumi` and only then; weights sum to 100."""


class Step(SpecModel):
    """One step of a rollout."""

    weight: int = Field(ge=1, le=100)
    """Percent of the requests that the canary gets."""
    hold: Duration | None = None
    """How long to stay and measure before the next step; the last step (100) has none."""
    approval: bool = False
    """Wait before this step for `rollout promote --approver NAME`; gates keep watching meanwhile."""


class Rollout(SpecModel):
    """How traffic moves to a new version."""

    steps: tuple[Step, ...] = (Step(weight=10, hold=1800.0), Step(weight=50, hold=1800.0), Step(weight=100))
    """Weights that rise to 100."""
    gates: tuple[Gate, ...] = ()
    """Conditions that every step must meet."""
    on_failure: Literal["rollback", "pause"] = "rollback"
    """When a gate fails: send all traffic back to stable, or stop where it is."""
    on_inconclusive: Literal["pause", "rollback", "proceed"] = "pause"
    """When a hold ends without enough evidence."""
    on_foreign_split: Literal["stop", "adopt"] = "stop"
    """When somebody else moves traffic between the two versions: pause, or hold anew at that split and go on from
    there. Anything else that somebody does to the split pauses."""
    on_missing_metrics: Literal["warn", "refuse"] = "warn"
    """When stable has no metrics of the last hour, or none of a gate's custom metric: warn that gates cannot pass
    without them, or do not start."""
    keep_stable: Duration = 86400.0
    """How long the old version stays deployed and warm after promotion."""
    deploy_timeout: Duration = 3600.0
    """How long a deployment operation may take."""
    poll: Duration | None = None
    """How often metrics are read; a twentieth of the hold, between 1s and 60s, where absent."""
    alerts: RolloutAlerts = RolloutAlerts()
    """Alert policies that end the rollout when they fire."""
    notify: tuple[Notify, ...] = ()
    """Whom to tell of every transition and failure."""


class Monitoring(SpecModel):
    """Where custom metrics are read, and alert policies and dashboards that stay after a rollout."""

    prometheus: Prometheus | None = None
    """Where gates with a prometheus query are read."""
    alerts: tuple[Gate, ...] = ()
    """Gates with an absolute threshold that are alert policies for good."""
    notification_channels: tuple[str, ...] = ()
    """projects/P/notificationChannels/ID of those to tell."""
    sampling: Share | None = None
    """Share of requests logged to BigQuery."""


NAME = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""Of a deployment."""


class Spec(SpecModel):
    """One deploy.yaml, with an environment's overrides applied."""

    name: Annotated[
        str,
        Field(pattern=NAME),
        Says("1 to 63 lower case letters, digits and hyphens that start with a letter and do not end with a hyphen"),
    ]
    """Name of the deployment: lower case letters, digits and hyphens."""
    gcp: Gcp
    """Where in Google Cloud."""
    model: Model = Model()
    """What is served."""
    container: Container
    """The serving container."""
    target: VertexTarget
    """Where it is served."""
    rollout: Rollout = Rollout()
    """How traffic moves to a new version."""
    monitoring: Monitoring = Monitoring()
    """Where custom metrics are read, and alert policies and dashboards that stay."""
    infra: Infra = Infra()
    """What `pulumi up` makes around the endpoint."""

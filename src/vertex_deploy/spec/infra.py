"""The section ``infra`` of deploy.yaml: what `pulumi up` makes around the endpoint.

Only what no other section says: the endpoint, its machines and its thresholds are read from ``target``, ``rollout`` and
``monitoring``. Left out: anything with one right answer (taints, firewall rules, permissions), which the components
know; and credentials. A section that is absent is not created.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vertex_deploy.spec.base import Says, SpecModel
from vertex_deploy.spec.machines import Accelerator
from vertex_deploy.spec.units import Duration, Share

DAY = 86400.0

Cidr = Annotated[
    str,
    Field(pattern=r"^(\d{1,3}\.){3}\d{1,3}/\d{1,2}$"),
    Says("an IPv4 range such as 10.10.0.0/20"),
]
"""An IPv4 range."""


class Perimeter(SpecModel):
    """A VPC Service Controls perimeter around the project."""

    policy: str
    """Access policy, accessPolicies/NUMBER."""
    project_number: str
    """Number of the project inside."""
    name: str | None = None
    """Name in the access policy; NETWORK_NUMBER of network and project where absent. Written to adopt one."""
    services: tuple[str, ...] = (
        "aiplatform.googleapis.com",
        "artifactregistry.googleapis.com",
        "bigquery.googleapis.com",
        "monitoring.googleapis.com",
        "storage.googleapis.com",
    )
    """APIs that are reached from inside only."""
    access_levels: tuple[str, ...] = ()
    """Access levels by which people get in, accessPolicies/NUMBER/accessLevels/NAME: needed to run pulumi up."""


class NetworkSpec(SpecModel):
    """A VPC network of our own."""

    subnet: Cidr = "10.10.0.0/20"
    """Addresses of machines."""
    pods: Cidr = "10.64.0.0/14"
    """Addresses of GKE's pods."""
    services: Cidr = "10.68.0.0/20"
    """Addresses of GKE's services."""
    peering_prefix: int = Field(default=16, ge=8, le=24)
    """Prefix length of the range that is given to Vertex AI by VPC peering (psa)."""
    nat: bool = True
    """Cloud NAT, so that machines without public addresses reach the internet."""
    perimeter: Perimeter | None = None
    """VPC Service Controls perimeter."""


class RegistrySpec(SpecModel):
    """The Artifact Registry repository of the serving images."""

    keep: int = Field(default=20, ge=1)
    """Newest versions of each image that are never cleaned up."""
    untagged_after: Duration = 14 * DAY
    """Age at which images without a tag are deleted."""
    scan: bool = True
    """Scan images for vulnerabilities as they are pushed."""


class StorageSpec(SpecModel):
    """The buckets of models and of rollout state."""

    models: str | None = None
    """Bucket of model artifacts; that of model.artifact, or PROJECT-models, where absent."""
    state: str | None = None
    """Bucket of rollout state; PROJECT-NAME-rollouts where absent."""
    noncurrent_after: Duration = 30 * DAY
    """Age at which overwritten and deleted objects are gone, in whole days."""
    recoverable: Duration = 7 * DAY
    """How long a deleted object can be restored: 0s, or from 7d to 90d."""


class FlexStart(SpecModel):
    """A node pool that waits for capacity (Dynamic Workload Scheduler)."""

    max: int = Field(ge=1)
    """Nodes at most."""
    run: Duration = 7 * DAY
    """How long a node may run, at most 7d."""
    queued: bool = False
    """Give all nodes of a request at once (queued provisioning)."""


class GpuNodes(SpecModel):
    """GPU nodes of one kind: an on-demand pool and a spot pool in a given ratio, and perhaps one that waits."""

    machine: str
    """Machine type, such as g2-standard-8."""
    accelerator: Accelerator
    """GPU and count, such as L4:1."""
    min: int = Field(default=0, ge=0)
    """Nodes always running: on demand, since spot nodes cannot be promised."""
    max: int = Field(ge=1)
    """Nodes at most, of both pools."""
    spot_share: Share = 0.0
    """Share of the nodes at most that are spot."""
    partition: str | None = None
    """MIG partition, such as 1g.10gb of an H100: each GPU is given out in parts of this size."""
    driver: Literal["default", "latest"] = "default"
    """GPU driver that GKE installs."""
    disk_gb: int = Field(default=100, ge=20, le=65536)
    """Boot disk; images of GPU servers are large."""
    reservation: str | None = None
    """Name of a reservation that on-demand nodes take."""
    flex_start: FlexStart | None = None
    """A third pool that waits for capacity."""


class GkeSpec(SpecModel):
    """A private GKE cluster."""

    control_plane: Cidr = "172.16.0.0/28"
    """Addresses of the control plane, a /28."""
    admins: tuple[Cidr, ...] = ()
    """Networks that reach the control plane; nobody outside the VPC where absent."""
    channel: Literal["rapid", "regular", "stable"] = "regular"
    """Release channel."""
    zones: tuple[str, ...] = ()
    """Zones of the nodes, such as us-central1-a; all of the region where absent."""
    nodes: dict[str, GpuNodes] = Field(default_factory=dict)
    """GPU nodes by a name of their kind, such as l4."""
    namespace: str = "serving"
    """Kubernetes namespace of the servers."""
    min_available: Share = 0.8
    """Share of a server's pods that stay up while nodes are drained (PodDisruptionBudget)."""


class TriggersSpec(SpecModel):
    """Cloud Build triggers: one that builds, tests and uploads, one that rolls out."""

    repository: str
    """projects/P/locations/L/connections/C/repositories/R of a connected repository."""
    host: Literal["github", "bitbucket_server"] = "github"
    """Where the repository is, of those that pulumi-gcp can name; github is GitHub Enterprise too."""
    branch: str = "^main$"
    """The branch that is built and rolled out, as an anchored pattern."""
    sample: str
    """Path in the repository of a predict request that the container accepts, for the contract test."""
    approval: bool = True
    """A rollout waits for somebody's approval in Cloud Build."""


class RunnerSpec(SpecModel):
    """A Cloud Run job that does what is due in a rollout, and the schedule that calls it."""

    image: str
    """Image with vertex-deploy installed, by digest."""
    schedule: str = "*/5 * * * *"
    """When, in cron's five fields or in Cloud Scheduler's words, such as every 5 minutes."""
    time_zone: str = "Etc/UTC"
    """Time zone of the schedule."""


class BudgetSpec(SpecModel):
    """A budget that tells people; it stops nothing."""

    billing_account: str
    """Billing account, XXXXXX-XXXXXX-XXXXXX."""
    amount: int = Field(ge=1)
    """Whole units of currency a month."""
    currency: str = "USD"
    """Currency of the billing account."""
    at: tuple[Share, ...] = (0.5, 0.9, 1.0)
    """Shares of the amount at which people are told; the last also when it is only forecast."""


class SloSpec(SpecModel):
    """Service level objectives, at most 99.99%: the gates' own limits, held over a period."""

    days: int = Field(default=28, ge=1, le=30)
    """Length of the rolling period in days."""
    fast_burn: float = Field(default=14.4, gt=1)
    """Times the sustainable rate, over 1h and 5m at once, at which people are paged, where an outage reaches it."""
    slow_burn: float = Field(default=6.0, gt=1)
    """Times the sustainable rate, over 6h and 30m at once, at which people are told."""


class Infra(SpecModel):
    """What `pulumi up` makes around the endpoint."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every resource that has labels."""
    protect: bool = False
    """Refuse to delete what holds state or answers traffic."""
    encryption_key: str | None = None
    """Customer-managed key of everything at rest, projects/P/locations/L/keyRings/R/cryptoKeys/K."""
    endpoint: bool | None = None
    """Make the endpoint; false where the rollout makes it. Where absent: yes, unless target.endpoint.request_timeout is
    written, which pulumi-gcp cannot set."""
    network: NetworkSpec | None = None
    """A VPC network; absent where one exists already."""
    registry: RegistrySpec | None = RegistrySpec()
    """The registry of images; null where one exists already."""
    storage: StorageSpec | None = StorageSpec()
    """The buckets; null where they exist already."""
    pool: bool = False
    """Make the pool that target.pool names, of target.machine and target.replicas."""
    gke: GkeSpec | None = None
    """A GKE cluster with GPU nodes."""
    slo: SloSpec | None = None
    """Service level objectives and burn-rate alerts."""
    emails: tuple[str, ...] = ()
    """Addresses for which notification channels are made, beside those of monitoring."""
    triggers: TriggersSpec | None = None
    """Cloud Build triggers."""
    runner: RunnerSpec | None = None
    """The scheduled rollout runner."""
    budget: BudgetSpec | None = None
    """A budget alert."""

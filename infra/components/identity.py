"""Service accounts for serving, building, rolling out, calling the runner and GKE's nodes, with the least each needs.

``PERMISSIONS`` is the whole list and says why; a test holds it against the methods that vertex-deploy and the build
call. What must be held on the project goes into one custom role an account; what can be held on one bucket, repository,
topic, secret or account is held there. IAM's reference has no permission of Vertex AI for reading an operation.

Without approval (``infra.triggers.approval: false``) the build itself starts the rollout, and its account holds the
rollout's role too; with approval it deploys nothing.

Deliberately not created: keys of service accounts (nobody needs one), grants to people, grants on topics, secrets and
accounts (``target.service_account``) of other projects, a grant on Compute Engine's default account (it may edit the
whole project, and its project is known by number only), Google's own service agents and what they need on a
customer-managed key.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pulumi_gcp import artifactregistry, projects, pubsub, secretmanager, serviceaccount, storage

from infra.components.base import Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pulumi

    from vertex_deploy.spec import Spec

ROLES = ("serving", "build", "rollout", "scheduler")
NODES = "nodes"
"""The account of GKE's nodes, made where there is a cluster: pods act as others, by workload identity."""
PREFIX = 20
"""Characters of a prefix at most: an account's id has 30, the longest role and a hyphen take ten."""

PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "serving": {
        "logging.logEntries.create": "write logs",
        "monitoring.metricDescriptors.create": "describe custom metrics at their first point",
        "monitoring.timeSeries.create": "write custom metrics",
    },
    "build": {
        "aiplatform.models.get": "read the model that a version is added to",
        "aiplatform.models.list": "find a version that an interrupted build uploaded",
        "aiplatform.models.upload": "upload a model version",
        "logging.logEntries.create": "write the build's log",
        "ondemandscanning.operations.get": "wait for the scan",
        "ondemandscanning.scans.analyzePackages": "scan an image before it is pushed",
        "ondemandscanning.scans.listVulnerabilities": "read what the scan found",
    },
    "rollout": {
        "aiplatform.deploymentResourcePools.get": "see whether the pool that versions are deployed onto is there",
        "aiplatform.deploymentResourcePools.queryDeployedModels": "see whether the pool takes the release's image",
        "aiplatform.endpoints.create": "make the endpoint where Pulumi does not",
        "aiplatform.endpoints.deploy": "deploy a version",
        "aiplatform.endpoints.get": "read the split before and after each change",
        "aiplatform.endpoints.list": "find the endpoint by its name",
        "aiplatform.endpoints.undeploy": "undeploy the version that lost",
        "aiplatform.endpoints.update": "move the split",
        "aiplatform.models.get": "read a version that is deployed, and the model that one is added to",
        "aiplatform.models.list": "find the version of a release",
        "aiplatform.models.upload": "upload a release that no build has uploaded",
        "logging.logEntries.create": "write logs",
        "monitoring.alertPolicies.create": "watch a canary by policies of the rollout's own",
        "monitoring.alertPolicies.delete": "remove them when it ends",
        "monitoring.alertPolicies.list": "find those that an interrupted rollout left",
        "monitoring.alerts.list": "see which of them fire",
        "monitoring.timeSeries.list": "read error rates and latencies",
    },
    "scheduler": {},
    NODES: {
        "autoscaling.sites.writeMetrics": "tell GKE's autoscaling what is in use",
        "logging.logEntries.create": "write the logs of nodes and pods",
        "monitoring.metricDescriptors.create": "describe metrics of the system's pods at their first point",
        "monitoring.metricDescriptors.list": "see which of them are described",
        "monitoring.timeSeries.create": "write metrics of nodes and the system's pods",
    },
}
"""Service account -> permission on the project -> why."""

BUCKETS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("serving", "models"): ("roles/storage.objectViewer", "read model artifacts that are not Vertex AI's own copy"),
    ("build", "models"): ("roles/storage.objectViewer", "test the container with the model, and have it copied"),
    ("build", "state"): ("roles/storage.objectUser", "hand the release over, and the lease of a rollout it starts"),
    ("rollout", "models"): ("roles/storage.objectViewer", "have Vertex AI copy the artifacts of a release"),
    ("rollout", "state"): ("roles/storage.objectUser", "keep the state of rollouts"),
}
"""(service account, bucket) -> role on the bucket, and why."""

REPOSITORY: Mapping[str, tuple[str, str]] = {
    "build": ("roles/artifactregistry.writer", "push images"),
    "rollout": ("roles/artifactregistry.reader", "have Vertex AI pull the image of a release"),
    NODES: ("roles/artifactregistry.reader", "pull the servers' images"),
}
"""Service account -> role on the repository, and why."""

ACT_AS: Mapping[str, str] = {
    "rollout": "deploy a version that runs as the serving account",
}
"""Who may run something as the serving account, and why."""

TOPIC = ("roles/pubsub.publisher", "publish what a rollout tells (rollout.notify)")
SECRET = ("roles/secretmanager.secretAccessor", "sign what a rollout tells, and read Prometheus")
"""Role of the rollout's account on each topic and each secret that the spec names, and why."""
_OWN = re.compile(r"projects/(?P<project>[^/]+)/(?:topics|secrets)/(?P<name>[^/]+)(?:/versions/[^/]+)?")


@dataclass(frozen=True, kw_only=True)
class IdentityArgs:
    """Arguments of ``Identity``.

    Args:
        project: project id.
        region: region of the repository.
        prefix: begins the accounts' ids; at most 20 characters of it are used.
        models: bucket of artifacts, or None where the program makes none.
        state: bucket of rollout state, or None.
        repository: id of the Artifact Registry repository, or None.
        nodes: make the account of GKE's nodes.
        build_rolls_out: the build starts rollouts itself, without approval.
        runs_as: email of the account that deployed models run as, where it is not the serving account, or None.
        topics: Pub/Sub topics of the project that a rollout publishes to, by id.
        secrets: secrets of the project that a rollout reads, by id.
    """

    project: str
    region: str
    prefix: str
    models: pulumi.Input[str] | None = None
    state: pulumi.Input[str] | None = None
    repository: pulumi.Input[str] | None = None
    nodes: bool = False
    build_rolls_out: bool = False
    runs_as: str | None = None
    topics: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        models: pulumi.Input[str] | None = None,
        state: pulumi.Input[str] | None = None,
        repository: pulumi.Input[str] | None = None,
    ) -> Self:
        """From the spec's name, place and what rollouts use; buckets and repository are other components' outputs."""
        told, prometheus = spec.rollout.notify, spec.monitoring.prometheus
        secrets = [*(item.secret for item in told), *(item.slack for item in told)]
        secrets.append(prometheus.token if prometheus else None)
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            prefix=spec.name,
            models=models,
            state=state,
            repository=repository,
            nodes=spec.infra.gke is not None,
            build_rolls_out=spec.infra.triggers is not None and not spec.infra.triggers.approval,
            runs_as=_foreign(spec),
            topics=_own(spec.gcp.project, (item.pubsub for item in told)),
            secrets=_own(spec.gcp.project, secrets),
        )


def _foreign(spec: Spec) -> str | None:
    """``target.service_account``, where it is an account of this project that is not made here."""
    email, project = spec.target.service_account, spec.gcp.project
    if email is None or email == f"{account_id(spec.name, 'serving')}@{project}.iam.gserviceaccount.com":
        return None
    name, _, domain = email.partition("@")
    ours = domain == f"{project}.iam.gserviceaccount.com" or (name, domain) == (project, "appspot.gserviceaccount.com")
    return email if ours else None


def _own(project: str, references: Iterable[str | None]) -> tuple[str, ...]:
    """Ids of the topics or secrets of this project among them, once each."""
    found = [_OWN.fullmatch(reference) for reference in references if reference]
    return tuple(dict.fromkeys(match["name"] for match in found if match and match["project"] == project))


def short(prefix: str) -> str:
    """A prefix that ids have room for; a long one ends in a hash, so that two that begin alike stay two."""
    if len(prefix) <= PREFIX:
        return prefix
    return f"{prefix[: PREFIX - 6]}-{hashlib.sha256(prefix.encode()).hexdigest()[:5]}"


def account_id(prefix: str, role: str) -> str:
    """The account's id: 6 to 30 characters, as IAM asks."""
    return f"{short(prefix)}-{role}"


class Identity(Component):
    """Service accounts and their grants.

    Outputs: ``emails``, by role.
    """

    def __init__(self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        roles = (*ROLES, NODES) if args.nodes else ROLES
        accounts = {role: self._account(name, args, role) for role in roles}
        self._project_roles(name, args, accounts)
        self._bucket_roles(name, args, accounts)
        for role in [role for role in REPOSITORY if role in accounts and args.repository is not None]:
            artifactregistry.RepositoryIamMember(
                f"{name}-{role}-images",
                project=args.project,
                location=args.region,
                repository=args.repository,
                role=REPOSITORY[role][0],
                member=accounts[role].member,
                opts=self.child(),
            )
        rolling = [*ACT_AS, "build"] if args.build_rolls_out else [*ACT_AS]
        for role in rolling:
            serviceaccount.IAMMember(
                f"{name}-{role}-acts-as-serving",
                service_account_id=accounts["serving"].name,
                role="roles/iam.serviceAccountUser",
                member=accounts[role].member,
                opts=self.child(),
            )
            if args.runs_as is not None:
                serviceaccount.IAMMember(
                    f"{name}-{role}-acts-as-deployed",
                    service_account_id=f"projects/{args.project}/serviceAccounts/{args.runs_as}",
                    role="roles/iam.serviceAccountUser",
                    member=accounts[role].member,
                    opts=self.child(),
                )
        for role in rolling:
            self._told(name, args, role, accounts[role])
        self.emails: Mapping[str, pulumi.Output[str]] = {role: account.email for role, account in accounts.items()}
        self.register_outputs({"emails": self.emails})

    def _account(self, name: str, args: IdentityArgs, role: str) -> serviceaccount.Account:
        return serviceaccount.Account(
            f"{name}-{role}",
            account_id=account_id(args.prefix, role),
            project=args.project,
            display_name=f"{args.prefix}: {role}",
            opts=self.child(),
        )

    def _project_roles(self, name: str, args: IdentityArgs, accounts: Mapping[str, serviceaccount.Account]) -> None:
        for role, permissions in PERMISSIONS.items():
            if not permissions or role not in accounts:
                continue
            custom = projects.IAMCustomRole(
                f"{name}-{role}",
                # Custom roles take no hyphens.
                role_id=f"{short(args.prefix)}_{role}".replace("-", "_"),
                project=args.project,
                title=f"{args.prefix} {role}",
                permissions=sorted(permissions),
                opts=self.child(),
            )
            held_by = {role: f"{name}-{role}"}
            if role == "rollout" and args.build_rolls_out:
                held_by["build"] = f"{name}-build-rolls-out"
            for holder, grant in held_by.items():
                projects.IAMMember(
                    grant,
                    project=args.project,
                    role=custom.name,
                    member=accounts[holder].member,
                    opts=self.child(),
                )

    def _told(self, name: str, args: IdentityArgs, role: str, account: serviceaccount.Account) -> None:
        for topic in args.topics:
            pubsub.TopicIAMMember(
                f"{name}-{role}-{topic}",
                project=args.project,
                topic=topic,
                role=TOPIC[0],
                member=account.member,
                opts=self.child(),
            )
        for secret in args.secrets:
            secretmanager.SecretIamMember(
                f"{name}-{role}-{secret}",
                project=args.project,
                secret_id=secret,
                role=SECRET[0],
                member=account.member,
                opts=self.child(),
            )

    def _bucket_roles(self, name: str, args: IdentityArgs, accounts: Mapping[str, serviceaccount.Account]) -> None:
        buckets = {"models": args.models, "state": args.state}
        for (role, kind), (granted, _why) in BUCKETS.items():
            bucket = buckets[kind]
            if bucket is not None:
                storage.BucketIAMMember(
                    f"{name}-{role}-{kind}",
                    bucket=bucket,
                    role=granted,
                    member=accounts[role].member,
                    opts=self.child(),
                )

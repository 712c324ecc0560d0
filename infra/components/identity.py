"""Service accounts for serving, building, rolling out and calling the runner, with the least that each needs.

``PERMISSIONS`` is the whole list and says why. What must be held on the project goes into one custom role an account;
what can be held on one bucket, repository or account is held there.

Deliberately not created: keys of service accounts (nobody needs one), grants to people, Google's own service agents and
what they need on a customer-managed key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pulumi_gcp import artifactregistry, projects, serviceaccount, storage

from infra.components.base import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pulumi

    from vertex_deploy.spec import Spec

ROLES = ("serving", "build", "rollout", "scheduler")

PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "serving": {
        "cloudtrace.traces.patch": "export traces",
        "logging.logEntries.create": "write logs",
        "monitoring.metricDescriptors.create": "describe custom metrics at their first point",
        "monitoring.timeSeries.create": "write custom metrics",
    },
    "build": {
        "aiplatform.models.get": "find the model that a version belongs to",
        "aiplatform.models.list": "find a version that an interrupted build uploaded",
        "aiplatform.models.upload": "upload a model version",
        "logging.logEntries.create": "write the build's log",
        "ondemandscanning.scans.analyzePackages": "scan an image before it is pushed",
        "ondemandscanning.scans.get": "wait for the scan",
        "ondemandscanning.scans.listVulnerabilities": "read what the scan found",
    },
    "rollout": {
        "aiplatform.endpoints.create": "make the endpoint where Pulumi does not",
        "aiplatform.endpoints.deploy": "deploy a version",
        "aiplatform.endpoints.get": "read the split before and after each change",
        "aiplatform.endpoints.list": "find the endpoint by its name",
        "aiplatform.endpoints.undeploy": "undeploy the version that lost",
        "aiplatform.endpoints.update": "move the split",
        "aiplatform.models.get": "read the version that is deployed",
        "aiplatform.models.list": "find the version of a release",
        "aiplatform.models.update": "set version aliases",
        "aiplatform.models.upload": "upload a release that no build has uploaded",
        "logging.logEntries.create": "write logs",
        "monitoring.alertPolicies.create": "watch a canary by policies of the rollout's own",
        "monitoring.alertPolicies.delete": "remove them when it ends",
        "monitoring.alertPolicies.get": "see whether they are there",
        "monitoring.alertPolicies.list": "find those that an interrupted rollout left",
        "monitoring.timeSeries.list": "read error rates and latencies",
    },
    "scheduler": {},
}
"""Service account -> permission on the project -> why."""

BUCKETS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("serving", "models"): ("roles/storage.objectViewer", "read model artifacts that are not Vertex AI's own copy"),
    ("build", "models"): ("roles/storage.objectUser", "write model artifacts"),
    ("build", "state"): ("roles/storage.objectUser", "hand the release over, and the lease of a rollout it starts"),
    ("rollout", "models"): ("roles/storage.objectViewer", "have Vertex AI copy the artifacts of a release"),
    ("rollout", "state"): ("roles/storage.objectUser", "keep the state of rollouts"),
}
"""(service account, bucket) -> role on the bucket, and why."""

REPOSITORY: Mapping[str, tuple[str, str]] = {
    "build": ("roles/artifactregistry.writer", "push images"),
    "rollout": ("roles/artifactregistry.reader", "have Vertex AI pull the image of a release"),
}
"""Service account -> role on the repository, and why."""

ACT_AS: Mapping[str, str] = {
    "rollout": "deploy a version that runs as the serving account",
    "build": "start a rollout that deploys as the serving account",
}
"""Who may run something as the serving account, and why."""


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
    """

    project: str
    region: str
    prefix: str
    models: pulumi.Input[str] | None = None
    state: pulumi.Input[str] | None = None
    repository: pulumi.Input[str] | None = None

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        models: pulumi.Input[str] | None = None,
        state: pulumi.Input[str] | None = None,
        repository: pulumi.Input[str] | None = None,
    ) -> Self:
        """From the spec's name and place; buckets and repository are other components' outputs."""
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            prefix=spec.name,
            models=models,
            state=state,
            repository=repository,
        )


def account_id(prefix: str, role: str) -> str:
    """The account's id: 6 to 30 characters, as IAM asks."""
    return f"{prefix[:20].rstrip('-')}-{role}"


class Identity(Component):
    """Four service accounts and their grants.

    Outputs: ``emails``, by role.
    """

    def __init__(self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        accounts = {role: self._account(name, args, role) for role in ROLES}
        self._project_roles(name, args, accounts)
        self._bucket_roles(name, args, accounts)
        if args.repository is not None:
            for role, (granted, _why) in REPOSITORY.items():
                artifactregistry.RepositoryIamMember(
                    f"{name}-{role}-images",
                    project=args.project,
                    location=args.region,
                    repository=args.repository,
                    role=granted,
                    member=accounts[role].member,
                    opts=self.child(),
                )
        for role in ACT_AS:
            serviceaccount.IAMMember(
                f"{name}-{role}-acts-as-serving",
                service_account_id=accounts["serving"].name,
                role="roles/iam.serviceAccountUser",
                member=accounts[role].member,
                opts=self.child(),
            )
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
            if not permissions:
                continue
            custom = projects.IAMCustomRole(
                f"{name}-{role}",
                # Custom roles take no hyphens.
                role_id=f"{args.prefix}_{role}".replace("-", "_"),
                project=args.project,
                title=f"{args.prefix} {role}",
                permissions=sorted(permissions),
                opts=self.child(),
            )
            projects.IAMMember(
                f"{name}-{role}",
                project=args.project,
                role=custom.name,
                member=accounts[role].member,
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

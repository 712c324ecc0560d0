"""Cloud Build triggers: one that builds what is pushed, one that rolls a release out.

Both run cloudbuild.yaml, which holds no values: they are the substitutions made here from the spec. A rollout waits
for an approval where the spec says so; the build then ends with the release uploaded and nothing deployed. Run for a
commit that has a release already, the file builds nothing and goes straight to the rollout.

Deliberately not created: triggers of GitLab and Bitbucket Cloud, which pulumi-gcp's types cannot name; the connection
to the repository, which somebody must authorise in a browser; private worker pools; a trigger on pull requests, which
would run strangers' code as the build's account.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pulumi
from pulumi_gcp import cloudbuild

from infra.components.base import Component
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.spec import Spec

FILE = "cloudbuild.yaml"
BASES = Path(__file__).parents[2] / "containers/bases.json"
"""Where images are pinned by digest, those that steps run in among them; `containers.tools pin` keeps it."""
SEVERITY = "CRITICAL"
"""Vulnerabilities of this severity or worse end a build."""
TAGS = ("vertex-deploy",)
SCANNED_IN = {
    "africa": "europe",
    "asia": "asia",
    "australia": "asia",
    "europe": "europe",
    "me": "europe",
    "northamerica": "us",
    "southamerica": "us",
    "us": "us",
}
"""Begin of a region -> the near one of the three places where On-Demand Scanning is (gcloud's ``--location``)."""


@dataclass(frozen=True, kw_only=True)
class TriggersArgs:
    """Arguments of ``Triggers``.

    Args:
        project: project id.
        region: region of the connection and the builds.
        prefix: begins the triggers' names.
        repository: connected repository, projects/P/locations/L/connections/C/repositories/R.
        host: what hosts it: GITHUB or BITBUCKET_SERVER.
        branch: the branch, as an anchored pattern.
        approval: a rollout waits for an approval.
        substitutions: values of cloudbuild.yaml.
        build_account: email of the build's account.
        rollout_account: email of the rollout's account.
    """

    project: str
    region: str
    prefix: str
    repository: str
    host: str = "GITHUB"
    branch: str = "^main$"
    approval: bool = True
    substitutions: Mapping[str, str]
    build_account: pulumi.Input[str]
    rollout_account: pulumi.Input[str]

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        path: str,
        environment: str | None,
        build_account: pulumi.Input[str],
        rollout_account: pulumi.Input[str],
    ) -> Self:
        """From ``infra.triggers``; path and environment are the stack's configuration.

        Raises:
            ValueError: the spec has no ``infra.triggers``.
        """
        wanted = spec.infra.triggers
        if wanted is None:
            raise ValueError("the spec has no infra.triggers; ask only where it has")
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            prefix=spec.name,
            repository=wanted.repository,
            host=wanted.host.upper(),
            branch=wanted.branch,
            approval=wanted.approval,
            substitutions=substitutions(spec, path=path, environment=environment),
            build_account=build_account,
            rollout_account=rollout_account,
        )


def builders() -> dict[str, str]:
    """Substitution -> image that a step runs in, by tag and digest.

    ``_GCLOUD`` must be the large image: scanning an image before it is pushed needs the component ``local-extract``,
    which the slim one lacks.
    """
    found: dict[str, str] = json.loads(BASES.read_text(encoding="utf-8"))["builders"]
    return found


def substitutions(spec: Spec, *, path: str, environment: str | None) -> dict[str, str]:
    """Every value of cloudbuild.yaml but ``_ROLLOUT``, which is the triggers' difference.

    Args:
        spec: the spec with its environment applied.
        path: of deploy.yaml in the repository.
        environment: whose overrides apply, or None.
    """
    return {
        **builders(),
        "_ARTIFACT": spec.model.artifact or "",
        "_ENVIRONMENT": environment or "",
        "_IMAGE": spec.container.image,
        "_LOCATION": SCANNED_IN.get(spec.gcp.region.partition("-")[0], "us"),
        "_REPOSITORY": f"{spec.gcp.region}-docker.pkg.dev/{spec.gcp.project}/{names.REPOSITORY}",
        "_SAMPLE": spec.infra.triggers.sample if spec.infra.triggers else "",
        "_SEVERITY": SEVERITY,
        "_SPEC": path,
        "_STATE": names.state_bucket(spec),
    }


class Triggers(Component):
    """Two triggers. Outputs: ``build`` and ``rollout``, their ids."""

    build: pulumi.Output[str]
    rollout: pulumi.Output[str]

    def __init__(self, name: str, args: TriggersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        build = cloudbuild.Trigger(
            f"{name}-build",
            name=f"{args.prefix}-build",
            project=args.project,
            location=args.region,
            description=f"Build, test and upload {args.prefix}",
            filename=FILE,
            repository_event_config=cloudbuild.TriggerRepositoryEventConfigArgs(
                repository=args.repository,
                push=cloudbuild.TriggerRepositoryEventConfigPushArgs(branch=args.branch),
            ),
            substitutions={**args.substitutions, "_ROLLOUT": "none" if args.approval else "start"},
            service_account=_account(args.project, args.build_account),
            # Shown on GitHub's page of the commit; for other hosts the API refuses the field.
            include_build_logs="INCLUDE_BUILD_LOGS_WITH_STATUS" if args.host == "GITHUB" else None,
            tags=list(TAGS),
            opts=self.child(),
        )
        rollout = cloudbuild.Trigger(
            f"{name}-rollout",
            name=f"{args.prefix}-rollout",
            project=args.project,
            location=args.region,
            description=f"Roll the newest release of {args.prefix} out",
            # A branch pattern cannot be run by hand; a source can.
            source_to_build=cloudbuild.TriggerSourceToBuildArgs(
                repository=args.repository, ref=_ref(args.branch), repo_type=args.host
            ),
            git_file_source=cloudbuild.TriggerGitFileSourceArgs(
                path=FILE, repository=args.repository, revision=_ref(args.branch), repo_type=args.host
            ),
            approval_config=cloudbuild.TriggerApprovalConfigArgs(approval_required=args.approval),
            substitutions={**args.substitutions, "_ROLLOUT": "start"},
            service_account=_account(args.project, args.rollout_account),
            tags=list(TAGS),
            opts=self.child(),
        )
        self.build, self.rollout = build.trigger_id, rollout.trigger_id
        self.register_outputs({"build": self.build, "rollout": self.rollout})


def _ref(branch: str) -> str:
    """The branch that a pattern such as ^main$ names, perhaps with escapes; the spec's check lets through no other."""
    return f"refs/heads/{branch.removeprefix('^').removesuffix('$')}".replace("\\", "")


def _account(project: str, email: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.format("projects/{0}/serviceAccounts/{1}", project, email)

"""The Artifact Registry repository of the serving images, in the region of the model.

Vertex AI pulls from the model's region. Tags never move, the newest versions stay, what has lost its tag goes, and each
image is scanned as it is pushed.

Deliberately not created: images; a remote or virtual repository; Container Analysis notes and Binary Authorization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pulumi
from pulumi_gcp import artifactregistry

from infra.components.base import Component, asked, labels_of
from vertex_deploy.spec.names import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.spec import Spec


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """Arguments of ``Registry``.

    Args:
        project: project id.
        region: region.
        labels: labels.
        keep: newest versions of each image that stay whatever their age.
        untagged_after: age in seconds at which untagged versions go.
        scan: scan for vulnerabilities.
        encryption_key: customer-managed key, or None.
        protect: refuse to delete it.
    """

    project: str
    region: str
    labels: Mapping[str, str]
    keep: int = 20
    untagged_after: float = 1_209_600.0
    scan: bool = True
    encryption_key: str | None = None
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From ``infra.registry``.

        Raises:
            ValueError: the spec says that it exists already.
        """
        wanted = asked(spec.infra.registry, "registry")
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            labels=labels_of(spec),
            keep=wanted.keep,
            untagged_after=wanted.untagged_after,
            scan=wanted.scan,
            encryption_key=spec.infra.encryption_key,
            protect=spec.infra.protect,
        )


class Registry(Component):
    """A Docker repository.

    Outputs: ``repository`` (its id) and ``url`` (REGION-docker.pkg.dev/PROJECT/REPOSITORY).
    """

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        repository = artifactregistry.Repository(
            name,
            repository_id=REPOSITORY,
            project=args.project,
            location=args.region,
            format="DOCKER",
            labels=dict(args.labels),
            kms_key_name=args.encryption_key,
            docker_config=artifactregistry.RepositoryDockerConfigArgs(immutable_tags=True),
            cleanup_policies=[
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="keep-newest",
                    action="KEEP",
                    most_recent_versions=artifactregistry.RepositoryCleanupPolicyMostRecentVersionsArgs(
                        keep_count=args.keep
                    ),
                ),
                artifactregistry.RepositoryCleanupPolicyArgs(
                    id="delete-untagged",
                    action="DELETE",
                    condition=artifactregistry.RepositoryCleanupPolicyConditionArgs(
                        tag_state="UNTAGGED", older_than=f"{round(args.untagged_after)}s"
                    ),
                ),
            ],
            vulnerability_scanning_config=artifactregistry.RepositoryVulnerabilityScanningConfigArgs(
                enablement_config="INHERITED" if args.scan else "DISABLED"
            ),
            opts=self.child(protect=args.protect),
        )
        self.repository: pulumi.Output[str] = repository.repository_id
        self.url: pulumi.Output[str] = pulumi.Output.format(
            "{0}-docker.pkg.dev/{1}/{2}", args.region, args.project, repository.repository_id
        )
        self.register_outputs({"repository": self.repository, "url": self.url})

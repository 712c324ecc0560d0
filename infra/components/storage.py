"""The buckets: model artifacts, and the state of rollouts.

Both have versioning, uniform access, no public access, and soft delete. The state bucket has no retention policy, which
would refuse to overwrite a lease: what was overwritten or deleted is kept as a noncurrent version instead, for as long
as the spec says.

Deliberately not created: objects (whoever trains writes artifacts, and is granted that by hand), replication to other
regions, transfer jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pulumi_gcp import storage

from infra.components.base import Component, asked, labels_of
from vertex_deploy.spec import names
from vertex_deploy.spec.infra import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pulumi

    from vertex_deploy.spec import Spec


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """Arguments of ``Storage``.

    Args:
        project: project id.
        region: region of both buckets.
        models: name of the bucket of artifacts.
        state: name of the bucket of rollout state.
        labels: labels.
        noncurrent_days: age in days at which old versions of objects go.
        recoverable: seconds during which a deleted object can be restored.
        encryption_key: customer-managed key, or None.
        protect: refuse to delete the buckets; where False, `pulumi destroy` deletes their objects too.
    """

    project: str
    region: str
    models: str
    state: str
    labels: Mapping[str, str]
    noncurrent_days: int = 30
    recoverable: float = 7 * DAY
    encryption_key: str | None = None
    protect: bool = False

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """From ``infra.storage``.

        Raises:
            ValueError: the spec says that they exist already.
        """
        wanted = asked(spec.infra.storage, "storage")
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            models=names.models_bucket(spec),
            state=names.state_bucket(spec),
            labels=labels_of(spec),
            noncurrent_days=int(wanted.noncurrent_after / DAY),
            recoverable=wanted.recoverable,
            encryption_key=spec.infra.encryption_key,
            protect=spec.infra.protect,
        )


class Storage(Component):
    """Two buckets.

    Outputs: ``models`` and ``state``, their names.
    """

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.models: pulumi.Output[str] = self._bucket(f"{name}-models", args.models, args).name
        self.state: pulumi.Output[str] = self._bucket(f"{name}-state", args.state, args).name
        self.register_outputs({"models": self.models, "state": self.state})

    def _bucket(self, name: str, bucket: str, args: StorageArgs) -> storage.Bucket:
        return storage.Bucket(
            name,
            name=bucket,
            project=args.project,
            location=args.region.upper(),
            labels=dict(args.labels),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=not args.protect,
            versioning=storage.BucketVersioningArgs(enabled=True),
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=round(args.recoverable)),
            encryption=storage.BucketEncryptionArgs(default_kms_key_name=args.encryption_key)
            if args.encryption_key
            else None,
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
                    condition=storage.BucketLifecycleRuleConditionArgs(
                        days_since_noncurrent_time=args.noncurrent_days, with_state="ARCHIVED"
                    ),
                ),
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="AbortIncompleteMultipartUpload"),
                    condition=storage.BucketLifecycleRuleConditionArgs(age=7),
                ),
            ],
            opts=self.child(protect=args.protect),
        )

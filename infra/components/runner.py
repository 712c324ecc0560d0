"""The scheduled rollout runner: a Cloud Run job that does what is due, and the schedule that calls it.

So that steps of hours or weeks depend on nobody's laptop. The job reads the spec from the state bucket, where Pulumi
puts the text it was run with. Two executions at once do no harm: the second finds the rollout's lease taken and ends.

The image is that of containers/runner, which cloudbuild.yaml builds and whose digest it writes to the log and to
releases/COMMIT/digests.txt in the state bucket; ``infra.runner.image`` names it.

Deliberately not created: the image (it is given by digest), a network path to private endpoints (a rollout reads
metrics and moves splits by the API, and sends no predictions), alerts on the job itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pulumi
from pulumi_gcp import cloudrunv2, cloudscheduler, storage

from infra.components.base import Component, labels_of
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.spec import Spec

MOUNT = "/state"
USER = 10001
"""Who the image runs as (USER of containers/runner/Dockerfile): the mounted bucket belongs to it."""
SPEC_OBJECT = "spec/deploy.yaml"
TIMEOUT = 600
"""Seconds that one execution may take: a tick starts operations and does not wait for them."""


@dataclass(frozen=True, kw_only=True)
class RunnerArgs:
    """Arguments of ``Runner``.

    Args:
        project: project id.
        region: region.
        job: name of the job and its schedule.
        image: image with vertex-deploy, by digest.
        schedule: cron's five fields, or Cloud Scheduler's words.
        time_zone: of the schedule.
        spec_text: deploy.yaml as it was read.
        environment: whose overrides apply, or None.
        state: bucket of rollout state.
        labels: labels.
        rollout_account: email of the job's account.
        scheduler_account: email of the account that starts it.
        encryption_key: customer-managed key, or None.
        protect: refuse to delete the job.
    """

    project: str
    region: str
    job: str
    image: str
    schedule: str = "*/5 * * * *"
    time_zone: str = "Etc/UTC"
    spec_text: str
    environment: str | None = None
    state: pulumi.Input[str]
    labels: Mapping[str, str]
    rollout_account: pulumi.Input[str]
    scheduler_account: pulumi.Input[str]
    encryption_key: str | None = None
    protect: bool = False

    @classmethod
    def of(
        cls,
        spec: Spec,
        *,
        spec_text: str,
        environment: str | None,
        state: pulumi.Input[str] | None,
        rollout_account: pulumi.Input[str],
        scheduler_account: pulumi.Input[str],
    ) -> Self:
        """From ``infra.runner``; accounts and bucket are other components' outputs.

        Raises:
            ValueError: the spec has no ``infra.runner``.
        """
        wanted = spec.infra.runner
        if wanted is None:
            raise ValueError("the spec has no infra.runner; ask only where it has")
        return cls(
            project=spec.gcp.project,
            region=spec.gcp.region,
            job=f"{spec.name}-rollout",
            image=wanted.image,
            schedule=wanted.schedule,
            time_zone=wanted.time_zone,
            spec_text=spec_text,
            environment=environment,
            state=state if state is not None else names.state_bucket(spec),
            labels=labels_of(spec),
            rollout_account=rollout_account,
            scheduler_account=scheduler_account,
            encryption_key=spec.infra.encryption_key,
            protect=spec.infra.protect,
        )


def command(environment: str | None) -> list[str]:
    """The arguments of `vertex-deploy` but for the store: one tick of the spec in the mounted bucket."""
    chosen = ["--env", environment] if environment else []
    return ["rollout", "tick", f"{MOUNT}/{SPEC_OBJECT}", *chosen, "--output", "json"]


class Runner(Component):
    """A job, its schedule, and the spec it reads. Outputs: ``job`` (its name)."""

    job: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        spec = storage.BucketObject(
            f"{name}-spec",
            bucket=args.state,
            name=SPEC_OBJECT,
            content=args.spec_text,
            content_type="application/yaml",
            opts=self.child(),
        )
        job = self._job(name, args, spec)
        # Held on this one job: the schedule's account can start it and nothing else.
        invoker = cloudrunv2.JobIamMember(
            f"{name}-schedule",
            project=args.project,
            location=args.region,
            name=job.name,
            role="roles/run.invoker",
            member=pulumi.Output.format("serviceAccount:{0}", args.scheduler_account),
            opts=self.child(),
        )
        uri = pulumi.Output.format(
            "https://run.googleapis.com/v2/projects/{0}/locations/{1}/jobs/{2}:run", args.project, args.region, job.name
        )
        cloudscheduler.Job(
            name,
            name=args.job,
            project=args.project,
            region=args.region,
            description="Does what is due in a rollout",
            schedule=args.schedule,
            time_zone=args.time_zone,
            attempt_deadline="60s",
            # The next run is the retry.
            retry_config=cloudscheduler.JobRetryConfigArgs(retry_count=0),
            http_target=cloudscheduler.JobHttpTargetArgs(
                uri=uri,
                http_method="POST",
                oauth_token=cloudscheduler.JobHttpTargetOauthTokenArgs(
                    service_account_email=args.scheduler_account,
                    scope="https://www.googleapis.com/auth/cloud-platform",
                ),
            ),
            opts=self.child(after=[invoker]),
        )
        self.job = job.name
        self.register_outputs({"job": job.name})

    def _job(self, name: str, args: RunnerArgs, spec: storage.BucketObject) -> cloudrunv2.Job:
        store = pulumi.Output.format("gs://{0}/rollouts", args.state)
        arguments = pulumi.Output.all(store).apply(lambda values: [*command(args.environment), "--store", values[0]])
        container = cloudrunv2.JobTemplateTemplateContainerArgs(
            image=args.image,
            commands=["vertex-deploy"],
            args=arguments,
            volume_mounts=[cloudrunv2.JobTemplateTemplateContainerVolumeMountArgs(name="state", mount_path=MOUNT)],
        )
        bucket = cloudrunv2.JobTemplateTemplateVolumeGcsArgs(
            bucket=args.state, read_only=True, mount_options=[f"uid={USER}", f"gid={USER}"]
        )
        volume = cloudrunv2.JobTemplateTemplateVolumeArgs(name="state", gcs=bucket)
        task = cloudrunv2.JobTemplateTemplateArgs(
            containers=[container],
            volumes=[volume],
            service_account=args.rollout_account,
            encryption_key=args.encryption_key,
            max_retries=0,
            timeout=f"{TIMEOUT}s",
        )
        return cloudrunv2.Job(
            name,
            name=args.job,
            project=args.project,
            location=args.region,
            labels=dict(args.labels),
            deletion_protection=args.protect,
            template=cloudrunv2.JobTemplateArgs(task_count=1, parallelism=1, template=task),
            opts=self.child(protect=args.protect, after=[spec]),
        )

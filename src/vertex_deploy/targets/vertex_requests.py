"""From a spec to the messages that Vertex AI takes, without calling anything.

Facts are from the ``aiplatform.v1`` discovery document: a model id is at most 63 of ``[a-z0-9_-]``, an endpoint id that
starts with a digit has at most 9 digits, a deployed model id has 1 to 10 digits.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import SpecError
from vertex_deploy.spec import names

if TYPE_CHECKING:
    from vertex_deploy.release import Release
    from vertex_deploy.spec.models import Spec, VertexTarget

RELEASE_LABEL = "vertex-deploy-release"
"""Label of a model version; its value is ``Release.hash``."""

# The names that google-cloud-aiplatform's Endpoint.deploy gives to its autoscaling_target_* arguments.
_AUTOSCALING = {
    "cpu_utilization": "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    "gpu_duty_cycle": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    "request_count_per_minute": "aiplatform.googleapis.com/prediction/online/request_count",
}


def model_id(spec: Spec) -> str:
    """The model's id: the spec's name, so that every version of it lands under one model."""
    return spec.name


def model_name(spec: Spec) -> str:
    """projects/P/locations/L/models/M."""
    return f"{names.location(spec)}/models/{model_id(spec)}"


def endpoint_message(spec: Spec) -> Any:
    """The ``Endpoint`` to create."""
    from google.cloud.aiplatform_v1.types.endpoint import (  # noqa: PLC0415 - heavy: only when a call is made
        ClientConnectionConfig,
        Endpoint,
    )
    from google.cloud.aiplatform_v1.types.service_networking import (  # noqa: PLC0415 - see above
        PrivateServiceConnectConfig,
        PSCAutomationConfig,
    )

    wanted = spec.target.endpoint
    endpoint = Endpoint(display_name=names.endpoint_display_name(spec), labels={names.OWNER_LABEL: spec.name})
    if wanted.access == "dedicated":
        endpoint.dedicated_endpoint_enabled = True
    elif wanted.access == "psc":
        endpoint.private_service_connect_config = PrivateServiceConnectConfig(
            enable_private_service_connect=True,
            project_allowlist=list(wanted.allow_projects),
            psc_automation_configs=[
                PSCAutomationConfig(project_id=item.project, network=item.network) for item in wanted.automation
            ],
        )
    elif wanted.access == "psa":
        endpoint.network = wanted.network or ""
    _encrypt(endpoint, spec)
    if wanted.request_timeout:
        from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415 - heavy: only when a call is made

        endpoint.client_connection_config = ClientConnectionConfig(
            inference_timeout=Duration(seconds=int(wanted.request_timeout))
        )
    return endpoint


def model_message(spec: Spec, release: Release) -> Any:
    """The ``Model`` to upload."""
    from google.cloud.aiplatform_v1.types.env_var import EnvVar  # noqa: PLC0415 - heavy: only when a call is made
    from google.cloud.aiplatform_v1.types.model import Model, ModelContainerSpec, Port  # noqa: PLC0415 - see above

    container = spec.container
    message = ModelContainerSpec(
        image_uri=release.image,
        command=list(container.command),
        args=list(container.args),
        env=[EnvVar(name=name, value=value) for name, value in container.env.items()],
        ports=[Port(container_port=container.port)],
        predict_route=container.predict_route or "",
        health_route=container.health_route or "",
    )
    if container.startup_timeout:
        from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415 - heavy: only when a call is made

        message.deployment_timeout = Duration(seconds=int(container.startup_timeout))
    built = f", commit {release.commit}" if release.commit else ""
    model = Model(
        display_name=spec.model.display_name or spec.name,
        container_spec=message,
        artifact_uri=release.artifact,
        labels={**spec.model.labels, names.OWNER_LABEL: spec.name, RELEASE_LABEL: release.hash},
        version_aliases=list(spec.model.aliases),
        version_description=f"release {release.hash}{built}",
    )
    _encrypt(model, spec)
    return model


def _encrypt(message: Any, spec: Spec) -> None:
    """Have an endpoint or a model encrypted with the spec's own key: what Pulumi makes around them is too."""
    if spec.infra.encryption_key:
        from google.cloud.aiplatform_v1.types.encryption_spec import (  # noqa: PLC0415 - heavy: only when a call is made
            EncryptionSpec,
        )

        message.encryption_spec = EncryptionSpec(kms_key_name=spec.infra.encryption_key)


def deployed_model_message(spec: Spec, *, model: str, deployed_id: str) -> Any:
    """The ``DeployedModel`` to deploy: onto the target's pool, or with machines of its own.

    Args:
        spec: pool or machine and replicas, and identity.
        model: projects/.../models/M@V.
        deployed_id: the id that we choose.
    """
    from google.cloud.aiplatform_v1.types.endpoint import (  # noqa: PLC0415 - heavy: only when a call is made
        DeployedModel,
    )

    message = DeployedModel(
        id=deployed_id,
        model=model,
        display_name=f"{spec.name}-{model.rpartition('@')[2]}",
        service_account=spec.target.service_account or "",
    )
    if pool := names.pool(spec):
        message.shared_resources = pool
    else:
        message.dedicated_resources = _dedicated(spec.target)
    return message


def _dedicated(target: VertexTarget) -> Any:
    from google.cloud.aiplatform_v1.types.accelerator_type import (  # noqa: PLC0415 - heavy: only when a call is made
        AcceleratorType,
    )
    from google.cloud.aiplatform_v1.types.machine_resources import (  # noqa: PLC0415 - see above
        AutoscalingMetricSpec,
        DedicatedResources,
        MachineSpec,
    )

    machine = target.machine
    if machine is None:
        raise SpecError(["target.machine: missing; add machine: {type: n1-standard-4}, or pool: NAME"])
    message = MachineSpec(machine_type=machine.type)
    if machine.accelerator:
        message.accelerator_type = getattr(AcceleratorType, machine.accelerator.api_type)
        message.accelerator_count = machine.accelerator.count
    return DedicatedResources(
        machine_spec=message,
        min_replica_count=target.replicas.min,
        max_replica_count=target.replicas.max,
        autoscaling_metric_specs=[
            AutoscalingMetricSpec(metric_name=_AUTOSCALING[name], target=int(value))
            for name, value in target.replicas.scale_on.items()
        ],
        spot=machine.spot,
    )


def deployed_id_for(rollout_id: str) -> str:
    """The deployed model id of a rollout: 10 digits, so that deploying twice is refused by the API."""
    return str(1_000_000_000 + int(hashlib.sha256(rollout_id.encode()).hexdigest(), 16) % 9_000_000_000)


def split_reference(model: str, version: str) -> tuple[str, str]:
    """Model name and version of what the API reports, which may or may not carry ``@version`` in the name."""
    bare, _, attached = model.partition("@")
    return bare, version or attached


def matches_release(model: Any, release: Release) -> bool:
    """Whether a model version is this release: by its label, or by its description if labels were edited."""
    described = re.match(r"release ([0-9a-f]{12})\b", model.version_description or "")
    return model.labels.get(RELEASE_LABEL) == release.hash or bool(described and described[1] == release.hash)

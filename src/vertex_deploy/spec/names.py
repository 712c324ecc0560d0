"""Names that follow from a spec, so that Pulumi and a rollout mean the same resource without asking each other.

Left out: names that Google Cloud gives.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_deploy.spec.infra import StorageSpec
    from vertex_deploy.spec.models import Gcp, Model, Spec

OWNER_LABEL = "vertex-deploy"
"""Label whose value is the spec's name, on everything that belongs to it."""

REPOSITORY = "vertex-deploy"
"""The Artifact Registry repository of images that are named by their folder."""


def location(spec: Spec) -> str:
    """projects/P/locations/L."""
    return f"projects/{spec.gcp.project}/locations/{spec.gcp.region}"


def endpoint_display_name(spec: Spec) -> str:
    """The endpoint's display name."""
    return spec.target.endpoint.name or spec.name


def endpoint_id(spec: Spec) -> str:
    """The endpoint's id: nine digits of its name and place, which the API takes (at most ten, no leading zero)."""
    seed = f"{location(spec)}/{endpoint_display_name(spec)}"
    return str(100_000_000 + int(hashlib.sha256(seed.encode()).hexdigest(), 16) % 900_000_000)


def pool(spec: Spec) -> str | None:
    """The DeploymentResourcePool that versions are deployed onto, projects/P/locations/L/deploymentResourcePools/ID."""
    return f"{location(spec)}/deploymentResourcePools/{spec.target.pool}" if spec.target.pool else None


def image_reference(spec: Spec, image: str) -> str:
    """The full reference of an image.

    Args:
        spec: whose project and region it is in: Vertex AI pulls from no other region than the model's.
        image: a full reference, or a folder under ``containers/``, whose image is in the project's own registry.
    """
    return image if "/" in image else f"{spec.gcp.region}-docker.pkg.dev/{spec.gcp.project}/{REPOSITORY}/{image}"


def buckets(name: str, gcp: Gcp, model: Model, storage: StorageSpec | None) -> tuple[str, str]:
    """The buckets of model artifacts and of rollout state.

    Each is the spec's own words; else that of ``model.artifact``, or PROJECT-models, and PROJECT-NAME-rollouts.
    """
    ours = model.artifact.removeprefix("gs://").partition("/")[0] if model.artifact else f"{gcp.project}-models"
    models, state = (storage.models, storage.state) if storage is not None else (None, None)
    return models or ours, state or f"{gcp.project}-{name}-rollouts"


def models_bucket(spec: Spec) -> str:
    """The bucket of model artifacts."""
    return buckets(spec.name, spec.gcp, spec.model, spec.infra.storage)[0]


def state_bucket(spec: Spec) -> str:
    """The bucket of rollout state."""
    return buckets(spec.name, spec.gcp, spec.model, spec.infra.storage)[1]

"""Names that follow from a spec, so that Pulumi and a rollout mean the same resource without asking each other.

Left out: names that Google Cloud gives.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_deploy.spec.models import Spec

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


def models_bucket(spec: Spec) -> str:
    """The bucket of model artifacts: the spec's own words, else that of ``model.artifact``, else PROJECT-models."""
    storage = spec.infra.storage
    if storage is not None and storage.models:
        return storage.models
    if spec.model.artifact:
        return spec.model.artifact.removeprefix("gs://").partition("/")[0]
    return f"{spec.gcp.project}-models"


def state_bucket(spec: Spec) -> str:
    """The bucket of rollout state."""
    storage = spec.infra.storage
    return (storage.state if storage else None) or f"{spec.gcp.project}-{spec.name}-rollouts"

"""Whether a release can be deployed onto the DeploymentResourcePool that its spec names; reads only.

A pool belongs to whoever made it (`pulumi up`, or another team): a rollout neither makes nor changes it. What a pool
takes is in ``spec.pools``. Left out: whether its machines have memory left, which only a deployment tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import CloudError, RolloutError
from vertex_deploy.spec import pools

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.gcp import Caller


def check_pool(pool: str, image: str, *, call: Caller, client: Callable[[str], Any]) -> None:
    """Ask for the pool, and for the image that is on it.

    Args:
        pool: projects/P/locations/L/deploymentResourcePools/ID.
        image: the release's serving image, full reference.
        call: makes the calls.
        client: Google's client for "pools", "endpoints" and "models".

    Raises:
        RolloutError: there is no such pool, or it does not take models of this image.
        CloudError: the API refuses or does not answer.
    """
    _, _, _, region, _, ident = pool.split("/")
    try:
        call(client("pools").get_deployment_resource_pool, {"name": pool}, what=f"GetDeploymentResourcePool {pool}")
    except CloudError as error:
        if error.code != "NOT_FOUND":
            raise
        raise RolloutError(
            f"there is no DeploymentResourcePool {ident} in {region}; make it (`pulumi up` with infra: {{pool: true}}, "
            f"or `gcloud beta ai deployment-resource-pools create {ident} --region={region}`), or change target.pool"
        ) from error
    if not pools.can_share(image):
        raise RolloutError(
            f"{image} cannot share the pool {ident}: pools take only prebuilt TensorFlow and PyTorch images, such as "
            f"{pools.EXAMPLE_IMAGE}; use one, or remove target.pool"
        )
    there = _image_on(pool, call, client)
    if there is not None and there != image:
        raise RolloutError(
            f"the pool {ident} has models of {there}, and all models of a pool have the same image; use that image, or "
            f"another pool (target.pool) for {image}"
        )


def _image_on(pool: str, call: Caller, client: Callable[[str], Any]) -> str | None:
    """The image of the models on the pool: of the first that can be read, since all have the same; None without any."""
    what = f"QueryDeployedModels {pool}"
    pager = call(client("pools").query_deployed_models, {"deployment_resource_pool": pool}, what=what)
    for ref in call(lambda **_: list(_references(pager)), None, what=what):
        endpoint = _read(call, client("endpoints").get_endpoint, ref.endpoint)
        found = next((d for d in getattr(endpoint, "deployed_models", ()) if d.id == ref.deployed_model_id), None)
        if found is None:
            continue
        name = found.model if "@" in found.model else f"{found.model}@{found.model_version_id}"
        model = _read(call, client("models").get_model, name)
        if model is not None:
            return str(model.container_spec.image_uri)
    return None


def _references(pager: Any) -> Any:
    # The pager itself goes over the deprecated deployed_models.
    for page in pager.pages:
        yield from page.deployed_model_refs


def _read(call: Caller, method: Any, name: str) -> Any:
    """A resource, or None where it is gone: it may have been removed since the pool was asked."""
    try:
        return call(method, {"name": name}, what=f"reading {name}")
    except CloudError as error:
        if error.code == "NOT_FOUND":
            return None
        raise

"""What the control plane keeps, and the questions that several of its services ask of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local.control.masks import etag_of
from vertex_deploy.local.control.names import Projects, new_id
from vertex_deploy.local.control.refusals import missing
from vertex_deploy.local.state import Collection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.local.control.names import Name
    from vertex_deploy.local.seams import Clock
    from vertex_deploy.local.state import Store

DEFAULT_ALIAS = "default"


class Registry:
    """Models, endpoints and what is being deployed right now.

    Args:
        store: keeps them.
        clock: their times.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.projects = Projects(store)
        self._endpoints = Collection(store, "endpoints", aip.Endpoint)
        self._models = Collection(store, "models", aip.Model)
        self._model_labels = Collection(store, "model-labels", aip.Model)
        self._pools = Collection(store, "pools", aip.DeploymentResourcePool)
        self._endpoint_names = {name for name, _, _ in store.scan("endpoints")}
        # Deployments under way: endpoint -> deployed model id -> (model, version). They block deletions and ids.
        self.starting: dict[str, dict[str, tuple[str, str]]] = {}
        # Those of them that go onto a pool: pool -> (endpoint, deployed model id) -> image.
        self.joining: dict[str, dict[tuple[str, str], str]] = {}
        # Deployed models that are being undeployed: they can get no traffic any more.
        self.leaving: dict[str, set[str]] = {}

    def now(self) -> datetime:
        """The time, as messages take it."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    # --- endpoints ----------------------------------------------------------------------------------------------

    def endpoint(self, name: Name) -> aip.Endpoint:
        """A copy of an endpoint.

        Raises:
            ApiError: NOT_FOUND.
        """
        found = self._endpoints.get(name.full)
        if found is None:
            raise missing("Endpoint", name.full)
        return found

    def has_endpoint(self, name: str) -> bool:
        """Whether there is an endpoint of this name."""
        return name in self._endpoint_names

    def resolve(self, name: str) -> str | None:
        """The stored name of an endpoint that a request names by project id or number; None if there is none.

        Called for every prediction: it touches no database.
        """
        project, slash, rest = name.removeprefix("projects/").partition("/")
        full = f"projects/{self.projects.number(project)}{slash}{rest}"
        return full if full in self._endpoint_names else None

    def endpoints(self, parent: str = "") -> list[aip.Endpoint]:
        """Copies of all endpoints in a location, or of all."""
        return self._endpoints.under(f"{parent}/endpoints/" if parent else "")

    def save_endpoint(self, endpoint: aip.Endpoint) -> None:
        """Write an endpoint with a new update time and etag."""
        endpoint.update_time = self.now()
        endpoint.etag = etag_of(endpoint, new_id())
        self._endpoints.put(endpoint.name, endpoint)
        self._endpoint_names.add(endpoint.name)

    def drop_endpoint(self, name: str) -> None:
        """Remove an endpoint."""
        self._endpoints.delete(name)
        self._endpoint_names.discard(name)

    # --- models -------------------------------------------------------------------------------------------------

    def versions(self, model: str) -> list[aip.Model]:
        """All versions of a model, the oldest first; none if there is no such model."""
        found = self._models.under(f"{model}@")
        return sorted(found, key=lambda version: int(version.version_id))

    def models(self, parent: str) -> list[aip.Model]:
        """The default version of each model in a location."""
        found = self._models.under(f"{parent}/models/")
        return [model for model in found if DEFAULT_ALIAS in model.version_aliases]

    def version(self, name: Name) -> aip.Model:
        """One version of a model: by id or alias, the default where the name has neither.

        Raises:
            ApiError: NOT_FOUND.
        """
        wanted = name.version or DEFAULT_ALIAS
        for version in self.versions(name.full):
            if wanted == version.version_id or wanted in version.version_aliases:
                return version
        raise missing("Model", f"{name.full}@{name.version}" if name.version else name.full)

    def save_version(self, model: aip.Model) -> None:
        """Write one version of a model with new update times and etag; what is derived is not kept."""
        model.version_update_time = model.update_time = self.now()
        model.deployed_models = []
        model.etag = etag_of(model, new_id())
        self._models.put(f"{model.name}@{model.version_id}", model)

    def drop_version(self, model: aip.Model) -> None:
        """Remove one version of a model."""
        self._models.delete(f"{model.name}@{model.version_id}")

    def model_labels(self, model: str) -> dict[str, str]:
        """Labels of a model itself, which each of its versions shows beside its own."""
        found = self._model_labels.get(model)
        return dict(found.labels) if found else {}

    def save_model_labels(self, model: str, labels: Mapping[str, str]) -> None:
        """Write a model's own labels; none: forget it."""
        if labels:
            self._model_labels.put(model, aip.Model(labels=dict(labels)))
        else:
            self._model_labels.delete(model)

    # --- pools --------------------------------------------------------------------------------------------------

    def pool(self, name: Name) -> aip.DeploymentResourcePool:
        """A copy of a pool.

        Raises:
            ApiError: NOT_FOUND.
        """
        found = self._pools.get(name.full)
        if found is None:
            raise missing("DeploymentResourcePool", name.full)
        return found

    def has_pool(self, name: str) -> bool:
        """Whether there is a pool of this name."""
        return self._pools.get(name) is not None

    def pools(self, parent: str = "") -> list[aip.DeploymentResourcePool]:
        """Copies of all pools in a location, or of all."""
        return self._pools.under(f"{parent}/deploymentResourcePools/" if parent else "")

    def save_pool(self, pool: aip.DeploymentResourcePool) -> None:
        """Write a pool."""
        self._pools.put(pool.name, pool)

    def drop_pool(self, name: str) -> None:
        """Remove a pool."""
        self._pools.delete(name)

    def on_pool(self, pool: str) -> list[tuple[str, aip.DeployedModel]]:
        """(endpoint, deployed model) of every model deployed on a pool."""
        return [
            (endpoint.name, deployed)
            for endpoint in self.endpoints()
            for deployed in endpoint.deployed_models
            if deployed.shared_resources == pool
        ]

    # --- both ---------------------------------------------------------------------------------------------------

    def deployments_of(self, model: str, version: str = "") -> list[tuple[str, str]]:
        """(endpoint, deployed model id) where a model, or one version of it, is deployed or being deployed."""
        found = [
            (endpoint.name, deployed.id)
            for endpoint in self.endpoints()
            for deployed in endpoint.deployed_models
            if deployed.model == model and version in {"", deployed.model_version_id}
        ]
        for endpoint_name, under_way in self.starting.items():
            found += [
                (endpoint_name, ident)
                for ident, (name, version_id) in under_way.items()
                if name == model and version in {"", version_id}
            ]
        return found

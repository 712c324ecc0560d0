"""The books of quotas: what is deployed, what is on its way, and whether there is room for more.

Charged are deployed models with machines of their own (until they are undeployed) and deployment resource pools, not
the models on a pool: as Vertex AI does, for the maximum of replicas, in each project and region. What is on its way is
held from the beginning of its operation, so that two deployments cannot take the same machine.

The words of the refusal are the service's, as its users report them: ``The following quotas are exceeded:
CustomModelServingCPUsPerProjectPerRegion``, code RESOURCE_EXHAUSTED. Inferred: that several are separated by a comma,
and that a changed replica count is refused alike.

Left out: a quota without a limit (``local up --quota``) is not counted; a restart deploys again without asking.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from google.cloud.aiplatform_v1 import types as aip

from vertex_deploy.local import quotas
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vertex_deploy.local.control.registry import Registry
    from vertex_deploy.spec.quotas import Quota

Owner = tuple[str, str]
"""(endpoint, deployed model id), or (pool, "")."""


class QuotaBook:
    """Who uses how much.

    Args:
        registry: what is kept.
        limits: by the quota's metric without the service, the same in every project and region.
    """

    def __init__(self, registry: Registry, limits: Mapping[str, int] | None = None) -> None:
        self._registry = registry
        self.limits: Mapping[str, int] = dict(limits or {})
        self._held: dict[Owner, aip.DedicatedResources] = {}

    @contextmanager
    def hold(self, owner: Owner, resources: aip.DedicatedResources) -> Iterator[None]:
        """Hold what is on its way until it is in the registry, or has failed.

        Args:
            owner: whose; what it has already is not counted beside it.
            resources: what it is to have.

        Raises:
            ApiError: RESOURCE_EXHAUSTED, a limit would be exceeded; less than it has already is never refused.
        """
        parent = _parent(owner[0])
        claims = self._claims(parent)
        before = _charged(claims.pop(owner)) if owner in claims else {}
        wanted = _charged(resources)
        more = {quota: amount for quota, amount in wanted.items() if amount > before.get(quota, 0)}
        short = quotas.exceeded(self.limits, _total(claims), more)
        if short:
            raise ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"The following quotas are exceeded: {', '.join(short)}")
        self._held[owner] = resources
        try:
            yield
        finally:
            self._held.pop(owner, None)

    def used(self, parent: str) -> Mapping[str, int]:
        """What is used of every quota that has a limit, by its metric.

        Args:
            parent: projects/NUMBER/locations/L.
        """
        total = {quota.metric: amount for quota, amount in _total(self._claims(parent)).items()}
        return {metric: total.get(metric, 0) for metric in self.limits}

    def parents(self) -> set[tuple[str, str]]:
        """(project id, location) of all that is kept or on its way."""
        registry = self._registry
        names = [endpoint.name for endpoint in registry.endpoints()]
        names += [pool.name for pool in registry.pools()]
        names += [name for name, _ in self._held]
        parts = (name.split("/") for name in names)
        return {(registry.projects.id_of(number), location) for _, number, _, location, *_ in parts}

    def _claims(self, parent: str) -> dict[Owner, aip.DedicatedResources]:
        registry = self._registry
        found: dict[Owner, aip.DedicatedResources] = {
            (endpoint.name, deployed.id): deployed.dedicated_resources
            for endpoint in registry.endpoints(parent)
            for deployed in endpoint.deployed_models
            if not deployed.shared_resources
        }
        found |= {(pool.name, ""): pool.dedicated_resources for pool in registry.pools(parent)}
        return found | {owner: held for owner, held in self._held.items() if _parent(owner[0]) == parent}


def _parent(name: str) -> str:
    return "/".join(name.split("/")[:4])


def _charged(resources: aip.DedicatedResources) -> Mapping[Quota, int]:
    machine = resources.machine_spec
    return quotas.charged(
        machine.machine_type,
        aip.AcceleratorType(machine.accelerator_type).name if machine.accelerator_type else "",
        machine.accelerator_count,
        max_replicas=max(resources.min_replica_count, resources.max_replica_count),
        spot=resources.spot,
    )


def _total(claims: Mapping[Owner, aip.DedicatedResources]) -> Mapping[Quota, int]:
    total: Counter[Quota] = Counter()
    for resources in claims.values():
        total.update(_charged(resources))
    return total

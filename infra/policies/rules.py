"""The policies, as a table of pure functions over a stack's resources: they need no pulumi_policy to be tested.

A rule yields (resource, what is wrong and the fix). Property names are those of the wire, camelCase. Values are plain:
lists, maps, and ``UNKNOWN`` where a preview cannot know one; what depends on it is judged by the update. Left out:
quotas, prices, and whether a region has capacity today.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from infra.policies.settings import Settings

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""A value that a preview does not know, as the engine writes it."""
ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
POOL = "gcp:vertex/aiDeploymentResourcePool:AiDeploymentResourcePool"
NODE_POOL = "gcp:container/nodePool:NodePool"
ALERT = "gcp:monitoring/alertPolicy:AlertPolicy"
RUN_JOB = "gcp:cloudrunv2/job:Job"
MODEL = "vertexdeploy:index:Model"
DEPLOYED = "vertexdeploy:index:DeployedModel"

KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    ENDPOINT: (("encryptionSpec", "kmsKeyName"),),
    "gcp:storage/bucket:Bucket": (("encryption", "defaultKmsKeyName"),),
    "gcp:artifactregistry/repository:Repository": (("kmsKeyName",),),
    "gcp:bigquery/dataset:Dataset": (("defaultEncryptionConfiguration", "kmsKeyName"),),
    # Of secrets in the cluster, and of the disks of its default pool.
    "gcp:container/cluster:Cluster": (("databaseEncryption", "keyName"), ("nodeConfig", "bootDiskKmsKey")),
    NODE_POOL: (("nodeConfig", "bootDiskKmsKey"),),
    RUN_JOB: (("template", "template", "encryptionKey"),),
    MODEL: (("kmsKeyName",),),
}
"""Type -> where its customer-managed keys are."""

LABELS: Mapping[str, str] = {
    ENDPOINT: "labels",
    "gcp:storage/bucket:Bucket": "labels",
    "gcp:artifactregistry/repository:Repository": "labels",
    "gcp:bigquery/dataset:Dataset": "labels",
    "gcp:container/cluster:Cluster": "resourceLabels",
    RUN_JOB: "labels",
    ALERT: "userLabels",
    MODEL: "labels",
}
"""Type -> property that holds its labels."""

PROTECTED = (
    ENDPOINT,
    "gcp:storage/bucket:Bucket",
    "gcp:artifactregistry/repository:Repository",
    "gcp:container/cluster:Cluster",
)
"""What holds state or answers traffic."""

PRIMITIVE = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
SPOT_MINIMUM = 2
"""Replicas of which one may be taken away without an outage."""
MACHINES: Mapping[str, Any] = json.loads((Path(__file__).parent / "machines.json").read_text(encoding="utf-8"))
"""``fixed``: machine -> [GPU, count]; ``attachable``: machine -> {GPU: [counts]}; ``gpus``: API's name -> GPU."""
REGIONS: Mapping[str, Any] = json.loads((Path(__file__).parent / "regions.json").read_text(encoding="utf-8"))
"""``regions``: region -> GPUs; ``read``: the table's date; ``refresh``: how to read it anew."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of a stack.

    Args:
        type: type token.
        name: Pulumi's name.
        props: inputs by the names of the wire.
        protect: Pulumi refuses to delete it.
    """

    type: str
    name: str
    props: Mapping[str, Any] = field(default_factory=dict)
    protect: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One policy.

    Args:
        name: kebab-case.
        description: one sentence.
        check: yields the resource and what is wrong.
    """

    name: str
    description: str
    check: Callable[[Sequence[Resource], Settings], Iterator[tuple[Resource, str]]]


def private_in_production(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """No endpoint of production has a public host."""
    for item in _of(resources, ENDPOINT) if settings.production else ():
        private = _at(item, "privateServiceConnectConfig", "enablePrivateServiceConnect") or item.props.get("network")
        if not private:
            yield item, "the endpoint is public; write target.endpoint.access: psc or psa"


def customer_managed_keys(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Everything at rest has a customer-managed key, where asked."""
    for item in resources if settings.cmek else ():
        for path in KEYS.get(item.type, ()):
            if not _at(item, *path):
                yield item, f"{'.'.join(path)} is not set; write infra.encryption_key"


def labelled(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Every resource that can have labels has the required ones."""
    for item in resources:
        labels = item.props.get(LABELS[item.type]) or {} if item.type in LABELS else UNKNOWN
        if labels != UNKNOWN:
            missing = sorted(set(settings.required_labels) - set(labels))
            if missing:
                yield item, f"labels {', '.join(missing)} are missing; write infra.labels"


def no_primitive_roles(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Nobody is owner, editor or viewer of anything."""
    del settings
    for item in resources:
        if item.props.get("role") in PRIMITIVE:
            yield item, f"{item.props['role']} is a primitive role; grant the permissions that are needed"


def spot_has_a_floor(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Spot machines come with at least two replicas, or with machines on demand beside them."""
    del settings
    pools = list(_of(resources, NODE_POOL))
    others = [pool for pool in pools if _at(pool, "nodeConfig", "spot") is not True]
    on_demand = [_kind(pool) for pool in others if _nodes(pool, "Max") > 0]
    for pool in pools:
        alone = not any(_stands_in(kind, _kind(pool)) for kind in on_demand)
        if _at(pool, "nodeConfig", "spot") is True and _nodes(pool, "Min") < SPOT_MINIMUM and alone:
            yield pool, "spot nodes alone can all go at once; lower spot_share so that some are on demand"
    for item in _of(resources, DEPLOYED):
        least = _at(item, "replicas", "min") or 1
        if _at(item, "machine", "spot") is True and least != UNKNOWN and least < SPOT_MINIMUM:
            yield item, "one spot replica is an outage when it goes; write replicas.min: 2"


def gpu_fits(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Each machine type carries its GPUs, and the region is one where they may be used."""
    for item in resources:
        for machine, gpu, count in _gpus(item):
            if not _carries(machine, gpu, count):
                yield item, f"{machine} cannot carry {gpu}:{count}; see the machine types in docs/reference/spec.md"
            region = _region(item)
            if region and (wrong := _misplaced(gpu, region, settings)):
                yield item, wrong


def watched(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Each endpoint has an alert policy that looks at it."""
    del settings
    conditions = json.dumps([item.props.get("conditions") for item in _of(resources, ALERT)], default=str)
    for item in _of(resources, ENDPOINT):
        name = str(item.props.get("name"))
        if name != UNKNOWN and not re.search(rf"\b{re.escape(name)}\b|{UNKNOWN}", conditions):
            yield item, "no alert policy looks at the endpoint; write a gate with max"


def protected_in_production(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """What holds state or answers traffic in production cannot be deleted by mistake."""
    for item in resources if settings.production else ():
        if item.type in PROTECTED and not item.protect:
            yield item, "it is not protected; write infra.protect: true"


def images_by_digest(resources: Sequence[Resource], settings: Settings) -> Iterator[tuple[Resource, str]]:
    """An image is named by its digest: a tag can come to mean another image."""
    del settings
    for item in resources:
        for image in _images(item):
            if image != UNKNOWN and not re.fullmatch(r".+@sha256:[0-9a-f]{64}", image):
                yield item, f"{image} is not named by digest; write NAME@sha256:DIGEST"


RULES: tuple[Rule, ...] = (
    Rule(name="private-in-production", description="No public endpoint in production.", check=private_in_production),
    Rule(name="customer-managed-keys", description="A customer-managed key where asked.", check=customer_managed_keys),
    Rule(name="labelled", description="The required labels.", check=labelled),
    Rule(name="no-primitive-roles", description="No owner, editor or viewer.", check=no_primitive_roles),
    Rule(name="spot-has-a-floor", description="Spot with two replicas or machines on demand.", check=spot_has_a_floor),
    Rule(name="gpu-fits", description="GPUs that machine type and region have.", check=gpu_fits),
    Rule(name="watched", description="An alert policy for each endpoint.", check=watched),
    Rule(name="protected-in-production", description="Deletion protection.", check=protected_in_production),
    Rule(name="images-by-digest", description="Images by digest.", check=images_by_digest),
)
"""Every policy."""


def _of(resources: Sequence[Resource], kind: str) -> Iterator[Resource]:
    return (item for item in resources if item.type == kind)


def _at(item: Resource, *path: str) -> Any:
    value: Any = item.props
    for part in path:
        if value != UNKNOWN:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _maps(value: Any) -> list[dict[str, Any]]:
    """The maps of a list; none of what is unknown."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _nodes(pool: Resource, which: str) -> float:
    """The fewest (Min) or most (Max) nodes of a pool; enough of them where that is not known yet."""
    scaling = _at(pool, "autoscaling") or {}
    found = (
        [UNKNOWN]
        if scaling == UNKNOWN
        else [scaling.get(f"total{which}NodeCount"), scaling.get(f"{which.lower()}NodeCount")]
    )
    return float("inf") if UNKNOWN in found else float(next((count for count in found if count), 0))


def _kind(pool: Resource) -> tuple[Any, ...]:
    """What pools must share so that one can stand in for the other."""
    gpus = _at(pool, "nodeConfig", "guestAccelerators") or []
    told = [UNKNOWN] if gpus == UNKNOWN else [(gpu.get("type"), gpu.get("count")) for gpu in _maps(gpus)]
    return (pool.props.get("cluster"), *told)


def _stands_in(kind: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return kind == other or UNKNOWN in (*kind, *other)


def _gpus(item: Resource) -> Iterator[tuple[str, str, int]]:
    """Machine type, GPU and count of everything that has GPUs, as far as they are known."""
    found: list[tuple[Any, Any, Any]] = []
    if item.type == NODE_POOL:
        machine = _at(item, "nodeConfig", "machineType")
        gpus = _maps(_at(item, "nodeConfig", "guestAccelerators"))
        found = [(machine, gpu.get("type"), gpu.get("count") or 0) for gpu in gpus]
    if item.type == POOL:
        spec = ("dedicatedResources", "machineSpec")
        gpu, count = _at(item, *spec, "acceleratorType"), _at(item, *spec, "acceleratorCount") or 0
        found = [(_at(item, *spec, "machineType"), gpu, count)]
    if item.type == DEPLOYED:
        gpu, _, count = str(_at(item, "machine", "accelerator") or "").partition(":")
        found = [(_at(item, "machine", "type"), gpu, count or 1)]
    for machine, gpu, count in found:
        if gpu and UNKNOWN not in (machine, gpu, count):
            yield machine, _gpu(gpu), int(count)


def _region(item: Resource) -> str:
    """Of its own property, or of the endpoint that it names; empty where neither is known. A zone is in its region."""
    named = re.search(r"/locations/([^/]+)/", str(item.props.get("endpoint") or ""))
    place = str(item.props.get("region") or item.props.get("location") or (named[1] if named else ""))
    return "" if place == UNKNOWN else re.sub(r"(?<=[0-9])-[a-z]$", "", place)


def _misplaced(gpu: str, region: str, settings: Settings) -> str:
    """Why a GPU may not be used in a region, and the fix; empty where it may."""
    if region in settings.gpus_by_region:
        allowed = settings.gpus_by_region[region]
        if gpu in allowed:
            return ""
        return f"{gpu} may not be used in {region}; gpus_by_region allows {', '.join(allowed) or 'none'} there"
    if gpu in REGIONS["regions"].get(region, ()):
        return ""
    known = ", ".join(name for name, gpus in REGIONS["regions"].items() if gpu in gpus) or "no region"
    return (
        f"{gpu} in {region} is not in the table as of {REGIONS['read']}, which has it in {known}; take one of them, "
        "or name the region in gpus_by_region of the policies' configuration"
    )


def _gpu(name: Any) -> str:
    return str(MACHINES["gpus"].get(name, name))


def _carries(machine: str, gpu: str, count: int) -> bool:
    fixed = MACHINES["fixed"].get(machine)
    return fixed == [gpu, count] if fixed else count in MACHINES["attachable"].get(machine, {}).get(gpu, [])


def _images(item: Resource) -> Iterator[str]:
    if item.type == RUN_JOB:
        yield from (str(c.get("image")) for c in _maps(_at(item, "template", "template", "containers")))
    if item.type == MODEL and _at(item, "container", "imageUri"):
        yield str(_at(item, "container", "imageUri"))

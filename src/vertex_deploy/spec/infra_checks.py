"""What the fields of ``infra`` must agree on, with each other and with the rest: checks as in ``checks``.

Left out: whatever only the cloud knows, such as quotas and which zones have which GPUs.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import combinations
from typing import TYPE_CHECKING

from vertex_deploy.spec import machines, pools
from vertex_deploy.spec.infra import DAY
from vertex_deploy.spec.problems import Finding, Path
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vertex_deploy.spec.infra import GkeSpec, GpuNodes, Infra
    from vertex_deploy.spec.models import Container, Gcp, VertexTarget

_KEY = re.compile(r"projects/[a-z0-9.:-]+/locations/(?P<location>[a-z0-9-]+)/keyRings/[\w-]+/cryptoKeys/[\w-]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_POLICY = re.compile(r"accessPolicies/[0-9]+")
_NUMBER = re.compile(r"[0-9]{6,20}")
_REPOSITORY = re.compile(r"projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+")
_BILLING = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,19}")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
CONTROL_PLANE_PREFIX = 28
RECOVERABLE = (7 * DAY, 90 * DAY)
FLEX_START_MAX = 7 * DAY


def names(infra: Infra) -> Iterator[Finding]:
    """Labels, buckets, addresses and resource names have the form that Google Cloud gives them."""
    for key, value in infra.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            fix = "write at most 63 lower case letters, digits, hyphens and underscores; keys start with a letter"
            yield Finding(("infra", "labels", key), "not a label", fix)
    if infra.storage is not None:
        for name in ("models", "state"):
            bucket = getattr(infra.storage, name)
            if bucket is not None and not _BUCKET.fullmatch(bucket):
                fix = "write 3 to 63 lower case letters, digits, dots and hyphens, without gs://"
                yield Finding(("infra", "storage", name), f"{bucket[:60]!r} is not a bucket", fix)
    for index, email in enumerate(infra.emails):
        if not _EMAIL.fullmatch(email):
            yield Finding(("infra", "emails", index), f"{email[:40]!r} is not an address", "write NAME@DOMAIN")
    yield from _programs(infra)


def _programs(infra: Infra) -> Iterator[Finding]:
    if infra.triggers is not None and not _REPOSITORY.fullmatch(infra.triggers.repository):
        fix = "write projects/P/locations/L/connections/C/repositories/R (gcloud builds repositories list)"
        yield Finding(("infra", "triggers", "repository"), "not a connected repository", fix)
    if infra.runner is not None and not _DIGEST.fullmatch(infra.runner.image):
        fix = "write REGION-docker.pkg.dev/PROJECT/REPO/IMAGE@sha256:DIGEST"
        yield Finding(("infra", "runner", "image"), "the image is not pinned by digest", fix)
    if infra.budget is not None:
        if not _BILLING.fullmatch(infra.budget.billing_account):
            fix = "write XXXXXX-XXXXXX-XXXXXX (gcloud billing accounts list)"
            yield Finding(("infra", "budget", "billing_account"), "not a billing account", fix)
        if not _CURRENCY.fullmatch(infra.budget.currency):
            yield Finding(("infra", "budget", "currency"), "not a currency", "write its three letters, such as USD")
        for index, share in enumerate(infra.budget.at):
            if share <= 0:
                yield Finding(("infra", "budget", "at", index), "nobody is told at 0%", "write more than 0%")


def key(gcp: Gcp, infra: Infra) -> Iterator[Finding]:
    """A regional resource takes a key of its own region only."""
    if infra.encryption_key is None:
        return
    path, match = ("infra", "encryption_key"), _KEY.fullmatch(infra.encryption_key)
    if match is None:
        fix = "write projects/P/locations/L/keyRings/R/cryptoKeys/K"
        yield Finding(path, f"{infra.encryption_key[:60]!r} is not a key", fix)
    elif match["location"] != gcp.region:
        yield Finding(path, f"the key is in {match['location']}, not in {gcp.region}", f"use a key in {gcp.region}")


def endpoint(target: VertexTarget, infra: Infra) -> Iterator[Finding]:
    """What pulumi-gcp cannot set is not dropped in silence."""
    if infra.endpoint and target.endpoint.request_timeout is not None:
        fix = "remove endpoint: true, so that the rollout makes it with its timeout"
        yield Finding(("infra", "endpoint"), "pulumi-gcp cannot set target.endpoint.request_timeout", fix)


def pool(name: str, target: VertexTarget, infra: Infra) -> Iterator[Finding]:
    """Machines are said once: of each version, or of the pool by whoever makes it."""
    if target.pool is None:
        if infra.pool:
            yield Finding(("infra", "pool"), "no target.pool names it", f"add target.pool: {name}, or remove this")
        if target.machine is None:
            fix = "add machine: {type: g2-standard-8, accelerator: L4:1}, or pool: NAME"
            yield Finding(("target", "machine"), "missing", fix)
        return
    if not pools.POOL_ID.fullmatch(target.pool):
        fix = "write at most 63 lower case letters, digits and hyphens that start with a letter"
        yield Finding(("target", "pool"), f"{target.pool[:40]!r} is not the id of a pool", fix)
    if not infra.pool:
        said = {"machine": target.machine is not None, "replicas": target.replicas != type(target.replicas)()}
        for key in (key for key, written in said.items() if written):
            fix = "remove it, or let this spec make the pool with infra: {pool: true}"
            yield Finding(("target", key), f"the pool {target.pool[:40]} has its own", fix)
    elif target.machine is None:
        yield Finding(("target", "machine"), "infra.pool makes the pool of it", "add machine: {type: n1-standard-4}")
    elif target.machine.spot:
        fix = "remove target.machine.spot, or infra.pool"
        yield Finding(("infra", "pool"), "pulumi-gcp makes pools without spot machines", fix)


def pool_images(container: Container, target: VertexTarget) -> Iterator[Finding]:
    """A pool takes Google's prebuilt TensorFlow and PyTorch images, and one image at a time."""
    if target.pool is None:
        return
    written: list[tuple[Path, str]] = [(("container", "image"), container.image)]
    variants = enumerate(target.split)
    written += [(("target", "split", i, "image"), variant.image) for i, variant in variants if variant.image]
    for path, image in written:
        if not pools.can_share(image):
            fix = f"use one such as {pools.EXAMPLE_IMAGE}, or remove target.pool"
            yield Finding(path, "a pool takes only prebuilt TensorFlow and PyTorch images", fix)
        elif image != container.image:
            fix = "use one image, or machines of their own"
            yield Finding(path, "models on one pool have the same image", fix)


def static_traffic(target: VertexTarget, infra: Infra) -> Iterator[Finding]:
    """With a static split there is no rollout: nothing may wait for one or start one."""
    if target.traffic != "pulumi":
        return
    if infra.endpoint is False:
        fix = "remove endpoint: false, or write traffic: rollout"
        yield Finding(("infra", "endpoint"), "a static split needs the endpoint that Pulumi makes", fix)
    elif target.endpoint.request_timeout is not None:
        fix = "remove it (pulumi-gcp cannot set it), or write traffic: rollout"
        yield Finding(("target", "endpoint", "request_timeout"), "only a rollout makes an endpoint with it", fix)
    for name in ("runner", "triggers"):
        if getattr(infra, name) is not None:
            fix = "remove it, or write traffic: rollout"
            yield Finding(("infra", name), "it starts rollouts, which would move a static split", fix)


def durations(infra: Infra) -> Iterator[Finding]:
    """Ages are what the APIs can hold."""
    if infra.storage is not None:
        wanted, (low, high) = infra.storage.recoverable, RECOVERABLE
        if wanted and not low <= wanted <= high:
            fix = "write 0s, or from 7d to 90d"
            yield Finding(("infra", "storage", "recoverable"), f"{format_duration(wanted)} is out of range", fix)
        days = infra.storage.noncurrent_after / DAY
        if days < 1 or days != int(days):
            fix = "write whole days, such as 30d"
            yield Finding(("infra", "storage", "noncurrent_after"), "lifecycle rules count whole days", fix)
    for kind, nodes in infra.gke.nodes.items() if infra.gke else ():
        flex = nodes.flex_start
        if flex is not None and not 0 < flex.run <= FLEX_START_MAX:
            path = ("infra", "gke", "nodes", kind, "flex_start", "run")
            yield Finding(path, f"{format_duration(flex.run)} is out of range", "write at most 7d")


def ranges(infra: Infra) -> Iterator[Finding]:
    """Networks are networks, and do not overlap."""
    written: list[tuple[Path, str]] = []
    if infra.network is not None:
        written += [
            (("infra", "network", name), getattr(infra.network, name)) for name in ("subnet", "pods", "services")
        ]
        perimeter = infra.network.perimeter
        if perimeter is not None and not _POLICY.fullmatch(perimeter.policy):
            fix = "write accessPolicies/NUMBER (gcloud access-context-manager policies list)"
            yield Finding(("infra", "network", "perimeter", "policy"), "not an access policy", fix)
        if perimeter is not None and not _NUMBER.fullmatch(perimeter.project_number):
            fix = "write the number (gcloud projects describe PROJECT)"
            yield Finding(("infra", "network", "perimeter", "project_number"), "not a project's number", fix)
    if infra.gke is not None:
        written.append((("infra", "gke", "control_plane"), infra.gke.control_plane))
    parsed: list[tuple[Path, ipaddress.IPv4Network]] = []
    for path, text in written:
        try:
            parsed.append((path, ipaddress.IPv4Network(text)))
        except ValueError as error:
            yield Finding(path, f"{text} is not a network ({error})", "write its first address, such as 10.10.0.0/20")
    for (first, one), (second, other) in combinations(parsed, 2):
        if one.overlaps(other):
            yield Finding(second, f"{other} overlaps {one} of {'.'.join(map(str, first))}", "use another range")


def cluster(infra: Infra) -> Iterator[Finding]:
    """A cluster has a network; its nodes' machines carry their GPUs and can be divided as asked."""
    gke, base = infra.gke, ("infra", "gke")
    if gke is None:
        return
    if infra.network is None:
        yield Finding(base, "a cluster needs a network", "add infra.network: {}")
    if not gke.control_plane.endswith(f"/{CONTROL_PLANE_PREFIX}"):
        yield Finding((*base, "control_plane"), f"{gke.control_plane} is not a /28", "write one such as 172.16.0.0/28")
    for kind, nodes in gke.nodes.items():
        if not _KIND.fullmatch(kind):
            fix = "write at most 20 lower case letters, digits and hyphens"
            yield Finding((*base, "nodes", kind), "not a name of nodes", fix)
        yield from _nodes((*base, "nodes", kind), nodes)
    yield from _zones(gke)


def _nodes(path: Path, nodes: GpuNodes) -> Iterator[Finding]:
    if not machines.known(nodes.machine):
        near = machines.nearest(nodes.machine)
        fix = f"did you mean {near}?" if near else "such as g2-standard-8"
        yield Finding((*path, "machine"), f"no machine type {nodes.machine[:40]!r}", fix)
    elif mismatch := machines.explain_mismatch(nodes.machine, nodes.accelerator):
        yield Finding((*path, "accelerator"), *mismatch)
    if nodes.min > nodes.max:
        yield Finding((*path, "max"), f"max {nodes.max} is below min {nodes.min}", f"raise max to {nodes.min}")
    if not 0 <= nodes.spot_share <= 1:
        yield Finding((*path, "spot_share"), "a share of nodes is from 0% to 100%", "write 70%")
    elif nodes.min > nodes.max - int(nodes.max * nodes.spot_share + 1e-9):
        fix = "lower min or spot_share, or raise max"
        yield Finding((*path, "min"), f"{nodes.min} nodes cannot be on demand with that spot_share", fix)
    if nodes.partition is not None:
        wrong = machines.explain_partition(nodes.accelerator, nodes.partition)
        if wrong:
            yield Finding((*path, "partition"), *wrong)


def _zones(gke: GkeSpec) -> Iterator[Finding]:
    for index, zone in enumerate(gke.zones):
        if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]{1,2}-[a-z]", zone):
            path = ("infra", "gke", "zones", index)
            yield Finding(path, f"{zone[:40]!r} is not a zone", "write one such as us-central1-a")


CHECKS = (
    (("infra",), names),
    (("gcp", "infra"), key),
    (("target", "infra"), endpoint),
    (("name", "target", "infra"), pool),
    (("container", "target"), pool_images),
    (("target", "infra"), static_traffic),
    (("infra",), durations),
    (("infra",), ranges),
    (("infra",), cluster),
)
"""Needed sections and check, in the order of the file."""

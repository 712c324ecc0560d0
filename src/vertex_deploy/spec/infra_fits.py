"""What Google Cloud refuses of ``infra`` although each field is right: derived names, places, schedules, objectives.

Found here, because `pulumi up` would find it when half of the stack is made. Limits are those of the discovery
documents of billingbudgets v1, cloudbuild v1, container v1, monitoring v3, run v2 and storage v1. Left out: whether a
name is taken.
"""

from __future__ import annotations

import re
import zoneinfo
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from vertex_deploy.spec import names
from vertex_deploy.spec.problems import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vertex_deploy.spec.gates import Gate
    from vertex_deploy.spec.infra import GpuNodes, Infra
    from vertex_deploy.spec.models import Container, Gcp, Model, Monitoring, Rollout, VertexTarget
    from vertex_deploy.spec.problems import Path

CLUSTER, NETWORK, BUCKET, JOB, TRIGGER, BUDGET = 40, 63, 63, 63, 64, 60
"""Characters that a cluster, a VPC resource, a bucket, a Cloud Run job, a Cloud Build trigger and a budget can have."""
DEFAULT_POOL = "default-pool"
"""Name of the node pool that a cluster is made with."""
LARGEST_GOAL = 0.9999
"""Of a ServiceLevelObjective."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TAKEN = ("default", "gmp-public", "gmp-system")
"""Namespaces that a cluster of GKE has from the start, beside those of Kubernetes."""
_BRANCH = re.compile(r"\^?\w([\w/-]|\\?[./-])*\$?", re.ASCII)
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_SERVICE = re.compile(r"[a-z][a-z0-9-]*\.googleapis\.com")
_PERIMETER = re.compile(r"[A-Za-z]\w{0,49}", re.ASCII)
_BY_NUMBER = re.compile(r"projects/[0-9]+/(topics|secrets)/.*")
_LOCATION = re.compile(r"projects/[^/]+/locations/([^/]+)/.*")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = re.compile(
    r"(every|((\d+(st|nd|rd|th)|first|second|third|fourth|fifth)\b,?)+)(\s+[a-z0-9:,]+)+", re.ASCII | re.IGNORECASE
)
"""Cloud Scheduler's other format, such as "every 5 minutes" or "1st monday of month 09:00"; the rest is left to it."""
_LEGACY_AND_NEW = {"US/Pacific", "Europe/Kyiv"}
"""Time zones of a whole database: Debian's tzdata lacks the first, one of before 2022 the second."""
_CRON = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _DAYS),
)


def lengths(name: str, gcp: Gcp, target: VertexTarget, infra: Infra) -> Iterator[Finding]:
    """Names that follow from the spec's are as long as their services allow."""
    given = target.endpoint.network
    network = (given or name).rpartition("/")[2]
    longest = max((gcp.region, "internal", "vertexai", "peering"), key=len)
    own: Path = ("name",)
    derived = (
        (infra.gke is not None, own, name, CLUSTER, "a GKE cluster"),
        (
            infra.network is not None,
            ("target", "endpoint", "network") if given else own,
            f"{network}-{longest}",
            NETWORK,
            "a VPC resource",
        ),
        (infra.runner is not None, own, f"{name}-rollout", JOB, "a Cloud Run job"),
        (infra.triggers is not None, own, f"{name}-rollout", TRIGGER, "a Cloud Build trigger"),
        (infra.budget is not None, own, name, BUDGET, "a budget"),
    )
    for made, path, text, most, what in derived:
        if made and len(text) > most:
            fix = f"shorten it by {len(text) - most} characters"
            yield Finding(path, f"{what} would be called {text}, of {len(text)} characters; {most} are allowed", fix)


def buckets(name: str, gcp: Gcp, model: Model, infra: Infra) -> Iterator[Finding]:
    """Two buckets are made, and their names are as long as buckets' can be."""
    if infra.storage is None:
        return
    models, state = names.buckets(name, gcp, model, infra.storage)
    if len(state) > BUCKET and infra.storage.state is None:
        fix = "write infra.storage.state: BUCKET, or shorten the name"
        yield Finding(("name",), f"a bucket would be called {state}, of {len(state)} characters", fix)
    if models == state:
        fix = "write another bucket, or remove infra.storage.state"
        yield Finding(("infra", "storage", "state"), f"{state[:40]} is the bucket of models", fix)


def regions(gcp: Gcp, infra: Infra) -> Iterator[Finding]:
    """Zones and the connected repository are in the spec's region."""
    for index, zone in enumerate(infra.gke.zones if infra.gke else ()):
        if not zone.startswith(f"{gcp.region}-") and zone.count("-") > 1:
            where = ("infra", "gke", "zones", index)
            yield Finding(where, f"{zone[:40]} is not in {gcp.region}", f"write one such as {gcp.region}-a")
    match = _LOCATION.fullmatch(infra.triggers.repository) if infra.triggers else None
    if match is not None and match[1] != gcp.region:
        fix = f"connect the repository in {gcp.region}"
        path = ("infra", "triggers", "repository")
        yield Finding(path, f"it is in {match[1][:40]}, and triggers are made in {gcp.region}", fix)


def triggers(container: Container, infra: Infra) -> Iterator[Finding]:
    """A build has an image to build and a request to try; the rollout's trigger checks one branch out, not many."""
    wanted, base = infra.triggers, ("infra", "triggers")
    if wanted is None:
        return
    if not _BRANCH.fullmatch(wanted.branch):
        yield Finding((*base, "branch"), f"{wanted.branch[:40]!r} names no single branch", "write one such as ^main$")
    if not _PATH.fullmatch(wanted.sample) or ".." in wanted.sample.split("/"):
        fix = "write a path from the root of the repository, without spaces"
        yield Finding((*base, "sample"), f"{wanted.sample[:40]!r} is no file of the repository", fix)
    if "/" in container.image:
        fix = "write a folder under containers/, or remove infra.triggers"
        yield Finding(("container", "image"), "infra.triggers build a folder, not an image that is there", fix)


def others(target: VertexTarget, monitoring: Monitoring, infra: Infra) -> Iterator[Finding]:
    """What one resource has, those beside it need too: a key, and a log that only Pulumi's endpoint has."""
    if infra.pool and infra.encryption_key is not None:
        fix = "remove infra.encryption_key, or make the pool with its key by gcloud and remove infra.pool"
        message = "an endpoint and its pool have the same key, and pulumi-gcp makes pools without one"
        yield Finding(("infra", "pool"), message, fix)
    if monitoring.sampling and (infra.endpoint is False or target.endpoint.request_timeout is not None):
        fix = "remove it, or let Pulumi make the endpoint (infra.endpoint, no target.endpoint.request_timeout)"
        yield Finding(("monitoring", "sampling"), "the endpoint that a rollout makes has no log", fix)


def schedule(infra: Infra) -> Iterator[Finding]:
    """The schedule is one that comes, in a time zone that is there."""
    if infra.runner is None:
        return
    written, path = infra.runner.schedule, ("infra", "runner", "schedule")
    fields = written.split()
    if _WORDS.fullmatch(written.strip()):
        pass
    elif len(fields) != len(_CRON):
        fix = "write minute, hour, day, month and weekday, such as '*/5 * * * *'"
        yield Finding(path, f"{written[:40]!r} is no schedule", fix)
    else:
        for text, field in zip(fields, _CRON, strict=True):
            if not all(_comes(part, field) for part in text.split(",")):
                fix = f"write *, {field.low} to {field.high}, or */STEP"
                yield Finding(path, f"{text[:40]!r} is no {field.name}", fix)
    zones = zoneinfo.available_timezones()
    # A machine with no time zone database, or half of one, cannot tell.
    if zones >= _LEGACY_AND_NEW and infra.runner.time_zone not in zones:
        near = get_close_matches(infra.runner.time_zone, zones, n=1)
        fix = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin"
        yield Finding(("infra", "runner", "time_zone"), f"no time zone {infra.runner.time_zone[:40]!r}", fix)


def _comes(part: str, field: _Field) -> bool:
    """One entry of a cron field: ``*``, a number, a range, each perhaps with a step."""
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and 0 < int(step) <= field.high - field.low + 1):
        return False
    if span == "*":
        return True
    # A week that ends with its Sunday: sat-sun.
    texts = ["7" if at and end.lower() == "sun" else end for at, end in enumerate(span.split("-"))]
    ends = [_number(end, field) for end in texts]
    known = [end for end in ends if end is not None]
    return len(known) == len(ends) <= 2 and known == sorted(known)  # noqa: PLR2004 - a range has two ends


def _number(text: str, field: _Field) -> int | None:
    if text.lower() in field.words:
        return field.words.index(text.lower()) + field.low
    number = int(text) if text.isascii() and text.isdigit() else -1
    return number if field.low <= number <= field.high else None


def cluster(infra: Infra) -> Iterator[Finding]:
    """Kubernetes takes the namespace, and a disruption budget is a share."""
    if infra.gke is None:
        return
    name, base = infra.gke.namespace, ("infra", "gke")
    if not _NAMESPACE.fullmatch(name) or name.startswith("kube-") or name in _TAKEN:
        fix = f"write lower case letters, digits and hyphens, at most 63; not kube-..., {', '.join(_TAKEN)}"
        yield Finding((*base, "namespace"), f"{name[:40]!r} is not a namespace of ours", fix)
    if infra.gke.min_available > 1:
        yield Finding((*base, "min_available"), "a share of the pods is from 0% to 100%", "write 80%")


def repeated(infra: Infra) -> Iterator[Finding]:
    """Nothing is made twice under one name."""
    for index, email in enumerate(infra.emails):
        if email in infra.emails[:index]:
            yield Finding(("infra", "emails", index), f"{email[:40]} is written twice", "remove one")
    nodes = infra.gke.nodes if infra.gke else {}
    made = {DEFAULT_POOL: "the cluster"}
    for kind in sorted(nodes, key=len):
        pools = _pools(kind, nodes[kind])
        for pool in pools & made.keys():
            message = f"{made[pool]} has a pool of the name {pool}"
            yield Finding(("infra", "gke", "nodes", kind), message, f"call it {kind.replace('-', '')}")
        made |= dict.fromkeys(pools, kind)


def _pools(kind: str, nodes: GpuNodes) -> set[str]:
    """Names of the pools that one kind of nodes becomes: on demand, spot and flex-start, those that have nodes."""
    spot = int(nodes.max * nodes.spot_share + 1e-9)
    sizes = {
        kind: nodes.max - spot,
        f"{kind}-spot": spot,
        f"{kind}-flex": nodes.flex_start.max if nodes.flex_start else 0,
    }
    return {name for name, size in sizes.items() if size}


def perimeter(infra: Infra) -> Iterator[Finding]:
    """A perimeter restricts services, by their names, and lets in by levels of its own policy."""
    asked = infra.network.perimeter if infra.network else None
    if asked is None:
        return
    base = ("infra", "network", "perimeter")
    for index, service in enumerate(asked.services):
        if not _SERVICE.fullmatch(service):
            fix = "write one such as storage.googleapis.com"
            yield Finding((*base, "services", index), f"{service[:40]!r} is no service", fix)
        elif service in asked.services[:index]:
            yield Finding((*base, "services", index), f"{service[:40]} is written twice", "remove one")
    if not asked.services:
        fix = "remove it, or infra.network.perimeter"
        yield Finding((*base, "services"), "a perimeter of no service restricts nothing", fix)
    if asked.name is not None and not _PERIMETER.fullmatch(asked.name):
        fix = "write at most 50 letters, digits and underscores that start with a letter, without accessPolicies/"
        yield Finding((*base, "name"), f"{asked.name[:60]!r} is no name of a perimeter", fix)
    for index, level in enumerate(asked.access_levels):
        if not re.fullmatch(rf"{re.escape(asked.policy)}/accessLevels/[A-Za-z]\w*", level, re.ASCII):
            fix = f"write {asked.policy[:40]}/accessLevels/NAME"
            yield Finding((*base, "access_levels", index), f"{level[:60]!r} is no access level of the policy", fix)


def granted(rollout: Rollout, monitoring: Monitoring) -> Iterator[Finding]:
    """Topics and secrets say their project by its id: by a number, `pulumi up` cannot tell which it has to grant."""
    written: list[tuple[Path, str | None]] = []
    for index, told in enumerate(rollout.notify):
        base = ("rollout", "notify", index)
        written += [((*base, name), getattr(told, name)) for name in ("secret", "slack", "pubsub")]
    if monitoring.prometheus is not None:
        written.append((("monitoring", "prometheus", "token"), monitoring.prometheus.token))
    for path, reference in written:
        if reference is not None and _BY_NUMBER.fullmatch(reference):
            number = reference.split("/")[1][:20]
            fix = f"write its id (gcloud projects describe {number})"
            yield Finding(path, f"the project is a number, {number}; grants go by its id", fix)


def goals(rollout: Rollout, monitoring: Monitoring, infra: Infra) -> Iterator[Finding]:
    """An objective is at most 99.99%: a limit below 0.01% makes none. That of a metric is its first gate's."""
    if infra.slo is None:
        return
    seen: set[str] = set()
    listed: tuple[tuple[Path, tuple[Gate, ...]], ...] = (
        (("rollout", "gates"), rollout.gates),
        (("monitoring", "alerts"), monitoring.alerts),
    )
    for base, gates in listed:
        for index, gate in enumerate(gates):
            if not gate.rate or gate.max is None or gate.dry_run or gate.metric in seen:
                continue
            seen.add(gate.metric)
            if round(1 - gate.max, 9) > LARGEST_GOAL:
                fix = "write at least 0.01%, or remove infra.slo"
                yield Finding((*base, index, "max"), "Cloud Monitoring takes objectives up to 99.99%", fix)


CHECKS = (
    (("name", "gcp", "target", "infra"), lengths),
    (("name", "gcp", "model", "infra"), buckets),
    (("gcp", "infra"), regions),
    (("container", "infra"), triggers),
    (("target", "monitoring", "infra"), others),
    (("infra",), schedule),
    (("infra",), cluster),
    (("infra",), repeated),
    (("infra",), perimeter),
    (("rollout", "monitoring"), granted),
    (("rollout", "monitoring", "infra"), goals),
)
"""Needed sections and check, in the order of the file."""

"""What the fields of a spec must agree on: a table of pure checks, each over the sections that it names.

A check runs as soon as its sections are valid, so that one run reports everything. Facts about Vertex AI (limits,
what each kind of endpoint can do) are from its documentation and discovery document, read in November 2026. Left out:
whatever only the cloud knows, such as quotas, whether an image exists, and which regions have which machines.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from vertex_deploy.spec import gate_checks, infra_checks, infra_fits, machines
from vertex_deploy.spec.problems import Finding
from vertex_deploy.spec.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vertex_deploy.spec.models import Container, Gcp, Model, Monitoring, Rollout, VertexTarget
    from vertex_deploy.spec.problems import Path

MAX_ENV = 200
MAX_ENV_BYTES = 128 * 1024
MAX_ENV_TOTAL_BYTES = 512 * 1024
MAX_STARTUP = 7200.0
MAX_REQUEST_TIMEOUT = 3600.0
MAX_DISPLAY_NAME = 128
MAX_LABELS = 64
MAX_MODEL_ID = 63
FULL = 100

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]|[0-9]{6,20}")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
_ARTIFACT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/\S*)?")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_FOLDER = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_IMAGE = re.compile(
    r"(?P<host>[a-z0-9-]+)-docker\.pkg\.dev(?:/[a-z0-9][a-z0-9._-]*){3,}(?::[A-Za-z0-9_][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_PREBUILT = re.compile(r"(?:us|europe|asia)-docker\.pkg\.dev/vertex-ai/")
"""Google's own serving images, which live in multi-regions."""
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NETWORK = re.compile(r"projects/[a-z0-9.:-]+/global/networks/[a-z][-a-z0-9]{0,62}")
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_CHANNEL = re.compile(r"projects/[a-z0-9.:-]+/notificationChannels/[0-9]+")


class Check(NamedTuple):
    """One check.

    Args:
        needs: top-level fields of the spec that it is called with, in order.
        run: yields what is wrong.
    """

    needs: tuple[str, ...]
    run: Callable[..., Iterator[Finding]]


def run_checks(sections: Mapping[str, Any]) -> list[Finding]:
    """Run every check whose sections are there.

    Args:
        sections: valid top-level fields by name; invalid ones are absent.
    """
    ready = (check for check in CHECKS if all(name in sections for name in check.needs))
    return [finding for check in ready for finding in check.run(*(sections[name] for name in check.needs))]


def places(gcp: Gcp) -> Iterator[Finding]:
    """Project and region have the form that Google Cloud gives them."""
    if not _PROJECT.fullmatch(gcp.project):
        fix = "write 6 to 30 lower case letters, digits and hyphens that start with a letter"
        yield Finding(("gcp", "project"), f"{gcp.project[:40]!r} is not a project id", fix)
    if not _REGION.fullmatch(gcp.region):
        yield Finding(("gcp", "region"), f"{gcp.region[:40]!r} is not a region", "write one such as us-central1")


def model_names(model: Model) -> Iterator[Finding]:
    """Artifact, names, aliases and labels are what ModelService takes."""
    yield from _artifact(("model", "artifact"), model.artifact)
    yield from _display_name(("model", "display_name"), model.display_name)
    for index, alias in enumerate(model.aliases):
        if not _ALIAS.fullmatch(alias):
            fix = "write letters, digits and hyphens that start with a lower case letter"
            yield Finding(("model", "aliases", index), f"{alias[:40]!r} is not a version alias", fix)
    if len(model.labels) > MAX_LABELS:
        yield Finding(("model", "labels"), f"{len(model.labels)} labels", f"at most {MAX_LABELS}")
    for key, value in model.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            fix = "write at most 63 lower case letters, digits, hyphens and underscores; keys start with a letter"
            yield Finding(("model", "labels", key), "not a label", fix)
        elif key.startswith("vertex-deploy"):
            yield Finding(("model", "labels", key), "labels in vertex-deploy are the rollout's own", "use another key")


def _artifact(path: Path, artifact: str | None) -> Iterator[Finding]:
    if artifact is not None and not _ARTIFACT.fullmatch(artifact):
        fix = "write gs://BUCKET/FOLDER"
        yield Finding(path, f"{artifact[:60]!r} is not a folder in Cloud Storage", fix)


def _display_name(path: Path, name: str | None) -> Iterator[Finding]:
    if name is not None and not 1 <= len(name) <= MAX_DISPLAY_NAME:
        yield Finding(path, f"a name of {len(name)} characters", f"write 1 to {MAX_DISPLAY_NAME}")


def image_in_region(gcp: Gcp, container: Container) -> Iterator[Finding]:
    """The image is a local folder, or in Artifact Registry in the region of the model."""
    yield from _image(gcp, container.image, ("container", "image"))


def _image(gcp: Gcp, image: str, path: Path) -> Iterator[Finding]:
    if "/" not in image and _FOLDER.fullmatch(image):
        return
    example = f"{gcp.region}-docker.pkg.dev/{gcp.project}/REPO/IMAGE"
    match = _IMAGE.fullmatch(image)
    if re.match(r"(?:[a-z]+\.)?gcr\.io/", image):
        yield Finding(path, "gcr.io (Container Registry) is shut down", f"push to Artifact Registry: {example}")
    elif not match:
        fix = f"write a folder under containers/, or {example}@sha256:DIGEST"
        yield Finding(path, f"{image[:80]!r} is not an image in Artifact Registry", fix)
    elif match["host"] != gcp.region and not _PREBUILT.match(image):
        fix = f"push it to {example}, or change gcp.region"
        yield Finding(path, f"the image is in {match['host']}, the model in {gcp.region}", fix)


def environment(container: Container) -> Iterator[Finding]:
    """ModelContainerSpec.env: at most 200 variables, each below 128 KiB, 512 KiB in all; AIP_* is Vertex AI's."""
    if len(container.env) > MAX_ENV:
        yield Finding(("container", "env"), f"{len(container.env)} variables", f"at most {MAX_ENV}; use a file")
    total = 0
    for name, value in container.env.items():
        path, size = ("container", "env", name), len(f"{name}={value}".encode())
        total += size
        if name.startswith("AIP_"):
            yield Finding(path, "AIP_* variables are set by Vertex AI", "remove it, or use another name")
        elif not _ENV_NAME.fullmatch(name):
            yield Finding(path, "not a variable's name", "write letters, digits and underscores, no digit first")
        if size >= MAX_ENV_BYTES:
            yield Finding(path, f"{size} bytes with its name", f"less than {MAX_ENV_BYTES}; put it in a file")
    if total > MAX_ENV_TOTAL_BYTES:
        fix = f"at most {MAX_ENV_TOTAL_BYTES}; put them in a file"
        yield Finding(("container", "env"), f"{total} bytes of variables", fix)


def container_limits(container: Container) -> Iterator[Finding]:
    """Routes are paths; deploymentTimeout is at most two hours."""
    for name in ("predict_route", "health_route"):
        route = getattr(container, name)
        if route is not None and not route.startswith("/"):
            yield Finding(("container", name), f"{route[:40]!r} is not a path", f"write /{route[:40]}")
    timeout = container.startup_timeout
    if timeout is not None and not 1 <= timeout <= MAX_STARTUP:
        fix = f"write from 1s to {format_duration(MAX_STARTUP)}"
        yield Finding(("container", "startup_timeout"), f"{format_duration(timeout)} is out of range", fix)


def machine(target: VertexTarget) -> Iterator[Finding]:
    """The machine type exists and carries the accelerator; whether there must be one depends on the pool."""
    if target.machine is None:
        return
    kind, accelerator = target.machine.type, target.machine.accelerator
    if not machines.known(kind):
        near = machines.nearest(kind)
        fix = f"did you mean {near}?" if near else "such as n1-standard-4 or g2-standard-8"
        yield Finding(("target", "machine", "type"), f"no machine type {kind[:40]!r} for online prediction", fix)
        return
    mismatch = machines.explain_mismatch(kind, accelerator)
    if mismatch:
        yield Finding(("target", "machine", "accelerator" if accelerator else "type"), *mismatch)


def replicas(target: VertexTarget) -> Iterator[Finding]:
    """Bounds are in order, and what is scaled on can be measured."""
    wanted = target.replicas
    if wanted.min > wanted.max:
        fix = f"raise max to {wanted.min} or lower min"
        yield Finding(("target", "replicas", "max"), f"max {wanted.max} is below min {wanted.min}", fix)
    for name, value in wanted.scale_on.items():
        path = ("target", "replicas", "scale_on", name)
        if name != "request_count_per_minute" and value > FULL:
            yield Finding(path, f"{value:g} is above 100 percent", "write a percentage without sign, such as 60")
        elif value != int(value):
            yield Finding(path, f"{value:g} is not a whole number", "the API takes whole numbers")
        if name == "gpu_duty_cycle" and target.machine is not None and target.machine.accelerator is None:
            fix = "scale on cpu_utilization or request_count_per_minute"
            yield Finding(path, f"{target.machine.type[:40]} has no GPU to measure", fix)


def access(target: VertexTarget) -> Iterator[Finding]:
    """Each kind of endpoint has what it needs and nothing that it would ignore."""
    endpoint, base = target.endpoint, ("target", "endpoint")
    psc, psa = endpoint.access == "psc", endpoint.access == "psa"
    yield from _display_name((*base, "name"), endpoint.name)
    if psc and not endpoint.allow_projects and not endpoint.automation:
        yield Finding((*base, "access"), "psc lets nobody in", "add allow_projects: [PROJECT], or automation")
    for name in ("allow_projects", "automation"):
        if getattr(endpoint, name) and not psc:
            fix = "write access: psc, or remove it"
            yield Finding((*base, name), f"a {endpoint.access} endpoint has no {name}", fix)
    if psa and endpoint.network is None:
        fix = "add network: projects/NUMBER/global/networks/NAME"
        yield Finding((*base, "access"), "psa needs the network that is peered", fix)
    if endpoint.network is not None and not psa:
        fix = "write access: psa, or remove it (psc networks are under automation)"
        yield Finding((*base, "network"), f"a {endpoint.access} endpoint has no network", fix)
    networks: list[tuple[Path, str]] = []
    if psa and endpoint.network is not None:
        networks.append(((*base, "network"), endpoint.network))
    networks += [((*base, "automation", i, "network"), item.network) for i, item in enumerate(endpoint.automation)]
    for path, network in networks:
        if not _NETWORK.fullmatch(network):
            fix = "write projects/PROJECT/global/networks/NAME"
            yield Finding(path, f"{network[:60]!r} is not a VPC network", fix)
    account = target.service_account
    if account is not None and not _SERVICE_ACCOUNT.fullmatch(account):
        fix = "write NAME@PROJECT.iam.gserviceaccount.com"
        yield Finding(("target", "service_account"), f"{account[:60]!r} is not a service account", fix)


def request_timeout(target: VertexTarget) -> Iterator[Finding]:
    """Only endpoints with a host of their own let the timeout be set."""
    timeout, path = target.endpoint.request_timeout, ("target", "endpoint", "request_timeout")
    if timeout is None:
        return
    if target.endpoint.access in ("public", "psa"):
        fix = "remove it, or write access: dedicated or psc"
        yield Finding(path, f"a {target.endpoint.access} endpoint always answers within 60s", fix)
    elif not 1 <= timeout <= MAX_REQUEST_TIMEOUT or timeout != int(timeout):
        fix = f"write whole seconds, from 1s to {format_duration(MAX_REQUEST_TIMEOUT)}"
        yield Finding(path, f"{format_duration(timeout)} is out of range", fix)


def steps(rollout: Rollout) -> Iterator[Finding]:
    """Weights rise to exactly 100; every step but the last is held."""
    base = ("rollout", "steps")
    if not rollout.steps:
        yield Finding(base, "no steps", "end with {weight: 100}")
        return
    last = len(rollout.steps) - 1
    for index, step in enumerate(rollout.steps):
        before = rollout.steps[index - 1].weight if index else 0
        if step.weight <= before:
            fix = f"weights rise strictly: more than {before}" if before < FULL else "remove what follows 100"
            yield Finding((*base, index, "weight"), f"{step.weight} follows {before}", fix)
        if index < last and not step.hold:
            message = "without a hold nothing is measured before the next step"
            yield Finding((*base, index, "hold"), message, "add hold: 30m")
    if rollout.steps[last].weight != FULL:
        fix = "end with {weight: 100}"
        yield Finding((*base, last, "weight"), f"the last step has weight {rollout.steps[last].weight}", fix)
    elif rollout.steps[last].hold is not None:
        fix = "remove hold; keep_stable says how long the old version stays"
        yield Finding((*base, last, "hold"), "the last step has nothing to hold for", fix)


def rollout_times(rollout: Rollout) -> Iterator[Finding]:
    """Polls fit into the shortest hold; a deployment gets time."""
    holds = [step.hold for step in rollout.steps if step.hold]
    if rollout.poll is not None and rollout.poll <= 0:
        yield Finding(("rollout", "poll"), "0s is no period", "write one such as 30s, or remove it")
    elif rollout.poll is not None and holds and rollout.poll > min(holds):
        fix = f"write less than the shortest hold, {format_duration(min(holds))}"
        yield Finding(("rollout", "poll"), f"{format_duration(rollout.poll)} never comes around", fix)
    if rollout.deploy_timeout < 1:
        fix = "write a duration such as 1h"
        yield Finding(("rollout", "deploy_timeout"), "no deployment is that fast", fix)


def split(target: VertexTarget, rollout: Rollout) -> Iterator[Finding]:
    """PSA endpoints have one deployed model's address and no split."""
    if (
        target.traffic == "rollout"
        and target.endpoint.access == "psa"
        and [step.weight for step in rollout.steps] != [FULL]
    ):
        fix = "write steps: [{weight: 100}], or access: psc, which can"
        yield Finding(("rollout", "steps"), "a psa endpoint cannot split traffic", fix)


def static_split(name: str, gcp: Gcp, target: VertexTarget) -> Iterator[Finding]:
    """A static split is whole, and is there exactly when Pulumi owns the traffic.

    Each variant is a model of its own, whose id (NAME-VARIANT) has at most 63 characters.
    """
    base = ("target", "split")
    if target.traffic == "rollout":
        if target.split:
            yield Finding(base, "the traffic is the rollout's", "write traffic: pulumi, or remove split")
        return
    if not target.split:
        fix = "add split: [{name: a, weight: 90}, {name: b, weight: 10}], each with its artifact or image"
        yield Finding(("target", "traffic"), "pulumi has no split to set", fix)
        return
    if target.endpoint.access == "psa":
        yield Finding(("target", "traffic"), "a psa endpoint cannot split traffic", "write access: psc, which can")
    total = sum(variant.weight for variant in target.split)
    if total != FULL:
        yield Finding(base, f"the weights sum to {total}", "they must sum to 100")
    seen: set[str] = set()
    for index, variant in enumerate(target.split):
        path = (*base, index)
        if variant.name in seen:
            yield Finding((*path, "name"), f"there is a {variant.name} already", "give each its own name")
        elif len(f"{name}-{variant.name}") > MAX_MODEL_ID:
            fix = f"shorten it, so that {name}-NAME has at most {MAX_MODEL_ID} characters"
            yield Finding((*path, "name"), "the model's id is too long", fix)
        seen.add(variant.name)
        yield from _artifact((*path, "artifact"), variant.artifact)
        if variant.image is not None:
            yield from _image(gcp, variant.image, (*path, "image"))


def alerts(monitoring: Monitoring) -> Iterator[Finding]:
    """An alert policy compares with a number, and tells somebody who exists."""
    for index, gate in enumerate(monitoring.alerts):
        if gate.max is None and gate.min is None:
            fix = "add max; a comparison with stable needs a rollout"
            yield Finding(("monitoring", "alerts", index), "an alert needs an absolute limit", fix)
    for index, channel in enumerate(monitoring.notification_channels):
        if not _CHANNEL.fullmatch(channel):
            fix = "write projects/PROJECT/notificationChannels/ID"
            yield Finding(("monitoring", "notification_channels", index), f"{channel[:60]!r} is no channel", fix)
    if monitoring.sampling is not None and not 0 <= monitoring.sampling <= 1:
        yield Finding(("monitoring", "sampling"), "a share of requests is from 0% to 100%", "write 10%")


CHECKS: tuple[Check, ...] = (
    Check(("gcp",), places),
    Check(("model",), model_names),
    Check(("gcp", "container"), image_in_region),
    Check(("container",), environment),
    Check(("container",), container_limits),
    Check(("target",), machine),
    Check(("target",), replicas),
    Check(("target",), access),
    Check(("target",), request_timeout),
    Check(("rollout",), steps),
    Check(("rollout",), rollout_times),
    Check(("target", "rollout"), split),
    Check(("name", "gcp", "target"), static_split),
    Check(("monitoring",), alerts),
    Check(("rollout", "monitoring"), gate_checks.queries),
    Check(("rollout", "monitoring"), gate_checks.filters),
    *(Check(needs, run) for needs, run in infra_checks.CHECKS),
    *(Check(needs, run) for needs, run in infra_fits.CHECKS),
)
"""Every check, in the order of the file."""

"""Nested arguments of the resources, and how they are written on the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence  # noqa: TC003 - part of public signatures, read by documentation tools
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from pulumi import Input  # noqa: TC002 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How the container is probed: exactly one of ``exec``, ``http_path``, ``tcp_port`` and ``grpc_port``.

    Args:
        exec: command in the container; exit status 0 is healthy.
        http_path: path of an HTTP GET.
        http_port: its port; the container's own where absent.
        tcp_port: port that must accept a connection.
        grpc_port: port of a gRPC health service.
        period_seconds: seconds between two probes.
        timeout_seconds: seconds that one may take.
        failure_threshold: failures in a row that count.
        success_threshold: successes in a row that count.
        initial_delay_seconds: seconds before the first probe.
    """

    exec: Input[Sequence[Input[str]]] | None = None
    http_path: Input[str] | None = None
    http_port: Input[int] | None = None
    tcp_port: Input[int] | None = None
    grpc_port: Input[int] | None = None
    period_seconds: Input[int] | None = None
    timeout_seconds: Input[int] | None = None
    failure_threshold: Input[int] | None = None
    success_threshold: Input[int] | None = None
    initial_delay_seconds: Input[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The serving container.

    Args:
        image_uri: Artifact Registry image in the model's region.
        command: overrides the image's entrypoint.
        args: overrides the image's arguments.
        env: environment; AIP_* names belong to Vertex AI.
        ports: the first is AIP_HTTP_PORT.
        grpc_ports: ports for gRPC predictions.
        predict_route: HTTP path of predictions.
        health_route: HTTP path of health checks.
        invoke_route_prefix: ``/*`` passes any path through; dedicated endpoints only.
        deployment_timeout: seconds that it may take to become healthy, at most 7200.
        shared_memory_mb: shared memory in MB.
        startup_probe: gates the health checks.
        health_probe: decides whether a replica gets traffic.
        liveness_probe: decides whether a replica is restarted.
    """

    image_uri: Input[str]
    command: Input[Sequence[Input[str]]] | None = None
    args: Input[Sequence[Input[str]]] | None = None
    env: Input[Mapping[str, Input[str]]] | None = None
    ports: Input[Sequence[Input[int]]] | None = None
    grpc_ports: Input[Sequence[Input[int]]] | None = None
    predict_route: Input[str] | None = None
    health_route: Input[str] | None = None
    invoke_route_prefix: Input[Literal["/*"]] | None = None
    deployment_timeout: Input[int] | None = None
    shared_memory_mb: Input[int] | None = None
    startup_probe: Probe | None = None
    health_probe: Probe | None = None
    liveness_probe: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Which Compute Engine reservations are used.

    Args:
        type: which ones.
        key: compute.googleapis.com/reservation-name (specific).
        values: projects/P/zones/Z/reservations/NAME (specific).
    """

    type: Input[Literal["any", "none", "specific"]]
    key: Input[str] | None = None
    values: Input[Sequence[Input[str]]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What each replica runs on.

    Args:
        type: Compute Engine machine type, such as g2-standard-8.
        accelerator: GPU and count, such as L4:1.
        gpu_partition_size: MIG partition, such as 1g.10gb.
        tpu_topology: topology of a TPU slice.
        spot: Spot VMs.
        reservation: reservations.
    """

    type: Input[str]
    accelerator: Input[str] | None = None
    gpu_partition_size: Input[str] | None = None
    tpu_topology: Input[str] | None = None
    spot: Input[bool] | None = None
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """How many replicas.

    Args:
        min: always running.
        max: at most; the minimum where absent.
        required: that must be up for the deployment to succeed.
    """

    min: Input[int] | None = None
    max: Input[int] | None = None
    required: Input[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOn:
    """Autoscaling targets.

    Args:
        cpu_utilization: percent.
        gpu_duty_cycle: percent.
        request_count_per_minute: of one replica.
    """

    cpu_utilization: Input[int] | None = None
    gpu_duty_cycle: Input[int] | None = None
    request_count_per_minute: Input[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of an endpoint's traffic.

    Args:
        deployed_model_id: who gets it (a DeployedModel's ``deployed_model_id``).
        percent: 0 to 100.
    """

    deployed_model_id: Input[str]
    percent: Input[int]


def camel(name: str) -> str:
    """``version_name`` as ``versionName``."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def on_the_wire(value: Any) -> Any:
    """A nested argument as the provider takes it; outputs stay outputs, maps keep their keys, None is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {camel(field.name): on_the_wire(getattr(value, field.name)) for field in fields(value)}
        return {key: item for key, item in named.items() if item is not None}
    if isinstance(value, list | tuple):
        return [on_the_wire(item) for item in value]
    return value

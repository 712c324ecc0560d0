"""The container of a model version: its properties, and the API's message for them. Pure.

Facts: ModelContainerSpec and Probe of aiplatform v1, and "Custom container requirements" of the documentation.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from infra.provider.properties import Failure, Prop, child

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TWO_HOURS = 7200
_MAX_VALUE, _MAX_ENVIRONMENT = 128 * 1024, 512 * 1024
"""Bytes of one variable and of all."""
_STRINGS = Prop(type="string", doc="One of them.")
_PORT = Prop(type="integer", minimum=1, maximum=65535, doc="A port.")

_PROBE = {
    "exec": Prop(type="array", items=_STRINGS, doc="Command in the container; exit status 0 is healthy."),
    "httpPath": Prop(type="string", pattern="/.*", says="a path that starts with /", doc="Path of an HTTP GET."),
    "httpPort": Prop(
        type="integer", minimum=1, maximum=65535, doc="Port of the HTTP GET; the container's own if absent."
    ),
    "tcpPort": Prop(type="integer", minimum=1, maximum=65535, doc="Port that must accept a connection."),
    "grpcPort": Prop(type="integer", minimum=1, maximum=65535, doc="Port of a gRPC health service."),
    "periodSeconds": Prop(type="integer", minimum=1, doc="Seconds between two probes; the API's default is 10."),
    "timeoutSeconds": Prop(type="integer", minimum=1, doc="Seconds that one may take; the API's default is 1."),
    "failureThreshold": Prop(type="integer", minimum=1, doc="Failures in a row that count; the API's default is 3."),
    "successThreshold": Prop(type="integer", minimum=1, doc="Successes in a row that count; the API's default is 1."),
    "initialDelaySeconds": Prop(type="integer", minimum=0, doc="Seconds before the first probe."),
}
_PROBE_ACTIONS = ("exec", "httpPath", "tcpPort", "grpcPort")
_PROBE_NUMBERS = {
    "periodSeconds": "period_seconds",
    "timeoutSeconds": "timeout_seconds",
    "failureThreshold": "failure_threshold",
    "successThreshold": "success_threshold",
    "initialDelaySeconds": "initial_delay_seconds",
}
_PROBES = {"startupProbe": "startup_probe", "healthProbe": "health_probe", "livenessProbe": "liveness_probe"}

_VARIABLE = Prop(
    type="string",
    pattern=r"[A-Za-z_][A-Za-z0-9_]*",
    says="a variable's name: letters, digits and underscores, no digit first",
    doc=".",
)


def _probe(doc: str) -> Prop:
    return Prop(type="object", ref="Probe", fields=_PROBE, doc=doc)


CONTAINER = Prop(
    type="object",
    ref="Container",
    required=True,
    doc="The serving container. A change uploads a new version.",
    fields={
        "imageUri": Prop(
            type="string",
            required=True,
            pattern=r"[a-z0-9-]+-docker\.pkg\.dev/[^/]+/[^/]+/.+",
            says="an Artifact Registry image, REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE@sha256:DIGEST",
            doc="Artifact Registry image in the model's region, by digest where it must not change.",
        ),
        "command": Prop(type="array", items=_STRINGS, doc="Overrides the image's entrypoint."),
        "args": Prop(type="array", items=_STRINGS, doc="Overrides the image's arguments."),
        "env": Prop(
            type="map",
            items=_STRINGS,
            keys=_VARIABLE,
            most=200,
            doc="Environment; names that start with AIP_ belong to Vertex AI.",
        ),
        "ports": Prop(type="array", items=_PORT, doc="Ports; the first is AIP_HTTP_PORT. The API's default is 8080."),
        "grpcPorts": Prop(type="array", items=_PORT, doc="Ports for gRPC predictions."),
        "predictRoute": Prop(
            type="string", pattern="/.*", says="a path that starts with /", doc="HTTP path of predictions."
        ),
        "healthRoute": Prop(
            type="string", pattern="/.*", says="a path that starts with /", doc="HTTP path of health checks."
        ),
        "invokeRoutePrefix": Prop(
            type="string", choices=("/*",), doc="Passes any path through; dedicated endpoints only, no predictRoute."
        ),
        "deploymentTimeout": Prop(
            type="integer", minimum=1, maximum=_TWO_HOURS, doc="Seconds that it may take to become healthy."
        ),
        "sharedMemoryMb": Prop(type="integer", minimum=1, doc="Shared memory in MB."),
        "startupProbe": _probe("Gates the health checks until it succeeds once."),
        "healthProbe": _probe("Decides whether a replica gets traffic."),
        "livenessProbe": _probe("Decides whether a replica is restarted."),
    },
)


def agree(container: Mapping[str, Any], region: Any) -> Iterable[Failure]:
    """What a container's properties must agree on.

    Args:
        container: checked each on its own; parts may be unknown.
        region: of the model.
    """
    image = container.get("imageUri")
    if isinstance(image, str) and isinstance(region, str):
        where = image.partition("-docker.pkg.dev")[0]
        if where != region and not (where in ("us", "europe", "asia") and region.startswith(f"{where}-")):
            yield Failure("container.imageUri", f"the image is in {where}, it must be in the model's region {region}")
    if container.get("invokeRoutePrefix") and container.get("predictRoute"):
        yield Failure("container.predictRoute", "excludes invokeRoutePrefix; keep one of them")
    if isinstance(container.get("env"), dict):
        yield from _environment(container["env"])
    for name in _PROBES:
        probe = container.get(name)
        if not isinstance(probe, dict):
            continue
        if sum(probe.get(action) is not None for action in _PROBE_ACTIONS) != 1:
            yield Failure(f"container.{name}", f"must have exactly one of {', '.join(_PROBE_ACTIONS)}")
        elif probe.get("httpPort") is not None and probe.get("httpPath") is None:
            yield Failure(f"container.{name}.httpPort", "goes with httpPath; remove it")


def _environment(variables: Mapping[str, Any]) -> Iterable[Failure]:
    sizes = {name: len(value.encode()) for name, value in variables.items() if isinstance(value, str)}
    for name in variables:
        if name.startswith("AIP_"):
            yield Failure(child("container.env", name), "names that start with AIP_ belong to Vertex AI; rename it")
        elif sizes.get(name, 0) >= _MAX_VALUE:
            yield Failure(child("container.env", name), f"must be smaller than {_MAX_VALUE} bytes; put it in a file")
    if sum(sizes.values()) > _MAX_ENVIRONMENT:
        yield Failure("container.env", f"must be at most {_MAX_ENVIRONMENT} bytes in all; put some in a file")


def message(container: Mapping[str, Any]) -> Any:
    """The ``ModelContainerSpec`` to upload."""
    from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

    spec = aip.ModelContainerSpec(
        image_uri=container["imageUri"],
        command=container.get("command") or [],
        args=container.get("args") or [],
        env=[aip.EnvVar(name=name, value=value) for name, value in (container.get("env") or {}).items()],
        ports=[aip.Port(container_port=port) for port in container.get("ports") or []],
        grpc_ports=[aip.Port(container_port=port) for port in container.get("grpcPorts") or []],
        predict_route=container.get("predictRoute") or "",
        health_route=container.get("healthRoute") or "",
        invoke_route_prefix=container.get("invokeRoutePrefix") or "",
        shared_memory_size_mb=container.get("sharedMemoryMb") or 0,
    )
    if container.get("deploymentTimeout"):
        spec.deployment_timeout = timedelta(seconds=container["deploymentTimeout"])
    for name, field in _PROBES.items():
        if container.get(name):
            setattr(spec, field, _probe_message(container[name]))
    return spec


def _probe_message(probe: Mapping[str, Any]) -> Any:
    from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

    made = aip.Probe(**{field: probe[name] for name, field in _PROBE_NUMBERS.items() if probe.get(name) is not None})
    if probe.get("exec"):
        made.exec_ = aip.Probe.ExecAction(command=probe["exec"])
    elif probe.get("httpPath"):
        made.http_get = aip.Probe.HttpGetAction(path=probe["httpPath"], port=probe.get("httpPort") or 0)
    elif probe.get("tcpPort"):
        made.tcp_socket = aip.Probe.TcpSocketAction(port=probe["tcpPort"])
    else:
        made.grpc = aip.Probe.GrpcAction(port=probe.get("grpcPort") or 0)
    return made


def read(spec: Any) -> dict[str, Any]:
    """The properties that a ``ModelContainerSpec`` stands for; what is unset is absent."""
    pb = type(spec).pb(spec)
    found = {
        "imageUri": spec.image_uri,
        "command": list(spec.command),
        "args": list(spec.args),
        "env": {variable.name: variable.value for variable in spec.env},
        "ports": [port.container_port for port in spec.ports],
        "grpcPorts": [port.container_port for port in spec.grpc_ports],
        "predictRoute": spec.predict_route,
        "healthRoute": spec.health_route,
        "invokeRoutePrefix": spec.invoke_route_prefix,
        "deploymentTimeout": pb.deployment_timeout.seconds,
        "sharedMemoryMb": spec.shared_memory_size_mb,
    }
    for name, field in _PROBES.items():
        if pb.HasField(field):
            found[name] = _probe_read(getattr(spec, field))
    return {key: value for key, value in found.items() if value}


def _probe_read(probe: Any) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(probe, field) for name, field in _PROBE_NUMBERS.items()}
    kind = type(probe).pb(probe).WhichOneof("probe_type")
    if kind == "exec_":
        found["exec"] = list(probe.exec_.command)
    elif kind == "http_get":
        found |= {"httpPath": probe.http_get.path, "httpPort": probe.http_get.port}
    elif kind == "tcp_socket":
        found["tcpPort"] = probe.tcp_socket.port
    elif kind == "grpc":
        found["grpcPort"] = probe.grpc.port
    return {key: value for key, value in found.items() if value}

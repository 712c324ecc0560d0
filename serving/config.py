"""What the server is told by its environment: Vertex AI's ``AIP_*`` and a few ``SERVING_*`` of our own.

Source of the ``AIP_*`` facts: "Custom container requirements for prediction" (Vertex AI documentation). Vertex refuses
``AIP_*`` variables from users, so what a user may turn is named ``SERVING_*``.

Left out: configuration files and command-line options. A container has one way in.
"""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import ConfigError
from serving.export.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIB = 1024 * 1024


# Where a container sees the CPU time that it may use: cgroup v2, and v1 (quota and period apart).
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_CPU_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def quota_cores(cpu_max: str) -> float | None:
    """Cores' worth of time that a cgroup may use; None: no limit, or not that form.

    Args:
        cpu_max: as in ``cpu.max`` (Linux, cgroup-v2.rst): microseconds of quota or ``max``, and of the period. A quota
            of -1 is no limit, as in version 1.
    """
    quota, _, period = cpu_max.strip().partition(" ")
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def cores_for(allowed: int, quota: float | None) -> int:
    """Threads that can compute at once: whole cores of the quota, for one thread more is throttled in mid-batch.

    Args:
        allowed: cores in the process's affinity mask.
        quota: cores' worth of time, or None.
    """
    return allowed if quota is None else max(1, min(allowed, math.floor(quota)))


def usable_cpus() -> int:
    """Cores that this process may use: its affinity and its container's CPU quota, not the machine's count."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    return cores_for(allowed, quota_cores(_read_quota()))


def _read_quota() -> str:
    try:
        if _CPU_MAX.is_file():
            return _CPU_MAX.read_text(encoding="ascii")
        return " ".join(path.read_text(encoding="ascii").strip() for path in _CPU_V1)
    except OSError:
        return ""


def _knob(variable: str, default: Any, low: float = 0, high: float = math.inf, *, help: str) -> Any:  # noqa: A002 - reads well
    factory = default if callable(default) else lambda: default
    return field(default_factory=factory, metadata={"env": variable, "low": low, "high": high, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One process's settings; each field's metadata names its variable, range and meaning (``knobs()`` lists them)."""

    storage_uri: str = _knob("AIP_STORAGE_URI", "", help="folder of the artifact: gs://..., file://... or a path")
    port: int = _knob("AIP_HTTP_PORT", 8080, 0, 65535, help="port to listen on (0: any free one)")
    health_route: str = _knob("AIP_HEALTH_ROUTE", "/health", help="path of the health check")
    predict_route: str = _knob("AIP_PREDICT_ROUTE", "/predict", help="path of predictions")
    mode: str = _knob("AIP_MODE", "PREDICTION", help="PREDICTION; nothing else is served")
    host: str = _knob("SERVING_HOST", "127.0.0.1", help="address to listen on; images set 0.0.0.0")
    max_batch: int = _knob(
        "SERVING_MAX_BATCH", 0, 0, 4096, help="largest batch, instances (0: what the artifact allows)"
    )
    max_delay_ms: float = _knob("SERVING_MAX_DELAY_MS", 0.0, 0, 10_000, help="longest wait for a fuller batch, ms")
    queue: int = _knob("SERVING_QUEUE", 256, 1, 1_000_000, help="instances that may wait; more are answered 429")
    max_instances: int = _knob("SERVING_MAX_INSTANCES", 128, 1, 100_000, help="instances in one request")
    max_body_bytes: int = _knob("SERVING_MAX_BODY_BYTES", 10 * _MIB, 1, 1024 * _MIB, help="largest request body, bytes")
    max_pixels: int = _knob("SERVING_MAX_PIXELS", 50_000_000, 1, 1_000_000_000, help="largest image, pixels")
    threads: int = _knob("SERVING_THREADS", usable_cpus, 1, 1024, help="threads of the engine (default: usable cores)")
    decode_threads: int = _knob(
        "SERVING_DECODE_THREADS", lambda: min(4, usable_cpus()), 1, 256, help="threads that decode requests"
    )
    request_timeout_s: float = _knob("SERVING_REQUEST_TIMEOUT_S", 60.0, 0.001, 3600, help="a request's time, s")
    header_timeout_s: float = _knob("SERVING_HEADER_TIMEOUT_S", 10.0, 0.01, 600, help="time for a request's head, s")
    body_timeout_s: float = _knob("SERVING_BODY_TIMEOUT_S", 30.0, 0.01, 3600, help="time for a request's body, s")
    keep_alive_s: float = _knob(
        "SERVING_KEEP_ALIVE_S", 620.0, 0.01, 86_400, help="an idle connection is kept so long, s"
    )
    grace_s: float = _knob(
        "SERVING_GRACE_S", 1.0, 0, 600, help="after SIGTERM: unhealthy, but requests are still accepted, s"
    )
    drain_s: float = _knob(
        "SERVING_DRAIN_S", 30.0, 0, 3600, help="after the grace: time to finish what was accepted, s"
    )
    load_timeout_s: float = _knob("SERVING_LOAD_TIMEOUT_S", 600.0, 1, 7200, help="time to load the engine, s")
    engine_timeout_s: float = _knob(
        "SERVING_ENGINE_TIMEOUT_S", 60.0, 0.1, 3600, help="a batch that takes longer is fatal"
    )
    max_artifact_bytes: int = _knob(
        "SERVING_MAX_ARTIFACT_BYTES", 4096 * _MIB, 1, 1024 * 1024 * _MIB, help="largest artifact, bytes in all"
    )
    work_dir: str = _knob("SERVING_WORK_DIR", "", help="where artifacts are unpacked (default: the temporary folder)")
    metrics_export: str = _knob("SERVING_METRICS_EXPORT", "", help="cloud: write to Cloud Monitoring; empty: do not")
    metrics_period_s: float = _knob("SERVING_METRICS_PERIOD_S", 60.0, 5, 3600, help="between two points, s")
    monitoring_endpoint: str = _knob(
        "SERVING_MONITORING_ENDPOINT", "", help="host[:port], or http://127.0.0.1:PORT (default: Google's)"
    )
    project_number: str = _knob("AIP_PROJECT_NUMBER", "", help="shown at /; metrics go there")
    endpoint_id: str = _knob("AIP_ENDPOINT_ID", "", help="shown at /; a label of metrics")
    deployed_model_id: str = _knob("AIP_DEPLOYED_MODEL_ID", "", help="shown at /; a label of metrics")
    machine_type: str = _knob("AIP_MACHINE_TYPE", "", help="shown at /")
    accelerator_type: str = _knob("AIP_ACCELERATOR_TYPE", "", help="shown at /")
    framework: str = _knob("AIP_FRAMEWORK", "", help="shown at /")
    mode_version: str = _knob("AIP_MODE_VERSION", "", help="shown at /")
    model_name: str = _knob("AIP_MODEL_NAME", "", help="shown at /")
    version_name: str = _knob("AIP_VERSION_NAME", "", help="shown at /")


def knobs() -> list[tuple[str, str, str]]:
    """Every variable that the server reads: name, default and meaning. The guide's table is checked against it."""
    shown = {"SERVING_THREADS": "usable cores", "SERVING_DECODE_THREADS": "usable cores, at most 4"}
    default = Config()
    return [
        (f.metadata["env"], shown.get(f.metadata["env"], str(getattr(default, f.name))), f.metadata["help"])
        for f in fields(Config)
    ]


def load(environ: Mapping[str, str]) -> Config:
    """Read the settings.

    Args:
        environ: usually ``os.environ``. An empty value counts as not set, as Vertex leaves some empty.

    Raises:
        ConfigError: naming every variable that is wrong, in one line.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    defaults = Config()
    for f in fields(Config):
        name = f.metadata["env"]
        text = environ.get(name, "")
        if not text:
            continue
        try:
            values[f.name] = _parse(text, type(getattr(defaults, f.name)), f.metadata["low"], f.metadata["high"])
        except ValueError as error:
            problems.append(f"{name}={text!r}: {error}")
    for route in ("health_route", "predict_route"):
        value = values.get(route, "/")
        if not value.startswith("/") or any(c in value for c in " ?#%{}") or not value.isprintable():
            problems.append(f"AIP_{route.upper()}={value!r}: a path that begins with / and has no query is needed")
    if values.get("mode", "PREDICTION") != "PREDICTION":
        problems.append(f"AIP_MODE={values['mode']!r}: only PREDICTION is served")
    if not values.get("storage_uri"):
        problems.append("AIP_STORAGE_URI is empty: name the artifact's folder, gs://BUCKET/FOLDER or a path")
    problems += _export_problems(values)
    config = Config(**values) if not problems else defaults
    if config.max_instances > config.queue:
        problems.append(
            f"SERVING_MAX_INSTANCES={config.max_instances} is larger than SERVING_QUEUE={config.queue}: "
            "such a request could never be accepted"
        )
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def _export_problems(values: Mapping[str, Any]) -> list[str]:
    """What keeps metrics from being written as asked for."""
    export = values.get("metrics_export", "")
    if not export:
        return []
    if export != "cloud":
        return [f"SERVING_METRICS_EXPORT={export!r}: only cloud is known; leave it empty for none"]
    problems = [
        f"AIP_{name.upper()} is empty: SERVING_METRICS_EXPORT=cloud needs it to say whose metrics they are"
        for name in ("project_number", "endpoint_id", "deployed_model_id")
        if not values.get(name)
    ]
    try:
        parse_address(values.get("monitoring_endpoint", ""))
    except ConfigError as error:
        problems.append(str(error))
    return problems


def unknown(environ: Mapping[str, str]) -> list[str]:
    """One line for each ``SERVING_*`` variable that means nothing, with the nearest that does.

    A warning, not an error: Kubernetes sets ``SERVING_SERVICE_HOST`` and the like for a service named serving.
    """
    known = [f.metadata["env"] for f in fields(Config)]
    lines = []
    for name in sorted(environ):
        if name.startswith("SERVING_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            lines.append(f"{name} means nothing here" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def _parse(text: str, kind: type, low: float, high: float) -> Any:
    if kind is str:
        return text
    try:
        value: float = int(text) if kind is int else float(text)
    except ValueError:
        raise ValueError("not a whole number" if kind is int else "not a number") from None
    if not low <= value <= high:  # also refuses nan
        raise ValueError(f"not between {low:g} and {high:g}")
    return value

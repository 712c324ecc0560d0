"""What ``vertex-deploy local`` prints: pure functions from what a running Local Vertex says to data and to text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import LocalError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vertex_deploy.local.daemon import Running


def running(found: Running) -> dict[str, Any]:
    """A running Local Vertex as data."""
    return {**asdict(found), "rest": found.rest, "grpc": found.grpc}


def started(found: Running, seconds: float) -> str:
    """What ``up`` says."""
    return (
        f"Local Vertex is up (pid {found.pid}, {seconds:.1f}s)\n"
        f"  REST  {found.rest}\n"
        f"  gRPC  127.0.0.1:{found.ports.grpc}, with TLS localhost:{found.ports.grpc_tls}\n"
        f"  names project {found.project}, region {found.region} (`local up --project --region`); any other works too\n"
        '  next  eval "$(vertex-deploy local env)"'
    )


def status(found: Running, control: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What exists (control plane) joined with what runs (data plane).

    Args:
        found: the running Local Vertex.
        control: answer of ``/local/v1/state``.
        data: answer of ``/local/v1/status``.
    """
    runs = {
        (endpoint["name"], model["id"]): model for endpoint in data["endpoints"] for model in endpoint["deployedModels"]
    }
    endpoints = []
    for endpoint in control["endpoints"]:
        known = {model["id"]: model for model in endpoint.get("deployedModels", [])}
        # A model that is still being deployed runs already, but is not on the endpoint yet.
        ids = list(dict.fromkeys([*known, *(ident for name, ident in runs if name == endpoint["name"])]))
        models = [_model(known.get(ident), runs.get((endpoint["name"], ident)), ident, endpoint) for ident in ids]
        endpoints.append(
            {"name": endpoint["name"], "displayName": endpoint.get("displayName", ""), "deployedModels": models}
        )
    return {"server": running(found), "endpoints": endpoints}


def _model(
    known: dict[str, Any] | None, runs: dict[str, Any] | None, ident: str, endpoint: dict[str, Any]
) -> dict[str, Any]:
    name = f"{known['model']}@{known.get('modelVersionId', '')}" if known else (runs or {}).get("model", "")
    return {
        "id": ident,
        "model": name,
        "displayName": (known or runs or {}).get("displayName", ""),
        "traffic": endpoint.get("trafficSplit", {}).get(ident, 0),
        "state": "deploying" if known is None else "deployed" if runs else "not running",
        "message": (known or {}).get("status", {}).get("message", ""),
        "targetReplicas": runs["targetReplicas"] if runs else 0,
        "replicas": runs["replicas"] if runs else [],
    }


def status_text(found: dict[str, Any]) -> str:
    """``status`` for people: a tree of endpoints, deployed models and replicas."""
    server = found["server"]
    ports = server["ports"]
    listens = f"REST {ports['rest']}, TLS {ports['rest_tls']}  gRPC {ports['grpc']}, TLS {ports['grpc_tls']}"
    lines = [
        f"Local Vertex {server['version']} (pid {server['pid']})  {listens}",
        f"data {server['data']}, a metric point every {server['sample_period']:g}s",
    ]
    if not found["endpoints"]:
        lines.append("no endpoints yet")
    for endpoint in found["endpoints"]:
        lines.append(f"{one_line(endpoint['displayName'])}  {endpoint['name']}")
        for model in endpoint["deployedModels"]:
            healthy = sum(replica["healthy"] for replica in model["replicas"])
            lines.append(
                f"  {model['traffic']:>3}%  {model['id']}  {one_line(model['displayName'])}  "
                f"{model['model'].rpartition('/')[2]}  {model['state']}, {healthy}/{model['targetReplicas']} healthy"
            )
            if model["message"]:
                lines.append(f"        {one_line(model['message'])}")
            lines += [_replica(replica) for replica in model["replicas"]]
        if not endpoint["deployedModels"]:
            lines.append("  nothing deployed")
    return "\n".join(lines)


def _replica(replica: dict[str, Any]) -> str:
    parts = [
        f"        {replica['replicaId']}",
        replica["state"],
        f"pid {replica['pid']}" if replica["pid"] else "no process",
        f"port {replica['port']}",
        f"{replica['restarts']} restarts",
        f"{replica['outstanding']} outstanding",
    ]
    return "  ".join([*parts, *([one_line(replica["detail"])] if replica["detail"] else [])])


def log_files(data: dict[str, Any], deployed_model: str) -> list[Path]:
    """Log files of a deployed model's replicas.

    Args:
        data: answer of ``/local/v1/status``.
        deployed_model: its id.

    Raises:
        LocalError: nothing of that id runs; names what does.
    """
    models = [model for endpoint in data["endpoints"] for model in endpoint["deployedModels"]]
    for model in models:
        if model["id"] == deployed_model:
            return [Path(replica["log"]) for replica in model["replicas"]]
    known = ", ".join(model["id"] for model in models) or "none"
    raise LocalError(f"no deployed model {deployed_model} runs; running: {known}")


def faults_text(found: dict[str, Any]) -> str:
    """What ``fault`` says: the faults listed, set, or removed, or the replica that was hit."""
    if "removed" in found:
        return f"removed {found['removed']} fault(s)"
    entries: Iterable[dict[str, Any]] = found.get("faults", found.get("done", []))
    return "\n".join(_fault(entry) for entry in entries) or "no faults are set"


def _fault(entry: dict[str, Any]) -> str:
    if "replica" in entry:
        return f"hit replica {entry['replica']}"
    parts = []
    if entry["fail_share"]:
        parts.append(f"{entry['fail_share']:.4g} of requests fail with {entry['code']}")
    if entry["delay_share"]:
        parts.append(f"{entry['delay_share']:.4g} of requests are delayed by {entry['delay_ms']:g} ms")
    yet = " (nothing of that name is deployed yet)" if entry.get("deployed") == 0 else ""
    return f"{one_line(entry['target'])}: {', '.join(parts)}{yet}"

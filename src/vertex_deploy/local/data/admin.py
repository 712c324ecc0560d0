"""Local Vertex's own REST resources: what runs, and what is broken on purpose. No Google API has them.

    GET    /local/v1/status                 endpoints, splits, deployed models, replicas
    GET    /local/v1/faults                 {"faults": [FAULT, ...]}
    POST   /local/v1/faults                 FAULT (see ``faults.Fault``), or {"target": T, "act": "kill" | "preempt"}
    DELETE /local/v1/faults[?target=T]      {"removed": N}

Errors have the form of Google's.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, cast

import grpc
import orjson
from aiohttp import web

from vertex_deploy.errors import UsageError
from vertex_deploy.local.data.codes import error_response
from vertex_deploy.local.data.faults import Fault
from vertex_deploy.local.seams import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vertex_deploy.local.data.deployed import DeployedModel
    from vertex_deploy.local.data.plane import LocalDataPlane
    from vertex_deploy.local.data.replica import Replica

_FIELDS = {field.name: field.type for field in fields(Fault)}
_ACT_FIELDS = {"target", "act", "endpoint"}


def parse_fault(content: dict[str, Any]) -> Fault:
    """A fault from JSON.

    Raises:
        ApiError: INVALID_ARGUMENT: an unknown field, a value of the wrong type or out of range.
    """
    unknown = sorted(content.keys() - _FIELDS.keys())
    if unknown:
        raise _bad(f"fault: unknown field {unknown[0]!r}; allowed: act, {', '.join(_FIELDS)}")
    if not isinstance(content.get("target"), str):
        raise _bad("fault: target must be a string: a deployed model id, MODEL or MODEL@VERSION")
    for name, value in content.items():
        whole = name == "code"
        if name != "target" and (isinstance(value, bool) or not isinstance(value, int if whole else (int, float))):
            raise _bad(f"fault: {name} must be a {'whole ' if whole else ''}number")
    try:
        return Fault(**content)
    except UsageError as error:
        raise _bad(str(error)) from error


def _bad(message: str) -> ApiError:
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _json(content: object) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json", charset="UTF-8")


class Admin:
    """Handlers for the REST listener.

    Args:
        plane: the data plane to look at and to break.
    """

    def __init__(self, plane: LocalDataPlane) -> None:
        self._plane = plane

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        return [
            web.get("/local/v1/status", self.status),
            web.get("/local/v1/faults", self.list),
            web.post("/local/v1/faults", self.set),
            web.delete("/local/v1/faults", self.clear),
        ]

    async def status(self, _request: web.Request) -> web.Response:
        """What runs."""
        return _json(
            {
                "endpoints": [
                    {
                        "name": state.name,
                        "split": state.split.weights,
                        "deployedModels": [_model(model) for model in state.models.values()],
                    }
                    for state in self._plane.endpoints.values()
                ]
            }
        )

    async def list(self, _request: web.Request) -> web.Response:
        """The faults that are set."""
        return _json({"faults": [self._shown(fault) for fault in self._plane.faults.all()]})

    async def set(self, request: web.Request) -> web.Response:
        """Set a fault, or kill or preempt a replica."""
        try:
            try:
                content = orjson.loads(await request.read())
            except orjson.JSONDecodeError as error:
                raise _bad(f"fault: not JSON: {error}") from None
            if not isinstance(content, dict):
                raise _bad("fault: expected an object")
            if "act" in content:
                return _json({"replica": self._act(content)})
            fault = parse_fault(content)
        except ApiError as error:
            return error_response(error)
        self._plane.faults.put(fault)
        return _json(self._shown(fault))

    async def clear(self, request: web.Request) -> web.Response:
        """Remove a target's fault, or all."""
        return _json({"removed": self._plane.faults.clear(request.query.get("target"))})

    def _shown(self, fault: Fault) -> dict[str, Any]:
        """A fault, and how many deployed models it is meant for now: 0 where its target is mistyped or yet to come."""
        models = [model for state in self._plane.endpoints.values() for model in state.models.values()]
        return {**asdict(fault), "deployed": sum(fault.matches(model.plan) for model in models)}

    def _act(self, content: dict[str, Any]) -> str:
        acts: dict[str, Callable[..., str]] = {
            "kill": self._plane.kill_replica,
            "preempt": self._plane.preempt_replica,
        }
        if content.keys() - _ACT_FIELDS or not isinstance(content.get("target"), str):
            raise _bad("fault: an act has the fields target, act and perhaps endpoint, all strings")
        act = acts.get(content["act"]) if isinstance(content["act"], str) else None
        if act is None:
            raise _bad(f"fault: act is {content['act']!r}; allowed: {', '.join(acts)}")
        return act(cast("str", content["target"]), endpoint=content.get("endpoint"))


def _model(model: DeployedModel) -> dict[str, Any]:
    plan = model.plan
    return {
        "id": model.id,
        "model": f"{plan.model}@{plan.model_version_id}",
        "displayName": plan.model_display_name,
        "targetReplicas": model.target,
        "replicas": [_replica(replica) for replica in (*model.replicas, *model.draining)],
    }


def _replica(replica: Replica) -> dict[str, Any]:
    return {
        "replicaId": replica.name,
        "state": replica.state.value,
        "healthy": replica.ready,
        "detail": replica.detail,
        "pid": replica.pid,
        "port": replica.port,
        "restarts": replica.restarts,
        "outstanding": replica.outstanding,
        "log": str(replica.log),
    }

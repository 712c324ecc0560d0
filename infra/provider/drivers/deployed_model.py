"""Deployed models: deploy, mutate, undeploy. Done is not success: what an operation did is read back from the endpoint.

A deployment is waited for, and the engine may stop waiting (a timeout, a cancellation) while Google goes on. The state
then holds the operation's name, and the next update or deletion goes on from there instead of deploying twice or
leaving an orphan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.drivers import deployed_messages as messages
from infra.provider.drivers.base import NOT_FOUND, Cancelled, Cloud, Found, Incomplete, Request
from infra.provider.drivers.traffic_split import get_endpoint, set_split
from infra.provider.properties import diff, keep_written
from infra.provider.resources import deployed_model
from vertex_deploy.errors import CloudError, OperationFailed, OperationTimeout

if TYPE_CHECKING:
    from infra.provider.resources.base import Inputs

DEPLOY_TIMEOUT = 7200.0
UNDEPLOY_TIMEOUT = 1800.0

# What DeployModel says of an id that is taken: it is deployed, or being deployed.
_TAKEN = ("already exists", "already being deployed", "already deployed", "is being deployed")


class DeployedModelDriver:
    """Drives ``vertexdeploy:index:DeployedModel``.

    Args:
        cloud: makes the calls.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, news: Inputs, request: Request) -> tuple[str, Inputs]:
        """Deploy it without traffic, or take over the deployment that an interrupted run began.

        Raises:
            Incomplete: nobody waited for the operation any longer; it goes on.
            CloudError: the deployment failed and left nothing behind.
        """
        return deployed_model.name(news), self._deploy(news, request, operation="")

    def read(self, ident: str, state: Inputs, inputs: Inputs) -> Found | None:
        """What is on the endpoint; one that a rollout owned and removed stays, marked as not deployed."""
        name = names.Deployed.parse(ident)
        endpoint = get_endpoint(self._cloud, name.endpoint)
        if endpoint is None:
            return None
        deployed = _on(endpoint, name.id)
        rollout = inputs.get("owner") == "rollout"
        if deployed is None:
            # An operation that is still under way may yet deploy it; without one, what never was there is not there.
            if state.get("operation") or (rollout and state.get("createTime")):
                return Found(ident, {**state, **inputs, "deployed": False}, inputs)
            return None
        kept = inputs
        if not rollout:
            live = messages.from_message(deployed, name.endpoint)
            kept = keep_written(deployed_model.INPUTS, inputs, live, fixed=deployed_model.FIXED)
            for key in ("owner", "undeployOthersOnDelete"):
                kept.setdefault(key, deployed_model.INPUTS[key].default)
        return Found(ident, {**kept, **_outputs(ident, deployed)}, kept)

    def update(self, ident: str, state: Inputs, olds: Inputs, news: Inputs, request: Request) -> Inputs:
        """Mutate what can be, or go on with a deployment that was not finished.

        Raises:
            Incomplete: the change or the deployment was not finished.
            CloudError: nothing was changed.
        """
        name = names.Deployed.parse(ident)
        wanted = {**news, "endpoint": name.endpoint, "deployedModelId": name.id}
        endpoint = get_endpoint(self._cloud, name.endpoint)
        deployed = _on(endpoint, name.id) if endpoint is not None else None
        unfinished = state.get("operation") or not state.get("createTime")
        if deployed is None:
            if olds.get("owner") == news["owner"] == "rollout" and not unfinished:
                return {**wanted, **_outputs(ident, None, state)}
            return {**wanted, **self._deploy(wanted, request, operation=state.get("operation") or "")}
        if news["owner"] == "rollout" and not unfinished:
            return {**wanted, **_outputs(ident, deployed)}
        return {**wanted, **_outputs(ident, self._mutate(ident, deployed, wanted, request))}

    def delete(self, ident: str, state: Inputs, request: Request) -> None:
        """Undeploy it, and with ``undeployOthersOnDelete`` whatever else is on the endpoint.

        Raises:
            CloudError: it still has traffic that others would have to take over, or the API failed.
        """
        name = names.Deployed.parse(ident)
        if state.get("operation"):
            self._settle(name, state["operation"], request)
        endpoint = get_endpoint(self._cloud, name.endpoint)
        if endpoint is None:
            return
        there = [deployed.id for deployed in endpoint.deployed_models]
        others = [other for other in there if other != name.id]
        share = endpoint.traffic_split.get(name.id, 0)
        if state.get("undeployOthersOnDelete"):
            if there:
                set_split(self._cloud, name.endpoint, {})
            for other in there:
                self._undeploy(name.endpoint, other, request)
        elif name.id in there:
            if share and others:
                raise CloudError(
                    f"{ident} has {share}% of the traffic and cannot be removed while {', '.join(others)} would be "
                    "left; move its traffic first (TrafficSplit, or vertex-deploy rollout), or set "
                    "undeployOthersOnDelete to empty the endpoint",
                    code="FAILED_PRECONDITION",
                )
            self._undeploy(name.endpoint, name.id, request)

    # --- operations -------------------------------------------------------------------------------------------------

    def _deploy(self, news: Inputs, request: Request, *, operation: str) -> Inputs:
        """Deploy, or wait for the operation that does."""
        ident = deployed_model.name(news)
        name = names.Deployed.parse(ident)
        client, what = self._client(name.endpoint), f"DeployModel {news['model']} to {name.endpoint}"
        timeout = request.timeout or DEPLOY_TIMEOUT
        try:
            if not (operation and self._went_well(client, operation, timeout, what)):
                operation = self._start(client, name.endpoint, news, what)
                if operation:
                    self._cloud.wait(client, operation, timeout=timeout, what=what)
            deployed = self._appear(name, timeout if not operation else 0.0, what)
        except (OperationTimeout, Cancelled) as error:
            unfinished = {**news, **_outputs(ident, None), "operation": operation}
            raise Incomplete(f"{what}: {error}", ident, unfinished) from error
        except OperationFailed as error:
            deployed = _on(get_endpoint(self._cloud, name.endpoint), name.id)
            if deployed is not None:
                raise Incomplete(str(error), ident, {**news, **_outputs(ident, deployed)}) from error
            raise
        if not names.same_name(messages.from_message(deployed, name.endpoint)["model"], news["model"]):
            raise CloudError(
                f"{ident} is another model already ({deployed.model}); choose another deployedModelId",
                code="ALREADY_EXISTS",
            )
        return {**news, **_outputs(ident, deployed)}

    def _start(self, client: Any, endpoint: str, news: Inputs, what: str) -> str:
        """The operation's name; "" where the id is taken: by an earlier run of this very resource."""
        # An empty split leaves the endpoint's as it is.
        request = {"endpoint": endpoint, "deployed_model": messages.to_message(news), "traffic_split": {}}
        try:
            return str(self._cloud.call(client.deploy_model, request, what=what).operation.name)
        except CloudError as error:
            taken = error.code == "FAILED_PRECONDITION" and any(words in str(error).lower() for words in _TAKEN)
            if error.code == "ALREADY_EXISTS" or taken:
                return ""
            raise

    def _went_well(self, client: Any, operation: str, timeout: float, what: str) -> bool:
        """Wait for the operation of an earlier run; False: it failed or is forgotten, and deploying starts anew."""
        try:
            self._cloud.wait(client, operation, timeout=timeout, what=what)
        except (OperationTimeout, Cancelled):
            raise
        except CloudError as error:
            if isinstance(error, OperationFailed) or error.code == NOT_FOUND:
                return False
            raise
        return True

    def _appear(self, name: names.Deployed, timeout: float, what: str) -> Any:
        """The deployed model, once the endpoint has it."""
        deadline = self._cloud.clock() + timeout
        while True:
            deployed = _on(get_endpoint(self._cloud, name.endpoint), name.id)
            if deployed is not None:
                return deployed
            if self._cloud.clock() >= deadline:
                raise OperationTimeout(f"{name} is not on the endpoint; {what} goes on", code="DEADLINE_EXCEEDED")
            self._cloud.pause(1.0)

    def _mutate(self, ident: str, deployed: Any, news: Inputs, request: Request) -> Any:
        name = names.Deployed.parse(ident)
        live = keep_written(
            deployed_model.INPUTS, news, messages.from_message(deployed, name.endpoint), fixed=deployed_model.FIXED
        )
        table = {key: deployed_model.INPUTS[key] for key in messages.MASKS}
        changed = {change.split(".")[0].split("[")[0] for change in diff(table, live, news)}
        mask = [path for key in messages.MASKS if key in changed for path in messages.MASKS[key]]
        if not mask:
            return deployed
        client, what = self._client(name.endpoint), f"MutateDeployedModel {ident}"
        mutation = {
            "endpoint": name.endpoint,
            "deployed_model": messages.to_message(news),
            "update_mask": {"paths": mask},
        }
        started = self._cloud.call(client.mutate_deployed_model, mutation, what=what)
        try:
            self._cloud.wait(client, started.operation.name, timeout=request.timeout or DEPLOY_TIMEOUT, what=what)
        except CloudError as error:
            # Half a change: the state says what the endpoint says, so that the next run sees what is missing.
            found = _on(get_endpoint(self._cloud, name.endpoint), name.id)
            told = messages.from_message(found or deployed, name.endpoint)
            kept = keep_written(deployed_model.INPUTS, news, told, fixed=deployed_model.FIXED)
            raise Incomplete(str(error), ident, {**kept, **_outputs(ident, found)}) from error
        return _on(get_endpoint(self._cloud, name.endpoint), name.id)

    def _settle(self, name: names.Deployed, operation: str, request: Request) -> None:
        """Let a deployment under way end, whichever way: what is not there yet cannot be removed."""
        client = self._client(name.endpoint)
        try:
            self._cloud.wait(
                client,
                operation,
                timeout=request.timeout or DEPLOY_TIMEOUT,
                what=f"waiting for the deployment of {name}",
            )
        except OperationFailed:
            return
        except CloudError as error:
            if error.code != NOT_FOUND:
                raise

    def _undeploy(self, endpoint: str, ident: str, request: Request) -> None:
        client, what = self._client(endpoint), f"UndeployModel {ident} of {endpoint}"
        try:
            started = self._cloud.call(
                client.undeploy_model, {"endpoint": endpoint, "deployed_model_id": ident}, what=what
            )
            self._cloud.wait(client, started.operation.name, timeout=request.timeout or UNDEPLOY_TIMEOUT, what=what)
        except CloudError as error:
            if error.code != NOT_FOUND:
                raise

    def _client(self, endpoint: str) -> Any:
        return self._cloud.endpoints(names.region(endpoint))


def _on(endpoint: Any, ident: str) -> Any:
    """A deployed model of an endpoint, or None."""
    if endpoint is None:
        return None
    return next((deployed for deployed in endpoint.deployed_models if deployed.id == ident), None)


def _outputs(ident: str, deployed: Any, state: Inputs | None = None) -> Inputs:
    created = deployed.create_time.rfc3339() if deployed is not None and deployed.create_time else ""
    return {
        "name": ident,
        "deployed": deployed is not None,
        "createTime": created or (state or {}).get("createTime", ""),
        "operation": "",
    }

"""A Vertex AI endpoint as a rollout's target, through Google's generated gRPC clients.

What makes it safe to call again after a crash:

- the ids of endpoint, model and deployed model are derived or recorded before the call, so that doing it twice is
  refused by the API (ALREADY_EXISTS) instead of done twice;
- a model version carries its release's hash as a label, so that an upload nobody waited for is found;
- the split is written with the etag that was read, in one update of ``traffic_split`` alone;
- an operation's error is always read: done is not success.

Left out: deleting endpoints and models, and anything about deployed models that the rollout did not create.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vertex_deploy import gcp
from vertex_deploy.errors import CloudError, RolloutError, SplitConflict, one_line
from vertex_deploy.spec import names
from vertex_deploy.targets import vertex_requests as requests
from vertex_deploy.targets.folders import Folders, GcsFolders, check_folder
from vertex_deploy.targets.pools import check_pool
from vertex_deploy.targets.types import Deployed, Observation, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_deploy.release import Release
    from vertex_deploy.spec.models import Spec

_GONE = "NOT_FOUND"
_CLIENTS = {"endpoints": gcp.endpoint_client, "models": gcp.model_client, "pools": gcp.pool_client}
# What DeployModel says of an id that is taken, deployed or still being deployed.
_TAKEN = ("already exists", "already being deployed", "already deployed", "is being deployed")


class VertexTarget:
    """The endpoint, model and deployments that one spec describes.

    Args:
        spec: one deploy.yaml, with its environment applied.
        release: what is uploaded and deployed.
        caller: makes the calls, with retries; tests pass their own.
        folders: where the release's files are; tests pass their own.
    """

    def __init__(
        self, spec: Spec, release: Release, *, caller: gcp.Caller | None = None, folders: Folders | None = None
    ) -> None:
        self._spec = spec
        self._release = release
        self._call = caller or gcp.Caller()
        self._folders = folders or GcsFolders(spec.gcp.region)
        self._clients: dict[str, Any] = {}

    def find_endpoint(self) -> str | None:
        """See ``Target``: one endpoint with the display name, marked as ours by its label."""
        name = names.endpoint_display_name(self._spec)
        parent = names.location(self._spec)
        pager = self._call(
            self._endpoints().list_endpoints,
            {"parent": parent, "filter": f'display_name="{name}"'},
            what=f"ListEndpoints {parent}",
        )
        named = [
            endpoint for endpoint in self._pages(pager, f"ListEndpoints {parent}") if endpoint.display_name == name
        ]
        ours = [e for e in named if e.labels.get(names.OWNER_LABEL) == self._spec.name]
        if len(ours) > 1:
            raise RolloutError(
                f"{len(ours)} endpoints are called {name!r} and marked as {self._spec.name!r} "
                f"({', '.join(e.name for e in ours)}); delete all but one, or set target.endpoint.name"
            )
        if not ours and named:
            raise RolloutError(
                f"{named[0].name} is called {name!r} but is not ours; give it the label "
                f"{names.OWNER_LABEL}={self._spec.name} to hand it over, or set target.endpoint.name to another name"
            )
        return str(ours[0].name) if ours else None

    def check(self) -> None:
        """See ``Target``: the pool, where the target has one."""
        pool = names.pool(self._spec)
        if pool is not None:
            check_pool(pool, self._release.image, call=self._call, client=self._client)

    def check_artifact(self) -> None:
        """See ``Target``."""
        check_folder(self._release.artifact, self._folders)

    def create_endpoint(self) -> str:
        """See ``Target``."""
        name = names.endpoint_display_name(self._spec)
        return self._start(
            self._endpoints().create_endpoint,
            {
                "parent": names.location(self._spec),
                "endpoint": requests.endpoint_message(self._spec),
                "endpoint_id": names.endpoint_id(self._spec),
            },
            what=f"CreateEndpoint {name!r}",
        )

    def observe(self, endpoint: str) -> Observation | None:
        """See ``Target``."""
        try:
            found = self._call(self._endpoints().get_endpoint, {"name": endpoint}, what=f"GetEndpoint {endpoint}")
        except CloudError as error:
            if error.code == _GONE:
                return None
            raise
        return observation(found)

    def find_model(self) -> str | None:
        """See ``Target``; of several uploads of one release, the first counts, so that every start picks the same."""
        name = requests.model_name(self._spec)
        versions = self._versions(name)
        matching = [m for m in versions if requests.matches_release(m, self._release)]
        if not matching:
            return None
        first = min(matching, key=lambda m: (len(m.version_id), m.version_id))
        return f"{name}@{first.version_id}"

    def start_upload(self) -> str:
        """See ``Target``; a first upload names the model, later ones add a version to it.

        Raises:
            RolloutError: a model of this name exists that no vertex-deploy spec of this name made.
        """
        name = requests.model_name(self._spec)
        request: dict[str, Any] = {
            "parent": names.location(self._spec),
            "model": requests.model_message(self._spec, self._release),
        }
        versions = self._versions(name)
        if not versions:
            request["model_id"] = requests.model_id(self._spec)
        elif any(m.labels.get(names.OWNER_LABEL) == self._spec.name for m in versions):
            request["parent_model"] = name
        else:
            raise RolloutError(
                f"{name} exists and is not ours; give it the label {names.OWNER_LABEL}={self._spec.name} to hand it "
                "over, or change `name` in deploy.yaml"
            )
        # A second upload would be a second version: not repeated here; the driver looks for the first one instead.
        return self._start(self._models().upload_model, request, what=f"UploadModel {name}", repeatable=False)

    def start_deploy(self, endpoint: str, *, model: str, deployed_id: str, first: bool) -> str:
        """See ``Target``."""
        message = requests.deployed_model_message(self._spec, model=model, deployed_id=deployed_id)
        return self._start(
            self._endpoints().deploy_model,
            # "0" stands for the model being deployed; an empty split leaves the endpoint's split as it is.
            {"endpoint": endpoint, "deployed_model": message, "traffic_split": {"0": 100} if first else {}},
            what=f"DeployModel {model} to {endpoint}",
        )

    def start_undeploy(self, endpoint: str, deployed_id: str) -> str:
        """See ``Target``. No split goes along: the API then refuses to undeploy a model that has traffic."""
        try:
            return self._start(
                self._endpoints().undeploy_model,
                {"endpoint": endpoint, "deployed_model_id": deployed_id},
                what=f"UndeployModel {deployed_id} of {endpoint}",
            )
        except CloudError as error:
            if error.code == _GONE:
                return ""
            raise

    def set_split(self, endpoint: str, split: Mapping[str, int], *, etag: str) -> None:
        """See ``Target``."""
        what = f"UpdateEndpoint {endpoint} traffic_split={dict(split)}"
        try:
            self._call(
                self._endpoints().update_endpoint,
                {
                    "endpoint": {"name": endpoint, "traffic_split": dict(split), "etag": etag},
                    "update_mask": {"paths": ["traffic_split"]},
                },
                what=what,
            )
        except CloudError as error:
            if error.code in {"ABORTED", "FAILED_PRECONDITION"}:
                raise SplitConflict(str(error), code=error.code) from error
            raise

    def poll(self, operation: str) -> Progress:
        """See ``Target``."""
        try:
            found = self._call(self._endpoints().get_operation, {"name": operation}, what=f"GetOperation {operation}")
        except CloudError as error:
            if error.code == _GONE:
                return Progress(done=True, lost=True)
            raise
        return progress(found)

    def _versions(self, model: str) -> list[Any]:
        what = f"ListModelVersions {model}"
        try:
            pager = self._call(self._models().list_model_versions, {"name": model}, what=what)
            return self._pages(pager, what)
        except CloudError as error:
            if error.code == _GONE:
                return []
            raise

    def _pages(self, pager: Any, what: str) -> list[Any]:
        """All items of a pager; the pages after the first are calls of their own."""
        return list(self._call(lambda **_: list(pager), None, what=what))

    def _start(self, method: Any, request: Any, *, what: str, repeatable: bool = True) -> str:
        try:
            return str(self._call(method, request, what=what, repeatable=repeatable).operation.name)
        except CloudError as error:
            taken = error.code == "FAILED_PRECONDITION" and any(words in str(error).lower() for words in _TAKEN)
            if error.code == "ALREADY_EXISTS" or taken:
                return ""
            raise

    def _endpoints(self) -> Any:
        return self._client("endpoints")

    def _models(self) -> Any:
        return self._client("models")

    def _client(self, kind: str) -> Any:
        if kind not in self._clients:
            self._clients[kind] = _CLIENTS[kind](self._spec.gcp.region)
        return self._clients[kind]


def observation(endpoint: Any) -> Observation:
    """An ``aiplatform_v1.Endpoint`` as an ``Observation``. Pure."""
    return Observation(
        endpoint=endpoint.name,
        etag=endpoint.etag,
        deployed=tuple(_deployed(model) for model in endpoint.deployed_models),
        split={key: value for key, value in endpoint.traffic_split.items() if value},
    )


def _deployed(model: Any) -> Deployed:
    name, version = requests.split_reference(model.model, model.model_version_id)
    # `status` is filled for some deployments only; an absent one says nothing about replicas.
    status = model.status if "status" in model else None
    return Deployed(
        id=model.id,
        model=name,
        version=version,
        created=model.create_time.timestamp() if model.create_time else 0.0,
        available=status.available_replica_count if status is not None and status.last_update_time else None,
    )


def progress(operation: Any) -> Progress:
    """A ``google.longrunning.Operation`` as ``Progress``: its error first, then what it gave. Pure."""
    from google.cloud.aiplatform_v1.types.endpoint_service import (  # noqa: PLC0415 - heavy: only when a call is made
        DeployModelOperationMetadata,
    )
    from google.cloud.aiplatform_v1.types.model_service import UploadModelResponse  # noqa: PLC0415 - see above
    from google.rpc import code_pb2  # noqa: PLC0415 - heavy: only when a call is made

    stage = ""
    if operation.metadata.type_url.endswith(".DeployModelOperationMetadata"):
        found = DeployModelOperationMetadata.deserialize(operation.metadata.value).deployment_stage
        stage = found.name if found else ""
    if not operation.done:
        return Progress(done=False, stage=stage)
    if operation.HasField("error"):
        code = operation.error.code
        name = code_pb2.Code.Name(code) if code in code_pb2.Code.values() else str(code)
        return Progress(done=True, error=f"{name}: {one_line(operation.error.message)}", stage=stage)
    result = ""
    if operation.response.type_url.endswith(".UploadModelResponse"):
        response = UploadModelResponse.deserialize(operation.response.value)
        model, version = requests.split_reference(response.model, response.model_version_id)
        result = f"{model}@{version}"
    return Progress(done=True, stage=stage, result=result)

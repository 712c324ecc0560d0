"""ModelService: models, their versions and aliases. Artifacts are copied when a version is uploaded, as Vertex AI does.

Left out (UNIMPLEMENTED): export and copy of models, evaluations, checkpoints, explanation data sets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from google.cloud.aiplatform_v1 import types as aip
from google.protobuf import empty_pb2

from vertex_deploy.local.control import checks, listing, masks
from vertex_deploy.local.control.names import MODEL_ID, Name, new_id
from vertex_deploy.local.control.refusals import exists, invalid, missing, model_deployed, precondition
from vertex_deploy.local.control.registry import DEFAULT_ALIAS
from vertex_deploy.spec.pools import can_share

if TYPE_CHECKING:
    from google.longrunning import operations_pb2

    from vertex_deploy.local.control.operations import Operations, Progress
    from vertex_deploy.local.control.registry import Registry
    from vertex_deploy.local.seams import Blobs
    from vertex_deploy.local.wire import Context

_OF_MODEL = frozenset({"display_name", "description"})
_OF_VERSION = frozenset({"version_description"})
UPDATABLE = _OF_MODEL | _OF_VERSION | {"labels"}
_FILTERS = {
    "display_name": lambda model: model.display_name,
    "model": lambda model: model.name.rpartition("/")[2],
    "version_id": lambda model: model.version_id,
}
_ORDERS = {
    "display_name": lambda model: model.display_name,
    "create_time": lambda model: model.create_time,
    "update_time": lambda model: model.update_time,
    "version_id": lambda model: int(model.version_id),
}


class ModelService:
    """google.cloud.aiplatform.v1.ModelService.

    Args:
        registry: what is kept.
        operations: starts long-running operations.
        blobs: copies artifacts.
        managed_bucket: gs:// bucket that the copies are kept in.
    """

    def __init__(
        self,
        registry: Registry,
        operations: Operations,
        blobs: Blobs,
        managed_bucket: str = "gs://caip-tenant-local-vertex",
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._blobs = blobs
        self._bucket = managed_bucket

    # --- upload -------------------------------------------------------------------------------------------------

    async def upload_model(self, request: aip.UploadModelRequest, context: Context) -> operations_pb2.Operation:
        """Check the request, then copy the artifacts and add the version."""
        parent = self._registry.projects.parse(request.parent, "")
        model = request.model
        self._check(model, parent)
        if request.model_id and request.parent_model:
            raise invalid("model_id and parent_model exclude each other.")
        if request.parent_model:
            name = self._registry.projects.parse(request.parent_model, "models")
            if name.parent != parent.parent:
                raise invalid(f"parent_model '{request.parent_model}' is not in {request.parent}.")
            if not self._registry.versions(name.full):
                raise missing("Model", name.full)
        else:
            if request.model_id and not MODEL_ID.fullmatch(request.model_id):
                raise invalid(f"Invalid model_id '{request.model_id}'; it must match [a-z0-9_-]{{1,63}}.")
            name = Name(parent.project, parent.location, "models", request.model_id or new_id())
            if self._registry.versions(name.full):
                raise exists("Model", name.full)

        async def work(_: Progress) -> aip.UploadModelResponse:
            copy = await self._copy(name, model.artifact_uri)
            return self._add(name, model, copy, new=not request.parent_model)

        metadata = aip.UploadModelOperationMetadata()
        return self._operations.start(name.full, metadata, work, context, cancellable=True)

    @staticmethod
    def _check(model: aip.Model, parent: Name) -> None:
        checks.display_name(model.display_name)
        checks.labels(model.labels)
        for alias in model.version_aliases:
            checks.alias(alias)
        masks.refuse_unsupported(model, checks.MODEL_FIELDS, "model")
        if not model.container_spec.image_uri:
            raise invalid("model.container_spec.image_uri is required.")
        checks.container(model.container_spec, parent.location)
        if model.artifact_uri and not model.artifact_uri.startswith("gs://"):
            raise invalid(f"model.artifact_uri must start with gs://, got '{model.artifact_uri}'.")

    async def _copy(self, name: Name, artifact_uri: str) -> str:
        """Copy the artifacts to a folder that no other upload has; gs:// of it, or "" where there are none."""
        if not artifact_uri:
            return ""
        target = f"{self._bucket}/{name.project}/{name.id}/{new_id()}"
        copied = await asyncio.to_thread(self._blobs.copy_tree, artifact_uri.rstrip("/"), target)
        if copied == 0:
            raise precondition(f'There are no files under "{artifact_uri}" to copy.')
        return target

    def _add(self, name: Name, model: aip.Model, copy: str, *, new: bool) -> aip.UploadModelResponse:
        """Write the version; it becomes the default if it is the first or asks for the alias."""
        registry = self._registry
        existing = registry.versions(name.full)
        if new and existing:
            raise exists("Model", name.full)
        if not new and not existing:
            raise missing("Model", name.full)
        version = str(max((int(other.version_id) for other in existing), default=0) + 1)
        aliases = list(dict.fromkeys(model.version_aliases))
        if not existing and DEFAULT_ALIAS not in aliases:
            aliases.insert(0, DEFAULT_ALIAS)
        now = registry.now()
        model.name, model.version_id, model.version_aliases = name.full, version, aliases
        model.create_time = existing[0].create_time if existing else now
        model.version_create_time = now
        kinds = aip.Model.DeploymentResourcesType
        model.supported_deployment_resources_types = [kinds(kinds.DEDICATED_RESOURCES)]
        if can_share(model.container_spec.image_uri):
            model.supported_deployment_resources_types.append(kinds(kinds.SHARED_RESOURCES))
        with registry.store.begin():
            for other in existing:
                kept = [alias for alias in other.version_aliases if alias not in aliases]
                if kept != list(other.version_aliases):
                    other.version_aliases = kept
                    registry.save_version(other)
            registry.save_version(model)
            if copy:
                registry.store.put("artifacts", f"{name.full}@{version}", copy.encode())
        return aip.UploadModelResponse(model=name.full, model_version_id=version)

    # --- reading ------------------------------------------------------------------------------------------------

    def _shown(self, model: aip.Model) -> aip.Model:
        """A version as it is told: where it is deployed, and the model's labels with its own."""
        return self._placed(self._labelled(model))

    def _labelled(self, model: aip.Model) -> aip.Model:
        """Merging is UpdateModelRequest's; that the version's label wins where both have a key is inferred."""
        model.labels = self._registry.model_labels(model.name) | dict(model.labels)
        return model

    def _placed(self, model: aip.Model) -> aip.Model:
        """Reads every endpoint: in a list, only for the models of the page."""
        model.deployed_models = [
            aip.DeployedModelRef(endpoint=endpoint, deployed_model_id=ident)
            for endpoint, ident in self._registry.deployments_of(model.name, model.version_id)
            if ident not in self._registry.starting.get(endpoint, {})
        ]
        return model

    async def get_model(self, request: aip.GetModelRequest, context: Context) -> aip.Model:
        """A version by id or alias, the default where the name has neither."""
        del context
        return self._shown(self._registry.version(self._registry.projects.parse(request.name, "models")))

    def _cut(self, found: list[aip.Model], request: Any) -> listing.Page:
        match = listing.matcher(request.filter, _FILTERS)
        labelled = [self._labelled(model) for model in found]
        ordered = listing.order([model for model in labelled if match(model)], request.order_by, _ORDERS)
        cut = listing.page(ordered, request.page_size, request.page_token)
        return cut._replace(items=[masks.read(self._placed(model), request.read_mask.paths) for model in cut.items])

    async def list_models(self, request: aip.ListModelsRequest, context: Context) -> aip.ListModelsResponse:
        """The default version of each model; the newest first."""
        del context
        parent = self._registry.projects.parse(request.parent, "")
        found = sorted(self._registry.models(parent.full), key=lambda model: model.create_time, reverse=True)
        cut = self._cut(found, request)
        return aip.ListModelsResponse(models=cut.items, next_page_token=cut.next_token)

    async def list_model_versions(
        self, request: aip.ListModelVersionsRequest, context: Context
    ) -> aip.ListModelVersionsResponse:
        """All versions of one model, the oldest first."""
        del context
        name = self._registry.projects.parse(request.name, "models")
        found = self._registry.versions(name.full)
        if not found:
            raise missing("Model", name.full)
        cut = self._cut(found, request)
        return aip.ListModelVersionsResponse(models=cut.items, next_page_token=cut.next_token)

    # --- changing -----------------------------------------------------------------------------------------------

    async def update_model(self, request: aip.UpdateModelRequest, context: Context) -> aip.Model:
        """Change the masked fields of a model, or of one version where the name says which.

        A name with ``@`` is that version's, one without or with ``@-`` the model's: each has fields of its own, and one
        request changes those of one. Both have labels, each their own (UpdateModelRequest of aiplatform v1).
        """
        del context
        registry = self._registry
        name = registry.projects.parse(request.model.name, "models")
        name = name._replace(version="") if name.version == "-" else name
        model = registry.version(name)
        masks.check_etag(request.model.etag, model.etag)
        foreign = _OF_MODEL if name.version else _OF_VERSION
        if wrong := sorted(foreign.intersection(request.update_mask.paths)):
            whose = f"the model; name it without @{name.version}" if name.version else "a version; name one with @"
            raise precondition(f"update_mask: {', '.join(wrong)}: changes of {whose}.")
        of_version = dict(model.labels)
        if not name.version:
            model.labels = registry.model_labels(name.full)
        changed = masks.update(model, request.model, request.update_mask.paths, UPDATABLE - foreign)
        checks.display_name(model.display_name)
        checks.labels(model.labels)
        with registry.store.begin():
            if not name.version:
                registry.save_model_labels(name.full, dict(model.labels))
                model.labels = of_version
            for other in registry.versions(name.full):
                if other.version_id == model.version_id:
                    registry.save_version(model)
                elif _OF_MODEL.intersection(changed):
                    other.display_name, other.description = model.display_name, model.description
                    registry.save_version(other)
        return self._shown(model)

    async def merge_version_aliases(self, request: aip.MergeVersionAliasesRequest, context: Context) -> aip.Model:
        """Add aliases to a version, taking them from others; remove those that start with "-"."""
        del context
        name = self._registry.projects.parse(request.name, "models")
        if not name.version:
            raise invalid(f"'{request.name}' must name a version: models/MODEL@VERSION.")
        if not request.version_aliases:
            raise invalid("version_aliases must name at least one alias.")
        target = self._registry.version(name)
        removed = {alias[1:] for alias in request.version_aliases if alias.startswith("-")}
        added = [alias for alias in request.version_aliases if not alias.startswith("-")]
        if DEFAULT_ALIAS in removed:
            raise invalid("The alias 'default' cannot be removed; give it to another version instead.")
        for alias in (*removed, *added):
            checks.alias(alias)
        with self._registry.store.begin():
            for version in self._registry.versions(name.full):
                chosen = version.version_id == target.version_id
                drop = removed if chosen else set(added)
                kept = [alias for alias in version.version_aliases if alias not in drop]
                wanted = list(dict.fromkeys([*kept, *added])) if chosen else kept
                if wanted != list(version.version_aliases):
                    version.version_aliases = wanted
                    self._registry.save_version(version)
        return self._shown(self._registry.version(name._replace(version=target.version_id)))

    # --- deleting -----------------------------------------------------------------------------------------------

    def _refuse_deployed(self, name: Name, version: str = "") -> None:
        used = sorted({endpoint for endpoint, _ in self._registry.deployments_of(name.full, version)})
        if used:
            raise model_deployed(name.full, used)

    async def _delete(self, versions: list[aip.Model]) -> None:
        uris: list[str] = []
        with self._registry.store.begin():
            for version in versions:
                key = f"{version.name}@{version.version_id}"
                copied = self._registry.store.get("artifacts", key)
                if copied:
                    uris.append(copied[0].decode())
                    self._registry.store.delete("artifacts", key)
                self._registry.drop_version(version)
        for uri in uris:
            await asyncio.to_thread(self._blobs.delete_tree, uri)

    async def delete_model(self, request: aip.DeleteModelRequest, context: Context) -> operations_pb2.Operation:
        """Delete all versions of a model; refused while any is deployed or being deployed."""
        name = self._registry.projects.parse(request.name, "models")
        if name.version:
            raise invalid(f"'{request.name}' names a version; use DeleteModelVersion.")
        versions = self._registry.versions(name.full)
        if not versions:
            raise missing("Model", name.full)
        self._refuse_deployed(name)

        async def work(_: Progress) -> empty_pb2.Empty:
            self._refuse_deployed(name)
            await self._delete(self._registry.versions(name.full))
            self._registry.save_model_labels(name.full, {})
            return empty_pb2.Empty()

        return self._operations.start(name.full, aip.DeleteOperationMetadata(), work, context)

    async def delete_model_version(
        self, request: aip.DeleteModelVersionRequest, context: Context
    ) -> operations_pb2.Operation:
        """Delete one version; refused for the default version and while it is deployed."""
        name = self._registry.projects.parse(request.name, "models")
        if not name.version:
            raise invalid(f"'{request.name}' must name a version: models/MODEL@VERSION.")
        version = self._registry.version(name)
        if DEFAULT_ALIAS in version.version_aliases:
            raise precondition(
                f"Version {version.version_id} is the default version of {name.full} and cannot be deleted; "
                "give the alias 'default' to another version, or delete the model."
            )
        self._refuse_deployed(name, version.version_id)

        async def work(_: Progress) -> empty_pb2.Empty:
            self._refuse_deployed(name, version.version_id)
            await self._delete([version])
            return empty_pb2.Empty()

        return self._operations.start(name.full, aip.DeleteOperationMetadata(), work, context)

    def managed_artifacts(self, model: aip.Model) -> str:
        """gs:// of Vertex AI's copy of a version's artifacts, or ""."""
        found = self._registry.store.get("artifacts", f"{model.name}@{model.version_id}")
        return found[0].decode() if found else ""

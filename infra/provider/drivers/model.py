"""Models in the registry: upload, versions, aliases. What is done is decided by ``resources.model``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.drivers.base import NOT_FOUND, Cloud, Found, Incomplete, Request
from infra.provider.properties import keep_written
from infra.provider.resources import model
from infra.provider.resources.base import left_alone
from vertex_deploy.errors import CloudError, OperationTimeout

if TYPE_CHECKING:
    from infra.provider.resources.base import Inputs

UPLOAD_TIMEOUT = 3600.0
DELETE_TIMEOUT = 600.0


class ModelDriver:
    """Drives ``vertexdeploy:index:Model``.

    Args:
        cloud: makes the calls.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, news: Inputs, request: Request) -> tuple[str, Inputs]:
        """Upload the first version, or take over the one that this resource uploaded before it was interrupted.

        Raises:
            CloudError: the model exists and is not this resource's; or the upload failed or was not waited for.
        """
        base = model.name(news)
        existing = self._versions(base)
        if existing and self._marked(existing, request.urn, news) is None:
            raise CloudError(
                f"{base} exists already; choose another modelId, or adopt it: "
                f"pulumi import {model.MODEL.token} NAME {base}",
                code="ALREADY_EXISTS",
            )
        version = self._version(news, request, existing)
        found = self._get(f"{base}@{version}")
        return base, {**news, **model.outputs(base, version, found)}

    def read(self, ident: str, state: Inputs, inputs: Inputs) -> Found | None:
        """The version in the state; the default one at an import, and where somebody deleted the state's."""
        base, asked = names.split_model(ident)
        wanted = asked or state.get("versionId") or ""
        found = self._get(f"{base}@{wanted}") if wanted else None
        fallen = found is None
        found = found or self._get(base)
        if found is None:
            return None
        live, outputs = model.read(found, base)
        if inputs.get("owner") == "rollout":
            return Found(base, {**inputs, **outputs}, inputs)
        if model.DEFAULT_ALIAS not in (inputs.get("versionAliases") or []):
            # The API gives it to the first version by itself.
            others = [alias for alias in live.pop("versionAliases", []) if alias != model.DEFAULT_ALIAS]
            live |= {"versionAliases": others} if others else {}
        kept = keep_written(
            model.INPUTS, inputs, live, fixed=("project", *(() if fallen else (*model.CONTENT, "kmsKeyName")))
        )
        kept.setdefault("owner", model.INPUTS["owner"].default)
        return Found(base, {**kept, **outputs}, kept)

    def update(self, ident: str, state: Inputs, olds: Inputs, news: Inputs, request: Request) -> Inputs:
        """Upload a new version, or change words, labels and aliases of the one that is there.

        Raises:
            Incomplete: some of the changes were made.
            CloudError: none was.
        """
        base, _ = names.split_model(ident)
        if left_alone(olds, news):
            return {**news, **{key: state.get(key, "") for key in model.OUTPUTS}}
        version = state.get("versionId") or ""
        if model.plan(olds, news).upload:
            version = self._version(news, request, self._versions(base))
        name = f"{base}@{version}"
        found = self._cloud.call(self._client(name).get_model, {"name": name}, what=f"GetModel {name}")
        # Read back: an older version with this content has its own words, and an earlier update may have stopped half
        # way.
        live, outputs = model.read(found, base)
        calls = deque(self._changes(name, news, model.touch_up(olds, news, live), found))
        untouched = version == state.get("versionId")
        while calls:
            method, body, what = calls.popleft()
            try:
                told = self._cloud.call(method, body, what=what)
            except CloudError as error:
                if untouched:
                    raise
                raise Incomplete(str(error), base, {**news, **outputs}) from error
            untouched = False
            calls += self._left_over(name, body, told)
        return {**news, **outputs}

    def delete(self, ident: str, state: Inputs, request: Request) -> None:
        """Delete the model with all its versions; the API refuses while one of them is deployed."""
        del state
        base, _ = names.split_model(ident)
        client, what = self._client(base), f"DeleteModel {base}"
        try:
            started = self._cloud.call(client.delete_model, {"name": base}, what=what)
            self._cloud.wait(client, started.operation.name, timeout=request.timeout or DELETE_TIMEOUT, what=what)
        except CloudError as error:
            if error.code != NOT_FOUND:
                raise

    # --- versions ---------------------------------------------------------------------------------------------------

    def _version(self, news: Inputs, request: Request, existing: list[Any]) -> str:
        """The version with this content, uploaded where there is none."""
        marked = self._marked(existing, request.urn, news)
        return str(marked.version_id) if marked is not None else self._upload(news, request, new=not existing)

    @staticmethod
    def _marked(versions: list[Any], urn: str, news: Inputs) -> Any:
        mark = model.marker(urn, news)
        matching = [found for found in versions if found.labels.get(model.CONTENT_LABEL) == mark]
        return max(matching, key=lambda found: int(found.version_id), default=None)

    def _upload(self, news: Inputs, request: Request, *, new: bool) -> str:
        from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

        base = model.name(news)
        client, what = self._client(base), f"UploadModel {base}"
        upload: dict[str, Any] = {
            "parent": base.rpartition("/models/")[0],
            "model": model.message(news, model.marker(request.urn, news)),
        }
        upload |= {"model_id": news["modelId"]} if new else {"parent_model": base}
        # Repeated, it would be a second version; the content label finds the first one at the next run instead.
        started = self._cloud.call(client.upload_model, upload, what=what, repeatable=False)
        timeout = request.timeout or UPLOAD_TIMEOUT
        try:
            done = self._cloud.wait(client, started.operation.name, timeout=timeout, what=what)
        except OperationTimeout as error:
            raise CloudError(
                f"{error}; it will be found by its label {model.CONTENT_LABEL}", code=error.code
            ) from error
        return str(aip.UploadModelResponse.deserialize(done.response.value).model_version_id)

    def _changes(self, name: str, news: Inputs, todo: model.Plan, found: Any) -> list[tuple[Any, Any, str]]:
        """The calls that a plan needs: method, request, and what it is."""
        from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

        client = self._client(name)
        calls: list[tuple[Any, Any, str]] = []
        mark = found.labels.get(model.CONTENT_LABEL)
        wanted = {
            "display_name": news["displayName"],
            "description": news.get("description") or "",
            "version_description": news.get("versionDescription") or "",
            "labels": {**(news.get("labels") or {}), **({model.CONTENT_LABEL: mark} if mark else {})},
        }
        # One request changes what is the model's or what is a version's; which of them, the name says.
        base = names.split_model(name)[0]
        of_model = [field for field in todo.fields if field in model.OF_MODEL]
        of_version = [field for field in todo.fields if field not in model.OF_MODEL]
        for target, fields in ((base, of_model), (name, of_version)):
            if fields:
                changed = aip.Model(name=target, **{field: wanted[field] for field in fields})
                request = {"model": changed, "update_mask": {"paths": fields}}
                calls.append((client.update_model, request, f"UpdateModel {target}"))
        aliases = [*todo.add, *(f"-{alias}" for alias in todo.remove)]
        if aliases:
            merge = {"name": name, "version_aliases": aliases}
            calls.append((client.merge_version_aliases, merge, f"MergeVersionAliases {name}"))
        return calls

    def _left_over(self, name: str, body: Any, told: Any) -> list[tuple[Any, Any, str]]:
        """The call that takes labels off the model which the version still shows after it got its own.

        A version is told with the model's labels merged in (UpdateModelRequest); only an update of the model removes
        those, and without it they would be a difference at every refresh.
        """
        from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

        changed = body.get("model")
        labelled = changed is not None and changed.name == name and "labels" in body["update_mask"]["paths"]
        if not labelled or dict(told.labels) == dict(changed.labels):
            return []
        base, _ = names.split_model(name)
        request = {"model": aip.Model(name=base), "update_mask": {"paths": ["labels"]}}
        return [(self._client(base).update_model, request, f"UpdateModel {base} labels")]

    def _client(self, name: str) -> Any:
        return self._cloud.models(names.region(name))

    def _get(self, name: str) -> Any:
        return self._cloud.find(self._client(name).get_model, {"name": name}, what=f"GetModel {name}")

    def _versions(self, base: str) -> list[Any]:
        what = f"ListModelVersions {base}"
        pager = self._cloud.find(self._client(base).list_model_versions, {"name": base}, what=what)
        return [] if pager is None else list(self._cloud.call(lambda **_: list(pager), None, what=what))

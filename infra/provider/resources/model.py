"""``vertexdeploy:index:Model``: a model in the registry and the version of it that the program wants. Pure.

One resource is one model id. A change of what is served (container, artifact) uploads a new version under the same
model in place, so that whatever is deployed goes on serving and a rollback has where to go; words, labels and aliases
are changed on the version that is there. Each upload is labelled with a hash of resource and content: an upload that
nobody waited for is found again instead of repeated, and going back to earlier content goes back to its version.

The labels are the program's whole list: those that somebody gave to the model, and that every version therefore shows,
are a difference as those of the version are, and an update takes both away. ``ignoreChanges`` leaves them.

Facts: Model, UploadModelRequest and UpdateModelRequest of aiplatform v1 (a model id is at most 63 of ``[a-z0-9_-]``; a
version is immutable but for its description, labels and aliases; labels of model and version are told merged). Left
out: models that were not uploaded as a container.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.properties import Failure, Prop, diff
from infra.provider.resources import container
from infra.provider.resources.base import Context, Definition, Inputs, left_alone, owner
from infra.provider.values import UNKNOWN, has_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTENT_LABEL = "vertex-deploy-content"
"""Label of every version uploaded here: which resource uploaded it, and with what content."""
DEFAULT_ALIAS = "default"
OF_MODEL = ("display_name", "description")
"""Fields that all versions share; an update of them must not name a version (UpdateModelRequest)."""

_ALIAS = r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]"
_KEY = Prop(
    type="string",
    pattern=r"[a-z][a-z0-9_-]{0,62}",
    says="a key of at most 63 of a-z, 0-9, _ and - after a letter",
    doc=".",
)
_LABEL = Prop(type="string", pattern=r"[a-z0-9_-]{0,63}", says="at most 63 of a-z, 0-9, _ and -", doc="A value.")
_STRING = Prop(type="string", doc="One.")

INPUTS: dict[str, Prop] = {
    "project": Prop(
        type="string",
        required=True,
        replace=True,
        pattern=names.PROJECT,
        says="a project's id",
        doc="Project id; the provider's where absent.",
    ),
    "region": Prop(
        type="string",
        required=True,
        replace=True,
        pattern=names.REGION,
        says="a region, such as us-central1",
        doc="Region; the provider's where absent.",
    ),
    "modelId": Prop(
        type="string",
        replace=True,
        pattern=r"[a-z0-9_-]{1,63}",
        says="1 to 63 of a-z, 0-9, _ and -",
        doc="Id of the model; the resource's name, in lower case, where absent.",
    ),
    "displayName": Prop(
        type="string",
        pattern=r"(?s).{1,128}",
        says="1 to 128 characters",
        doc="Name shown in the console; the model's id where absent.",
    ),
    "description": Prop(type="string", doc="What the model is."),
    "versionDescription": Prop(type="string", doc="What this version is."),
    "versionAliases": Prop(
        type="array",
        items=Prop(type="string", pattern=_ALIAS, says=f"an alias, {_ALIAS}", doc="An alias."),
        doc="Aliases of this version; they are taken from the version that had them. `default` makes it the default.",
        same=lambda old, new: sorted(map(str, old or [])) == sorted(map(str, new or [])),
    ),
    "labels": Prop(
        type="map",
        items=_LABEL,
        keys=_KEY,
        most=63,
        doc="All labels of the version and of the model, which its versions share; others are removed. "
        f"{CONTENT_LABEL} is the provider's own.",
    ),
    "artifactUri": Prop(
        type="string",
        pattern=r"gs://[^/]+(/.*)?",
        says="a folder, gs://bucket/path",
        doc="Folder of the model's files. A change uploads a new version; changed files under one address do not.",
    ),
    "kmsKeyName": Prop(
        type="string",
        replace=True,
        pattern=names.KEY,
        says="projects/P/locations/L/keyRings/R/cryptoKeys/K",
        doc="Key of Cloud KMS that encrypts the model (CMEK).",
    ),
    "container": container.CONTAINER,
    "owner": owner("pulumi", "versions and aliases"),
}
OUTPUTS: dict[str, Prop] = {
    "name": Prop(type="string", doc="projects/P/locations/L/models/M."),
    "versionId": Prop(type="string", doc="Version that the program's content is."),
    "versionName": Prop(type="string", doc="projects/P/locations/L/models/M@V: what a DeployedModel takes."),
    "createTime": Prop(type="string", doc="When the model was created, RFC 3339."),
}

CONTENT = ("container", "artifactUri")
"""Properties that make a version what it is; they cannot change once it is uploaded."""
_FIELDS = {
    "displayName": "display_name",
    "description": "description",
    "versionDescription": "version_description",
    "labels": "labels",
}


def _complete(inputs: Inputs, context: Context) -> Inputs:
    defaults = {key: context.config.get(key) for key in ("project", "region") if context.config.get(key) is not None}
    slug = re.sub(r"[^a-z0-9_-]+", "-", context.name.lower())[:63]
    filled = {**defaults, "modelId": context.olds.get("modelId") or slug, **inputs}
    return {"displayName": filled["modelId"], **filled}


def _agree(inputs: Inputs) -> Iterable[Failure]:
    labels = inputs.get("labels")
    if isinstance(labels, dict) and CONTENT_LABEL in labels:
        yield Failure(f'labels["{CONTENT_LABEL}"]', "is the provider's own label; choose another key")
    key, region = inputs.get("kmsKeyName"), inputs.get("region")
    if isinstance(key, str) and isinstance(region, str) and key.split("/")[3] != region:
        yield Failure("kmsKeyName", f"the key is in {key.split('/')[3]}, it must be in the model's region {region}")
    written = inputs.get("versionAliases")
    aliases = written if isinstance(written, list) else []
    for index, alias in enumerate(aliases):
        if isinstance(alias, str) and alias in aliases[:index]:
            yield Failure(f"versionAliases[{index}]", f"{alias} is written twice; remove one")
    found = inputs.get("container")
    if isinstance(found, dict):
        yield from container.agree(found, inputs.get("region"))


def name(inputs: Mapping[str, Any]) -> Any:
    """projects/P/locations/L/models/M, or UNKNOWN."""
    parts = [inputs.get(key, UNKNOWN) for key in ("project", "region", "modelId")]
    if any(part is UNKNOWN for part in parts):
        return UNKNOWN
    return "projects/{}/locations/{}/models/{}".format(*parts)


def marker(urn: str, inputs: Mapping[str, Any]) -> str:
    """The content label's value: 16 hexadecimal digits of the resource and of what its version is made of."""
    content = {key: inputs.get(key) for key in CONTENT}
    text = json.dumps([urn, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update does, in this order.

    Args:
        upload: a new version is needed.
        fields: paths of the update mask.
        add: aliases to give to the version.
        remove: aliases to take from it.
    """

    upload: bool
    fields: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def plan(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Plan:
    """What brings a model from its old inputs to new ones. An upload carries its words, labels and aliases itself.

    Args:
        olds: inputs in the state.
        news: inputs wanted.
    """
    if left_alone(olds, news):
        return Plan(upload=False)
    if diff({key: INPUTS[key] for key in CONTENT}, olds, news):
        return Plan(upload=True)
    return touch_up(olds, news, olds)


def touch_up(olds: Mapping[str, Any], news: Mapping[str, Any], live: Mapping[str, Any]) -> Plan:
    """What a version lacks of the words, labels and aliases that are wanted.

    Args:
        olds: inputs in the state: only aliases that were ours are taken away.
        news: inputs wanted.
        live: inputs that the version stands for; what a half-done update left out shows here and not in the state.
    """
    before, after = live.get("versionAliases") or [], news.get("versionAliases") or []
    fields = tuple(_FIELDS[key] for key in _FIELDS if diff({key: INPUTS[key]}, live, news))
    ours = olds.get("versionAliases") or []
    if has_unknown([before, after, ours]):
        return Plan(upload=False, fields=fields)
    return Plan(
        upload=False,
        fields=fields,
        add=tuple(alias for alias in after if alias not in before),
        # The default cannot be taken away, only given to another version.
        remove=tuple(alias for alias in ours if alias in before and alias not in after and alias != DEFAULT_ALIAS),
    )


def message(inputs: Mapping[str, Any], mark: str) -> Any:
    """The ``Model`` to upload.

    Args:
        inputs: checked and known.
        mark: value of the content label.
    """
    from google.cloud import aiplatform_v1 as aip  # noqa: PLC0415 - heavy: only when a call is made

    made = aip.Model(
        display_name=inputs["displayName"],
        description=inputs.get("description") or "",
        version_description=inputs.get("versionDescription") or "",
        version_aliases=inputs.get("versionAliases") or [],
        labels={**(inputs.get("labels") or {}), CONTENT_LABEL: mark},
        artifact_uri=inputs.get("artifactUri") or "",
        container_spec=container.message(inputs["container"]),
    )
    if inputs.get("kmsKeyName"):
        made.encryption_spec = aip.EncryptionSpec(kms_key_name=inputs["kmsKeyName"])
    return made


def read(found: Any, base: str) -> tuple[Inputs, Inputs]:
    """Inputs and outputs that an ``aiplatform_v1.Model`` stands for.

    Args:
        found: one version.
        base: the model's name, with the project as a person writes it.
    """
    _, project, _, region, _, ident = base.split("/")
    aliases = sorted(found.version_aliases)
    inputs: Inputs = {
        "project": project,
        "region": region,
        "modelId": ident,
        "displayName": found.display_name,
        "description": found.description,
        "versionDescription": found.version_description,
        "versionAliases": aliases,
        "labels": {key: value for key, value in found.labels.items() if key != CONTENT_LABEL},
        "artifactUri": found.artifact_uri,
        "kmsKeyName": found.encryption_spec.kms_key_name if "encryption_spec" in found else "",
        "container": container.read(found.container_spec),
    }
    return {key: value for key, value in inputs.items() if value}, outputs(base, found.version_id, found)


def outputs(base: str, version: Any, found: Any = None) -> Inputs:
    """The outputs of a version; UNKNOWN where the version is, and nowhere else: only previews may answer with it."""
    known = isinstance(version, str)
    created = found.create_time.rfc3339() if found is not None and found.create_time else ""
    return {
        "name": base,
        "versionId": version,
        "versionName": f"{base}@{version}" if known else UNKNOWN,
        "createTime": created if known else UNKNOWN,
    }


MODEL = Definition(
    token="vertexdeploy:index:Model",  # noqa: S106 - a type token
    doc="A model in Vertex AI's registry and one version of it, uploaded from an image and an artifact folder. "
    "New content is a new version of the same model; old versions are kept until the model is deleted.",
    inputs=INPUTS,
    outputs=OUTPUTS,
    complete=_complete,
    agree=_agree,
    identity=("project", "region", "modelId", "kmsKeyName", "owner"),
    names=("project", "region", "modelId"),
)


def preview(olds: Mapping[str, Any], news: Inputs, state: Mapping[str, Any] | None) -> Inputs:
    """What creating (no state) or updating would give, as far as it is known without a call.

    Args:
        olds: inputs in the state.
        news: inputs wanted.
        state: inputs and outputs in the state, or None.
    """
    if state is not None and not plan(olds, news).upload:
        return {**news, **{key: state.get(key, UNKNOWN) for key in OUTPUTS}}
    created = (state or {}).get("createTime", UNKNOWN)
    return {**news, **outputs(name(news), UNKNOWN), "createTime": created}

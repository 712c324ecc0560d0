"""The package's schema, from the tables. Pure.

Format: https://www.pulumi.com/docs/iac/guides/building-extending/packages/schema
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.provider import PACKAGE, VERSION
from infra.provider.config import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infra.provider.properties import Prop
    from infra.provider.resources.base import Definition


def _type(prop: Prop, types: dict[str, Any]) -> dict[str, Any]:
    if prop.type == "object":
        token = f"{PACKAGE}:index:{prop.ref}"
        if token not in types:
            types[token] = {}  # before its fields: they may hold the same type
            types[token] = {"type": "object", **_object(prop.fields or {}, types)}
        return {"$ref": f"#/types/{token}"}
    if prop.type == "array" and prop.items is not None:
        return {"type": "array", "items": _type(prop.items, types)}
    if prop.type == "map" and prop.items is not None:
        return {"type": "object", "additionalProperties": _type(prop.items, types)}
    return {"type": prop.type}


def _property(prop: Prop, types: dict[str, Any], *, of_resource: bool = False) -> dict[str, Any]:
    made = {**_type(prop, types), "description": prop.doc}
    if of_resource and prop.default is not None:
        made["default"] = prop.default
    if of_resource and prop.replace:
        made["replaceOnChanges"] = True
    return made


def _object(fields: Mapping[str, Prop], types: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"properties": {name: _property(prop, types) for name, prop in fields.items()}}
    required = [name for name, prop in fields.items() if prop.required]
    return made | ({"required": required} if required else {})


def schema(definitions: Iterable[Definition]) -> dict[str, Any]:
    """The package schema as JSON values."""
    types: dict[str, Any] = {}
    resources = {}
    for definition in definitions:
        inputs = {name: _property(prop, types, of_resource=True) for name, prop in definition.inputs.items()}
        told = {**definition.inputs, **definition.outputs}
        # What the provider's configuration or a check fills in need not be written.
        filled = {"project", "region"}
        resources[definition.token] = {
            "description": definition.doc,
            "inputProperties": inputs,
            "requiredInputs": [
                name for name, prop in definition.inputs.items() if prop.required and name not in filled
            ],
            "properties": {name: _property(prop, types) for name, prop in told.items()},
            "required": [name for name in told if name in definition.outputs or told[name].required],
        }
    config = {name: _property(prop, types) for name, prop in CONFIG.items()}
    return {
        "name": PACKAGE,
        "version": VERSION,
        "displayName": "vertex-deploy",
        "description": "What pulumi-gcp lacks for Vertex AI: model upload, deployed models and the traffic split.",
        "license": "Apache-2.0",
        "meta": {"moduleFormat": "(.*)"},
        "config": {"variables": config},
        "provider": {"description": "Reaches Vertex AI.", "inputProperties": config},
        "types": types,
        "resources": resources,
    }

"""The JSON Schema of deploy.yaml, generated from the models: ``vertex-deploy schema > deploy.schema.json``.

Draft 2020-12, for editors. It says what each field may be; what fields must agree on (``checks``) no schema can say,
so a file that it accepts may still be refused by ``vertex-deploy check``.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from vertex_deploy.spec.models import Spec

DIALECT = GenerateJsonSchema.schema_dialect
COMMAND = "vertex-deploy schema > deploy.schema.json"
_PREFIX = "#/$defs/"
_SPARSE = "Sparse"


class _Plain(GenerateJsonSchema):
    """Without generated titles, which editors would show instead of descriptions."""

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        plain: JsonSchemaValue = _without_titles(super().generate(schema, mode))
        return plain


def build() -> dict[str, Any]:
    """The schema as JSON values: the spec, ``environments`` of the same models without required keys, ``lockstep``."""
    spec: dict[str, Any] = Spec.model_json_schema(schema_generator=_Plain)
    models: dict[str, Any] = spec.pop("$defs")
    for model in (spec, *models.values()):
        for name, field in model.get("properties", {}).items():
            # Pydantic leaves a field's description out where its model's is the same; a reader of the file needs it.
            if "description" not in field and "$ref" in field:
                about = models[field["$ref"].removeprefix(_PREFIX)]["description"]
                model["properties"][name] = {**field, "description": about}
    sparse = {_SPARSE + name: _sparse(model) for name, model in models.items() if "properties" in model}
    sparse[_SPARSE + "Spec"] = _sparse(spec) | {"description": "Overrides of one environment."}
    spec["properties"]["environments"] = {
        "type": "object",
        "description": "Sparse overrides by environment; the name is the Pulumi stack's. Mappings are merged, lists "
        "are replaced, null removes a key.",
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"},
        "additionalProperties": {"anyOf": [{"$ref": f"{_PREFIX}{_SPARSE}Spec"}, {"type": "null"}]},
    }
    spec["properties"]["lockstep"] = {
        "type": ["object", "null"],
        "description": "Groups of environments that belong together, two or more each; their rollouts go on "
        "and back together.",
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"},
        "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
    }
    head = {"$schema": DIALECT, "title": "deploy.yaml", "description": "A deployment of vertex-deploy."}
    every: dict[str, Any] = dict(sorted((models | sparse).items()))
    return {**head, **spec, "description": head["description"], "$defs": every}


def schema_text() -> str:
    """The schema as it is committed."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def _sparse(model: dict[str, Any]) -> dict[str, Any]:
    """Of one model: nothing required, no defaults (what is absent stays as it was), null removes a key."""
    kept = {key: value for key, value in model.items() if key not in ("required", "properties", "$defs")}
    return kept | {"properties": {name: _sparse_field(field) for name, field in model["properties"].items()}}


def _sparse_field(field: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in field.items() if key not in ("default", "description")}
    about = {"description": field["description"]} if "description" in field else {}
    arms = kept["anyOf"] if set(kept) == {"anyOf"} else [kept]
    arms = [{"$ref": _PREFIX + _SPARSE + arm["$ref"].removeprefix(_PREFIX)} if "$ref" in arm else arm for arm in arms]
    return {"anyOf": [*(arm for arm in arms if arm != {"type": "null"}), {"type": "null"}], **about}


def _without_titles(value: Any) -> Any:
    """Everything but generated titles; a field that is called title is a mapping, a generated title is text."""
    if isinstance(value, dict):
        return {k: _without_titles(v) for k, v in value.items() if not (k == "title" and isinstance(v, str))}
    return [_without_titles(item) for item in value] if isinstance(value, list) else value

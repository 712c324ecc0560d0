"""Checks JSON against Google's discovery documents, strictly: an unknown field, a wrong type or enum is a finding."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@cache
def document(name: str) -> dict[str, Any]:
    """A discovery document that google-api-python-client ships, such as cloudbuild.v1."""
    folder = resources.files("googleapiclient") / "discovery_cache" / "documents"
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def findings(value: Any, name: str, schema: str) -> list[str]:
    """What is wrong with a value that should be a message of an API."""
    return list(_message(value, document(name)["schemas"], schema, schema))


def _message(value: Any, schemas: dict[str, Any], schema: str, where: str):
    if not isinstance(value, dict):
        yield f"{where}: not a {schema}"
        return
    yield from _properties(value, schemas[schema].get("properties", {}), schemas, where, schema)


def _properties(value: dict[str, Any], known: dict[str, Any], schemas: dict[str, Any], where: str, schema: str):
    for key, item in value.items():
        if key not in known:
            yield f"{where}.{key}: {schema} has no such field"
        elif known[key].get("readOnly"):
            yield f"{where}.{key}: is output only"
        else:
            yield from _value(item, known[key], schemas, f"{where}.{key}")


def _value(value: Any, kind: dict[str, Any], schemas: dict[str, Any], where: str):  # noqa: C901 - one branch a type
    if "$ref" in kind:
        yield from _message(value, schemas, kind["$ref"], where)
    elif kind["type"] == "array":
        if not isinstance(value, list):
            yield f"{where}: not a list"
            return
        for index, item in enumerate(value):
            yield from _value(item, kind["items"], schemas, f"{where}[{index}]")
    elif kind["type"] == "object":
        if not isinstance(value, dict):
            yield f"{where}: not a mapping"
            return
        if "properties" in kind:  # a message written in place, as Cloud Storage's are
            yield from _properties(value, kind["properties"], schemas, where, where.rpartition(".")[2])
            return
        for key, item in value.items():
            yield from _value(item, kind["additionalProperties"], schemas, f"{where}.{key}")
    elif kind["type"] != "any":
        right = isinstance(value, SCALARS[kind["type"]])
        if not right or (isinstance(value, bool) and kind["type"] != "boolean"):
            yield f"{where}: {value!r} is not a {kind['type']}"
        elif "enum" in kind and value not in kind["enum"]:
            yield f"{where}: {value!r} is none of {kind['enum']}"

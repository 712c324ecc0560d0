"""Turns what pydantic found into problems that name a line, what is allowed and the nearest valid key.

Knows no model by name: allowed keys and values come from the models. None of pydantic's own wording is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import one_line
from vertex_deploy.spec.document import got, locate
from vertex_deploy.spec.fields import Shape, describe
from vertex_deploy.spec.problems import Path, Problem, did_you_mean, field_name

if TYPE_CHECKING:
    from pydantic import ValidationError

    from vertex_deploy.spec.document import Node

_KEY = "[key]"
"""What pydantic appends to the path of an error in a mapping's key."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """Names problems in one document.

    Args:
        root: the document.
        file: its name.
        shape: the model that it is validated with.
        more_keys: keys that the root may have beside the model's fields.
    """

    root: Node
    file: str
    shape: Shape
    more_keys: tuple[str, ...] = ()

    def validation(self, error: ValidationError) -> list[Problem]:
        """Every problem of a validation, at most one a field."""
        found: dict[tuple[int, int, str], Problem] = {}
        for detail in error.errors(include_url=False, include_input=False):
            problem = self._one(detail["type"], detail["loc"], detail.get("ctx", {}))
            # A union reports each alternative that failed: the first says them all.
            found.setdefault((problem.line, problem.column, problem.field), problem)
        return list(found.values())

    def at(self, path: Path, message: str, fix: str) -> Problem:
        """A problem at ``path``; of a key that is not there, at the nearest place above it."""
        node, rest = locate(self.root, path)
        line, column = (node.key_line, node.key_column) if rest else (node.line, node.column)
        return Problem(self.file, line, column, field_name((*node.path, *rest)), message, fix)

    def _one(self, kind: str, loc: Path, context: dict[str, Any]) -> Problem:
        if kind == "missing":
            path = (*self._in_document(loc[:-1]), loc[-1])
            wanted = self.shape.at(path)
            purpose = f" ({wanted.description.rstrip('.')})" if wanted and wanted.description else ""
            return replace(self.at(path, "missing key", f"add {path[-1]}{purpose}"), certain=False)
        if kind == "extra_forbidden" or loc[-1] == _KEY:
            return self._unknown_key(self._in_document(loc[:-1] if loc[-1] == _KEY else loc))
        path = self._in_document(loc)
        if kind in ("union_tag_invalid", "union_tag_not_found") and isinstance(locate(self.root, path)[0].value, dict):
            return self._tag((*path, str(context["discriminator"]).strip("'")))
        node, wanted = locate(self.root, path)[0], self.shape.at(path)
        if kind in ("value_error", "assertion_error") and node.value is not None:
            message, _, fix = one_line(str(context.get("error", ""))).partition("; ")
            return self.at(path, message or "not valid", fix)
        quote = kind == "string_type" and isinstance(node.value, (int, float))
        fix = f'write it in quotes: "{got(node)}"' if quote else ""
        return self.at(path, f"must be {describe(wanted)}, not {got(node)}" if wanted else "not valid", fix)

    def _tag(self, path: Path) -> Problem:
        """The key that says which of several models is meant is absent or names none."""
        node, absent = locate(self.root, path)
        parent = self.shape.at(path[:-1])
        arms = (arm.at(path[-1:]) for arm in parent.arms()) if parent else ()
        allowed = ", ".join(describe(arm) for arm in arms if arm)
        if absent:
            return replace(self.at(path, "missing key", f"add {path[-1]} (one of {allowed})"), certain=False)
        return self.at(path, f"must be one of {allowed}, not {got(node)}", "")

    def _unknown_key(self, path: Path) -> Problem:
        parent = self.shape.at(path[:-1])
        keys = [*(parent.keys() if parent else ()), *(self.more_keys if len(path) == 1 else ())]
        node, _ = locate(self.root, path)
        fix = did_you_mean(str(path[-1]), keys)
        return Problem(self.file, node.key_line, node.key_column, field_name(node.path), "unknown key", fix)

    def _in_document(self, loc: Path) -> Path:
        """``loc`` without the names of union members that pydantic puts into it: only what the document has."""
        path: list[str | int] = []
        node = self.root
        for part in loc:
            child, rest = locate(node, (part,))
            if not rest:
                path.append(part)
                node = child
        return tuple(path)

"""Reads deploy.yaml: parse, apply an environment, validate all of it, and report every problem at once.

Two ways in, on purpose: ``load`` is for what people write and refuses every key it does not know; ``from_storage`` is
for what an older or newer vertex-deploy stored and passes them over.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from vertex_deploy.errors import SpecError, StateError, UsageError, one_line
from vertex_deploy.spec.checks import run_checks
from vertex_deploy.spec.document import MAX_BYTES, Node, got, locate, merge, parse, plain
from vertex_deploy.spec.explain import Explainer
from vertex_deploy.spec.fields import Shape
from vertex_deploy.spec.groups import LOCKSTEP, disagreements, read_groups, refusal
from vertex_deploy.spec.models import NAME, Spec
from vertex_deploy.spec.problems import Problem, did_you_mean, field_name
from vertex_deploy.spec.units import WRITTEN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

ENVIRONMENTS = "environments"
_APPLIED = (ENVIRONMENTS, LOCKSTEP)
"""Top-level keys that are applied here, before the models see anything."""
_SHAPE = Shape(Spec)
_SECTIONS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(field.rebuild_annotation()) for name, field in Spec.model_fields.items()
}
_NAME_LINE = re.compile(rf"""^name:[ \t]+(["']?)({NAME[1:-1]})\1[ \t]*(?:#.*)?\r?$""", re.MULTILINE)
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
"""Names of Pulumi stacks: an environment is called like its stack."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What ``examine`` found.

    Args:
        spec: the spec, if there is no problem at all.
        problems: all problems of the file and of all its environments, by line.
        environments: names of the environments in the file.
        groups: the lockstep groups in the file: name -> environments.
        name: the spec's name, where it is one, whatever else is wrong; "" if not.
        parsed: it is YAML, so that what environments and groups it has is known.
    """

    spec: Spec | None
    problems: tuple[Problem, ...]
    environments: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = ""
    parsed: bool = True

    def group_of(self, env: str | None) -> str:
        """The lockstep group that an environment is in, or ""."""
        return next((name for name, environments in self.groups.items() if env in environments), "")


def load(path: str | PathLike[str], env: str | None = None) -> Spec:
    """Read a deploy.yaml that people write.

    The whole file is validated first: an environment that is not chosen is validated too.

    Args:
        path: the file.
        env: name of the environment whose overrides apply; None for the file as it stands.

    Raises:
        SpecError: every problem, one line each, ``deploy.yaml:12: field: what is wrong; the fix``. Or ``env`` names a
            lockstep group, which is several specs (see ``examine``).
        UsageError: the file cannot be read.
    """
    examined = examine(path, env)
    if examined.spec is None:
        raise SpecError([str(problem) for problem in examined.problems])
    return examined.spec


def group_of(path: str | PathLike[str], env: str | None) -> str:
    """The lockstep group that an environment is in, or "".

    Raises:
        UsageError: the file cannot be read.
    """
    return examine(path, env).group_of(env)


def examine(path: str | PathLike[str], env: str | None = None) -> Examined:
    """As ``load``, but problems are returned as objects.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with FilePath(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: cannot be read: {reason}; give the path of a deploy.yaml") from error
    return examine_text(data, str(path), env)


def examine_text(data: bytes, file: str, env: str | None = None) -> Examined:
    """As ``examine``, of bytes that were read from somewhere.

    Args:
        data: the document, UTF-8.
        file: what problems call it.
        env: name of the environment whose overrides apply.
    """
    root, problems = parse(data, file)
    if root is None or problems:
        return Examined(None, _sorted(problems), name=_name_line(data), parsed=False)
    overlays, problems = _environments(root, file)
    explainer = Explainer(root, file, _SHAPE)
    groups, in_groups = read_groups(root, explainer, overlays)
    problems += in_groups
    base = replace(root, value={key: node for key, node in root.value.items() if key not in _APPLIED})
    if env in groups:
        problems.append(explainer.at((LOCKSTEP, env), *refusal(env, groups[env])))
    elif env is not None and env not in overlays:
        place, _ = locate(root, (ENVIRONMENTS,))
        known = (*overlays, *groups)
        fix = did_you_mean(env, known) if known else "the file has none, so leave --env out"
        message = f"no environment {env[:40]!r}"
        problems.append(Problem(file, place.key_line, place.key_column, ENVIRONMENTS, message, fix))

    spec, at_base = _validate(_prune(base), file)
    # Alone the base may lack what every environment adds, or not fit together; that counts only if it is what is asked.
    problems += [problem for problem in at_base if env not in {*overlays, *groups} or problem.certain]
    chosen = spec if env is None else None
    specs: dict[str, Spec | None] = {}
    for name, overlay in overlays.items():
        spec, found = _validate(_prune(merge(base, overlay)), file)
        problems += [_in_environment(problem, name) if problem not in at_base else problem for problem in found]
        chosen = spec if name == env else chosen
        specs[name] = spec
    problems += disagreements(groups, specs, explainer)
    whole = merge(base, overlays[env]) if env in overlays else base
    name = whole.value["name"].value if "name" in whole.value else ""
    named = name if isinstance(name, str) and re.fullmatch(NAME, name) else ""
    return Examined(None if problems else chosen, _sorted(problems), tuple(overlays), groups, named)


def _name_line(data: bytes) -> str:
    """The name of a file that is not YAML, from the line that says it; "" if there is none, or they differ."""
    found = {name for _, name, _ in _NAME_LINE.findall(data.decode(errors="replace"))}
    return found.pop() if len(found) == 1 else ""


def from_storage(data: Mapping[str, Any]) -> Spec:
    """A spec that ``to_storage`` wrote, perhaps in another version: unknown keys are passed over.

    Args:
        data: what was stored, environment already applied.

    Raises:
        StateError: a value has another type than it had, or one is missing that has no default.
    """
    try:
        return Spec.model_validate_json(json.dumps(data), extra="ignore")
    except (ValidationError, TypeError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            where = f" at {field_name(first['loc'])}" if first["loc"] else ""
        fix = "use the version of vertex-deploy that stored it"
        raise StateError(f"the stored spec cannot be read{where}; {fix}") from error


def to_storage(spec: Spec) -> dict[str, Any]:
    """Everything of a spec as JSON values, compact forms as in a file; ``from_storage`` reads it back."""
    return spec.model_dump(mode="json")


def _environments(root: Node, file: str) -> tuple[dict[str, Node], list[Problem]]:
    section = root.value.get(ENVIRONMENTS)
    if section is None or section.value is None:
        return {}, []
    explainer = Explainer(root, file, _SHAPE)
    if not isinstance(section.value, dict):
        return {}, [explainer.at(section.path, f"must be a mapping of environments, not {got(section)}", "")]
    overlays: dict[str, Node] = {}
    problems: list[Problem] = []
    for name, node in section.value.items():
        if not _ENVIRONMENT.fullmatch(name):
            message = "not an environment's name"
            problems.append(explainer.at(node.path, message, "write letters, digits, hyphens, dots and underscores"))
        elif node.value is None:
            overlays[name] = replace(node, value={})
        elif isinstance(node.value, dict):
            overlays[name] = node
        else:
            message = f"must be a mapping of overrides, not {got(node)}"
            problems.append(explainer.at(node.path, message, ""))
    return overlays, problems


def _prune(node: Node, here: Shape | None = _SHAPE) -> Node:
    """Drop nulls that say "the default": of sections (``model:`` with nothing below) and in environments.

    An environment's null for a key that the base has is applied by ``merge``; here are those for keys it has not. A
    null for a value in the base stays and is refused: ``keep_stable:`` is more likely forgotten than meant.
    """
    if not isinstance(node.value, dict) or here is None:
        return node
    known = here.keys()
    kept: dict[str, Node] = {}
    for key, child in node.value.items():
        below = here.at((key,))
        default = child.path[:1] == (ENVIRONMENTS,) or (below is not None and below.model is not None)
        if child.value is not None or key not in known or not default:
            kept[key] = _prune(child, below)
    return replace(node, value=kept)


def _validate(root: Node, file: str) -> tuple[Spec | None, list[Problem]]:
    explainer = Explainer(root, file, _SHAPE, more_keys=_APPLIED)
    values = plain(root)
    try:
        # Python's mode, not JSON's: a validator that runs before a model would leave JSON's mode half way down.
        spec = Spec.model_validate(values, strict=True, context=WRITTEN)
    except ValidationError as error:
        problems = explainer.validation(error)
        sections = _valid_sections(values)
        spec = None
    else:
        problems, sections = [], {name: getattr(spec, name) for name in Spec.model_fields}
    for finding in run_checks(sections):
        problem = explainer.at(finding.path, one_line(finding.message), one_line(finding.fix))
        problems.append(replace(problem, certain=False))
    return (None if problems else spec), problems


def _valid_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The top-level fields that are valid on their own, so that the checks over them can run."""
    sections: dict[str, Any] = {}
    for name, adapter in _SECTIONS.items():
        try:
            if name in values:
                sections[name] = adapter.validate_python(values[name], strict=True, context=WRITTEN)
            elif not Spec.model_fields[name].is_required():
                sections[name] = Spec.model_fields[name].get_default(call_default_factory=True)
        except ValidationError:
            continue  # reported already, by the validation of the whole
    return sections


def _in_environment(problem: Problem, name: str) -> Problem:
    if problem.field.startswith(field_name((ENVIRONMENTS, name))):
        return problem
    return replace(problem, message=f"{problem.message} (in environment {name})")


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column, p.field, p.message)))

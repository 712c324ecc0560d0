"""Lockstep groups: the top-level key ``lockstep`` of deploy.yaml names environments that belong together.

A group is a name and two or more environments. It has no settings of its own: what its members must agree on is checked
here, over their specs. Applied by ``loader`` as ``environments`` are, before the models see anything.

Left out: driving a group's rollouts (``rollout.lockstep``); Pulumi, whose stacks are environments, one by one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vertex_deploy.spec import names
from vertex_deploy.spec.document import got
from vertex_deploy.spec.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vertex_deploy.spec.document import Node
    from vertex_deploy.spec.explain import Explainer
    from vertex_deploy.spec.models import Spec
    from vertex_deploy.spec.problems import Problem

LOCKSTEP = "lockstep"
FEWEST = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
"""As an environment's: both are given as ``--env``."""

Groups = dict[str, tuple[str, ...]]
"""Name -> the environments of the group, in the order of the file."""


def read_groups(root: Node, explainer: Explainer, environments: Mapping[str, object]) -> tuple[Groups, list[Problem]]:
    """The groups of a file.

    Args:
        root: the document.
        explainer: places problems in it.
        environments: every environment of the file, by name.

    Returns:
        The groups that are whole, and every problem: no mapping of lists, an unknown environment, a name that an
        environment has, fewer than two members, one that is named twice.
    """
    section = root.value.get(LOCKSTEP)
    if section is None or section.value is None:
        return {}, []
    if not isinstance(section.value, dict):
        return {}, [explainer.at(section.path, f"must be a mapping of groups, not {got(section)}", _example())]
    groups: Groups = {}
    problems: list[Problem] = []
    taken: dict[str, str] = {}
    for name, node in section.value.items():
        found = list(_group(name, node, explainer, environments, taken))
        problems += found
        if not found:
            groups[name] = tuple(item.value for item in node.value)
    return groups, problems


def _group(
    name: str, node: Node, explainer: Explainer, environments: Mapping[str, object], taken: dict[str, str]
) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        yield explainer.at(node.path, "not a group's name", "write letters, digits, hyphens, dots and underscores")
        return
    if name in environments:
        yield explainer.at(node.path, "an environment has this name", "call the group otherwise: both are `--env`")
        return
    if not isinstance(node.value, list):
        yield explainer.at(node.path, f"must be a list of environments, not {got(node)}", _example())
        return
    if len(node.value) < FEWEST:
        yield explainer.at(node.path, "fewer than two environments", "add one, or remove the group")
    for item in node.value:
        member = item.value
        if not isinstance(member, str) or member not in environments:
            fix = did_you_mean(str(member), environments) if isinstance(member, str) else "write environments' names"
            yield explainer.at(item.path, f"no environment {got(item)}", fix)
        elif member in taken:
            where = "twice in this group" if taken[member] == name else f"in group {taken[member]}, too"
            yield explainer.at(item.path, f"{member} is {where}", "an environment is in one group, once")
        else:
            taken[member] = name


def _example() -> str:
    return "write lockstep: {prod: [prod-us, prod-eu]}"


def disagreements(groups: Groups, specs: Mapping[str, Spec | None], explainer: Explainer) -> Iterator[Problem]:
    """What keeps the members of a group from going together.

    Args:
        groups: as read.
        specs: of each environment; None where it has problems of its own, which come first.
        explainer: places problems in the document.
    """
    for name, members in groups.items():
        known = [(index, member, spec) for index, member in enumerate(members) if (spec := specs.get(member))]
        for index, member, spec in known:
            path = (LOCKSTEP, name, index)
            if spec.target.traffic == "pulumi":
                fix = "write target.traffic: rollout, or take it out of the group"
                yield explainer.at(path, f"the traffic of {member} is Pulumi's: it has no rollouts", fix)
            _, first, model = known[0]
            if _steps(spec) != _steps(model):
                message = f"steps differ: {member} has {_steps(spec)}, {first} has {_steps(model)}"
                yield explainer.at(path, message, "weights and approvals must be the same; holds may differ")
            earlier = next((other for at, other, twin in known if at < index and _place(twin) == _place(spec)), None)
            if earlier:
                fix = "give each a gcp.region or a target.endpoint.name of its own"
                yield explainer.at(path, f"{member} has the endpoint of {earlier}", fix)


def _steps(spec: Spec) -> str:
    return ", ".join(f"{step.weight}%{' after approval' if step.approval else ''}" for step in spec.rollout.steps)


def _place(spec: Spec) -> tuple[str, str]:
    return names.location(spec), names.endpoint_display_name(spec)


def refusal(name: str, members: tuple[str, ...]) -> tuple[str, str]:
    """Message and fix where one environment is needed and a group's name was given."""
    return f"{name} is a lockstep group, not one environment", f"name one of {', '.join(members)}"

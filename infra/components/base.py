"""What every component shares: its type's prefix, its children's options, the labels, what a spec must ask for.

Left out: providers. Components inherit the program's; none makes one of Google's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pulumi

from vertex_deploy.spec.names import OWNER_LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vertex_deploy.spec import Spec

NAMESPACE = "vertex-deploy:infra"

_Section = TypeVar("_Section")


def labels_of(spec: Spec) -> dict[str, str]:
    """Labels of every resource that has labels: the spec's own, and the one that says whose it is."""
    return {**spec.infra.labels, OWNER_LABEL: spec.name}


def asked(section: _Section | None, name: str) -> _Section:
    """A section of ``infra`` that a component is made from.

    Args:
        section: as the spec has it.
        name: of it, for the message.

    Raises:
        ValueError: the spec has none; the program asks only where it has.
    """
    if section is None:
        raise ValueError(f"the spec has no infra.{name}; ask only where it has")
    return section


class Component(pulumi.ComponentResource):
    """A component whose type is its class's name.

    A subclass annotates its outputs where it sets them: Pulumi evaluates a class's own annotations anew, and makes a
    class of them, at each registration (``pulumi._types.resource_types``).

    Args:
        name: unique in the stack.
        opts: of the component.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"{NAMESPACE}:{type(self).__name__}", name, None, opts)

    def child(
        self, *, protect: bool = False, after: Sequence[pulumi.Resource] = (), ignore: Sequence[str] = ()
    ) -> pulumi.ResourceOptions:
        """Options of a child: see ``child_options``."""
        return child_options(self, protect=protect, after=after, ignore=ignore)


def child_options(
    parent: pulumi.Resource, *, protect: bool = False, after: Sequence[pulumi.Resource] = (), ignore: Sequence[str] = ()
) -> pulumi.ResourceOptions:
    """Options of a component's child.

    Args:
        parent: the component.
        protect: refuse to delete it; not written where False, so that a parent's protection is inherited.
        after: resources that must be there first although no property says so.
        ignore: properties that somebody else owns after creation. They belong here and not on the component, where
            Pulumi ignores them in silence.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        protect=True if protect else None,
        depends_on=list(after) or None,
        ignore_changes=list(ignore) or None,
    )

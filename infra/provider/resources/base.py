"""What the three resources have in common: ownership, the context of a check, what a definition consists of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.provider import names
from infra.provider.properties import Diff, Failure, Prop, Table, check, diff, with_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Inputs = dict[str, Any]

OWNERS = ("rollout", "pulumi")


def on_endpoint(doc: str) -> Prop:
    """The property that names the endpoint: another endpoint is another resource, however its project is written.

    Args:
        doc: what it is.
    """
    return Prop(
        type="string",
        required=True,
        replace=True,
        same=names.same_name,
        pattern=names.ENDPOINT,
        says="projects/P/locations/L/endpoints/E",
        doc=doc,
    )


def owner(default: str, what: str) -> Prop:
    """The property that says who changes a resource after it was created.

    Args:
        default: ``rollout`` or ``pulumi``.
        what: that is left alone.
    """
    return Prop(
        type="string",
        choices=OWNERS,
        default=default,
        local=True,
        doc=f"Who changes this after its creation: `rollout` (Pulumi then leaves {what} alone, whatever the program "
        "says and whatever it has become) or `pulumi`.",
    )


def left_alone(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Whether the rollout owned it and goes on owning it."""
    return olds.get("owner") == news.get("owner") == "rollout"


@dataclass(frozen=True, slots=True)
class Context:
    """What a check knows beside the inputs.

    Args:
        urn: of the resource.
        name: of the resource in the program.
        config: the provider's configuration.
        olds: inputs as they were checked last; empty when the resource is new.
    """

    urn: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    olds: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One resource type.

    Args:
        token: vertexdeploy:index:NAME.
        doc: what it is.
        inputs: table of its inputs.
        outputs: table of what it tells beside its inputs.
        complete: fills computed inputs in, given the context.
        agree: what several properties must agree on.
        identity: properties that a change of always counts, whoever owns the resource.
        names: inputs that make up its name: a replacement that has the same ones cannot exist beside the old one.
        equal: properties that count as unchanged although they are written differently, given old and new inputs.
    """

    token: str
    doc: str
    inputs: Table
    outputs: Table
    complete: Callable[[Inputs, Context], Inputs]
    agree: Callable[[Inputs], Iterable[Failure]]
    identity: tuple[str, ...]
    names: tuple[str, ...]

    def check(self, given: Inputs, context: Context) -> tuple[Inputs, list[Failure]]:
        """Inputs with defaults and computed values, and what is wrong with them.

        Args:
            given: as the program wrote them.
            context: of the check.
        """
        known = with_defaults(self.inputs, given)
        # What is absent may still be filled in; what is of a wrong type cannot be worked with.
        failures = check(self.inputs, known, absent=False)
        if failures:
            return known, failures
        filled = self.complete(known, context)
        failures = check(self.inputs, filled)
        return filled, [*failures, *(self.agree(filled) if not failures else ())]

    def diff(self, olds: Inputs, news: Inputs, ignore: Iterable[str] = ()) -> Diff:
        """What an update would change, and whether it needs a new resource.

        Args:
            olds: inputs as they are in the state.
            news: inputs as they are wanted, checked.
            ignore: property paths that count as unchanged.
        """
        table = {key: prop for key, prop in self.inputs.items() if key in self.identity or not left_alone(olds, news)}
        changes = diff(table, olds, news, ignore=ignore)
        replaced = any(change.replace for change in changes.values())
        same_place = all(olds.get(key) == news.get(key) for key in self.names)
        return Diff(changes, delete_first=replaced and same_place)

"""Walks the models of the spec by path: which keys are allowed somewhere, and what a value there must be, in words.

Works on any ``SpecModel`` and knows none by name, so that error messages, the schema and the reference page follow the
models by themselves.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from vertex_deploy.spec.base import Says, SpecModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from vertex_deploy.spec.problems import Path


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a place in a spec: an annotation without ``Annotated``, and the metadata and docstring it had."""

    annotation: Any
    metadata: tuple[Any, ...] = ()
    description: str = ""

    @classmethod
    def of(cls, annotation: Any, metadata: tuple[Any, ...] = (), description: str = "") -> Shape:
        """Take ``Annotated`` apart."""
        while get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*metadata, *more)
        return cls(annotation, metadata, description)

    @classmethod
    def of_field(cls, field: FieldInfo) -> Shape:
        """The shape of a model's field."""
        return cls.of(field.annotation, tuple(field.metadata), " ".join((field.description or "").split()))

    @property
    def says(self) -> str | None:
        """The words that the type brings along, if any."""
        return next((item.text for item in self.metadata if isinstance(item, Says)), None)

    @property
    def model(self) -> type[SpecModel] | None:
        """The model, if the place holds one."""
        return self.annotation if isinstance(self.annotation, type) and issubclass(self.annotation, SpecModel) else None

    def arms(self) -> tuple[Shape, ...]:
        """The alternatives of a union, without None; itself if it is none."""
        if get_origin(self.annotation) not in (Union, types.UnionType):
            return (self,)
        return tuple(
            arm for item in get_args(self.annotation) if item is not type(None) for arm in Shape.of(item).arms()
        )

    def _child(self, part: str | int) -> Iterator[Shape]:
        for arm in self.arms():
            arguments = get_args(arm.annotation)
            if arm.model is not None:
                if part in arm.model.model_fields:
                    yield Shape.of_field(arm.model.model_fields[str(part)])
            elif get_origin(arm.annotation) is dict and isinstance(part, str):
                yield Shape.of(arguments[1])
            elif get_origin(arm.annotation) in (tuple, list) and isinstance(part, int):
                repeated = get_origin(arm.annotation) is list or arguments[-1] is Ellipsis
                if repeated or part < len(arguments):
                    yield Shape.of(arguments[0 if repeated else part])

    def at(self, path: Path) -> Shape | None:
        """The shape below, or None if there is no such place; of several alternatives the first."""
        shape: Shape | None = self
        for part in path:
            shape = next(shape._child(part), None) if shape is not None else None  # noqa: SLF001 - its own class
        return shape

    def keys(self) -> tuple[str, ...]:
        """Keys that a mapping here may have, in the models' order; empty if it may have any."""
        names: dict[str, None] = {}
        for arm in self.arms():
            if arm.model is not None:
                names |= dict.fromkeys(arm.model.model_fields)
            elif get_origin(arm.annotation) is dict:
                key = Shape.of(get_args(arm.annotation)[0])
                names |= dict.fromkeys(
                    map(str, get_args(key.annotation) if get_origin(key.annotation) is Literal else ())
                )
        return tuple(names)


def describe(shape: Shape) -> str:
    """What a value must be, for "must be ...": ``a whole number from 1 to 100``, ``a duration such as 30m``."""
    if shape.says:
        return shape.says
    arms = shape.arms()
    if len(arms) > 1 or arms[0] is not shape:
        return " or ".join(
            dict.fromkeys(describe(Shape(arm.annotation, arm.metadata + shape.metadata)) for arm in arms)
        )
    if shape.model is not None:
        return f"a mapping with the keys {', '.join(shape.keys())}"
    if get_origin(shape.annotation) is not None:
        return _describe_generic(shape)
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(shape.annotation, "a value") + _bounds(shape.metadata)


def _describe_generic(shape: Shape) -> str:
    origin, arguments = get_origin(shape.annotation), get_args(shape.annotation)
    if origin is Literal:
        few = len(arguments) < 3  # noqa: PLR2004 - two read better without a list
        return " or ".join(map(str, arguments)) if few else f"one of {', '.join(map(str, arguments))}"
    if origin is dict:
        keys = f" with the keys {', '.join(shape.keys())}" if shape.keys() else ""
        return f"a mapping{keys}; each value: {describe(Shape.of(arguments[1]))}"
    if arguments[-1] is Ellipsis or origin is list:
        return f"a list; each entry: {describe(Shape.of(arguments[0]))}"
    return f"a list of {len(arguments)}: {', '.join(describe(Shape.of(item)) for item in arguments)}"


def _bounds(metadata: tuple[Any, ...]) -> str:
    low = high = ""
    # By attribute: pydantic keeps one bound in Ge, Gt, Le or Lt, and several in Interval.
    for item in metadata:
        for name, word in (("ge", "from"), ("gt", "above")):
            low = f"{word} {bound}" if (bound := getattr(item, name, None)) is not None else low
        for name, word in (("le", "to"), ("lt", "below")):
            high = f"{word} {bound}" if (bound := getattr(item, name, None)) is not None else high
    if low.startswith("from") and not high:
        low = low.replace("from", "of at least", 1)
    if high.startswith("to") and not low.startswith("from"):
        high = high.replace("to", "of at most", 1)
    return "".join(
        f" {part}" for part in (low, "and" if low and high and not high.startswith("to") else "", high) if part
    )

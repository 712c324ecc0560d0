from __future__ import annotations

from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval, Lt
from pydantic import Field

from vertex_deploy.spec.base import Says, SpecModel
from vertex_deploy.spec.fields import Shape, describe
from vertex_deploy.spec.models import Spec


class Circle(SpecModel):
    """A shape."""

    type: Literal["circle"]
    """circle."""
    radius: float = Field(default=1.0, gt=0)
    """Radius."""


class Square(SpecModel):
    """A shape."""

    type: Literal["square"]
    """square."""
    side: int | None = None
    """Side."""


class Drawing(SpecModel):
    """Models that no part of the project knows: nothing may depend on the spec's own."""

    shapes: tuple[Annotated[Circle | Square, Field(discriminator="type")], ...] = ()
    """Shapes."""
    colours: dict[Literal["fill", "line"], str] = Field(default_factory=dict)
    """Colours."""


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (bool, "true or false"),
        (int | None, "a whole number"),
        (Annotated[int, Ge(1)], "a whole number of at least 1"),
        (Annotated[float, Interval(gt=0, le=1)], "a number above 0 and of at most 1"),
        (Annotated[float, Lt(1)], "a number below 1"),
        (Annotated[int, Interval(ge=1, le=9)], "a whole number from 1 to 9"),
        (Literal["a", "b"], "a or b"),
        (Literal["a", "b", "c"], "one of a, b, c"),
        (int | str, "a whole number or text"),
        (tuple[int, ...], "a list; each entry: a whole number"),
        (tuple[float, float], "a list of 2: a number, a number"),
        (dict[str, int], "a mapping; each value: a whole number"),
        (Annotated[str, Says("a colour")] | None, "a colour"),
        (Square, "a mapping with the keys type, side"),
    ],
)
def test_describe(annotation, words):
    assert describe(Shape.of(annotation)) == words


def test_keys_of_unions_and_of_mappings():
    drawing = Shape(Drawing)
    assert drawing.keys() == ("shapes", "colours")
    assert drawing.at(("shapes", 3)).keys() == ("type", "radius", "side")
    assert drawing.at(("colours",)).keys() == ("fill", "line")
    assert describe(drawing.at(("shapes", 0, "side"))) == "a whole number"


@pytest.mark.parametrize("path", [("nope",), ("shapes", "x"), ("colours", 0), ("shapes", 0, "type", "x")])
def test_there_is_nothing_where_the_models_end(path):
    assert Shape(Drawing).at(path) is None


def test_every_place_of_the_spec_can_be_described():
    for field in Spec.model_fields.values():
        assert describe(Shape.of_field(field)) not in ("", "a value")

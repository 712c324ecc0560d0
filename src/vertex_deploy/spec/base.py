"""The base of every model of the spec, and the words that describe a compact form."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """Forbids unknown keys: a misspelt threshold must never be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Says:
    """What a value must be, for people: metadata of an ``Annotated`` type that error messages and pages print.

    Args:
        text: completes "must be ...", such as "a duration such as 30m".
    """

    text: str

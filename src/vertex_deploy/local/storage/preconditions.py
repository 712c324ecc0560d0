"""Preconditions on generation and metageneration: a table of what must hold. Pure.

Source: cloud.google.com/storage/docs/request-preconditions. A write whose condition fails is 412; a read whose
``NotMatch`` fails is 304. ``ifGenerationMatch=0`` means: there is no live object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertex_deploy.local.storage.errors import StorageError, condition, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What the live object or bucket must be; None: not asked."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], prefix: str = "if") -> Preconditions:
        """From the query string; ``prefix`` is ``ifSource`` for the source of a copy.

        Raises:
            StorageError: 400, not a number.
        """
        return cls(*(number(query, prefix + name) for name in _NAMES))

    def check(self, generation: int, metageneration: int, *, read: bool = False) -> None:
        """Whether all of them hold.

        Args:
            generation: of the live object; 0 if there is none.
            metageneration: of the live object; 0 if there is none.
            read: a failing ``NotMatch`` then means "not modified".

        Raises:
            StorageError: 412, or 304 for a read.
        """
        matches = ((self.generation_match, generation), (self.metageneration_match, metageneration))
        if any(wanted is not None and wanted != actual for wanted, actual in matches):
            raise condition()
        others = ((self.generation_not_match, generation), (self.metageneration_not_match, metageneration))
        if any(wanted is not None and wanted == actual for wanted, actual in others):
            raise StorageError(304, "notModified", "Not Modified") if read else condition()


def number(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a whole number, or None if it is not given.

    Raises:
        StorageError: 400.
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Invalid value '{text[:40]}' for {name}: a whole number is expected.", name) from None

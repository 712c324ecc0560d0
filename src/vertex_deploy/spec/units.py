"""The compact forms of a spec: durations, shares and quantities, parsed and written back the same.

Values are plain numbers inside (seconds, fractions), so that decisions never parse text.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_PERCENT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*%")


def parse_duration(value: Any) -> float:
    """Seconds of ``"1h30m"``, ``"15s"``, ``"500ms"`` or ``"2d"``.

    Raises:
        ValueError: not a duration; a bare number has no unit and is refused.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match and any(match.groups()):
            return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    raise ValueError(f"{value!r} is not a duration; write a number with a unit, such as 500ms, 15s, 30m, 1h30m or 7d")


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` reads back, to the millisecond: ``5400 -> "1h30m"``."""
    left, text = round(seconds * 1000), ""
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        count, left = divmod(left, unit)
        if count:
            text += f"{count}{name}"
    return text or "0s"


def parse_share(value: Any) -> float:
    """The fraction of ``"0.5%"`` (0.005).

    Raises:
        ValueError: not a percentage; a bare number could mean either and is refused.
    """
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        if match:
            return float(match[1]) / 100
    raise ValueError(f"{value!r} is not a percentage; write a number and %, such as 0.5% or 10%")


def format_share(fraction: float) -> str:
    """``0.005 -> "0.5%"``."""
    return f"{fraction * 100:.10g}%"


Duration = Annotated[
    float,
    BeforeValidator(lambda v: v if isinstance(v, float) else parse_duration(v)),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+ms)?$"}),
]
"""Seconds as a float; written ``30m`` in a spec."""

Share = Annotated[
    float,
    BeforeValidator(lambda v: v if isinstance(v, float) else parse_share(v)),
    PlainSerializer(format_share, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[+-]?\d+(\.\d+)?\s*%$"}),
]
"""A fraction as a float; written ``0.5%`` in a spec."""

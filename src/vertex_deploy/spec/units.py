"""The compact forms of a spec: durations and shares, parsed and written back the same.

Values are plain numbers inside (seconds, fractions), so that decisions never parse text. In a file a bare number is
refused, because its unit would be a guess; Python code passes numbers.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from vertex_deploy.spec.base import Says

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(
    rf"(?:({_NUMBER})d)?(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?", re.ASCII
)
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_PERCENT = re.compile(rf"([+-]?{_NUMBER})\s*%")
_LONGEST = 3650 * 86400.0
"""Ten years: no duration of a deployment is longer, and sums of durations stay exact to the millisecond."""
_LARGEST_SHARE = 1000.0
WRITTEN = MappingProxyType({"written": True})
"""Validation context of values that people wrote in a file."""

# JSON Schema patterns are JavaScript's: no fullmatch, so they are anchored, and a lookahead refuses "".
_PLAIN = _NUMBER.replace("?:", "")
_DURATION_PATTERN = f"^(?=.)({_PLAIN}d)?({_PLAIN}h)?({_PLAIN}m)?({_PLAIN}s)?({_PLAIN}ms)?$"
_SHARE_PATTERN = f"^[+-]?{_PLAIN}\\s*%$"


def parse_duration(value: Any) -> float:
    """Seconds of ``"1h30m"``, ``"15s"``, ``"500ms"`` or ``"2d"``.

    Raises:
        ValueError: not a duration, longer than ten years, or a bare number (which has no unit).
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match and any(match.groups()):
            seconds = sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
            if seconds > _LONGEST:
                raise ValueError(f"{_short(value)} is longer than ten years; write a shorter duration")
            # To the microsecond: 0.1 + 0.2 of two parts must equal 300ms.
            return round(seconds, 6)
    raise ValueError(f"{_short(value)} is not a duration; write a number with a unit, such as 500ms, 15s, 30m or 1h30m")


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
        ValueError: not a percentage, or a bare number (which could mean either).
    """
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        if match and abs(share := float(match[1]) / 100) <= _LARGEST_SHARE:
            return share
    raise ValueError(f"{_short(value)} is not a percentage; write a number and %, such as 0.5% or 10%")


def format_share(fraction: float) -> str:
    """``0.005 -> "0.5%"``, to ten digits and never with an exponent."""
    text = f"{fraction * 100:.10f}".rstrip("0").rstrip(".")
    return f"{'0' if text in ('', '-0') else text}%"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - keeps the error on one line


def _from(parse: Callable[[Any], float]) -> Callable[[Any, ValidationInfo], float]:
    """Text is parsed; a number is taken as it is from Python code, and refused from JSON and from people's files."""

    def validate(value: Any, info: ValidationInfo) -> float:
        code = info.mode == "python" and info.context is not WRITTEN
        if code and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        return parse(value)

    return validate


Duration = Annotated[
    float,
    BeforeValidator(_from(parse_duration)),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["30m", "1h30m", "500ms"]}),
    Says("a duration such as 500ms, 15s, 30m or 1h30m"),
]
"""Seconds as a float; written ``30m`` in a spec."""

Share = Annotated[
    float,
    BeforeValidator(_from(parse_share)),
    PlainSerializer(format_share, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _SHARE_PATTERN, "examples": ["0.5%", "10%"]}),
    Says("a percentage such as 0.5%"),
]
"""A fraction as a float; written ``0.5%`` in a spec."""

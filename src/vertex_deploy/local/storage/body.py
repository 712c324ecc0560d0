"""A request's JSON: bytes to an object that is safe to keep. Pure.

Google's JSON parsers take a hundred levels. A deeper value could be read here, but not always written again: Python's
own limit counts the frames of whoever calls.
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 100


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: one line: what is wrong with it.
    """
    try:
        out = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(out, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - of a value, not of a type of ours
    if _deeper(out, MAX_DEPTH):
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    return out


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return any(isinstance(item, dict | list) for item in level)

"""The regular expressions of Cloud Monitoring's filters: RE2 itself, which the service uses. Pure.

Anybody may write a filter, and it is tried on every series on the loop that serves predictions: RE2 matches in time
that grows with the text whatever the expression, and bounds what an expression may become.

Left out: groups as results; an expression matches a whole value or it does not.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from vertex_deploy.errors import printable

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they are raised


# A hostile expression takes megabytes, and RE2 lets each take eight; there are as many in use as policies have filters.
@lru_cache(maxsize=64)
def pattern(text: str) -> Any:
    """Compile an expression.

    Raises:
        ValueError: one line; RE2 does not take it.
    """
    try:
        return re2.compile(text, _OPTIONS)
    except (re2.error, UnicodeEncodeError) as error:
        why = error.args[0]
        said = why.decode(errors="replace") if isinstance(why, bytes) else str(error)
        raise ValueError(f"the regular expression {text!r} is not valid: {printable(said)}") from error


@lru_cache(maxsize=16_384)
def full_match(text: str, value: str) -> bool:
    """Whether an expression matches a whole value. The values of labels are few, and asked for again and again.

    Raises:
        ValueError: as ``pattern``.
    """
    return pattern(text).fullmatch(value) is not None

"""What can be said of a gate's PromQL expression without a Prometheus: placeholders, and how far it looks back. Pure.

This is no parser: it knows string literals, comments and range selectors, which is what these questions need. Whether
an expression is right is Prometheus's to say. Source: https://prometheus.io/docs/prometheus/latest/querying/basics/
(string literals, comments, durations).
"""

from __future__ import annotations

import re

VERSION = "{deployed_model_id}"
"""Replaced by the version's deployed model id."""
INTERVAL = "{interval}"
"""Replaced by the length of the interval that is judged, such as 60s."""
LONGEST = 60.0
"""Seconds of the cloud's sampling period, and so of the interval that a rollout judges."""

_OPAQUE = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|#[^\n]*", re.DOTALL)
_RANGE = re.compile(r"\[\s*([0-9][0-9a-z.]*)\s*(?::[^\]]*)?\]")
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhdwy]))+")
_PART = re.compile(r"([0-9]+)(ms|[smhdwy])")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}


def by_version(expression: str) -> bool:
    """Whether the expression says which version it measures."""
    return VERSION in expression


def fill(expression: str, *, deployed_model_id: str, seconds: float) -> str:
    """The expression for one version.

    Args:
        expression: of the spec.
        deployed_model_id: of the version.
        seconds: length of the interval.
    """
    return expression.replace(VERSION, deployed_model_id).replace(INTERVAL, duration(seconds))


def duration(seconds: float) -> str:
    """A PromQL duration: ``60s``, or milliseconds where the seconds are not whole."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def longest_window(expression: str) -> float:
    """Seconds of the longest range selector (``[5m]``) or subquery (``[5m:1m]``) that is written out; 0.0: none."""
    found = _RANGE.findall(_OPAQUE.sub('""', expression))
    return max((_seconds(text) for text in found), default=0.0)


def _seconds(text: str) -> float:
    if _DURATION.fullmatch(text):
        return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    # Prometheus 3 takes plain seconds. Anything else is not a duration, and Prometheus will say so.
    return float(text) if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text) else 0.0

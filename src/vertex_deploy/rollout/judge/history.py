"""Recorded histories: a JSON list of intervals, read with errors that name the line, written back, and replayed.

One element::

    {
        "end": "2026-11-21T10:01:00Z",
        "seconds": 60,
        "stable": {"requests": 540, "errors": 1, "latency_ms": {"bounds": [100, 200], "counts": [400, 130, 10]}},
        "canary": {"requests": 60, "errors": 0, "gauges": {"rating": 4.2}},
    }

``null`` for a version says that it was not measured. Optional: ``"step": "10%"`` (a new name begins a step with this
interval), ``"bake": true`` (stable has no traffic any more), ``"began": RFC 3339`` (when that was, if not with this
interval), and in a version ``"rejected": n`` (answers with 4xx; 0 where absent). Negative counts are read: the judge
takes them for a counter that was reset. It leaves out other formats, streaming, and files of more than 64 MiB.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertex_deploy.errors import UsageError
from vertex_deploy.metrics.types import Histogram, Interval, VersionSample
from vertex_deploy.rollout.judge.intake import start_of
from vertex_deploy.rollout.judge.judge import Judge
from vertex_deploy.spec.gates import Evidence, Gate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vertex_deploy.rollout.judge.verdict import Verdict

_ENTRY = ("end", "seconds", "stable", "canary", "step", "bake", "began")
_SAMPLE = ("requests", "errors", "rejected", "latency_ms", "gauges")
_HISTOGRAM = ("bounds", "counts")
# For a history without a spec: is the canary worse than stable?
DEFAULT_GATES = (
    Gate(metric="error_rate", evidence=Evidence()),
    Gate(metric="latency_p95", worse_than_stable=0.1),
)
MAX_BYTES = 64 << 20
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_SHOWN = 40
_MAX_COUNT = 10**10
"""Requests of an interval: a hundred thousand a second, a day long. The judge's work grows with the root of it."""
_LONGEST = 86400.0
"""Seconds of the longest interval: a day. More is not a measurement but a mistake of units."""
# More would hide the first, which is where reading starts.
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An interval with the step that it was recorded in.

    Args:
        interval: what was measured.
        step: name of the step; None: the same as before.
        bake: all traffic was the canary's.
        began: when the step, or the bake, began; None: with this interval, if it is another than before.
    """

    interval: Interval
    step: str | None = None
    bake: bool = False
    began: datetime | None = None


class _NoNumber(ValueError):  # noqa: N818 - never leaves this module
    pass


class _Problem(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, path: tuple[str, ...], what: str) -> None:
        super().__init__(what)
        self.path = path


def run_history(path: str | Path, gates: Sequence[Gate], *, alpha: float = 0.05) -> list[Verdict]:
    """The verdict after each interval of a recorded history.

    Args:
        path: the file.
        gates: as in the spec.
        alpha: chance of ever failing a good canary.

    Raises:
        UsageError: the file is not there or not a history; every problem with its line.
    """
    return replay_entries(read_history(path), gates, alpha=alpha)


def replay_entries(entries: Sequence[Entry], gates: Sequence[Gate], *, alpha: float = 0.05) -> list[Verdict]:
    """The verdict after each entry; a new step name, or ``began``, begins a step, ``bake`` the bake."""
    judge, step, baking, verdicts = Judge(gates, alpha=alpha), None, False, []
    for entry in entries:
        began = entry.began or start_of(entry.interval)
        if entry.bake and not baking:
            judge.begin_bake(began)
            baking = True
        elif entry.step is not None and (entry.step != step or entry.began is not None) and not baking:
            judge.begin_step(entry.step, began)
        step = entry.step if entry.step is not None else step
        verdicts.append(judge.update(entry.interval))
    return verdicts


def read_history(path: str | Path) -> list[Entry]:
    """Read a recorded history.

    Raises:
        UsageError: see ``run_history``.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give a JSON list of intervals") from None
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str) -> list[Entry]:
    """As ``read_history``, of bytes that were read from somewhere, at most ``MAX_BYTES + 1`` of them.

    Raises:
        UsageError: see ``run_history``.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: more than {MAX_BYTES >> 20} MiB; give fewer intervals, or longer ones")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 text; give a JSON list of intervals") from None
    return parse_history(text, name)


def parse_history(text: str, name: str = "history") -> list[Entry]:
    """Read a history from text.

    Args:
        text: JSON.
        name: what to call it in errors.

    Raises:
        UsageError: see ``run_history``.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for position, value in _elements(text, name):
        try:
            entries.append(_entry(value))
        except _Problem as problem:
            line = _line_of(text, position, problem.path)
            where = ".".join(problem.path) or "interval"
            problems.append(f"{name}:{line}: {where}: {problem}")
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = problems[:_MOST_PROBLEMS] + ([f"{name}: and {more} problems more"] if more > 0 else [])
        raise UsageError("\n".join(shown))
    return entries


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """What ``parse_history`` reads back."""
    interval = entry.interval
    data: dict[str, Any] = {"end": interval.end.isoformat(), "seconds": interval.seconds}
    for version in ("stable", "canary"):
        sample: VersionSample | None = getattr(interval, version)
        data[version] = None if sample is None else _sample_to_json(sample)
    if entry.step is not None:
        data["step"] = entry.step
    if entry.bake:
        data["bake"] = True
    if entry.began is not None:
        data["began"] = entry.began.isoformat()
    return data


def _sample_to_json(sample: VersionSample) -> dict[str, Any]:
    data: dict[str, Any] = {"requests": sample.requests, "errors": sample.errors}
    if sample.rejected:
        data["rejected"] = sample.rejected
    if sample.latency_ms is not None:
        data["latency_ms"] = {"bounds": list(sample.latency_ms.bounds), "counts": list(sample.latency_ms.counts)}
    # What is no number was not measured, and JSON has no word for it.
    if gauges := {name: value for name, value in sample.gauges.items() if isfinite(value)}:
        data["gauges"] = gauges
    return data


def _elements(text: str, name: str) -> list[tuple[int, Any]]:
    """Each element of the list with its position, so that an error can name a line."""
    position, found = _skip(text, 0), []

    def line() -> int:
        return text.count("\n", 0, position) + 1

    if text[position : position + 1] != "[":
        hint = ", as `vertex-deploy rollout history --measured` writes it" if text[position : position + 1] else ""
        raise UsageError(f"{name}:{line()}: a history is a JSON list of intervals; it must begin with [{hint}")
    position = _skip(text, position + 1)
    while text[position : position + 1] != "]":
        value, end = _decoded(text, position, name)
        found.append((position, value))
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise UsageError(f"{name}:{line()}: intervals are separated by a comma, and the list ends with ]")
    position = _skip(text, position + 1)
    if position < len(text):
        raise UsageError(f"{name}:{line()}: there is more after the list's end; a history is one JSON list")
    return found


def _refuse(constant: str) -> float:
    raise _NoNumber(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _decoded(text: str, position: int, name: str) -> tuple[Any, int]:
    """The value that begins at a position, and where it ends."""
    line = text.count("\n", 0, position) + 1
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        line, what = (
            error.lineno,
            f"not JSON: {error.msg.lower()} (column {error.colno}); give a JSON list of intervals",
        )
    except RecursionError:
        what = "nested too deeply; give a JSON list of intervals"
    except _NoNumber as error:
        what = f"{error} is not a number; leave out what was not measured"
    except ValueError:
        what = "a number with too many digits; write what was measured"
    raise UsageError(f"{name}:{line}: {what}")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n\ufeff":
        position += 1
    return position


def _line_of(text: str, position: int, path: tuple[str, ...]) -> int:
    for key in path:
        inside = text.find(json.dumps(key), position)
        if inside < 0:
            break
        position = inside
    return text.count("\n", 0, position) + 1


def _entry(value: Any) -> Entry:
    data = _object(value, (), _ENTRY, ("end", "seconds"))
    end = _moment(data["end"], "end")
    seconds = _number(data["seconds"], ("seconds",))
    if not 0 < seconds <= _LONGEST:
        raise _Problem(("seconds",), f"an interval lasts more than 0 and at most {_LONGEST:g} seconds, not {seconds:g}")
    step, bake = data.get("step"), data.get("bake", False)
    if step is not None and not isinstance(step, str):
        raise _Problem(("step",), 'the name of a step is text, such as "10%"')
    if not isinstance(bake, bool):
        raise _Problem(("bake",), "bake is true or false")
    interval = Interval(end, seconds, _sample(data.get("stable"), "stable"), _sample(data.get("canary"), "canary"))
    return Entry(interval, step, bake, _moment(data["began"], "began") if data.get("began") is not None else None)


def _moment(value: Any, key: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value.upper())  # RFC 3339 allows t and z, too
    except (AttributeError, ValueError):
        raise _Problem((key,), f"{_brief(value)} is not a time; write RFC 3339, such as 2026-11-21T10:01:00Z") from None
    if moment.tzinfo is None:
        raise _Problem((key,), f"{_brief(value)} has no time zone; add Z or an offset")
    try:
        start_of(Interval(moment.astimezone(UTC), _LONGEST, None, None))
    except OverflowError:
        raise _Problem((key,), f"{_brief(value)} is too early; write when it was measured") from None
    return moment.astimezone(UTC)


def _sample(value: Any, version: str) -> VersionSample | None:
    if value is None:
        return None
    data = _object(value, (version,), _SAMPLE, ("requests", "errors"))
    gauges = data.get("gauges", {})
    if not isinstance(gauges, dict):
        raise _Problem((version, "gauges"), "gauges is an object of numbers by name")
    return VersionSample(
        requests=_count(data["requests"], (version, "requests")),
        errors=_count(data["errors"], (version, "errors")),
        rejected=_count(data.get("rejected", 0), (version, "rejected")),
        latency_ms=_histogram(data.get("latency_ms"), (version, "latency_ms")),
        gauges={name: _number(number, (version, "gauges", name)) for name, number in gauges.items()},
    )


def _histogram(value: Any, path: tuple[str, ...]) -> Histogram | None:
    if value is None:
        return None
    data = _object(value, path, _HISTOGRAM, _HISTOGRAM)
    for key in _HISTOGRAM:
        if not isinstance(data[key], list):
            raise _Problem((*path, key), f"{key} is a list of numbers")
    try:
        return Histogram(
            tuple(_number(bound, (*path, "bounds")) for bound in data["bounds"]),
            tuple(_count(count, (*path, "counts")) for count in data["counts"]),
        )
    except ValueError as error:
        raise _Problem(path, f"{error}; write what Cloud Monitoring's Distribution has") from None


def _object(value: Any, path: tuple[str, ...], allowed: Sequence[str], needed: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Problem(path, f"an object with {', '.join(allowed)} belongs here, not {type(value).__name__}")
    for key in value:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _Problem((*path, key), f"unknown key{hint} (allowed: {', '.join(allowed)})")
    for key in needed:
        if key not in value:
            raise _Problem(path, f"{key} is missing; what was not measured is null as a whole")
    return value


def _number(value: Any, path: tuple[str, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise _Problem(path, f"{_brief(value)} is not a number; write one without quotes")
    return float(value)


def _count(value: Any, path: tuple[str, ...]) -> int:
    # Google's JSON writes 64-bit integers as text.
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_COUNT
    if not whole or value != int(value):
        raise _Problem(
            path, f"{_brief(value)} is not a whole number of requests; write a count of at most {_MAX_COUNT}"
        )
    return int(value)


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

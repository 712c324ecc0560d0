"""Line charts as inline SVG: no scripts, no fonts, no network. Pure.

Colours come from the page's CSS variables, so that one file serves light and dark screens. All text is escaped here.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 860, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 26
_TICKS = 4
# Labels of marks in the last part of the axis stand to the left of their line.
_LATE = 0.85
_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Args:
        label: in the legend and the tooltip.
        colour: a CSS class: stable, canary or other.
        points: (seconds since the rollout began, value); None breaks the line.
        dashed: drawn dashed.
        steps: drawn as steps, for values that hold until they change.
    """

    label: str
    colour: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False
    steps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A vertical line at a moment."""

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line that values are read against, such as a gate's limit."""

    value: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What a line may be wrong by.

    Args:
        colour: a CSS class: stable, canary or other.
        boxes: (start, end, low, high): seconds since the rollout began, and values; cut off at the axis.
    """

    colour: str
    boxes: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A vertical axis.

    Args:
        low: value at its foot; above zero if ``logarithmic``.
        high: value at its top.
        logarithmic: powers of ten are evenly spaced.
    """

    low: float = 0.0
    high: float
    logarithmic: bool = False

    def height(self, value: float) -> float:
        """Where a value lies, from 0 at the foot to 1 at the top; beyond either end it is drawn there."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Values to label."""
        if not self.logarithmic:
            return [self.low + (self.high - self.low) * tick / _TICKS for tick in range(_TICKS + 1)]
        first, last = round(log10(self.low)), round(log10(self.high))
        return [10.0**power for power in range(first, last + 1, ceil((last - first) / _TICKS))]


def powers(values: Sequence[float], *, least: float) -> Axis:
    """A logarithmic axis from a power of ten, at least ``least``, to one above all values.

    Args:
        values: what is drawn.
        least: what is smaller is drawn at the foot.
    """
    smallest = min([value for value in values if value > least], default=1.0)
    high = 10.0 ** max(1, floor(log10(max([*values, 1.0]))) + 1)
    return Axis(low=10.0 ** floor(log10(min(smallest, 0.999))), high=high, logarithmic=True)


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    span: float,
    unit: str,
    axis: Axis | None = None,
    marks: Sequence[Mark] = (),
    bands: Sequence[Band] = (),
    levels: Sequence[Level] = (),
) -> str:
    """One chart with axes, legend and marks.

    Args:
        title: above it, and its accessible name.
        lines: what is drawn.
        span: length of the time axis, seconds.
        unit: behind the values of the vertical axis.
        axis: the vertical axis; from zero to above all lines and levels where absent.
        marks: moments that the lines are read against.
        bands: drawn behind the lines.
        levels: values that the lines are read against.
    """
    values = [value for line in lines for _, value in line.points if value is not None]
    if not values:
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="none">Nothing was measured.</p></figure>'
    axis = axis or Axis(high=nice(max([*values, *(level.value for level in levels)])))
    span = max(span, 1.0)
    parts = [_axes(span, axis, unit), *(_band(band, span, axis) for band in bands)]
    parts += [_level(level, axis, unit) for level in levels]
    for index, mark in enumerate(marks):
        x, late = _x(mark.at, span), mark.at > span * _LATE
        # Neighbours' labels take turns in height: they would cover each other.
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
            f'<text class="mark" x="{x + (-3 if late else 3):.1f}" y="{_TOP + 10 + 12 * (index % 2)}" '
            f'text-anchor="{"end" if late else "start"}">{escape(mark.label)}</text>'
        )
    parts += [_line(line, span, axis) for line in lines]
    legend = "".join(
        f'<span class="{line.colour}{" dashed" if line.dashed else ""}">{escape(line.label)}</span>' for line in lines
    )
    return (
        f'<figure><figcaption>{escape(title)}<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_told(title, lines, unit))}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _told(title: str, lines: Sequence[Line], unit: str) -> str:
    """The chart for who cannot see it: what it is of, and where each line ends."""
    ends = [(line.label, [value for _, value in line.points if value is not None][-1:]) for line in lines]
    last = ", ".join(f"{label} {value[0]:.4g}{unit}" for label, value in ends if value)
    return f"{title}; at the end: {last}"


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten: a round end of an axis."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power < value:
        power *= 10
    while power / 10 >= value:
        power /= 10
    return next((power * part for part in (0.1, 0.2, 0.25, 0.5) if power * part >= value), power)


def _axes(span: float, axis: Axis, unit: str) -> str:
    found = []
    for value in axis.ticks():
        y = _y(value, axis)
        found.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}{escape(unit)}</text>'
        )
    for tick in range(_TICKS + 1):
        at = span * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        found.append(
            f'<text x="{_x(at, span):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{_duration(at, span)}</text>'
        )
    return "".join(found)


def _band(band: Band, span: float, axis: Axis) -> str:
    path = []
    for start, end, low, high in band.boxes:
        x, foot, roof = _x(start, span), _y(low, axis), _y(high, axis)
        path.append(f"M{x:.1f},{foot:.1f}H{_x(end, span):.1f}V{roof:.1f}H{x:.1f}Z")
    return f'<path class="band {band.colour}" d="{"".join(path)}"></path>'


def _level(level: Level, axis: Axis, unit: str) -> str:
    y = _y(level.value, axis)
    # Under its line where there is no room above.
    below = y < _TOP + 14
    return (
        f'<line class="level" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="level" x="{WIDTH - _RIGHT - 4}" y="{y + (12 if below else -4):.1f}" text-anchor="end">'
        f"{escape(level.label)} {level.value:.4g}{escape(unit)}</text>"
    )


def _line(line: Line, span: float, axis: Axis) -> str:
    path, pen, last = [], False, 0.0
    for at, value in line.points:
        if value is None:
            pen = False
            continue
        x, y = _x(at, span), _y(value, axis)
        if pen and line.steps:
            path.append(f"L{x:.1f},{last:.1f}")
        path.append(f"{'L' if pen else 'M'}{x:.1f},{y:.1f}")
        # A point between two gaps has no line: its round cap shows it.
        if not pen:
            path.append(f"L{x:.1f},{y:.1f}")
        pen, last = True, y
    dashes = " dashed" if line.dashed else ""
    return f'<path class="{line.colour}{dashes}" d="{"".join(path)}"><title>{escape(line.label)}</title></path>'


def _x(at: float, span: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max(at / span, 0.0), 1.0)


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * axis.height(value)


def _duration(seconds: float, span: float) -> str:
    if span < 3 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.1f} min" if span < 3 * _HOUR else f"{seconds / _HOUR:.1f} h"

from __future__ import annotations

import re

import pytest

from vertex_deploy.rollout.charts import Axis, Band, Level, Line, chart, powers

LINE = Line(label="canary", colour="canary", points=[(0.0, 1.0), (10.0, 100.0)])


def heights(svg: str, css: str) -> list[float]:
    return [float(y) for y in re.findall(rf'<line class="{css}"[^>]* y1="([\d.]+)"', svg)]


def test_on_a_log_axis_equal_factors_are_equal_distances() -> None:
    axis = Axis(low=0.1, high=1000, logarithmic=True)
    assert [axis.height(value) for value in (0.1, 1, 10, 1000)] == pytest.approx([0, 0.25, 0.5, 1])
    assert axis.ticks() == pytest.approx([0.1, 1, 10, 100, 1000])


@pytest.mark.parametrize(("value", "height"), [(0.0, 0.0), (-5.0, 0.0), (1e12, 1.0)])
def test_values_beyond_an_axis_are_drawn_at_its_end(value: float, height: float) -> None:
    assert Axis(low=0.1, high=1000, logarithmic=True).height(value) == height
    assert Axis(high=1000).height(value) == height


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([1.0, 40.0], 0.1, 100.0),
        ([0.003, 1.0], 0.1, 10.0),
        ([0.05, 1.0, 100.0], 0.01, 1000.0),
        ([0.0, 1e12], 0.1, 1e13),
    ],
)
def test_a_log_axis_ends_at_powers_of_ten_around_the_values(values: list[float], low: float, high: float) -> None:
    axis = powers(values, least=0.01)
    assert (axis.low, axis.high) == pytest.approx((low, high))
    assert len(axis.ticks()) <= 5


def test_a_level_is_on_the_axis_even_above_all_values() -> None:
    svg = chart("t", [LINE], span=10, unit=" ms", levels=[Level(value=450, label="limit")])
    assert "limit 450 ms" in svg
    (level,), grid = heights(svg, "level"), heights(svg, "grid")
    assert min(grid) < level < max(grid)


def test_a_band_covers_its_stretch_and_is_cut_off_at_the_axis() -> None:
    boxes = [(0.0, 5.0, 0.0, 500.0)]
    svg = chart("t", [LINE], span=10, unit="%", axis=Axis(high=100), bands=[Band(colour="canary", boxes=boxes)])
    (path,) = re.findall(r'class="band canary" d="([^"]*)"', svg)
    left, foot, right, roof = map(float, re.findall(r"[\d.]+", path)[:4])
    assert (foot, roof) == (max(heights(svg, "grid")), min(heights(svg, "grid")))
    assert left < right < 500


def test_labels_are_escaped() -> None:
    assert "<b>" not in chart("<b>", [LINE], span=1, unit="<b>", levels=[Level(value=1, label="<b>")])

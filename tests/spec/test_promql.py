from __future__ import annotations

import pytest

from vertex_deploy.spec.promql import by_version, duration, fill, longest_window


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("rate(x[1m]) / rate(y[5m])", 300.0),
        ("max_over_time(rate(x[30s])[1h:1m])", 3600.0),
        ("rate(x[1m30s])", 90.0),
        ("rate(x[1h]) # [1d]", 3600.0),
        ("rate(x[500ms])", 0.5),
        ("rate(x[300])", 300.0),
        ("rate(x[ 2m ])", 120.0),
        ("rate(x[{interval}])", 0.0),
        ('x{path="[1h]"}', 0.0),
        ("x{path='a\\'[1h]'}", 0.0),
        ("x{path=`[1h]`}", 0.0),
        ("x", 0.0),
    ],
)
def test_the_longest_window_is_found_outside_of_text_and_comments(expression: str, seconds: float) -> None:
    assert longest_window(expression) == seconds


@pytest.mark.parametrize(("seconds", "text"), [(60.0, "60s"), (1.0, "1s"), (1.5, "1500ms"), (0.0001, "1ms")])
def test_a_duration_is_one_that_prometheus_reads(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_placeholders_are_filled_and_label_matchers_left_alone() -> None:
    text = 'sum(rate(x{v="{deployed_model_id}", job="a"}[{interval}]))'
    assert by_version(text)
    assert not by_version('x{v="1"}')
    assert fill(text, deployed_model_id="9", seconds=60.0) == 'sum(rate(x{v="9", job="a"}[60s]))'

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vertex_deploy.spec.units import Duration, Share, format_duration, format_share, parse_duration, parse_share


@given(st.integers(min_value=0, max_value=3650 * 86_400_000))
def test_every_duration_in_milliseconds_round_trips(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.decimals(min_value=-1000, max_value=1000, places=6).map(float))
def test_every_share_round_trips(percent):
    text = format_share(percent / 100)
    assert parse_share(text) == pytest.approx(percent / 100, abs=1e-12)
    assert format_share(parse_share(text)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("15s", 15), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("7d", 604_800), ("1m500ms", 60.5)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "30", 30, 1.5, None, "m", "-5s", "5m3h", "٣s", "1 h", "9" * 400 + "d", "4000d", True]
)
def test_what_is_no_duration_is_refused_on_one_short_line(value):
    with pytest.raises(ValueError, match=r"is not a duration|ten years") as caught:
        parse_duration(value)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize("value", ["", "5", 0.5, None, "%", "5 %%", "1e3%", "9" * 400 + "%"])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match="is not a percentage"):
        parse_share(value)


@pytest.mark.parametrize("kind", [Duration, Share])
def test_numbers_are_for_code_and_refused_from_files(kind):
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(2) == 2.0
    for text in ("2", "2.5", "true"):
        with pytest.raises(ValidationError):
            adapter.validate_json(text)
    with pytest.raises(ValidationError):
        adapter.validate_python(True)

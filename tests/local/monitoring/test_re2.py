"""Regular expressions: they are RE2's, match whole values, and what RE2 refuses is said in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.re2 import full_match, pattern


@pytest.mark.parametrize(
    ("text", "matched", "not_matched"),
    [
        ("gke-(hipster|nginx).*", "gke-nginx-1", "gke-redis"),
        (r"\(?a\)?", "(a)", "a]"),
        ("[]a]+", "]a", "b"),
        ("(?i)us-.*", "US-EAST1", "eu-west1"),
        ("(?i:us)-[a-z]+", "US-east", "US-EAST"),
        ("(?P<zone>a|b){2}", "ab", "a"),
        (r"\d+", "12", "\u0661\u0662"),
        (r"\pL", "\u00e4", "1"),
        ("[[:alpha:]]+", "abc", "a1"),
        (r"\Qa.b\E", "a.b", "acb"),
        (r"a$\n", "", "a\n"),
    ],
)
def test_an_expression_matches_the_whole_text_as_in_re2(text: str, matched: str, not_matched: str) -> None:
    assert full_match(text, matched) is bool(matched)
    assert not full_match(text, not_matched)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("(?=a)b", "invalid perl operator: (?="),
        ("(?x)a b", "invalid perl operator: (?x"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        (r"a\Z", r"invalid escape sequence: \Z"),
        (r"\u0041", r"invalid escape sequence: \u"),
        ("a++", "bad repetition operator: ++"),
        ("(\n", "missing )"),
        ("a{3000}", "invalid repetition size"),
        ("((a{50}){50}){50}", "invalid repetition size"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_re2_does_not_take_is_refused_with_its_reason(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"^the regular expression ") as caught:
        pattern(text)
    assert named in str(caught.value)


@given(st.text("abc()[]{}?*+|\\^$.:-<>=!P19Z\n", max_size=12))
def test_any_text_is_compiled_or_refused_in_one_line(text: str) -> None:
    said = ""
    try:
        pattern(text)
    except ValueError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(
    "text", ["(a+)+", "(a|a)*", "(a*)*b", "(a|aa)+", "(.*)(.*)(.*)(.*)x", "((a?){30})(a{30})", "(a|b|ab)*c"]
)
def test_no_expression_takes_more_time_than_its_text_is_long(text: str) -> None:
    # Python's engine needs longer than the universe is old for most of these.
    assert not full_match(text, "a" * 1000 + "!")

"""Regular expressions: what matches as in RE2, and what is refused rather than read in Python's way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.re2 import pattern


@pytest.mark.parametrize(
    ("text", "matched", "not_matched"),
    [
        ("gke-(hipster|nginx).*", "gke-nginx-1", "gke-redis"),
        (r"\(?a\)?", "(a)", "a]"),
        (r"a\++", "a++", "a"),
        ("[*+?]+x", "*+x", "x"),
        ("[]a]+", "]a", "b"),
        ("[^]a]+", "bc", "]"),
        ("[(?=]+", "(?=", "a"),
        ("(?i)us-.*", "US-EAST1", "eu-west1"),
        ("(?i:us)-[a-z]+", "US-east", "US-EAST"),
        ("(?P<zone>a|b){2}", "ab", "a"),
        ("(?:ab)*?", "abab", "aba"),
        (r"\d+", "12", "\u0661\u0662"),
        (r"\w", "a", "\u00e4"),
        ("[:alph]+", ":alpha:", "b"),
        (r"\\Z", r"\Z", "Z"),
    ],
)
def test_an_expression_matches_the_whole_text_as_in_re2(text: str, matched: str, not_matched: str) -> None:
    assert pattern(text).fullmatch(matched)
    assert not pattern(text).fullmatch(not_matched)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("(?=a)b", 'the group "(?="'),
        ("(?!a)b", 'the group "(?!"'),
        ("(?<=a)b", 'the group "(?<"'),
        ("(?P=x)", 'the group "(?P"'),
        ("(?x)a b", 'the group "(?x"'),
        ("(?a)b", 'the group "(?a"'),
        ("(?#c)b", 'the group "(?#"'),
        ("(?>a)b", 'the group "(?>"'),
        (r"(a)\1", r'"\1"'),
        (r"a\Z", r'"\Z"'),
        (r"\N{DIGIT ONE}", r'"\N"'),
        (r"\u0041", r'"\u"'),
        ("a++", "possessive"),
        ("a{2}+", "possessive"),
        ("[[:alpha:]]", "POSIX class"),
        ("[x[:^digit:]]+", "POSIX class"),
        # Python lacks these: they are refused as not valid.
        (r"\pL", "not valid"),
        (r"a\z", "not valid"),
        (r"\Qa.b\E", "not valid"),
        ("(", "not valid"),
        ("[a", "not valid"),
        ("a{99999999999999}", "not valid"),
    ],
)
def test_what_re2_reads_otherwise_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=r"^the regular expression ") as caught:
        pattern(text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text("abc()[]{}?*+|\\^$.:-<>=!P19Z", max_size=12))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    try:
        found = pattern(text)
    except ValueError:
        return
    assert found.pattern == text

"""Regular expressions: what matches as in RE2, and what is refused rather than read in Python's way."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.re2 import full_match, pattern


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
    assert full_match(text, matched)
    assert not full_match(text, not_matched)


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


def python_says(text: str, value: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(text, re.ASCII).fullmatch(value) is not None


@given(
    st.recursive(
        st.sampled_from(
            [
                "a",
                "b",
                "A",
                ".",
                "[ab]",
                "[^a]",
                "[a-c1]",
                r"\d",
                r"\W",
                r"\s",
                "^",
                "$",
                r"\b",
                r"\B",
                r"\A",
                "",
                r"\.",
            ]
        ),
        lambda inner: st.one_of(
            st.builds("{}{}".format, inner, inner),
            st.builds("(?:{}|{})".format, inner, inner),
            st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}?", "{2,}"])),
            st.builds("(?i:{})".format, inner),
            st.builds("(?s-i:{})".format, inner),
            st.builds("(?m:{})".format, inner),
        ),
        max_leaves=6,
    ),
    st.text("abAB1 .\n", max_size=6),
)
def test_matches_are_those_of_pythons_engine(text: str, value: str) -> None:
    # Where they differ: Python's "$" is also before a last newline, and its "\\B" is not in an empty text.
    assume(not ("$" in text and value.endswith("\n")))
    assume(value or r"\B" not in text)
    assert full_match(text, value) is python_says(text, value)


def test_the_end_of_a_text_is_not_before_its_last_newline() -> None:
    assert not full_match(r"a$\n", "a\n")
    assert full_match("(?m)a$\\nb", "a\nb")
    assert full_match(r"\B", "")


@pytest.mark.parametrize(
    "text", ["(a+)+", "(a|a)*", "(a*)*b", "(a|aa)+", "(.*)(.*)(.*)(.*)x", "((a?){30})(a{30})", "(a|b|ab)*c"]
)
def test_no_expression_takes_more_time_than_its_text_is_long(text: str) -> None:
    # Python's engine needs longer than the universe is old for most of these.
    assert not full_match(text, "a" * 1000 + "!")


@pytest.mark.parametrize("text", ["a{3000}", "((a{50}){50}){50}", "(a{1,40}){60}"])
def test_an_expression_that_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"larger than 2000 with its repetitions written out"):
        pattern(text)

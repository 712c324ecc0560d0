"""The filter language: what it accepts, what each filter selects, and that nothing unknown is ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertex_deploy.local.monitoring.filters import (
    And,
    Comparison,
    FilterError,
    Not,
    Or,
    Subject,
    matches,
    parse,
    single_metric,
)

SUBJECT = Subject(
    project="p",
    metric_type="aiplatform.googleapis.com/prediction/online/response_count",
    metric_labels={
        "response_code": "2xx",
        "deployed_model_id": "123",
        "say": 'a "b" \\c',
        "arabic": "\u0663",
        "paren": "(a)",
        "flag": "true",
    },
    resource_type="aiplatform.googleapis.com/Endpoint",
    resource_labels={"endpoint_id": "77", "location": "us-central1"},
)
METRIC = 'metric.type = "aiplatform.googleapis.com/prediction/online/response_count"'


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (METRIC, True),
        ('metric.type="other"', False),
        ('metric.labels.response_code = "2xx"', True),
        ('metric.label.response_code = "2xx"', True),
        ("metric.labels.response_code = 2xx", True),
        ('metric.labels.response_code != "5xx"', True),
        ('metric.labels.response_code : "xx"', True),
        ('metric.labels.response_code = starts_with("2")', True),
        ('metric.labels.response_code = ends_with("2")', False),
        ('metric.labels.response_code != ends_with("2")', True),
        ('resource.labels.location = has_substring("central")', True),
        ('resource.labels.location = monitoring.regex.full_match("us-.*[0-9]")', True),
        ('resource.labels.location = monitoring.regex.full_match("us")', False),
        ('metric.labels.deployed_model_id = one_of("1", "123")', True),
        ('metric.labels.deployed_model_id = one_of("1")', False),
        (r'metric.labels.response_code = monitoring.regex.full_match("2x\\++|2xx")', True),
        ("metric.labels.deployed_model_id > 100", True),
        ("metric.labels.deployed_model_id <= 122.5", False),
        ("metric.labels.response_code > 1", False),
        ("metric.labels.deployed_model_id >= -1.5e3 AND metric.labels.deployed_model_id < +1e3", True),
        # A literal without quotes is the same text: numbers and booleans too.
        ("metric.labels.deployed_model_id = 123", True),
        ("metric.labels.deployed_model_id = 123.0", False),
        ("metric.labels.flag = true AND NOT metric.labels.flag = false", True),
        ('metric.labels.absent = ""', True),
        ('resource.type = "aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id = "77"', True),
        ('resource.labels.endpoint_id = "77" resource.labels.location = "x"', False),
        ('resource.labels.endpoint_id = "1" OR resource.labels.endpoint_id = "77"', True),
        # AND binds closer: x OR (y AND z)
        ('project = "p" OR project = "q" AND project = "r"', True),
        ('(project = "p" OR project = "q") AND project = "r"', False),
        ('NOT project = "p"', False),
        ('-project = "q"', True),
        ('NOT (project = "q" OR project = "r")', True),
        ("project = 'p'", True),
        (r'metric.labels.say = "a \"b\" \\c"', True),
        ('project = "AND"', False),
        # A key in quotes, as the console writes it.
        ('metric.label."response_code"="2xx" resource.label."endpoint_id"="77"', True),
        ("metric.labels.'response_code' = \"5xx\"", False),
        # ASCII classes, as RE2's: an Arabic digit is not \\d.
        (r'metric.labels.arabic = monitoring.regex.full_match("\\d")', False),
        (r'metric.labels.response_code = monitoring.regex.full_match("(?i)2XX")', True),
        (r'metric.labels.response_code = monitoring.regex.full_match("(?P<first>[2*+])x{2}")', True),
        (r'metric.labels.paren = monitoring.regex.full_match("\\(?a\\)")', True),
    ],
)
def test_a_filter_selects_as_documented(text: str, passes: bool) -> None:
    assert matches(parse(text), SUBJECT) is passes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('group.id = "x"', "group.id"),
        ('metadata.user_labels.a = "x"', "metadata.user_labels.a"),
        ('select_slo_health("projects/p")', "select_slo_health"),
        ('metric.label.x = monitoring.regex.partial_match("x")', "monitoring.regex.partial_match"),
        ('metric.labels.x = monitoring.regex.full_match("(?=a)b")', "invalid perl operator"),
        ('metric.labels.x = monitoring.regex.full_match("(a)\\\\1")', "invalid escape sequence"),
        ('metric.labels.x = monitoring.regex.full_match("a++")', "bad repetition operator"),
        ('metric.labels.x = monitoring.regex.full_match("(?x)a b")', "invalid perl operator"),
        ('metric.labels.x = monitoring.regex.full_match("(?P=a)")', "invalid perl operator"),
        ('metric.labels.x = monitoring.regex.full_match("a\\\\Z")', "invalid escape sequence"),
        ('metric.labels.x = monitoring.regex.full_match("(")', "not valid"),
        ('metric.labels.x : starts_with("a")', '":"'),
        ('metric.type > "a"', '">"'),
        ('metric.labels.x > "a"', "needs a number"),
        ('metric.labels.x = starts_with("a", "b")', "takes 1 argument"),
        ('metric.type = "a', "position 14"),
        ("metric.type =", "a value"),
        ("metric.type", "an operator"),
        ('(metric.type = "a"', '")"'),
        ('metric.type = "a")', '")"'),
        ('metric.type = "a" AND', "a comparison"),
        ("metric.type = AND", "AND"),
        ('resource = "x"', "resource"),
        ("(" * 60 + 'project = "p"' + ")" * 60, "nests deeper"),
        ('project = "' + "x" * 9000 + '"', "characters"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ('metric.type = "a/b"', "a/b"),
        ('resource.type = "r" AND (metric.type = "a/b" AND project = "p")', "a/b"),
        ('metric.type = "a/b" AND metric.type = "a/c"', None),
        ('metric.type = "a/b" OR metric.type = "a/c"', None),
        ('NOT metric.type = "a/b"', None),
        ('metric.type != "a/b"', None),
        ('metric.type = starts_with("a/")', None),
        ('metric.type = one_of("a/b")', "a/b"),
        ('project = "p"', None),
    ],
)
def test_a_metric_is_pinned_only_by_equality_under_and(text: str, metric: str | None) -> None:
    assert single_metric(parse(text)) == metric


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('project = "p" AND group.id = "x"', 18),
        ('project = "p" AND metadata.user_labels."a" = "x"', 18),
        ('project = "p" AND metric.type > "a"', 32),
        ('project = "p" AND nope("x")', 18),
        ('project = "p" AND metric.type = nope("x")', 32),
        ('project = "p" AND metric.type = starts_with("a", "b")', 32),
        ('project = "p" AND metric.type = monitoring.regex.full_match("(")', 32),
        ('project = "p" AND metric.type', 29),
        ('project = "p" AND ', 18),
        ('project = "p" AND (metric.type = "a"', 36),
        ('project = "p" OR OR metric.type = "a"', 17),
        ('project = "p" ) metric.type = "a"', 14),
        ('project = one_of("p" "q")', 21),
        ("project = one_of(,)", 17),
        ("project ~ p", 8),
    ],
)
def test_a_refusal_says_where_in_the_filter(text: str, at: int) -> None:
    with pytest.raises(FilterError, match=rf"position {at}\b"):
        parse(text)


def _text(node: object) -> str:
    match node:
        case Comparison(selector, op, _, values):
            return f'{selector} {op} "{values[0]}"'
        case Not(term):
            return f"NOT ({_text(term)})"
        case And(terms):
            return " AND ".join(f"({_text(t)})" for t in terms)
        case Or(terms):
            return " OR ".join(f"({_text(t)})" for t in terms)
    raise AssertionError(node)


_leaf = st.builds(
    lambda key, op, value: Comparison(key, op, "", (value,)),
    st.sampled_from(["project", "metric.type", "metric.labels.a", "resource.labels.b"]),
    st.sampled_from(["=", "!=", ":"]),
    st.sampled_from(["p", "q", ""]),
)
_trees = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda x: And(tuple(x))),
        st.lists(inner, min_size=2, max_size=3).map(lambda x: Or(tuple(x))),
    ),
    max_leaves=6,
)


@given(_trees)
def test_a_written_tree_reads_back_as_itself(tree: object) -> None:
    assert parse(_text(tree)) == tree


@given(st.text(max_size=60))
def test_any_text_either_parses_or_is_refused(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError:
        return
    assert matches(tree, SUBJECT) in (True, False)
